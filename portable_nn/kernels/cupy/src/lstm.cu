// LSTM: a kernel that goes through a whole sequence (compiled with HIDDEN), and one for a step of any width.
//
// `gates` (B, T, 4 H) holds x W_ihᵀ before a step, i, f, g, o after it, and their gradients after the step back. `c` is
// kept after each step as `real`, `h_before` before it; both and the gates only for a backward pass.
// Variants: ; HIDDEN=64 THREADS=256; HIDDEN=5 THREADS=32
#include "lstm_cell.cuh"

#ifdef HIDDEN
KERNEL __launch_bounds__(THREADS) lstm_sequence(scalar* gates, const scalar* weight, const scalar* bias_ih,
        const scalar* bias_hh, const scalar* h_first, const scalar* c_first, const int64* lengths, scalar* y,
        real* c_kept, scalar* h_before, scalar* h_last, scalar* c_last, int64 steps, int64 reverse) {
    __shared__ Vector<H> vectors[2];
    const int64 row = blockIdx.x;
    const int q = lane_of_quad(), unit = unit_of_thread(), place = q * H + unit;
    const bool active = unit < H, keeps = active && c_kept;
    const int64 length = length_of(lengths, row, steps), by = stride_of(H, reverse), by_step = stride_of(1, reverse);
    scalar* own = gates + (q * H - 3 * unit);  // 4 at further on is this lane's gate
    int64 at = index_of(row, 0, steps, reverse) * H + unit, step = reverse ? steps - 1 : 0;
    scalar* out = !active ? nullptr : q == 0 ? y : q == 1 ? h_before : nullptr;
    real* c_out = active && q == 2 ? c_kept : nullptr;
    Weights<4, H> weights;
    weights.read(weight + unit * H, H * H, 1, active);
    const real bias = active ? load_or_zero(bias_ih, place) + load_or_zero(bias_hh, place) : real(0);
    real h = active ? load_or_zero(h_first, row * H + unit) : real(0);
    real c = active ? load_or_zero(c_first, row * H + unit) : real(0);
    clear(vectors);
    __syncthreads();
    if (active && q == 0) vectors[0].set(unit, h);
    real ahead = active ? load(own + 4 * at) : real(0);
    __syncthreads();
    for (int64 k = 0; k < steps; k++) {
        const bool valid = step < length;
        const real from_x = ahead;
        if (active && k + 1 < steps) ahead = load(own + 4 * (at + by));
        real sums[4];
        weights.multiply(vectors[k % 2], sums);
        const real gate = gate_of(quad_scatter(sums) + from_x + bias, q == 2), old = h;
        const real i = quad_take(gate, 0), f = quad_take(gate, 1), g = quad_take(gate, 2), o = quad_take(gate, 3);
        const real c_next = f * c + i * g, h_next = o * tanh_of(c_next);
        c = valid ? c_next : c;
        h = valid ? h_next : h;
        if (active && q == 0) vectors[(k + 1) % 2].set(unit, h);
        __syncthreads();  // the others wait for h alone
        if (keeps) store(own + 4 * at, gate);
        if (out) store(out + at, q ? old : valid ? h : real(0));
        if (c_out) c_out[at] = c;
        at += by;
        step += by_step;
    }
    if (active && q == 0) store(h_last + row * H + unit, h);
    if (active && q == 1) store(c_last + row * H + unit, c);
}

// What a step back reads.
struct Read {
    real gate, c_before, g_y;
};

DEVICE Read read_step(const scalar* gate, const real* c_kept, const scalar* c_first, const scalar* g_y, int64 at,
                      int64 by, int64 k) {
    if (k < 0 || unit_of_thread() >= H) return {};
    const int64 unit = static_cast<int64>(blockIdx.x) * H + unit_of_thread();
    const real before = k ? c_kept[at - by] : load_or_zero(c_first, unit);
    return {load(gate + 4 * at), before, load_or_zero(g_y, at)};
}

DEVICE Slopes slopes_of(const Read& x, real c_after) {
    return slopes_of(quad_take(x.gate, 0), quad_take(x.gate, 1), quad_take(x.gate, 2), quad_take(x.gate, 3), x.c_before,
                     c_after);
}

// What does not depend on later steps is read two steps and computed one step ahead.
KERNEL __launch_bounds__(THREADS) lstm_sequence_back(scalar* gates, const scalar* weight, const scalar* c_first,
        const int64* lengths, const real* c_kept, const scalar* g_y, const scalar* g_h_last, const scalar* g_c_last,
        scalar* g_h_first, scalar* g_c_first, real* g_sums, int64 steps, int64 reverse) {
    __shared__ Vector<4 * H> vectors[2];
    const int64 row = blockIdx.x;
    const int q = lane_of_quad(), unit = unit_of_thread(), place = q * H + unit;
    const bool active = unit < H;
    const int64 length = length_of(lengths, row, steps), by = stride_of(H, reverse), by_step = stride_of(1, reverse);
    scalar* own = gates + (q * H - 3 * unit);  // 4 at further on is this lane's gate
    int64 at = index_of(row, steps - 1, steps, reverse) * H + unit, step = reverse ? 0 : steps - 1;
    Weights<1, 4 * H> weights;
    weights.read(weight + unit, 0, H, active);
    real g_h = active ? load_or_zero(g_h_last, row * H + unit) : real(0);
    real g_c = active ? load_or_zero(g_c_last, row * H + unit) : real(0), of_steps = 0;
    clear(vectors);
    Read current = read_step(own, c_kept, c_first, g_y, at, by, steps - 1);
    Slopes slopes = slopes_of(current, active ? c_kept[at] : real(0));
    Read ahead = read_step(own, c_kept, c_first, g_y, at - by, by, steps - 2);
    __syncthreads();
    for (int64 k = steps - 1; k >= 0; k--) {
        const bool valid = step < length;
        const real into = g_h + current.g_y, through = g_c + into * slopes.through;
        const real slope = q == 0 ? slopes.i : q == 1 ? slopes.f : q == 2 ? slopes.g : slopes.o;
        const real d = valid ? slope * (q == 3 ? into : through) : real(0);
        if (active) vectors[k % 2].set(place, d);
        __syncthreads();
        real sums[1];  // first, for the others wait for what is made of it
        weights.multiply(vectors[k % 2], sums);
        const real sum = quad_sum(sums[0]);
        if (active) store(own + 4 * at, d);
        of_steps += d;
        const real keep = slopes.keep, c_after = current.c_before;
        current = ahead;
        slopes = slopes_of(current, c_after);
        ahead = read_step(own, c_kept, c_first, g_y, at - 2 * by, by, k - 2);
        g_h = valid ? sum : g_h;
        g_c = valid ? through * keep : g_c;
        at -= by;
        step -= by_step;
    }
    if (active && q == 0) store(g_h_first + row * H + unit, g_h);
    if (active && q == 1) store(g_c_first + row * H + unit, g_c);
    if (active) g_sums[row * 4 * H + place] = of_steps;
}
#else
// The k-th step of all rows, whose h W_hhᵀ is `product` (B, 4 H); h_now (B, H) is h before it, and after it. c_now
// (B, H) is what takes the place of c_kept where nothing is kept.
KERNEL lstm_step(scalar* gates, const scalar* product, const scalar* bias_ih, const scalar* bias_hh,
                 const scalar* c_first, const int64* lengths, scalar* y, real* c_kept, real* c_now, scalar* h_before,
                 scalar* h_now, scalar* c_last, int64 count, int64 hidden, int64 steps, int64 k, int64 reverse) {
    FOR_ALL(n, 1, count) {
        const int64 row = n / hidden, unit = n % hidden;
        const Step now = step_of(row, k, length_of(lengths, row, steps), steps, reverse);
        scalar* own = gates + now.index * 4 * hidden + unit;
        const scalar* b = product + row * 4 * hidden + unit;
        real gate[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            gate[j] = gate_of(load(own + j * hidden) + load(b + j * hidden) + load_or_zero(bias_ih, j * hidden + unit)
                              + load_or_zero(bias_hh, j * hidden + unit), j == 2);
        real* c_of = c_kept ? c_kept + index_of(row, k - 1, steps, reverse) * hidden + unit : c_now + n;
        const real c_before = k ? *c_of : load_or_zero(c_first, n), old = load(h_now + n);
        const real c = now.valid ? gate[1] * c_before + gate[0] * gate[2] : c_before;
        const real h = now.valid ? gate[3] * tanh_of(c) : old;
        store(y + now.index * hidden + unit, now.valid ? h : real(0));
        store(h_now + n, h);
        if (c_kept) {
#pragma unroll
            for (int j = 0; j < 4; j++) store(own + j * hidden, gate[j]);
            store(h_before + now.index * hidden + unit, old);
            c_kept[now.index * hidden + unit] = c;
        } else {
            c_now[n] = c;
        }
        if (k == steps - 1) store(c_last + n, c);
    }
}

// The way back: the gradient of h after the step is `through` + `held`, null before the first; d (B, 4 H) is for the
// product that makes the next `through`. Each of `held` and g_c (B, H) is what it is after the step, then before it;
// g_sums (B, 4 H) are those of the steps so far.
KERNEL lstm_step_back(scalar* gates, scalar* d, const scalar* c_first, const int64* lengths, const real* c_kept,
                      const scalar* g_y, const scalar* through, const scalar* g_c_last, real* held, real* g_c,
                      scalar* g_c_first, real* g_sums, int64 count, int64 hidden, int64 steps, int64 k,
                      int64 reverse) {
    FOR_ALL(n, 1, count) {
        const int64 row = n / hidden, unit = n % hidden;
        const Step now = step_of(row, k, length_of(lengths, row, steps), steps, reverse);
        const bool first = k == steps - 1;
        const real g_h = load_or_zero(through, n) + (first ? real(0) : held[n]);
        const real g_c_after = first ? load_or_zero(g_c_last, n) : g_c[n];
        scalar* own = gates + now.index * 4 * hidden + unit;
        const real c_before = k ? c_kept[index_of(row, k - 1, steps, reverse) * hidden + unit]
                                : load_or_zero(c_first, n);
        const Slopes s = slopes_of(load(own), load(own + hidden), load(own + 2 * hidden), load(own + 3 * hidden),
                                   c_before, c_kept[now.index * hidden + unit]);
        const real into = g_h + load_or_zero(g_y, now.index * hidden + unit), to_c = g_c_after + into * s.through;
        const real gradients[4] = {s.i * to_c, s.f * to_c, s.g * to_c, s.o * into};
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const real x = now.valid ? gradients[j] : real(0);
            const int64 at = (row * 4 + j) * hidden + unit;
            store(own + j * hidden, x);
            store(d + at, x);
            g_sums[at] = first ? x : g_sums[at] + x;
        }
        held[n] = now.valid ? real(0) : g_h;
        g_c[n] = now.valid ? to_c * s.keep : g_c_after;
        if (k == 0) store(g_c_first + n, g_c[n]);
    }
}
#endif
