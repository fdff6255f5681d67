// Sums over rows, and the second half of all such sums; see columns.cuh.
#include "columns.cuh"

KERNEL sum_rows(const scalar* x, real* partial, scalar* out, int64 rows, int64 width) {
    sum_columns<1>(partial, {out}, rows, width,
                   [=](int64 row, int64 column, real* sums) { sums[0] += load(x + row * width + column); });
}

// The grid is (columns / 256, outputs).
KERNEL total_columns(const real* partial, scalar* first, scalar* second, int64 chunks, int64 width) {
    const int64 column = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
    scalar* out = blockIdx.y == 0 ? first : second;
    if (column >= width || !out) return;
    const real* p = partial + blockIdx.y * chunks * width + column;
    real total = 0;
#pragma unroll 8
    for (int64 chunk = 0; chunk < chunks; chunk++) total += p[chunk * width];
    store(out + column, total);
}
