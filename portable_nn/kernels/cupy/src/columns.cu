// Sums over rows; see columns.cuh. Those of half precision are float32.
#include "columns.cuh"

KERNEL sum_rows(const scalar* x, real* partial, real* out, int64 rows, int64 width) {
    sum_columns<1>(partial, {out}, rows, width,
                   [=](int64 row, int64 column, real* sums) { sums[0] += load(x + row * width + column); });
}
