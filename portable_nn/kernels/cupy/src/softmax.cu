// softmax and log_softmax over rows, and their gradients: two passes over a row, the second of which meets the cache.
#include "rows.cuh"

template <int N, bool LOGARITHM>
DEVICE void forward(const scalar* x, scalar* out, int64 width) {
    real top, sum;
    exponentials<N>(x, width, top, sum);
    const real scale = LOGARITHM ? logarithm(sum) : 1 / sum;
    FOR_ROW(i, N, width) {
        real v[N];
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = LOGARITHM ? v[j] - top - scale : exponential(v[j] - top) * scale;
        store<N>(out + i, v);
    }
}

// ∂x = y (g - Σ g y) for y = softmax(x), g - exp(y) Σ g for y = log_softmax(x).
template <int N, bool LOGARITHM>
DEVICE void backward(const scalar* out, const scalar* g, scalar* g_x, int64 width) {
    real sum = 0;
    FOR_ROW(i, N, width) {
        real y[N], v[N];
        load<N>(g + i, v);
        if (!LOGARITHM) load<N>(out + i, y);
#pragma unroll
        for (int j = 0; j < N; j++) sum += LOGARITHM ? v[j] : v[j] * y[j];
    }
    sum = row_sum(sum);
    FOR_ROW(i, N, width) {
        real y[N], v[N];
        load<N>(g + i, v);
        load<N>(out + i, y);
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = LOGARITHM ? v[j] - exponential(y[j]) * sum : y[j] * (v[j] - sum);
        store<N>(g_x + i, v);
    }
}

#define FORWARD(name, LOGARITHM)                                                       \
    ROW_KERNEL name(const scalar* x, scalar* out, int64 rows, int64 width) {               \
        const int64 row = row_of_thread(), start = row * width;                        \
        if (row >= rows) return;                                                       \
        if (aligned(width, x, out)) forward<WIDE, LOGARITHM>(x + start, out + start, width); \
        else forward<1, LOGARITHM>(x + start, out + start, width);                     \
    }
#define BACKWARD(name, LOGARITHM)                                                                      \
    ROW_KERNEL name(const scalar* out, const scalar* g, scalar* g_x, int64 rows, int64 width) {            \
        const int64 row = row_of_thread(), start = row * width;                                        \
        if (row >= rows) return;                                                                       \
        if (aligned(width, out, g, g_x)) backward<WIDE, LOGARITHM>(out + start, g + start, g_x + start, width); \
        else backward<1, LOGARITHM>(out + start, g + start, g_x + start, width);                       \
    }
FORWARD(softmax, false)
FORWARD(log_softmax, true)
BACKWARD(softmax_backward, false)
BACKWARD(log_softmax_backward, true)
