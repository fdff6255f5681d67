// Dense layers beside their product: bias and activation on the way out, slope and the bias's gradient on the way back.
#include "columns.cuh"

enum { NONE, RELU, SIGMOID, TANH, GELU };

DEVICE real activate(real z, int64 activation) {
    switch (activation) {
        case RELU: return z <= 0 ? real(0) : z;  // rather than a maximum: NaN stays NaN
        case SIGMOID: return sigmoid_of(z);
        case TANH: return hyperbolic_tangent(z);
        case GELU: return real(0.5) * z * (1 + error_function(z * real(0.70710678118654752440)));
        default: return z;
    }
}

// The slope, from the result, or for GELU from what went in.
DEVICE real slope_of(real saved, int64 activation) {
    switch (activation) {
        case RELU: return saved > 0 ? real(1) : real(0);
        case SIGMOID: return saved * (1 - saved);
        case TANH: return 1 - saved * saved;
        case GELU:
            return real(0.5) * (1 + error_function(saved * real(0.70710678118654752440))) +
                   saved * exponential(real(-0.5) * saved * saved) * real(0.39894228040143267794);
        default: return 1;
    }
}

// z = y + bias where y was, and out = f(z); `out` may be y itself, and then z is kept nowhere. `bias` may be null.
// The grid is (columns / blockDim.x / N, blocks of rows), N = WIDE where `wide` is set.
KERNEL bias_activation(scalar* y, const scalar* bias, scalar* out, int64 rows, int64 width, int64 activation,
                       int64 wide) {
    const int64 step = wide ? WIDE : 1, column = (static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x) * step;
    if (column >= width) return;
    real b[WIDE] = {};
    if (bias)
        for (int j = 0; j < step; j++) b[j] = load(bias + column + j);
    for (int64 row = static_cast<int64>(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
         row += static_cast<int64>(gridDim.y) * blockDim.y) {
        scalar* p = y + row * width + column;
        scalar* q = out + row * width + column;
        if (wide) {
            real z[WIDE], f[WIDE];
            load<WIDE>(p, z);
#pragma unroll
            for (int j = 0; j < WIDE; j++) {
                z[j] = rounded(z[j] + b[j]);
                f[j] = activate(z[j], activation);
            }
            if (p != q) store<WIDE>(p, z);
            store<WIDE>(q, f);
        } else {
            const real z = rounded(load(p) + b[0]);
            if (p != q) store(p, z);
            store(q, activate(z, activation));
        }
    }
}

// g_z = g f'(z), and its sum over the rows if `g_bias` is not null: see columns.cuh for how it is launched.
KERNEL slope_and_sum(const scalar* saved, const scalar* g, scalar* g_z, int64 activation, real* partial, real* g_bias,
                     int64 rows, int64 width) {
    sum_columns<1>(partial, {g_bias}, rows, width, [=](int64 row, int64 column, real* sums) {
        const int64 i = row * width + column;
        const real d = rounded(load(g + i) * slope_of(load(saved + i), activation));
        store(g_z + i, d);
        sums[0] += d;
    });
}
