// Around the steps of LSTM and GRU: inputs without what padding holds, the gradients of biases and of the first state.
#include "columns.cuh"

// x (B, T, I) with zeros from each row's length on.
KERNEL mask_steps(const scalar* x, const int64* lengths, scalar* out, int64 count, int64 steps, int64 width) {
    FOR_ALL(i, 1, count) store(out + i, i / width % steps < lengths[i / width / steps] ? load(x + i) : real(0));
}

// Sums of two matrices over their rows; either result may be null.
KERNEL sum_two(const scalar* x, const scalar* y, real* partial, scalar* first, scalar* second, int64 rows,
               int64 width) {
    sum_columns<2>(partial, {first, second}, rows, width, [=](int64 row, int64 column, real* sums) {
        sums[0] += load(x + row * width + column);
        sums[1] += load(y + row * width + column);
    });
}

// What came through the weights and what passed by them.
KERNEL add_held(const scalar* through, const real* held, scalar* out, int64 count) {
    FOR_ALL(i, 1, count) store(out + i, load(through + i) + held[i]);
}
