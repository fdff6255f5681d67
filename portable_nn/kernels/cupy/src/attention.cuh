// Tiles of attention: what hides and drops scores, products of tiles, and reading and writing them.
//
// A block has 16 × 16 threads, (x, y), and each of them SIDE/16 × SIDE/16 scores: rows y, y + 16, …, columns x, x + 16, …
// Every array is (outer, inner, rows, width) with strides of its own, in elements; its width lies in a row. A mask has
// bytes (outer, inner, queries, keys), not 0 where a key is hidden from a query. Lengths say how many keys count, one
// number for `share` heads.
#pragma once
#include "philox.cuh"

#ifndef HEAD
#define HEAD 64
#define SIDE 32
#endif

constexpr int SPAN = SIDE / 16, WIDTH = HEAD / 16, THREADS = 256;
// Numbers that shared memory gives a thread at once, 16 bytes; rows begin at multiples of them, and in other banks.
constexpr int PIECE = 16 / sizeof(real), PITCH = HEAD + PIECE, STEP = SIDE + PIECE;
// Of a sum's columns a thread has pieces too, so far as there are enough.
constexpr int SHARE = WIDTH < PIECE ? WIDTH : PIECE;

#define STRIDES(x) int64 x##_outer, int64 x##_inner, int64 x##_row
#define AT(x) x + (lead / inner) * x##_outer + (lead % inner) * x##_inner, x##_row

// What hides and drops scores, of the matrix (queries, keys) of one head.
struct Rules {
    const unsigned char* mask;
    int64 mask_row, mask_column, queries, keys, seen, causal, threshold, first;  // where its scores begin, of all
    real factor;
    uint64 seed, path, step, call, rank;

    DEVICE bool hides(int64 t, int64 s) const {
        return t >= queries || s >= seen || (causal && s > t) || (mask && mask[t * mask_row + s * mask_column]);
    }
};

#define RULES                                                                                                       \
    const unsigned char *mask, int64 mask_outer, int64 mask_inner, int64 mask_row, int64 mask_column,              \
        const int *lengths, int64 share, int64 causal, int64 threshold, double factor, uint64 seed, uint64 path, uint64 step, uint64 call, uint64 rank,            \
        const uint64 *offset
#define MAKE_RULES                                                                                                     \
    const Rules rules = {mask ? mask + (lead / inner) * mask_outer + (lead % inner) * mask_inner : nullptr, mask_row,  \
                         mask_column, queries, keys, seen_of(lengths, lead, share, keys), causal, threshold,           \
                         lead * queries * keys, static_cast<real>(factor), seed, path, step + (offset ? *offset : 0),  \
                         call, rank}

DEVICE int64 seen_of(const int* lengths, int64 lead, int64 share, int64 keys) {
    if (!lengths) return keys;
    const int64 length = lengths[lead / share];
    return length < 0 ? 0 : length < keys ? length : keys;
}

DEVICE int thread() { return threadIdx.y * 16 + threadIdx.x; }

// Rows `first` to `first + SIDE` of a matrix, times a factor; zeros beyond its last.
DEVICE void read_tile(real* tile, const scalar* x, int64 stride, int64 first, int64 rows, int width, real factor) {
    constexpr int EACH = SIDE * HEAD / THREADS, AHEAD = EACH < 8 ? EACH : 8;  // all asked for before one is waited for
#pragma unroll 1
    for (int start = thread(); start < SIDE * HEAD; start += AHEAD * THREADS) {
        scalar given[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int row = (start + k * THREADS) / HEAD, column = (start + k * THREADS) % HEAD;
            if (first + row < rows && column < width) given[k] = x[(first + row) * stride + column];
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int row = (start + k * THREADS) / HEAD, column = (start + k * THREADS) % HEAD;
            const bool there = first + row < rows && column < width;
            tile[row * PITCH + column] = there ? widen(given[k]) * factor : real(0);
        }
    }
}

DEVICE int column_of(int c) { return (c / SHARE * 16 + threadIdx.x) * SHARE + c % SHARE; }

DEVICE void write_tile(const real (&sums)[SPAN][WIDTH], scalar* x, int64 stride, int64 first, int64 rows, int width,
                       const real (&factor)[SPAN]) {
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        const int64 row = first + threadIdx.y + 16 * i;
#pragma unroll
        for (int c = 0; c < WIDTH; c++) {
            const int column = column_of(c);
            if (row < rows && column < width) store(x + row * stride + column, sums[i][c] * factor[i]);
        }
    }
}

DEVICE Pack<real, PIECE> piece(const real* p) { return *reinterpret_cast<const Pack<real, PIECE>*>(p); }

// out = a bᵀ, of rows in tiles.
DEVICE void scores_of(const real* a, const real* b, int width, real (&out)[SPAN][SPAN]) {
#pragma unroll
    for (int i = 0; i < SPAN; i++)
#pragma unroll
        for (int j = 0; j < SPAN; j++) out[i][j] = 0;
#pragma unroll 2
    for (int d = 0; d < width; d += PIECE) {  // beyond the width are zeros
        Pack<real, PIECE> left[SPAN], right[SPAN];
#pragma unroll
        for (int i = 0; i < SPAN; i++) left[i] = piece(a + (threadIdx.y + 16 * i) * PITCH + d);
#pragma unroll
        for (int j = 0; j < SPAN; j++) right[j] = piece(b + (threadIdx.x + 16 * j) * PITCH + d);
#pragma unroll
        for (int n = 0; n < PIECE; n++)
#pragma unroll
            for (int i = 0; i < SPAN; i++)
#pragma unroll
                for (int j = 0; j < SPAN; j++) out[i][j] += left[i].at[n] * right[j].at[n];
    }
}

DEVICE void keep_scores(real* square, const real (&x)[SPAN][SPAN]) {
#pragma unroll
    for (int i = 0; i < SPAN; i++)
#pragma unroll
        for (int j = 0; j < SPAN; j++) square[(threadIdx.y + 16 * i) * STEP + threadIdx.x + 16 * j] = x[i][j];
}

// sums += square b, or squareᵀ b where TURNED.
template <bool TURNED>
DEVICE void add_product(const real* square, const real* b, real (&sums)[SPAN][WIDTH]) {
    for (int s = 0; s < SIDE; s += PIECE) {
        Pack<real, PIECE> left[SPAN];
#pragma unroll
        for (int i = 0; i < SPAN; i++) {
            const int row = threadIdx.y + 16 * i;
            if (!TURNED) left[i] = piece(square + row * STEP + s);
#pragma unroll
            for (int n = 0; n < PIECE; n++)
                if (TURNED) left[i].at[n] = square[(s + n) * STEP + row];
        }
#pragma unroll
        for (int n = 0; n < PIECE; n++)
#pragma unroll
            for (int c = 0; c < WIDTH; c += SHARE) {
                const Pack<real, SHARE> right = *reinterpret_cast<const Pack<real, SHARE>*>(
                    b + (s + n) * PITCH + column_of(c));
#pragma unroll
                for (int k = 0; k < SHARE; k++)
#pragma unroll
                    for (int i = 0; i < SPAN; i++) sums[i][c + k] += left[i].at[n] * right.at[k];
            }
    }
}

template <int N, int M>
DEVICE void clear(real (&x)[N][M]) {
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int j = 0; j < M; j++) x[i][j] = 0;
}

// What dropout multiplies the weights of a tile by: NumPy's mask of the whole array, bit for bit (see dropout.cu).
// A row of the tile lies in SIDE/16 + 1 blocks of the stream at most.
DEVICE void draw(const Rules& rules, int64 t, int64 s, unsigned char (&kept)[SIDE][SIDE]) {
    if (rules.threshold == 0) return;
    __syncthreads();
    for (int i = thread(); i < SIDE * (SPAN + 1); i += THREADS) {
        const int row = i / (SPAN + 1);
        if (t + row >= rules.queries) continue;
        const int64 start = rules.first + (t + row) * rules.keys + s, block = start / 16 + i % (SPAN + 1);
        const Counter words = philox_block(block, rules.step, rules.call, rules.rank, rules.seed, rules.path);
#pragma unroll
        for (int lane = 0; lane < 16; lane++) {
            const int64 column = block * 16 + lane - start;
            if (column >= 0 && column < SIDE)
                kept[row][column] = static_cast<int64>(words.word[lane / 4] >> (16 * (lane % 4)) & 0xffff) >= rules.threshold;
        }
    }
    __syncthreads();
}

DEVICE real factor_of(const Rules& rules, const unsigned char (&kept)[SIDE][SIDE], int i, int j) {
    return rules.threshold == 0 ? real(1) : kept[threadIdx.y + 16 * i][threadIdx.x + 16 * j] ? rules.factor : real(0);
}

// Over the 16 threads that share rows.
template <class Operation>
DEVICE real across(real x, Operation operation) {
#pragma unroll
    for (int lane = 8; lane > 0; lane /= 2) x = operation(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}
