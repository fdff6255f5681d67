// Sums over the rows of a matrix, one for each column, in a fixed order: the gradients of weights and biases.
#pragma once
#include "common.cuh"

constexpr int LANES = 8;  // rows that a block of (32, LANES) threads reads at once

// f(row, column, sums) adds one element to the OUTPUTS sums of its column. The grid is (columns / 32, chunks of rows).
// One chunk writes its sums to `out`, several to `partial` (OUTPUTS, chunks, width), for `total_columns` to add up.
template <int OUTPUTS, class F>
DEVICE void sum_columns(real* partial, scalar* const (&out)[OUTPUTS], int64 rows, int64 width, F f) {
    __shared__ real of_lanes[OUTPUTS][LANES][32];
    const int64 column = static_cast<int64>(blockIdx.x) * 32 + threadIdx.x;
    const int64 share = (rows + gridDim.y - 1) / gridDim.y, first = blockIdx.y * share;
    const int64 last = first + share < rows ? first + share : rows;
    real sums[OUTPUTS] = {};
    if (column < width) {
#pragma unroll 4
        for (int64 row = first + threadIdx.y; row < last; row += LANES) f(row, column, sums);
    }
#pragma unroll
    for (int k = 0; k < OUTPUTS; k++) of_lanes[k][threadIdx.y][threadIdx.x] = sums[k];
    __syncthreads();
    if (threadIdx.y != 0 || column >= width) return;
#pragma unroll
    for (int k = 0; k < OUTPUTS; k++) {
        if (!out[k]) continue;
        real total = 0;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) total += of_lanes[k][lane][threadIdx.x];
        if (gridDim.y == 1) store(out[k] + column, total);
        else partial[(k * static_cast<int64>(gridDim.y) + blockIdx.y) * width + column] = total;
    }
}
