// Sums over rows; see columns.cuh. Those of half precision are float32.
#include "columns.cuh"

template <int N>
DEVICE void sum_rows_of(const scalar* x, real* workspace, real* out, int64 rows, int64 width) {
    const Part<N> part(rows, width);
    real sums[N] = {};
#pragma unroll 4
    for (int64 row = part.first; row < part.last; row += LANES) {
        Elements<N> v;
        v.read(x + row * width + part.column);
#pragma unroll
        for (int j = 0; j < N; j++) sums[j] += v.at[j];
    }
    finish_columns<1, N>(workspace, {out}, part.column, width, sums);
}

KERNEL sum_rows(const scalar* x, real* workspace, real* out, int64 rows, int64 width) {
    sum_rows_of<1>(x, workspace, out, rows, width);
}

KERNEL sum_rows_wide(const scalar* x, real* workspace, real* out, int64 rows, int64 width) {
    sum_rows_of<WIDE>(x, workspace, out, rows, width);
}

// out (outer, width): the sums of x (outer, rows, width) over its rows, times `scale`. A block has 32 columns of a matrix.
KERNEL sum_matrices(const scalar* x, scalar* out, int64 rows, int64 width, double scale) {
    const int64 tiles = (width + 31) / 32, matrix = blockIdx.x / tiles;
    const int64 column = blockIdx.x % tiles * 32 + threadIdx.x;
    real sums[1] = {};
    if (column < width) {
#pragma unroll 4
        for (int64 row = threadIdx.y; row < rows; row += LANES)
            sums[0] += load(x + (matrix * rows + row) * width + column);
    }
    sum_lanes(sums);
    if (threadIdx.y == 0 && column < width) store(out + matrix * width + column, sums[0] * static_cast<real>(scale));
}
