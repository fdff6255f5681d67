// Σ x² and means over all elements, in a fixed order: blocks of 256 threads leave one double each, which one block adds
// up; of few elements one block of 512 threads makes the result at once.
#include "common.cuh"

template <bool SQUARE>
DEVICE double own_sum(const scalar* x, int64 count) {
    const bool wide = aligned(x);
    double total = 0;
    FOR_ALL(i, WIDE, count) {
        real sum = 0;
        if (wide && i + WIDE <= count) {
            real v[WIDE];
            load<WIDE>(x + i, v);
#pragma unroll
            for (int j = 0; j < WIDE; j++) sum += SQUARE ? v[j] * v[j] : v[j];
        } else {
            for (int64 j = i; j < count && j < i + WIDE; j++) sum += SQUARE ? load(x + j) * load(x + j) : load(x + j);
        }
        total += sum;
    }
    return row_sum(total);
}

// A launch of one block writes the result, one of several their partial sums.
template <bool SQUARE>
DEVICE void sum_into(const scalar* x, double* partial, scalar* out, int64 count, double scale) {
    const double total = own_sum<SQUARE>(x, count);
    if (threadIdx.x != 0) return;
    if (gridDim.x == 1) store(out, static_cast<real>(total * scale));
    else partial[blockIdx.x] = total;
}

ROW_KERNEL sum_squares(const scalar* x, double* partial, scalar* out, int64 count, double scale) {
    sum_into<true>(x, partial, out, count, scale);
}
ROW_KERNEL sum(const scalar* x, double* partial, scalar* out, int64 count, double scale) {
    sum_into<false>(x, partial, out, count, scale);
}
ROW_KERNEL total(const double* partial, scalar* out, int64 count, double scale) {
    double sum = 0;
    FOR_ROW(i, 1, count) sum += partial[i];
    sum = row_sum(sum);
    if (threadIdx.x == 0) store(out, static_cast<real>(sum * scale));
}

// g, of one element, times `scale`, everywhere.
KERNEL spread(const scalar* g, scalar* out, int64 count, double scale) {
    const real value = load(g) * static_cast<real>(scale);
    FOR_ALL(i, 1, count) store(out + i, value);
}
