// Σ x² in a fixed order: blocks of 256 threads leave one double each, which one block adds up.
#include "common.cuh"

KERNEL square_sums(const scalar* x, double* partial, int64 count) {
    const bool wide = aligned(x);
    double total = 0;
    FOR_ALL(i, WIDE, count) {
        real sum = 0;
        if (wide && i + WIDE <= count) {
            real v[WIDE];
            load<WIDE>(x + i, v);
#pragma unroll
            for (int j = 0; j < WIDE; j++) sum += v[j] * v[j];
        } else {
            for (int64 j = i; j < count && j < i + WIDE; j++) sum += load(x + j) * load(x + j);
        }
        total += sum;
    }
    total = row_sum(total);
    if (threadIdx.x == 0) partial[blockIdx.x] = total;
}

KERNEL total(const double* partial, scalar* out, int64 count) {
    double sum = 0;
    FOR_ROW(i, 1, count) sum += partial[i];
    sum = row_sum(sum);
    if (threadIdx.x == 0) store(out, static_cast<real>(sum));
}
