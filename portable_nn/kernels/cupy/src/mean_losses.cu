// Means of losses, each in one launch: the last block to finish adds up what all have left, in the order of the blocks.
// Predictions and their gradients are `scalar`; targets, weights, losses and the rest are `real`.
#include "last.cuh"
#include "pairs.cuh"
#include "rows.cuh"

// ---- of pairs

// g_x is null, or becomes the gradient for a mean that itself has gradient 1.
template <class Value, class Slope>
DEVICE void mean_of(const scalar* prediction, const real* target, real* out, scalar* g_x, double* workspace, int64 count,
                    Value value, Slope slope) {
    const real share = real(1) / count;
    constexpr int AHEAD = 4;  // that are read before a slope is written
    const int64 by = static_cast<int64>(gridDim.x) * blockDim.x;
    double total = 0;
    for (int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += AHEAD * by) {
        scalar x[AHEAD];
        real t[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (i + k * by < count) x[k] = prediction[i + k * by], t[k] = target[i + k * by];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            if (i + k * by >= count) break;
            total += value(widen(x[k]), t[k]);
            if (g_x) store(g_x + i + k * by, slope(widen(x[k]), t[k]) * share);
        }
    }
    if (sum_launch(total, workspace) && threadIdx.x == 0) *out = static_cast<real>(total / count);
}

#define MEAN(name, value, slope_x, slope_t)                                                                            \
    ROW_KERNEL mean_##name(const scalar* prediction, const real* target, real* out, scalar* g_x, double* workspace,    \
                           int64 count, double option) {                                                               \
        const real a = option;                                                                                         \
        mean_of(prediction, target, out, g_x, workspace, count,                                                        \
                [=](real x, real t) { const real d = x - t; return static_cast<real>(value); },                        \
                [=](real x, real t) { const real d = x - t; return static_cast<real>(slope_x); });                     \
    }                                                                                                                  \
    KERNEL mean_##name##_backward(const scalar* prediction, const real* target, const real* g, scalar* g_x, real* g_t, \
                                  int64 count, double option) {                                                        \
        const real a = option, scale = *g / count;                                                                     \
        FOR_ALL(i, 1, count) {                                                                                         \
            const real x = load(prediction + i), t = target[i], d = x - t;                                             \
            if (g_x) store(g_x + i, (slope_x) * scale);                                                                \
            if (g_t) g_t[i] = (slope_t) * scale;                                                                       \
        }                                                                                                              \
    }

PAIRS(MEAN)

// ---- of cross-entropies
//
// A row's loss is Σ q (-log softmax(x)) over its classes, where q, its target, is w[t] (1 - smoothing) for the label t and
// w smoothing / width for each class beside that. The mean is Σ s loss / Σ s w[t], with s = 0 for labels to be ignored.

struct Weights {
    const real* of_classes;  // null for ones, as are those of samples, each of which has so many rows
    const real* of_samples;
    int64 rows_each, ignored, ignores;
    real smoothing;

    DEVICE real of_class(int64 i) const { return of_classes ? of_classes[i] : real(1); }
};

struct Label {
    int64 label;
    bool counts;
    real sample, weight;

    // A label out of range reads nothing, and makes the mean NaN.
    DEVICE Label(const Weights& w, const int64* labels, int64 row, int64 width) : label(labels[row]) {
        counts = !(w.ignores && label == w.ignored);
        sample = counts && w.of_samples ? w.of_samples[row / w.rows_each] : real(1);
        weight = label >= 0 && label < width ? w.of_class(label) : real(__int_as_float(0x7fc00000));
    }
    DEVICE real target(const Weights& w, int64 i, int64 width) const {
        real q = i == label ? weight * (1 - w.smoothing) : real(0);
        return w.smoothing > 0 ? q + w.of_class(i) * (w.smoothing / width) : q;
    }
};

// The mean, and behind the two numbers kept of each row the factor of the gradients.
DEVICE void finish(double loss, double mass, real* out, real* factor) {
    const double share = mass == 0 ? 1 : mass;
    *out = static_cast<real>(loss / share);
    *factor = static_cast<real>(1 / share);
}

#define WEIGHTS                                                                                                       \
    const int64 *labels, const real *of_classes, const real *of_samples, int64 rows, int64 width, int64 rows_each,   \
        int64 ignored, int64 ignores, double smoothing
#define GIVEN {of_classes, of_samples, rows_each, ignored, ignores, static_cast<real>(smoothing)}

// `kept` (2 rows + 1): of each row its largest logit, of each 1 / Σ exp(x - largest), and what `finish` leaves.
ROW_KERNEL mean_cross_entropy(const scalar* logits, real* out, real* kept, double* workspace, WEIGHTS) {
    __shared__ double of_rows[2][4];
    const Weights w = GIVEN;
    double loss = 0, mass = 0;
    for (int64 row = row_of_thread(); row < rows; row += static_cast<int64>(gridDim.x) * blockDim.y) {
        const Label t(w, labels, row, width);
        if (!t.counts) continue;  // all threads of the row: they share its barriers
        const scalar* x = logits + row * width;
        real top, sum, smooth = 0;
        if (aligned(width, logits)) exponentials<WIDE>(x, width, top, sum);
        else exponentials<1>(x, width, top, sum);
        const real log_sum = logarithm(sum);
        if (w.smoothing > 0) {
            FOR_ROW(i, 1, width) smooth += w.of_class(i) * (log_sum - (load(x + i) - top));
            smooth = row_sum(smooth) * (w.smoothing / width);
        }
        if (threadIdx.x != 0) continue;
        const bool known = t.label >= 0 && t.label < width;
        const real own = known ? log_sum - (load(x + t.label) - top) : t.weight;
        loss += t.sample * (own * t.weight * (1 - w.smoothing) + smooth);
        mass += t.sample * t.weight;
        kept[row] = top;
        kept[rows + row] = 1 / sum;
    }
    if (threadIdx.x == 0) of_rows[0][threadIdx.y] = loss, of_rows[1][threadIdx.y] = mass;
    __syncthreads();
    loss = mass = 0;
    for (int y = 0; y < blockDim.y; y++) loss += of_rows[0][y], mass += of_rows[1][y];
    const bool first = threadIdx.x == 0 && threadIdx.y == 0;
    if (gridDim.x > 1) {
        double* left = memory_of<double>(workspace);
        if (first) left[2 * blockIdx.x] = loss, left[2 * blockIdx.x + 1] = mass;
        if (!is_last_block(counters_of(workspace), gridDim.x)) return;
        if (threadIdx.y != 0 || threadIdx.x >= 32) return;
        loss = mass = 0;
#pragma unroll 4
        for (int i = threadIdx.x; i < gridDim.x; i += 32) loss += peer(left + 2 * i), mass += peer(left + 2 * i + 1);
        loss = reduce_warp(loss, Sum());
        mass = reduce_warp(mass, Sum());
    }
    if (first) finish(loss, mass, out, kept + 2 * rows);
}

// The same by one block, of rows so few and narrow that its threads have all of them at once, EACH logits each; `lanes`,
// a power of two up to 32, have a row. g_logits is null, or becomes the gradient for a mean with gradient 1.
constexpr int EACH = 4;
extern "C" __global__ void __launch_bounds__(1024)
    mean_cross_entropy_at_once(const scalar* logits, real* out, real* kept, scalar* g_logits, int64 lanes, WEIGHTS) {
    const Weights w = GIVEN;
    const int lane = threadIdx.x % static_cast<int>(lanes), first = threadIdx.x / static_cast<int>(lanes);
    const int together = blockDim.x / static_cast<int>(lanes);
    double loss = 0, mass = 0;
    real slope[EACH];
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int64 row = first + e * together;
        slope[e] = 0;
        bool counts = row < rows;
        const Label t(w, labels, counts ? row : 0, width);
        counts = counts && t.counts && lane < width;
        const real x = counts ? load(logits + row * width + lane) : lowest();
        const real top = reduce_warp(x, Largest(), lanes), power = counts ? exponential(x - top) : real(0);
        const real sum = reduce_warp(power, Sum(), lanes), q = counts ? t.target(w, lane, width) : real(0);
        const real all = reduce_warp(q, Sum(), lanes);
        if (!counts) continue;  // past the shuffles
        if (q != 0) loss += t.sample * (q * (logarithm(sum) - (x - top)));
        slope[e] = t.sample * (power / sum * all - q);
        if (lane == 0) {
            mass += t.sample * t.weight;
            kept[row] = top;
            kept[rows + row] = 1 / sum;
        }
    }
    loss = row_sum(loss);
    mass = row_sum(mass);
    if (threadIdx.x == 0) finish(loss, mass, out, kept + 2 * rows);
    if (!g_logits || lane >= width) return;
    const real share = static_cast<real>(mass == 0 ? 1 : 1 / mass);
#pragma unroll
    for (int e = 0; e < EACH; e++) {
        const int64 row = first + e * together;
        if (row < rows) store(g_logits + row * width + lane, slope[e] * share);
    }
}

// ∂x = s g / Σ s w[t] (softmax(x) Σ q - q).
template <int N>
DEVICE void slopes_of_row(const scalar* x, scalar* g_x, const Weights& w, const Label& t, real scale, real top,
                          real inverse, real all, int64 width) {
    FOR_ROW(i, N, width) {
        real v[N];
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++)
            v[j] = t.counts ? (exponential(v[j] - top) * inverse * all - t.target(w, i + j, width)) * scale : real(0);
        store<N>(g_x + i, v);
    }
}

ROW_KERNEL mean_cross_entropy_backward(const scalar* logits, const real* g, const real* kept, scalar* g_logits, WEIGHTS) {
    const Weights w = GIVEN;
    const int64 row = row_of_thread(), start = row * width;
    if (row >= rows) return;
    const Label t(w, labels, row, width);
    real all = width;
    if (w.smoothing > 0 && w.of_classes) {
        all = 0;
        FOR_ROW(i, 1, width) all += w.of_classes[i];
        all = row_sum(all);
    }
    all = t.weight * (1 - w.smoothing) + all * (w.smoothing / width);
    const real scale = *g * kept[2 * rows] * t.sample;
    if (aligned(width, logits, g_logits))
        slopes_of_row<WIDE>(logits + start, g_logits + start, w, t, scale, kept[row], kept[rows + row], all, width);
    else slopes_of_row<1>(logits + start, g_logits + start, w, t, scale, kept[row], kept[rows + row], all, width);
}
