// Scaled dot-product attention in tiles of SIDE queries and SIDE keys, for heads up to HEAD wide: scores are never in
// memory. Largest score and sum are corrected as tiles come, the way back makes the weights again from the log of the
// sum: T. Dao et al., "FlashAttention", 2022. No atomics: sums have one order.
// Variants: HEAD=32 SIDE=64; HEAD=64 SIDE=32; HEAD=256 SIDE=16
#include "attention.cuh"

// Room for two blocks on a multiprocessor, so that one computes while the other waits at a barrier; not of float64.
#if SCALAR == 1
#define TILE_KERNEL KERNEL __launch_bounds__(256)
#else
#define TILE_KERNEL KERNEL __launch_bounds__(256, 2)
#endif

// out = softmax(q kᵀ scale) v, and for each query the log of Σ exp(score) if it is asked for. The grid is (tiles of
// queries × heads).
TILE_KERNEL attention(
    const scalar* q, STRIDES(q), const scalar* k, STRIDES(k), const scalar* v, STRIDES(v), scalar* out, STRIDES(out),
    real* logs, RULES, int64 inner, int64 queries, int64 keys, int64 width, int64 values, double scale) {
    __shared__ unsigned char kept[SIDE][SIDE];
    DYNAMIC_SHARED(real, memory);
    real *const of_q = memory, *const of_k = of_q + SIDE * PITCH, *const square = of_k + SIDE * PITCH;
    const int64 tiles = (queries + SIDE - 1) / SIDE, lead = blockIdx.x / tiles, t = blockIdx.x % tiles * SIDE;
    MAKE_RULES;
    real sums[SPAN][WIDTH], top[SPAN], total[SPAN], w[SPAN][SPAN];
    clear(sums);
#pragma unroll
    for (int i = 0; i < SPAN; i++) top[i] = lowest(), total[i] = 0;
    read_tile(of_q, AT(q), t, queries, width, static_cast<real>(scale));
    const int64 last = causal && t + SIDE < rules.seen ? t + SIDE : rules.seen;
    for (int64 s = 0; s < last; s += SIDE) {
        __syncthreads();
        read_tile(of_k, AT(k), s, keys, width, 1);
        __syncthreads();
        scores_of(of_q, of_k, width, w);
        draw(rules, t, s, kept);
#pragma unroll
        for (int i = 0; i < SPAN; i++) {
            bool seen[SPAN];
            real largest = lowest(), sum = 0;
#pragma unroll
            for (int j = 0; j < SPAN; j++) {
                seen[j] = !rules.hides(t + threadIdx.y + 16 * i, s + threadIdx.x + 16 * j);
                if (seen[j]) largest = larger(largest, w[i][j]);
            }
            largest = larger(top[i], across(largest, Largest()));
            const real shift = largest == lowest() ? real(0) : largest;  // -inf - -inf would be NaN
#pragma unroll
            for (int j = 0; j < SPAN; j++) {
                w[i][j] = seen[j] ? exponential(w[i][j] - shift) : real(0);
                sum += w[i][j];
                w[i][j] *= factor_of(rules, kept, i, j);
            }
            const real shrink = exponential(top[i] - shift);
            top[i] = largest;
            total[i] = total[i] * shrink + across(sum, Sum());
#pragma unroll
            for (int c = 0; c < WIDTH; c++) sums[i][c] *= shrink;
        }
        keep_scores(square, w);
        __syncthreads();
        read_tile(of_k, AT(v), s, keys, values, 1);
        __syncthreads();
        add_product<false>(square, of_k, sums);
    }
    real factors[SPAN];
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        const int64 row = t + threadIdx.y + 16 * i;
        factors[i] = total[i] == 0 ? real(0) : 1 / total[i];  // nothing to be seen: zeros
        if (logs && threadIdx.x == 0 && row < queries)
            logs[lead * queries + row] = total[i] == 0 ? real(0) : top[i] + logarithm(total[i]);
    }
    write_tile(sums, AT(out), t, queries, values, factors);
}

// Σ g out for the queries of a thread's scores, of a tile of g.
DEVICE void deltas_of(const real* of_g, const scalar* out, int64 stride, int64 first, int64 rows, int width,
                      real (&delta)[SPAN]) {
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        const int row = threadIdx.y + 16 * i;
        real sum = 0;
        if (first + row < rows)
            for (int c = threadIdx.x; c < width; c += 16)
                sum += of_g[row * PITCH + c] * load(out + (first + row) * stride + c);
        delta[i] = across(sum, Sum());
    }
}

// Of a tile: the weights as dropout leaves them in `w`, and the gradient of the scores in `g_w`.
DEVICE void slopes_of(const Rules& rules, const real* of_q, const real* of_k, const real* of_g, const real* of_v,
                      const real* logs, const real (&delta)[SPAN], int64 t, int64 s, int width, int values,
                      unsigned char (&kept)[SIDE][SIDE], real (&w)[SPAN][SPAN], real (&g_w)[SPAN][SPAN]) {
    scores_of(of_q, of_k, width, w);
    scores_of(of_g, of_v, values, g_w);
    draw(rules, t, s, kept);
#pragma unroll
    for (int i = 0; i < SPAN; i++) {
        const int64 row = t + threadIdx.y + 16 * i;
        const real log = row < rules.queries ? logs[row] : real(0);
#pragma unroll
        for (int j = 0; j < SPAN; j++) {
            const bool hidden = rules.hides(row, s + threadIdx.x + 16 * j);
            const real weight = hidden ? real(0) : exponential(w[i][j] - log), factor = factor_of(rules, kept, i, j);
            w[i][j] = hidden ? real(0) : weight * factor;
            g_w[i][j] = hidden ? real(0) : weight * (g_w[i][j] * factor - delta[i]);
        }
    }
}

// All gradients. The grid is (tiles of queries × heads) blocks for the queries', none of them if g_q is null, and then
// (tiles of keys × heads) for the keys' and the values', none if those are null: neither waits for the other.
TILE_KERNEL attention_backward(
    const scalar* q, STRIDES(q), const scalar* k, STRIDES(k), const scalar* v, STRIDES(v), const scalar* g, STRIDES(g),
    const scalar* out, STRIDES(out), const real* logs, scalar* g_q, STRIDES(g_q), scalar* g_k, STRIDES(g_k),
    scalar* g_v, STRIDES(g_v), RULES, int64 inner, int64 queries, int64 keys, int64 width, int64 values, double scale,
    int64 heads) {
    __shared__ unsigned char kept[SIDE][SIDE];
    DYNAMIC_SHARED(real, memory);
    real *const of_q = memory, *const of_k = of_q + SIDE * PITCH, *const of_g = of_k + SIDE * PITCH,
               *const of_v = of_g + SIDE * PITCH, *const square = of_v + SIDE * PITCH;
    real w[SPAN][SPAN], g_w[SPAN][SPAN], delta[SPAN], first[SPAN][WIDTH], second[SPAN][WIDTH], factors[SPAN];
    const int64 rows = g_q ? (queries + SIDE - 1) / SIDE : 0, columns = (keys + SIDE - 1) / SIDE;
    const bool of_queries = blockIdx.x < rows * heads;
    const int64 block = of_queries ? blockIdx.x : blockIdx.x - rows * heads, tiles = of_queries ? rows : columns;
    const int64 lead = block / tiles, start = block % tiles * SIDE;
    MAKE_RULES;
    clear(first);
    if (of_queries) {
        read_tile(of_q, AT(q), start, queries, width, static_cast<real>(scale));
        read_tile(of_g, AT(g), start, queries, values, 1);
        __syncthreads();
        deltas_of(of_g, AT(out), start, queries, values, delta);
        const int64 last = causal && start + SIDE < rules.seen ? start + SIDE : rules.seen;
        for (int64 s = 0; s < last; s += SIDE) {
            __syncthreads();
            read_tile(of_k, AT(k), s, keys, width, 1);
            read_tile(of_v, AT(v), s, keys, values, 1);
            __syncthreads();
            slopes_of(rules, of_q, of_k, of_g, of_v, logs + lead * queries, delta, start, s, width, values, kept, w,
                      g_w);
            keep_scores(square, g_w);
            __syncthreads();
            add_product<false>(square, of_k, first);
        }
#pragma unroll
        for (int i = 0; i < SPAN; i++) factors[i] = static_cast<real>(scale);
        write_tile(first, AT(g_q), start, queries, width, factors);
        return;
    }
    clear(second);
    read_tile(of_k, AT(k), start, keys, width, 1);
    read_tile(of_v, AT(v), start, keys, values, 1);
    const int64 last = start < rules.seen ? queries : 0;  // nobody sees these keys: zeros
    for (int64 t = causal ? start : 0; t < last; t += SIDE) {
        __syncthreads();
        read_tile(of_q, AT(q), t, queries, width, static_cast<real>(scale));
        read_tile(of_g, AT(g), t, queries, values, 1);
        __syncthreads();
        deltas_of(of_g, AT(out), t, queries, values, delta);
        slopes_of(rules, of_q, of_k, of_g, of_v, logs + lead * queries, delta, t, start, width, values, kept, w, g_w);
        keep_scores(square, w);
        __syncthreads();
        add_product<true>(square, of_g, second);
        __syncthreads();
        keep_scores(square, g_w);
        __syncthreads();
        add_product<true>(square, of_q, first);
    }
#pragma unroll
    for (int i = 0; i < SPAN; i++) factors[i] = 1;
    write_tile(first, AT(g_k), start, keys, width, factors);
    write_tile(second, AT(g_v), start, keys, values, factors);
}
