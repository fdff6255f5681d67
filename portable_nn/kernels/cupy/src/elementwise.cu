// Activations: `name(x, out, count, a, b)` and `name_backward(saved, g, g_x, count, a, b)`, where a and b are options
// and `saved` is x or the result, whichever the slope is computed from. Formulas: functional/activations.py, rectifiers.py.
#include "gelu.cuh"
#include "map.cuh"

// Slopes are named by what they take: x, or y, the result.
#define ACTIVATION(name, value, saved, slope)                                                                       \
    KERNEL name(const scalar* input, scalar* out, int64 count, double first, double second) {                       \
        const real a = first, b = second;                                                                           \
        map<1, 1>({input}, {out}, count, [=](const real* in, real* made) { real x = in[0]; made[0] = (value); });   \
    }                                                                                                               \
    KERNEL name##_backward(const scalar* kept, const scalar* g, scalar* g_x, int64 count, double first,             \
                           double second) {                                                                         \
        const real a = first, b = second;                                                                           \
        map<2, 1>({kept, g}, {g_x}, count,                                                                          \
                  [=](const real* in, real* made) { real saved = in[0]; made[0] = in[1] * (slope); });              \
    }

constexpr double CUBIC = 0.044715, ROOT = 0.79788456080286535588;  // √(2/π)

DEVICE real gelu_tanh_of(real x) {
    return real(0.5) * x * (1 + hyperbolic_tangent(real(ROOT) * (x + real(CUBIC) * x * x * x)));
}
DEVICE real gelu_tanh_slope(real x) {
    real t = hyperbolic_tangent(real(ROOT) * (x + real(CUBIC) * x * x * x));
    return real(0.5) * (1 + t) + real(0.5) * x * (1 - t * t) * (real(ROOT) * (1 + real(3 * CUBIC) * x * x));
}
DEVICE real silu_slope(real x) {
    real s = sigmoid_of(x);
    return s + x * (s * (1 - s));
}
// log(1 + exp(z)), without overflow.
DEVICE real softplus_of(real z) { return larger(z, real(0)) + log_plus_one(exponential(-magnitude(z))); }

// `x <= 0 ? 0 : x` rather than a maximum: NaN stays NaN.
ACTIVATION(relu, x <= 0 ? real(0) : x, y, (y > 0 ? real(1) : real(0)))
ACTIVATION(sigmoid, sigmoid_of(x), y, y * (1 - y))
ACTIVATION(tanh_, hyperbolic_tangent(x), y, 1 - y * y)
ACTIVATION(gelu, gelu_exact(x), x, gelu_exact_slope(x))
ACTIVATION(gelu_tanh, gelu_tanh_of(x), x, gelu_tanh_slope(x))
ACTIVATION(silu, x * sigmoid_of(x), x, silu_slope(x))
ACTIVATION(leaky_relu, x <= 0 ? x * a : x, x, (x <= 0 ? a : real(1)))
ACTIVATION(softplus, x * a > b ? x : softplus_of(x * a) / a, x, (x * a > b ? real(1) : sigmoid_of(x * a)))
