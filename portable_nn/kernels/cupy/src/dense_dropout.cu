// A dense layer's bias, activation and dropout on the way out; on the way back mask, slope and the bias's gradient.
//
// PACK is how many elements a thread moves at once, RELU whether the activation is that rather than GELU.
//
// Variants: ; PACK=1 RELU=1
#include "dropping.cuh"
#include "gelu.cuh"
#include "last.cuh"
#include "mixed.cuh"

#ifndef PACK
#define PACK WIDE
#endif
#ifndef RELU
#define RELU 0
#endif

constexpr int PACKS = 16 / PACK;  // that a thread holds of a row, so that a warp draws for 512 columns at once
constexpr int ROWS = 8;           // of a block of (32, ROWS) threads

DEVICE real activate(real z) { return RELU ? (z <= 0 ? real(0) : z) : gelu_exact(z); }
DEVICE real slope_at(real z) { return RELU ? (z > 0 ? real(1) : real(0)) : gelu_exact_slope(z); }

#define FOR_PACKS(k, i)                              \
    _Pragma("unroll") for (int k = 0; k < PACKS; k++) \
        if (const int64 i = first + (k * 32 + static_cast<int>(threadIdx.x)) * PACK; i < width)
#define FOR_PACK(j) _Pragma("unroll") for (int j = 0; j < PACK; j++)

// out = dropout(f(z)); a bias that is not null is added to z first, where it is. The grid is (columns / 512, chunks).
KERNEL activation_dropout(scalar* z, const scalar* bias, scalar* out, int64 rows, int64 width, DROPPING_PARAMETERS) {
    __shared__ Drawn drawn[ROWS];
    const int64 first = blockIdx.x * int64(512);
    const Dropping dropping = DROPPING;
    for (int64 row = static_cast<int64>(blockIdx.y) * ROWS + threadIdx.y; row < rows; row += gridDim.y * ROWS) {
        const int64 start = row * width;
        real v[PACKS][PACK] = {};
        FOR_PACKS(k, i) read<PACK>(z + start + i, v[k]);
        draw<32, PACKS, PACK>(drawn[threadIdx.y], start + first, width - first, dropping);
        FOR_PACKS(k, i) {
            if (bias) {
                FOR_PACK(j) v[k][j] = rounded(v[k][j] + load(bias + i + j));
                write<PACK>(z + start + i, v[k]);
            }
            FOR_PACK(j) v[k][j] = rounded(activate(v[k][j]));
            drop<PACK>(drawn[threadIdx.y], k, dropping, v[k]);
            write<PACK>(out + start + i, v[k]);
        }
    }
}

// g_z = f'(z) times g where it was not dropped, and its sums over the rows, in the order of the chunks: those of each are
// in `left` (chunks, width), and the last block of its columns to finish adds them up.
KERNEL activation_dropout_backward(const scalar* z, const scalar* g, scalar* g_z, real* sums, real* left,
                                   unsigned* counters, int64 rows, int64 width, DROPPING_PARAMETERS) {
    __shared__ Drawn drawn[ROWS];
    __shared__ real of_rows[ROWS][512];
    const int64 first = blockIdx.x * int64(512);
    const Dropping dropping = DROPPING;
    real total[PACKS][PACK] = {};
    for (int64 row = static_cast<int64>(blockIdx.y) * ROWS + threadIdx.y; row < rows; row += gridDim.y * ROWS) {
        const int64 start = row * width;
        real v[PACKS][PACK] = {}, d[PACKS][PACK] = {};
        FOR_PACKS(k, i) {
            read<PACK>(z + start + i, v[k]);
            read<PACK>(g + start + i, d[k]);
        }
        draw<32, PACKS, PACK>(drawn[threadIdx.y], start + first, width - first, dropping);
        FOR_PACKS(k, i) {
            drop<PACK>(drawn[threadIdx.y], k, dropping, d[k]);
            FOR_PACK(j) total[k][j] += d[k][j] = rounded(d[k][j] * slope_at(v[k][j]));
            write<PACK>(g_z + start + i, d[k]);
        }
    }
    if (!sums) return;
    FOR_PACKS(k, i) FOR_PACK(j) of_rows[threadIdx.y][i - first + j] = total[k][j];
    __syncthreads();
    const int chunks = gridDim.y, last = width - first < 512 ? static_cast<int>(width - first) : 512;
    for (int i = threadIdx.y * 32 + threadIdx.x; i < last; i += 32 * ROWS) {
        real sum = 0;
#pragma unroll
        for (int row = 0; row < ROWS; row++) sum += of_rows[row][i];
        left[blockIdx.y * width + first + i] = sum;
    }
    if (!is_last_block(counters + blockIdx.x, chunks)) return;
    for (int i = threadIdx.y * 32 + threadIdx.x; i < last; i += 32 * ROWS) {
        real sum = 0;
#pragma unroll 16
        for (int chunk = 0; chunk < chunks; chunk++) sum += peer(left + chunk * width + first + i);
        sums[first + i] = sum;
    }
}
