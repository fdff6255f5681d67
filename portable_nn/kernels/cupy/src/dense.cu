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

// z = y + bias where y was, and out = f(z), both of N elements; of z nothing is kept where they lie in one place.
template <int ACTIVATION, int N>
DEVICE void finish(scalar* y, scalar* out, const real (&bias)[N]) {
    real z[N], f[N];
    load<N>(y, z);
#pragma unroll
    for (int j = 0; j < N; j++) {
        z[j] = rounded(z[j] + bias[j]);
        f[j] = activate(z[j], ACTIVATION);
    }
    if (y != out) store<N>(y, z);
    store<N>(out, f);
}

template <int ACTIVATION, int N>
DEVICE void finish_rows(scalar* y, const scalar* bias, scalar* out, int64 rows, int64 width) {
    const int64 column = (static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x) * N;
    if (column >= width) return;
    real b[N] = {};
    if (bias)
        for (int j = 0; j < N; j++) b[j] = load(bias + column + j);
    for (int64 row = static_cast<int64>(blockIdx.y) * blockDim.y + threadIdx.y; row < rows;
         row += static_cast<int64>(gridDim.y) * blockDim.y)
        finish<ACTIVATION, N>(y + row * width + column, out + row * width + column, b);
}

// The grid is (columns / blockDim.x / N, blocks of rows), N = WIDE for the second; `bias` may be null.
#define BIAS_ACTIVATION(name, N)                                                                                    \
    KERNEL name(scalar* y, const scalar* bias, scalar* out, int64 rows, int64 width, int64 activation) {            \
        switch (activation) {                                                                                       \
            case NONE: return finish_rows<NONE, N>(y, bias, out, rows, width);                                      \
            case RELU: return finish_rows<RELU, N>(y, bias, out, rows, width);                                      \
            case SIGMOID: return finish_rows<SIGMOID, N>(y, bias, out, rows, width);                                \
            case TANH: return finish_rows<TANH, N>(y, bias, out, rows, width);                                      \
            case GELU: return finish_rows<GELU, N>(y, bias, out, rows, width);                                      \
        }                                                                                                           \
    }

BIAS_ACTIVATION(bias_activation, 1)
BIAS_ACTIVATION(bias_activation_wide, WIDE)

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
