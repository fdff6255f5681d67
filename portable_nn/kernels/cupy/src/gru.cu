// GRU: a kernel that goes through a whole sequence (compiled with HIDDEN), and one for a step of any width.
//
// `gates` (B, T, 3 H) holds x W_ihᵀ before a step, r, z, n after it, and after the step back the gradients of
// x W_ihᵀ + b_ih. b_n = h W_hnᵀ + b_hn and h before each step are kept for a backward pass alone. The gradients of
// h W_hhᵀ + b_hh are `g_hidden` (B, T, 3 H).
// Variants: ; HIDDEN=64 THREADS=256; HIDDEN=5 THREADS=32
#include "gru_cell.cuh"

#ifdef HIDDEN
// Lanes of a quad have the sums of r, z and b_n, and the fourth a_n.
DEVICE int64 gate_at(int64 index) {
    const int q = lane_of_quad();
    return index * 3 * H + (q == 3 ? 2 : q) * H + unit_of_thread();
}

KERNEL __launch_bounds__(THREADS) gru_sequence(scalar* gates, const scalar* weight, const scalar* bias_ih,
        const scalar* bias_hh, const scalar* h_first, const int64* lengths, scalar* y, scalar* b_n_kept,
        scalar* h_before, scalar* h_last, int64 steps, int64 reverse) {
    __shared__ Vector<H> vectors[2];
    const int64 row = blockIdx.x, length = length_of(lengths, row, steps);
    const int64 by = stride_of(H, reverse), by_step = stride_of(1, reverse);
    const int q = lane_of_quad(), unit = unit_of_thread();
    const bool active = unit < H, from_x = active && q != 2, keeps = from_x && b_n_kept;
    scalar* own = gates + ((q == 3 ? 2 : q) * H - 2 * unit);  // 3 at further on is this lane's gate
    int64 at = index_of(row, 0, steps, reverse) * H + unit, step = reverse ? steps - 1 : 0;
    scalar* out = !active ? nullptr : q == 0 ? y : q == 1 ? h_before : q == 2 ? b_n_kept : nullptr;
    Weights<3, H> weights;
    weights.read(weight + unit * H, H * H, 1, active);
    const real bias = active ? (from_x ? load_or_zero(bias_ih, gate_at(0)) : real(0))
                                   + (q != 3 ? load_or_zero(bias_hh, gate_at(0)) : real(0))
                             : real(0);
    real h = active ? load_or_zero(h_first, row * H + unit) : real(0);
    clear(vectors);
    __syncthreads();
    if (active && q == 0) vectors[0].set(unit, h);
    real ahead = from_x ? load(own + 3 * at) : real(0);
    __syncthreads();
    for (int64 k = 0; k < steps; k++) {
        const bool valid = step < length;
        const real given = ahead + bias, old = h;
        if (from_x && k + 1 < steps) ahead = load(own + 3 * (at + by));
        real sums[3];
        weights.multiply(vectors[k % 2], sums);
        const real all[4] = {sums[0], sums[1], sums[2], real(0)};
        const real sum = quad_scatter(all) + given;
        const real gate = gate_of(sum, false), r = quad_take(gate, 0), z = quad_take(gate, 1);
        const real b_n = quad_take(sum, 2), n = tanh_of(quad_take(sum, 3) + r * b_n);
        h = valid ? n + z * (h - n) : h;
        if (active && q == 0) vectors[(k + 1) % 2].set(unit, h);
        __syncthreads();  // the others wait for h alone
        if (keeps) store(own + 3 * at, q == 3 ? n : gate);
        if (out) store(out + at, q == 2 ? b_n : q ? old : valid ? h : real(0));
        at += by;
        step += by_step;
    }
    if (active && q == 0) store(h_last + row * H + unit, h);
}

// What a step back reads: a lane's own of r, z, b_n and n, and what is the unit's.
struct Read {
    real gate, h, g_y;
};

DEVICE Read read_step(const scalar* gate, const scalar* b_n, const scalar* h_before, const scalar* g_y, int64 at,
                      int64 k) {
    if (k < 0 || unit_of_thread() >= H) return {};
    return {load(lane_of_quad() == 2 ? b_n + at : gate + 3 * at), load(h_before + at), load_or_zero(g_y, at)};
}

DEVICE Slopes slopes_of(const Read& x) {
    return slopes_of(quad_take(x.gate, 0), quad_take(x.gate, 1), quad_take(x.gate, 3), quad_take(x.gate, 2), x.h);
}

// What does not depend on later steps is read two steps and computed one step ahead.
KERNEL __launch_bounds__(THREADS) gru_sequence_back(scalar* gates, scalar* g_hidden, const scalar* weight,
        const int64* lengths, const scalar* b_n, const scalar* h_before, const scalar* g_y, const scalar* g_h_last,
        scalar* g_h_first, real* g_sums, int64 steps, int64 reverse) {
    __shared__ Vector<3 * H> vectors[2];
    const int64 row = blockIdx.x, length = length_of(lengths, row, steps);
    const int64 by = stride_of(H, reverse), by_step = stride_of(1, reverse);
    const int q = lane_of_quad(), unit = unit_of_thread();
    const bool active = unit < H;
    const int64 gate = (q == 3 ? 2 : q) * H - 2 * unit;  // and 3 at is where this lane's is
    int64 at = index_of(row, steps - 1, steps, reverse) * H + unit, step = reverse ? 0 : steps - 1;
    Weights<1, 3 * H> weights;
    weights.read(weight + unit, 0, H, active);
    real g_h = active ? load_or_zero(g_h_last, row * H + unit) : real(0), of_steps = 0;
    clear(vectors);
    Read current = read_step(gates + gate, b_n, h_before, g_y, at, steps - 1);
    Slopes slopes = slopes_of(current);
    Read ahead = read_step(gates + gate, b_n, h_before, g_y, at - by, steps - 2);
    __syncthreads();
    for (int64 k = steps - 1; k >= 0; k--) {
        const bool valid = step < length;
        const real into = g_h + current.g_y, passing = into * slopes.keep;
        const real own = q == 0 ? slopes.r : q == 1 ? slopes.z : q == 2 ? slopes.b_n : slopes.a_n;
        const real d = valid ? own * into : real(0);
        if (active && q != 3) vectors[k % 2].set(q * H + unit, d);
        __syncthreads();
        real sums[1];  // first, for the others wait for what is made of it
        weights.multiply(vectors[k % 2], sums);
        const real sum = quad_sum(sums[0]);
        if (active && q != 2) store(gates + gate + 3 * at, d);
        if (active && q != 3) store(g_hidden + gate + 3 * at, d);
        of_steps += d;
        current = ahead;
        slopes = slopes_of(current);
        ahead = read_step(gates + gate, b_n, h_before, g_y, at - 2 * by, k - 2);
        g_h = valid ? sum + passing : g_h;
        at -= by;
        step -= by_step;
    }
    if (active && q == 0) store(g_h_first + row * H + unit, g_h);
    if (active) g_sums[(row * 4 + q) * H + unit] = of_steps;
}
#else
// The k-th step of all rows, whose h W_hhᵀ is `product` (B, 3 H); h_now (B, H) is h before it, and after it.
KERNEL gru_step(scalar* gates, const scalar* product, const scalar* bias_ih, const scalar* bias_hh,
                const int64* lengths, scalar* y, scalar* b_n_kept, scalar* h_before, scalar* h_now, int64 count,
                int64 hidden, int64 steps, int64 k, int64 reverse) {
    FOR_ALL(i, 1, count) {
        const int64 row = i / hidden, unit = i % hidden;
        const Step now = step_of(row, k, length_of(lengths, row, steps), steps, reverse);
        scalar* own = gates + now.index * 3 * hidden + unit;
        real a[3], b[3];
#pragma unroll
        for (int j = 0; j < 3; j++) {
            a[j] = load(own + j * hidden) + load_or_zero(bias_ih, j * hidden + unit);
            b[j] = load(product + (row * 3 + j) * hidden + unit) + load_or_zero(bias_hh, j * hidden + unit);
        }
        const real r = gate_of(a[0] + b[0], false), z = gate_of(a[1] + b[1], false), old = load(h_now + i);
        const real n = tanh_of(a[2] + r * b[2]), h = now.valid ? n + z * (old - n) : old;
        store(y + now.index * hidden + unit, now.valid ? h : real(0));
        store(h_now + i, h);
        if (b_n_kept) {
            store(own, r);
            store(own + hidden, z);
            store(own + 2 * hidden, n);
            store(b_n_kept + now.index * hidden + unit, b[2]);
            store(h_before + now.index * hidden + unit, old);
        }
    }
}

// The way back: the gradient of h after the step is `through` + `held`, before the first g_h_last or null; d (B, 3 H)
// is for the product that makes the next `through`; `held` (B, H) is what passes by it; g_sums (B, 4 H) are the sums of
// the steps so far of the gradients of r, z, b_n and a_n.
KERNEL gru_step_back(scalar* gates, scalar* g_hidden, scalar* d, const int64* lengths, const scalar* b_n,
                     const scalar* h_before, const scalar* g_y, const scalar* through, real* held, real* g_sums,
                     int64 count, int64 hidden, int64 steps, int64 k, int64 reverse) {
    FOR_ALL(i, 1, count) {
        const int64 row = i / hidden, unit = i % hidden;
        const Step now = step_of(row, k, length_of(lengths, row, steps), steps, reverse);
        const int64 at = now.index * hidden + unit;
        const real g_h = load_or_zero(through, i) + (k == steps - 1 ? real(0) : held[i]);
        scalar* own = gates + now.index * 3 * hidden + unit;
        scalar* other = g_hidden + now.index * 3 * hidden + unit;
        const Slopes s = slopes_of(load(own), load(own + hidden), load(own + 2 * hidden), load(b_n + at),
                                   load(h_before + at));
        const real into = g_h + load_or_zero(g_y, at);
        const real gradients[4] = {into * s.r, into * s.z, into * s.b_n, into * s.a_n};
#pragma unroll
        for (int j = 0; j < 3; j++) {
            const real x = now.valid ? gradients[j] : real(0);
            store(own + j * hidden, now.valid ? gradients[j == 2 ? 3 : j] : real(0));
            store(other + j * hidden, x);
            store(d + (row * 3 + j) * hidden + unit, x);
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int64 sum = (row * 4 + j) * hidden + unit;
            g_sums[sum] = (k == steps - 1 ? real(0) : g_sums[sum]) + (now.valid ? gradients[j] : real(0));
        }
        held[i] = now.valid ? into * s.keep : g_h;
    }
}
#endif
