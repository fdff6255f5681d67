// Layer norm and RMS norm over rows: forward, the gradient of x, and those of weight and bias.
//
// CENTRED is layer norm. `mean` and `rstd` (of RMS norm the latter alone) are kept for the backward pass as `real`.
// weight, bias and, on the way back, g_weight and g_bias may be null.
#include "columns.cuh"

template <int N, bool CENTRED>
DEVICE void forward(const scalar* x, const scalar* weight, const scalar* bias, scalar* out, real* mean, real* rstd,
                    int64 width, real eps) {
    real centre = 0, squares = 0;
    if (CENTRED) {
        real sum = 0;
        FOR_ROW(i, N, width) {
            real v[N];
            load<N>(x + i, v);
#pragma unroll
            for (int j = 0; j < N; j++) sum += v[j];
        }
        centre = row_sum(sum) / width;
    }
    FOR_ROW(i, N, width) {
        real v[N];
        load<N>(x + i, v);
#pragma unroll
        for (int j = 0; j < N; j++) squares += (v[j] - centre) * (v[j] - centre);
    }
    const real r = 1 / square_root(row_sum(squares) / width + eps);
    if (threadIdx.x == 0) {
        if (CENTRED) *mean = centre;
        *rstd = r;
    }
    FOR_ROW(i, N, width) {
        real v[N], w[N], b[N];
        load<N>(x + i, v);
        if (weight) load<N>(weight + i, w);
        if (bias) load<N>(bias + i, b);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] = (v[j] - centre) * r;
            if (weight) v[j] *= w[j];
            if (bias) v[j] += b[j];
        }
        store<N>(out + i, v);
    }
}

// ∂x = rstd (ĝ - mean(ĝ) - x̂ mean(ĝ x̂)), where ĝ = g w; RMS norm has no mean(ĝ).
template <int N, bool CENTRED>
DEVICE void backward(const scalar* x, const scalar* weight, const scalar* g, scalar* g_x, real centre, real r,
                     int64 width) {
    real sum = 0, products = 0;
    FOR_ROW(i, N, width) {
        real v[N], w[N], d[N];
        load<N>(x + i, v);
        load<N>(g + i, d);
        if (weight) load<N>(weight + i, w);
#pragma unroll
        for (int j = 0; j < N; j++) {
            if (weight) d[j] *= w[j];
            if (CENTRED) sum += d[j];
            products += d[j] * ((v[j] - centre) * r);
        }
    }
    const real shift = CENTRED ? row_sum(sum) / width : real(0);
    const real slope = row_sum(products) / width;
    FOR_ROW(i, N, width) {
        real v[N], w[N], d[N];
        load<N>(x + i, v);
        load<N>(g + i, d);
        if (weight) load<N>(weight + i, w);
#pragma unroll
        for (int j = 0; j < N; j++) {
            if (weight) d[j] *= w[j];
            v[j] = r * (d[j] - shift - (v[j] - centre) * r * slope);
        }
        store<N>(g_x + i, v);
    }
}

ROW_KERNEL layer_norm(const scalar* x, const scalar* weight, const scalar* bias, scalar* out, real* mean, real* rstd,
                  int64 rows, int64 width, double eps) {
    const int64 row = row_of_thread(), start = row * width;
    if (row >= rows) return;
    if (aligned(width, x, out, weight, bias))
        forward<WIDE, true>(x + start, weight, bias, out + start, mean + row, rstd + row, width, eps);
    else forward<1, true>(x + start, weight, bias, out + start, mean + row, rstd + row, width, eps);
}

ROW_KERNEL rms_norm(const scalar* x, const scalar* weight, scalar* out, real* rstd, int64 rows, int64 width, double eps) {
    const int64 row = row_of_thread(), start = row * width;
    if (row >= rows) return;
    if (aligned(width, x, out, weight))
        forward<WIDE, false>(x + start, weight, nullptr, out + start, nullptr, rstd + row, width, eps);
    else forward<1, false>(x + start, weight, nullptr, out + start, nullptr, rstd + row, width, eps);
}

ROW_KERNEL layer_norm_backward(const scalar* x, const scalar* weight, const scalar* g, const real* mean, const real* rstd,
                           scalar* g_x, int64 rows, int64 width) {
    const int64 row = row_of_thread(), start = row * width;
    if (row >= rows) return;
    if (aligned(width, x, g, g_x, weight))
        backward<WIDE, true>(x + start, weight, g + start, g_x + start, mean[row], rstd[row], width);
    else backward<1, true>(x + start, weight, g + start, g_x + start, mean[row], rstd[row], width);
}

ROW_KERNEL rms_norm_backward(const scalar* x, const scalar* weight, const scalar* g, const real* rstd, scalar* g_x,
                         int64 rows, int64 width) {
    const int64 row = row_of_thread(), start = row * width;
    if (row >= rows) return;
    if (aligned(width, x, g, g_x, weight))
        backward<WIDE, false>(x + start, weight, g + start, g_x + start, 0, rstd[row], width);
    else backward<1, false>(x + start, weight, g + start, g_x + start, 0, rstd[row], width);
}

// ∂w = Σ g x̂ and ∂b = Σ g over the rows; `mean` is null for RMS norm.
KERNEL norm_weights(const scalar* x, const scalar* g, const real* mean, const real* rstd, real* partial,
                    scalar* g_weight, scalar* g_bias, int64 rows, int64 width) {
    sum_columns<2>(partial, {g_weight, g_bias}, rows, width, [=](int64 row, int64 column, real* sums) {
        const real d = load(g + row * width + column);
        if (g_weight) sums[0] += d * ((load(x + row * width + column) - (mean ? mean[row] : real(0))) * rstd[row]);
        sums[1] += d;
    });
}
