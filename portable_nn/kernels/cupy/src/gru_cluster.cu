// GRU: a whole sequence in clusters of blocks, for layers too wide for one block's registers; arguments as in gru.cu.
// PRECISION is what products with h are computed in: 0 float32, 1 TF32, 2 bfloat16.
// Scalars: f e E
// Variants: HIDDEN=256 CLUSTER=8 PASSES=2 PRECISION=0; HIDDEN=101 CLUSTER=4 PASSES=1 PRECISION=1; HIDDEN=9 CLUSTER=4 PASSES=2 PRECISION=2
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define GATES 3
#include "cluster_sequence.cuh"
#include "gru_cell.cuh"

struct Cell : Place {
    struct Arrays {
        scalar* gates;
        const scalar *weight, *bias_ih, *bias_hh, *h_first;
        const int64* lengths;
        scalar *y, *b_n_kept, *h_before, *h_last;
    };
    struct Bias {
        real of[4];  // of r, z, b_n, a_n
        DEVICE Bias(const Arrays& a, int unit) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const int from = (j == 3 ? 2 : j) * H + unit;
                of[j] = unit < H ? (j == 2 ? real(0) : load_or_zero(a.bias_ih, from))
                                       + (j == 3 ? real(0) : load_or_zero(a.bias_hh, from)) : real(0);
            }
        }
    };
    real h, old, given[3], next[3], r, z, b_n, n;

    DEVICE void begin(const Arrays& a) { h = load_or_zero(a.h_first, at); }

    DEVICE void read(const Arrays& a, int64 place) {
        const scalar* from = a.gates + gates_at(place);
#pragma unroll
        for (int j = 0; j < 3; j++) next[j] = load(from + j * H);
    }

    DEVICE void go_on() {
#pragma unroll
        for (int j = 0; j < 3; j++) given[j] = next[j];
    }

    DEVICE void step(const real* sums, const Bias& bias, bool valid) {
        const int local = threadIdx.x % UNITS;
        r = gate_of(sums[local] + given[0] + bias.of[0], false);
        z = gate_of(sums[UNITS + local] + given[1] + bias.of[1], false);
        b_n = sums[2 * UNITS + local] + bias.of[2];
        n = tanh_of(given[2] + bias.of[3] + r * b_n);
        old = h;
        h = valid ? n + z * (h - n) : h;
    }

    DEVICE void write(const Arrays& a, bool valid) const {
        store(a.y + now, valid ? h : real(0));
        if (!a.b_n_kept) return;
        scalar* to = a.gates + gates_at(now);
        store(to, r);
        store(to + H, z);
        store(to + 2 * H, n);
        store(a.b_n_kept + now, b_n);
        store(a.h_before + now, old);
    }

    DEVICE void end(const Arrays& a) const { store(a.h_last + at, h); }
};

// On the way back h is its gradient, and `sums` those of the biases: of r, z, b_n and a_n.
struct CellBack : Place {
    struct Arrays {
        scalar *gates, *g_hidden;
        const scalar* weight;
        const int64* lengths;
        const scalar *b_n, *h_before, *g_y, *g_h_last;
        scalar* g_h_first;
        real* g_bias;
    };
    real h, passing, gate[3], b_n, before, next_g_y, g_y, sums[4];
    Slopes slopes;

    DEVICE void begin(const Arrays& a, int64 last) {
        h = load_or_zero(a.g_h_last, at);
        read(a, now, last);
    }

    DEVICE void read(const Arrays& a, int64 place, int64 k) {
        if (k < 0) return;
        const scalar* from = a.gates + gates_at(place);
#pragma unroll
        for (int j = 0; j < 3; j++) gate[j] = load(from + j * H);
        b_n = load(a.b_n + place);
        before = load(a.h_before + place);
        next_g_y = load_or_zero(a.g_y, place);
    }

    DEVICE void go_on() {
        slopes = slopes_of(gate[0], gate[1], gate[2], b_n, before);
        g_y = next_g_y;
    }

    DEVICE Four differentiate(bool valid) {
        const real into = h + g_y;
        passing = into * slopes.keep;
        if (!active || !valid) return {};
        return {into * slopes.r, into * slopes.z, into * slopes.b_n, into * slopes.a_n};
    }

    DEVICE void write(const Arrays& a, const Four& d) {
        const int64 first = gates_at(now);
#pragma unroll
        for (int j = 0; j < 3; j++) {
            store(a.gates + first + j * H, d.at[j == 2 ? 3 : j]);
            store(a.g_hidden + first + j * H, d.at[j]);
        }
#pragma unroll
        for (int j = 0; j < 4; j++) sums[j] += d.at[j];
    }

    DEVICE void receive(real sum, bool valid) {
        if (valid) h = sum + passing;
    }

    DEVICE void end(const Arrays& a) const {
        store(a.g_h_first + at, h);
#pragma unroll
        for (int j = 0; j < 4; j++) a.g_bias[4 * at - 3 * unit + j * H] = sums[j];
    }
};

KERNEL CLUSTERED gru_cluster(scalar* gates, const scalar* weight, const scalar* bias_ih, const scalar* bias_hh,
                             const scalar* h_first, const int64* lengths, scalar* y, scalar* b_n_kept,
                             scalar* h_before, scalar* h_last, int64 batch, int64 steps, int64 reverse) {
    go_forward<Cell>({gates, weight, bias_ih, bias_hh, h_first, lengths, y, b_n_kept, h_before, h_last}, batch, steps,
                     reverse);
}

KERNEL CLUSTERED gru_cluster_back(scalar* gates, scalar* g_hidden, const scalar* weight, const int64* lengths,
                                  const scalar* b_n, const scalar* h_before, const scalar* g_y,
                                  const scalar* g_h_last, scalar* g_h_first, real* g_bias, int64 batch, int64 steps,
                                  int64 reverse) {
    go_back<CellBack>({gates, g_hidden, weight, lengths, b_n, h_before, g_y, g_h_last, g_h_first, g_bias}, batch, steps,
                      reverse);
}
#endif
