// Around the steps of LSTM and GRU: inputs without what padding holds, the gradients of biases and of the first state.
#include "columns.cuh"

// x (B, T, I) with zeros from each row's length on.
KERNEL mask_steps(const scalar* x, const int64* lengths, scalar* out, int64 count, int64 steps, int64 width) {
    FOR_ALL(i, 1, count) store(out + i, i / width % steps < lengths[i / width / steps] ? load(x + i) : real(0));
}

// The gradients of both biases (either may be null), from those of each row's sums over all steps, (rows, 4, H): both
// are of the four gates (width 4 H), or of r, z and a_n, and of r, z and b_n, where r, z, b_n, a_n are given (width 3 H).
KERNEL sum_biases(const real* sums, int64 hidden, real* partial, scalar* bias_ih, scalar* bias_hh, int64 rows,
                  int64 width) {
    sum_columns<2>(partial, {bias_ih, bias_hh}, rows, width, [=](int64 row, int64 column, real* total) {
        const real* own = sums + row * 4 * hidden + column;
        total[0] += own[width == 3 * hidden && column >= 2 * hidden ? hidden : 0];
        total[1] += own[0];
    });
}

// What came through the weights and what passed by them.
KERNEL add_held(const scalar* through, const real* held, scalar* out, int64 count) {
    FOR_ALL(i, 1, count) store(out + i, load(through + i) + held[i]);
}
