// Sums over the rows of a matrix, one for each column, in a fixed order: the gradients of weights and biases.
#pragma once
#include "last.cuh"

constexpr int LANES = 8;  // rows that a block of (32, LANES) threads reads at once

// The sums of all lanes in those of the first, for each column of the block; all threads must take part.
template <int OUTPUTS>
DEVICE void sum_lanes(real (&sums)[OUTPUTS]) {
    __shared__ real of_lanes[OUTPUTS][LANES][32];
    __syncthreads();  // whoever read the last sums is done
#pragma unroll
    for (int k = 0; k < OUTPUTS; k++) of_lanes[k][threadIdx.y][threadIdx.x] = sums[k];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < OUTPUTS; k++) {
        sums[k] = 0;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) sums[k] += of_lanes[k][lane][threadIdx.x];
    }
}

// f(row, column, sums) adds one element to the OUTPUTS sums of its column. The grid is (columns / 32, chunks of rows);
// `partial` is the workspace if there are several chunks: each leaves its sums there, (OUTPUTS, chunks, width), and the
// last block of a column to finish adds them up, in the order of the chunks. Outputs may be null.
template <int OUTPUTS, class T, class F>
DEVICE void sum_columns(real* partial, T* const (&out)[OUTPUTS], int64 rows, int64 width, F f) {
    const int64 column = static_cast<int64>(blockIdx.x) * 32 + threadIdx.x, chunks = gridDim.y;
    const int64 share = (rows + chunks - 1) / chunks, first = blockIdx.y * share;
    const int64 last = first + share < rows ? first + share : rows;
    real sums[OUTPUTS] = {};
    if (column < width) {
#pragma unroll 4
        for (int64 row = first + threadIdx.y; row < last; row += LANES) f(row, column, sums);
    }
    sum_lanes(sums);
    if (chunks > 1) {
        real* left = memory_of<real>(partial);
        if (threadIdx.y == 0 && column < width) {
#pragma unroll
            for (int k = 0; k < OUTPUTS; k++)
                if (out[k]) left[(k * chunks + blockIdx.y) * width + column] = sums[k];
        }
        if (!is_last_block(counters_of(partial) + blockIdx.x, static_cast<unsigned>(chunks))) return;
#pragma unroll
        for (int k = 0; k < OUTPUTS; k++) {
            sums[k] = 0;
            if (!out[k] || column >= width) continue;
#pragma unroll 8
            for (int64 chunk = threadIdx.y; chunk < chunks; chunk += LANES)
                sums[k] += peer(left + (k * chunks + chunk) * width + column);
        }
        sum_lanes(sums);
    }
    if (threadIdx.y != 0 || column >= width) return;
#pragma unroll
    for (int k = 0; k < OUTPUTS; k++)
        if (out[k]) narrow(sums[k], out[k][column]);
}
