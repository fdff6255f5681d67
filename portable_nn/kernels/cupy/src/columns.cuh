// Sums over the rows of a matrix, one for each column, in a fixed order: the gradients of weights and biases.
#pragma once
#include "last.cuh"

constexpr int LANES = 8;  // rows that a block of (32, LANES) threads reads at once

// The sums of all lanes, in each of them; all threads of the block must take part.
template <int SUMS>
DEVICE void sum_lanes(real (&sums)[SUMS]) {
    __shared__ real of_lanes[SUMS][LANES][32];
    __syncthreads();  // whoever read the last sums is done
#pragma unroll
    for (int k = 0; k < SUMS; k++) of_lanes[k][threadIdx.y][threadIdx.x] = sums[k];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < SUMS; k++) {
        sums[k] = 0;
#pragma unroll
        for (int lane = 0; lane < LANES; lane++) sums[k] += of_lanes[k][lane][threadIdx.x];
    }
}

// What a thread goes through: N columns, every LANES-th row of a chunk. The grid is (columns / 32 / N, chunks).
template <int N>
struct Part {
    int64 column, first, last;
    DEVICE Part(int64 rows, int64 width) {
        const int64 share = (rows + gridDim.y - 1) / gridDim.y, start = blockIdx.y * share;
        column = (static_cast<int64>(blockIdx.x) * 32 + threadIdx.x) * N;
        first = start + threadIdx.y;
        last = column < width ? start + share < rows ? start + share : rows : 0;
    }
};

// The sums of the threads' parts, of output k and the column's j-th neighbour sums[k * N + j], to where they belong. If
// there are several chunks, each leaves its own in the workspace, (OUTPUTS, chunks, width), and the last block of a column
// to finish adds them up, in the order of the chunks. Outputs may be null.
template <int OUTPUTS, int N, class T>
DEVICE void finish_columns(real* workspace, T* const (&out)[OUTPUTS], int64 column, int64 width,
                           real (&sums)[OUTPUTS * N]) {
    const int64 chunks = gridDim.y;
    sum_lanes(sums);
    if (chunks > 1) {
        real* left = memory_of<real>(workspace);
        if (threadIdx.y == 0 && column < width) {
#pragma unroll
            for (int k = 0; k < OUTPUTS * N; k++)
                if (out[k / N]) left[(k / N * chunks + blockIdx.y) * width + column + k % N] = sums[k];
        }
        if (!is_last_block(counters_of(workspace) + blockIdx.x, static_cast<unsigned>(chunks))) return;
#pragma unroll
        for (int k = 0; k < OUTPUTS * N; k++) sums[k] = 0;
        if (column < width) {
#pragma unroll 2
            for (int64 chunk = threadIdx.y; chunk < chunks; chunk += LANES)
#pragma unroll
                for (int k = 0; k < OUTPUTS * N; k++)
                    if (out[k / N]) sums[k] += peer(left + (k / N * chunks + chunk) * width + column + k % N);
        }
        sum_lanes(sums);
    }
    if (threadIdx.y != 0 || column >= width) return;
#pragma unroll
    for (int k = 0; k < OUTPUTS * N; k++)
        if (out[k / N]) narrow(sums[k], out[k / N][column + k % N]);
}

// f(row, column, sums) adds one element to the OUTPUTS sums of its column.
template <int OUTPUTS, class T, class F>
DEVICE void sum_columns(real* workspace, T* const (&out)[OUTPUTS], int64 rows, int64 width, F f) {
    const Part<1> part(rows, width);
    real sums[OUTPUTS] = {};
#pragma unroll 4
    for (int64 row = part.first; row < part.last; row += LANES) f(row, part.column, sums);
    finish_columns<OUTPUTS, 1>(workspace, out, part.column, width, sums);
}

// N neighbouring elements of a row.
template <int N>
struct Elements {
    real at[N];
    DEVICE void read(const scalar* p) { load<N>(p, at); }
    DEVICE void write(scalar* p) const {  // 16 bytes at once, where the compiler would write halves one by one
        Pack<scalar, N> pack;
#pragma unroll
        for (int j = 0; j < N; j++) narrow(at[j], pack.at[j]);
        if (sizeof(pack) == 16) __stwb(reinterpret_cast<uint4*>(p), *reinterpret_cast<const uint4*>(&pack));
        else *reinterpret_cast<Pack<scalar, N>*>(p) = pack;
    }
};

// As sum_columns, for kernels that write: read(row, column) gives what they need of N elements, and add(row, column, known,
// sums) adds them; the next row is read before one is written. N = 1, or that of 16 bytes, all of which are aligned.
template <int OUTPUTS, int N, class T, class Read, class Add>
DEVICE void sum_columns_ahead(real* workspace, T* const (&out)[OUTPUTS], int64 rows, int64 width, Read read, Add add) {
    const Part<N> part(rows, width);
    real sums[OUTPUTS * N] = {};
    if (part.first < part.last) {
        auto next = read(part.first, part.column);
        for (int64 row = part.first; row < part.last; row += LANES) {
            const auto known = next;
            if (row + LANES < part.last) next = read(row + LANES, part.column);
            add(row, part.column, known, sums);
        }
    }
    finish_columns<OUTPUTS, N>(workspace, out, part.column, width, sums);
}
