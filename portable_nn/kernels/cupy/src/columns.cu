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
