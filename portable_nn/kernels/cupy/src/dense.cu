// Dense layers beside their product: bias and activation on the way out, slope and the bias's gradient on the way back.
#include "columns.cuh"
#include "gelu.cuh"

enum { NONE, RELU, SIGMOID, TANH, GELU };

DEVICE real activate(real z, int64 activation) {
    switch (activation) {
        case RELU: return z <= 0 ? real(0) : z;  // rather than a maximum: NaN stays NaN
        case SIGMOID: return sigmoid_of(z);
        case TANH: return hyperbolic_tangent(z);
        case GELU: return gelu_exact(z);
        default: return z;
    }
}

// The slope, from the result, or for GELU from what went in.
DEVICE real slope_of(real saved, int64 activation) {
    switch (activation) {
        case RELU: return saved > 0 ? real(1) : real(0);
        case SIGMOID: return saved * (1 - saved);
        case TANH: return 1 - saved * saved;
        case GELU: return gelu_exact_slope(saved);
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

template <int N>
struct Slope {
    Elements<N> g, saved;
};

// g_z = g f'(z), and its sum over the rows if `g_bias` is not null: see columns.cuh for how it is launched.
template <int ACTIVATION, int N>
DEVICE void slopes(const scalar* saved, const scalar* g, scalar* g_z, real* workspace, real* g_bias, int64 rows,
                   int64 width) {
    sum_columns_ahead<1, N>(
        workspace, {g_bias}, rows, width,
        [=](int64 row, int64 column) {
            Slope<N> known;
            known.g.read(g + row * width + column);
            known.saved.read(saved + row * width + column);
            return known;
        },
        [=](int64 row, int64 column, const Slope<N>& known, real* sums) {
            Elements<N> d;
#pragma unroll
            for (int j = 0; j < N; j++)
                sums[j] += d.at[j] = rounded(known.g.at[j] * slope_of(known.saved.at[j], ACTIVATION));
            d.write(g_z + row * width + column);
        });
}

#define SLOPE_AND_SUM(name, N)                                                                                    \
    KERNEL name(const scalar* saved, const scalar* g, scalar* g_z, int64 activation, real* workspace,             \
                real* g_bias, int64 rows, int64 width) {                                                          \
        switch (activation) {                                                                                     \
            case RELU: return slopes<RELU, N>(saved, g, g_z, workspace, g_bias, rows, width);                     \
            case SIGMOID: return slopes<SIGMOID, N>(saved, g, g_z, workspace, g_bias, rows, width);               \
            case TANH: return slopes<TANH, N>(saved, g, g_z, workspace, g_bias, rows, width);                     \
            case GELU: return slopes<GELU, N>(saved, g, g_z, workspace, g_bias, rows, width);                     \
        }                                                                                                         \
    }

SLOPE_AND_SUM(slope_and_sum, 1)
SLOPE_AND_SUM(slope_and_sum_wide, WIDE)
