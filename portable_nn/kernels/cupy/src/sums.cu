// Σ x² and sums over all elements, in a fixed order, and what the gradient of a mean is: one number everywhere.
#include "last.cuh"

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
    return total;
}

// A launch of one block writes the result; of several the last one to finish adds up what all have left, in their order.
template <bool SQUARE>
DEVICE void sum_into(const scalar* x, double* workspace, scalar* out, int64 count, double scale) {
    double total = own_sum<SQUARE>(x, count);
    if (sum_launch(total, workspace) && threadIdx.x == 0) store(out, static_cast<real>(total * scale));
}

ROW_KERNEL sum_squares(const scalar* x, double* workspace, scalar* out, int64 count, double scale) {
    sum_into<true>(x, workspace, out, count, scale);
}
ROW_KERNEL sum(const scalar* x, double* workspace, scalar* out, int64 count, double scale) {
    sum_into<false>(x, workspace, out, count, scale);
}

// g, of one element, times `scale`, everywhere.
KERNEL spread(const scalar* g, scalar* out, int64 count, double scale) {
    const real value = load(g) * static_cast<real>(scale);
    FOR_ALL(i, 1, count) store(out + i, value);
}
