// What LSTM and GRU share: where a step lies in memory, and products for kernels that go through a whole sequence.
//
// Arrays over steps are (B, T, ...). Steps are taken in order, or from the last to the first if `reverse`; those from a
// row's length on (`lengths` may be null) leave its states as they are, and put out zeros.
#pragma once
#include "common.cuh"

struct Step {
    int64 index;  // of (row, step) among all
    bool valid;
};

// The k-th step that is taken of a row of so many.
DEVICE Step step_of(int64 row, int64 k, int64 length, int64 steps, int64 reverse) {
    const int64 t = reverse ? steps - 1 - k : k;
    return {row * steps + t, t < length};
}

DEVICE int64 index_of(int64 row, int64 k, int64 steps, int64 reverse) {
    return row * steps + (reverse ? steps - 1 - k : k);
}

// How far to the next step, in arrays of so many elements a step.
DEVICE int64 stride_of(int64 each, int64 reverse) { return reverse ? -each : each; }

DEVICE int64 length_of(const int64* lengths, int64 row, int64 steps) { return lengths ? lengths[row] : steps; }

DEVICE real load_or_zero(const scalar* p, int64 i) { return p ? load(p + i) : real(0); }

#if PRECISION
// Where products may be rounded, σ and tanh are off by up to 5e-7: an eighth of the instructions, and no branches.
DEVICE float quick_sigmoid(float x) {
#ifdef EMULATED
    return 1 / (1 + expf(-x));
#else
    float e, y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(x * -1.4426950408889634f));
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1 + e));
    return y;
#endif
}
DEVICE real tanh_of(real x) { return 2 * quick_sigmoid(2 * x) - 1; }
DEVICE real gate_of(real x, bool is_tanh) {
    const real y = quick_sigmoid(is_tanh ? 2 * x : x);
    return is_tanh ? 2 * y - 1 : y;
}
#else
DEVICE real tanh_of(real x) { return hyperbolic_tangent(x); }
// σ, or tanh for `is_tanh`: one tanh for both, so that threads of a warp need not part.
DEVICE real gate_of(real x, bool is_tanh) {
    const real y = tanh_of(is_tanh ? x : real(0.5) * x);
    return is_tanh ? y : real(0.5) * y + real(0.5);
}
#endif

#ifdef HIDDEN
// ---- one launch for a whole sequence
//
// A block goes through one row of the batch. Four neighbouring threads, a quad, have one hidden unit and keep its
// weights in registers; each sums over a quarter of the vector that all are multiplied with, which lies in shared
// memory twice, so that the next step's can be written while the last one's is read: one barrier a step.

constexpr int H = HIDDEN;
DEVICE int unit_of_thread() { return threadIdx.x / 4; }
DEVICE int lane_of_quad() { return threadIdx.x % 4; }

typedef Pack<real, 4> Four;

// A vector of `LENGTH`, filled up with zeros, for LANES neighbouring threads: each takes every LANES-th pack of four.
template <int LENGTH, int LANES = 4>
struct Vector {
    static constexpr int EACH = (LENGTH + 4 * LANES - 1) / (4 * LANES);  // packs of a lane
    Four at[LANES * EACH];
    DEVICE void set(int i, real x) { at[i / 4].at[i % 4] = x; }
};

template <int LENGTH>
DEVICE void clear(Vector<LENGTH>* vectors) {
    for (int i = threadIdx.x; i < 8 * Vector<LENGTH>::EACH; i += blockDim.x)
        vectors[i / (4 * Vector<LENGTH>::EACH)].at[i % (4 * Vector<LENGTH>::EACH)] = {};
}

// A lane's weights for OUTPUTS numbers: of output o and element k, weight[o * over + k * along].
template <int OUTPUTS, int LENGTH, int LANES = 4>
struct Weights {
    static constexpr int EACH = Vector<LENGTH, LANES>::EACH;
    real of[OUTPUTS][4 * EACH];

    DEVICE void read(const scalar* weight, int64 over, int64 along, bool active) {
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++)
#pragma unroll
            for (int i = 0; i < 4 * EACH; i++) {
                const int k = (i / 4 * LANES + threadIdx.x % LANES) * 4 + i % 4;
                of[o][i] = active && k < LENGTH ? load(weight + o * over + k * along) : real(0);
            }
    }

    // This lane's share of the products; CHAINS sums at once for each output, for the time that an addition takes.
    DEVICE void multiply(const Vector<LENGTH, LANES>& vector, real (&sums)[OUTPUTS]) const {
        constexpr int CHAINS = OUTPUTS > 2 ? 1 : 4;
        real parts[OUTPUTS][CHAINS] = {};
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const Four x = vector.at[LANES * i + threadIdx.x % LANES];
#pragma unroll
            for (int e = 0; e < 4; e++)
#pragma unroll
                for (int o = 0; o < OUTPUTS; o++) parts[o][e % CHAINS] += of[o][4 * i + e] * x.at[e];
        }
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++)
            sums[o] = CHAINS == 1 ? parts[o][0] : (parts[o][0] + parts[o][1 % CHAINS])
                                                      + (parts[o][2 % CHAINS] + parts[o][3 % CHAINS]);
    }
};

constexpr unsigned ALL = 0xffffffffu;

// The sum over a quad, in all its lanes.
DEVICE real quad_sum(real x) {
    x += __shfl_xor_sync(ALL, x, 1);
    return x + __shfl_xor_sync(ALL, x, 2);
}

// The sum over a quad of the q-th number, in lane q.
DEVICE real quad_scatter(const real (&x)[4]) {
    const bool high = lane_of_quad() & 2, odd = lane_of_quad() & 1;
    real first = high ? x[2] : x[0], second = high ? x[3] : x[1];
    first += __shfl_xor_sync(ALL, high ? x[0] : x[2], 2);
    second += __shfl_xor_sync(ALL, high ? x[1] : x[3], 2);
    return (odd ? second : first) + __shfl_xor_sync(ALL, odd ? first : second, 1);
}

// What lane q of the quad has.
DEVICE real quad_take(real x, int q) { return __shfl_sync(ALL, x, q, 4); }
#endif
