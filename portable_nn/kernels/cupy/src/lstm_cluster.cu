// LSTM: a whole sequence in clusters of blocks, for layers too wide for one block's registers; arguments as in lstm.cu.
// PRECISION is what products with h are computed in: 0 float32, 1 TF32, 2 bfloat16.
// Scalars: f e E
// Variants: HIDDEN=256 CLUSTER=8 PASSES=2 PRECISION=0; HIDDEN=101 CLUSTER=4 PASSES=1 PRECISION=1; HIDDEN=9 CLUSTER=4 PASSES=2 PRECISION=2
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define GATES 4
#include "cluster_sequence.cuh"
#include "lstm_cell.cuh"

struct Cell : Place {
    struct Arrays {
        scalar* gates;
        const scalar *weight, *bias_ih, *bias_hh, *h_first, *c_first;
        const int64* lengths;
        scalar* y;
        real* c_kept;
        scalar *h_before, *h_last, *c_last;
    };
    struct Bias {
        real of[4];
        DEVICE Bias(const Arrays& a, int unit) {
#pragma unroll
            for (int j = 0; j < 4; j++)
                of[j] = unit < H ? load_or_zero(a.bias_ih, j * H + unit) + load_or_zero(a.bias_hh, j * H + unit)
                                 : real(0);
        }
    };
    real h, c, old, given[4], next[4], gate[4];

    DEVICE void begin(const Arrays& a) {
        h = load_or_zero(a.h_first, at);
        c = load_or_zero(a.c_first, at);
    }

    DEVICE void read(const Arrays& a, int64 place) {
        const scalar* from = a.gates + gates_at(place);
#pragma unroll
        for (int j = 0; j < 4; j++) next[j] = load(from + j * H);
    }

    DEVICE void go_on() {
#pragma unroll
        for (int j = 0; j < 4; j++) given[j] = next[j];
    }

    DEVICE void step(const real* sums, const Bias& bias, bool valid) {
#pragma unroll
        for (int j = 0; j < 4; j++)
            gate[j] = gate_of(sums[j * UNITS + threadIdx.x % UNITS] + given[j] + bias.of[j], j == 2);
        old = h;
        const real c_next = gate[1] * c + gate[0] * gate[2], h_next = gate[3] * tanh_of(c_next);
        c = valid ? c_next : c;
        h = valid ? h_next : h;
    }

    DEVICE void write(const Arrays& a, bool valid) const {
        store(a.y + now, valid ? h : real(0));
        if (!a.c_kept) return;
        scalar* to = a.gates + gates_at(now);
#pragma unroll
        for (int j = 0; j < 4; j++) store(to + j * H, gate[j]);
        store(a.h_before + now, old);
        a.c_kept[now] = c;
    }

    DEVICE void end(const Arrays& a) const {
        store(a.h_last + at, h);
        store(a.c_last + at, c);
    }
};

// On the way back h and c are their gradients, and `sums` those of the biases.
struct CellBack : Place {
    struct Arrays {
        scalar* gates;
        const scalar *weight, *c_first;
        const int64* lengths;
        const real* c_kept;
        const scalar *g_y, *g_h_last, *g_c_last;
        scalar *g_h_first, *g_c_first;
        real* g_bias;
    };
    real h, c, c_now, through, gate[4], c_before, next_g_y, g_y, sums[4];
    Slopes slopes;

    DEVICE void begin(const Arrays& a, int64 last) {
        h = load_or_zero(a.g_h_last, at);
        c = load_or_zero(a.g_c_last, at);
        c_now = a.c_kept[now];
        read(a, now, last);
    }

    DEVICE void read(const Arrays& a, int64 place, int64 k) {
        if (k < 0) return;
        const scalar* from = a.gates + gates_at(place);
#pragma unroll
        for (int j = 0; j < 4; j++) gate[j] = load(from + j * H);
        c_before = k ? a.c_kept[place - by] : load_or_zero(a.c_first, at);
        next_g_y = load_or_zero(a.g_y, place);
    }

    DEVICE void go_on() {
        slopes = slopes_of(gate[0], gate[1], gate[2], gate[3], c_before, c_now);
        c_now = c_before;
        g_y = next_g_y;
    }

    DEVICE Four differentiate(bool valid) {
        const real into = h + g_y;
        through = c + into * slopes.through;
        if (!active || !valid) return {};
        return {slopes.i * through, slopes.f * through, slopes.g * through, slopes.o * into};
    }

    DEVICE void write(const Arrays& a, const Four& d) {
        scalar* to = a.gates + gates_at(now);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            store(to + j * H, d.at[j]);
            sums[j] += d.at[j];
        }
        through *= slopes.keep;
    }

    DEVICE void receive(real sum, bool valid) {
        if (!valid) return;
        h = sum;
        c = through;
    }

    DEVICE void end(const Arrays& a) const {
        store(a.g_h_first + at, h);
        store(a.g_c_first + at, c);
#pragma unroll
        for (int j = 0; j < 4; j++) a.g_bias[4 * at - 3 * unit + j * H] = sums[j];
    }
};

KERNEL CLUSTERED lstm_cluster(scalar* gates, const scalar* weight, const scalar* bias_ih, const scalar* bias_hh,
                              const scalar* h_first, const scalar* c_first, const int64* lengths, scalar* y,
                              real* c_kept, scalar* h_before, scalar* h_last, scalar* c_last, int64 batch, int64 steps,
                              int64 reverse) {
    go_forward<Cell>({gates, weight, bias_ih, bias_hh, h_first, c_first, lengths, y, c_kept, h_before, h_last, c_last},
                     batch, steps, reverse);
}

KERNEL CLUSTERED lstm_cluster_back(scalar* gates, const scalar* weight, const scalar* c_first, const int64* lengths,
                                   const real* c_kept, const scalar* g_y, const scalar* g_h_last,
                                   const scalar* g_c_last, scalar* g_h_first, scalar* g_c_first, real* g_bias,
                                   int64 batch, int64 steps, int64 reverse) {
    go_back<CellBack>({gates, weight, c_first, lengths, c_kept, g_y, g_h_last, g_c_last, g_h_first, g_c_first, g_bias},
                      batch, steps, reverse);
}
#endif
