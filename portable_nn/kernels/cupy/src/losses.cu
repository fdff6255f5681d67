// Cross-entropy over rows of logits, and losses of pairs, element by element, each with its gradient.
#include "map.cuh"
#include "pairs.cuh"
#include "rows.cuh"

// weight[t] (log Σ exp(x) - x[t]) for each row; `kept` (2, rows) holds its largest logit and 1 / Σ exp(x - largest).
// A label out of range gives NaN and reads nothing.
ROW_KERNEL cross_entropy(const scalar* logits, const int64* labels, const scalar* weight, scalar* losses, real* kept,
                     int64 rows, int64 width) {
    const int64 row = row_of_thread();
    if (row >= rows) return;
    const scalar* x = logits + row * width;
    real top, sum;
    if (aligned(width, logits)) exponentials<WIDE>(x, width, top, sum);
    else exponentials<1>(x, width, top, sum);
    if (threadIdx.x != 0) return;
    const int64 label = labels[row];
    const bool known = label >= 0 && label < width;
    real loss = known ? logarithm(sum) - (load(x + label) - top) : real(__int_as_float(0x7fc00000));
    if (weight && known) loss *= load(weight + label);
    store(losses + row, loss);
    kept[row] = top;
    kept[rows + row] = 1 / sum;
}

// ∂x = weight[t] g (softmax(x) - one_hot(t)).
template <int N>
DEVICE void cross_entropy_row(const scalar* x, scalar* g_x, int64 label, real scale, real top, real inverse,
                              int64 width) {
    FOR_ROW(i, N, width) {
        real v[N];
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = (exponential(v[j] - top) * inverse - (i + j == label ? 1 : 0)) * scale;
        store<N>(g_x + i, v);
    }
}

ROW_KERNEL cross_entropy_backward(const scalar* logits, const int64* labels, const scalar* weight, const scalar* g,
                              const real* kept, scalar* g_logits, int64 rows, int64 width) {
    const int64 row = row_of_thread(), start = row * width;
    if (row >= rows) return;
    const int64 label = labels[row];
    real scale = load(g + row);
    if (weight && label >= 0 && label < width) scale *= load(weight + label);
    if (aligned(width, logits, g_logits))
        cross_entropy_row<WIDE>(logits + start, g_logits + start, label, scale, kept[row], kept[rows + row], width);
    else cross_entropy_row<1>(logits + start, g_logits + start, label, scale, kept[row], kept[rows + row], width);
}

// `name(x, t, out, count, a)` and `name_backward(x, t, g, g_x, g_t, count, a)`, of which g_x and g_t may be null.
#define PAIR(name, value, slope_x, slope_t)                                                                           \
    KERNEL name(const scalar* prediction, const scalar* target, scalar* out, int64 count, double option) {            \
        const real a = option;                                                                                        \
        map<2, 1>({prediction, target}, {out}, count, [=](const real* in, real* made) {                               \
            const real x = in[0], t = in[1], d = x - t;                                                               \
            made[0] = (value);                                                                                        \
        });                                                                                                           \
    }                                                                                                                 \
    KERNEL name##_backward(const scalar* prediction, const scalar* target, const scalar* g, scalar* g_x, scalar* g_t, \
                           int64 count, double option) {                                                              \
        const real a = option;                                                                                        \
        map<3, 2>({prediction, target, g}, {g_x, g_t}, count, [=](const real* in, real* made) {                       \
            const real x = in[0], t = in[1], d = x - t;                                                               \
            made[0] = in[2] * (slope_x);                                                                              \
            made[1] = in[2] * (slope_t);                                                                              \
        });                                                                                                           \
    }

PAIRS(PAIR)
