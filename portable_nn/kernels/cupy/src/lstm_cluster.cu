// LSTM: a whole sequence in clusters of blocks, for layers too wide for one block's registers; arguments as in lstm.cu.
// Scalars: f e E
// Variants: HIDDEN=256 CLUSTER=8 THREADS=256; HIDDEN=101 CLUSTER=4 THREADS=256
#include "cluster.cuh"
#include "lstm_cell.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
struct Line {  // a row's vector; the gap moves the next row's to other banks
    Vector<H> h;
    Four gap;
};
struct Forward {
    Line lines[2][ROWS];
};

// Eight threads have one unit: two gates for each half of them, of which every thread sums over a quarter of h for all
// rows. Then each thread has all four gates of one row.
KERNEL CLUSTERED lstm_cluster(scalar* gates, const scalar* weight, const scalar* bias_ih, const scalar* bias_hh,
                              const scalar* h_first, const scalar* c_first, const int64* lengths, scalar* y,
                              real* c_kept, scalar* h_before, scalar* h_last, scalar* c_last, int64 batch, int64 steps,
                              int64 reverse) {
    __shared__ Forward rooms[ROOMS];
    Forward& room = own_room(rooms);
    const int pair = threadIdx.x / 4 % 2, line = 2 * lane_of_quad() + pair;
    const int unit = rank_of_block() * UNITS + threadIdx.x / 8;
    const int64 row = number_of_cluster() * ROWS + line, cell = row * H + unit;
    const bool active = unit < H && row < batch;
    const int64 length = active ? length_of(lengths, row, steps) : 0;
    Weights<2, H> weights;
    weights.read(weight + static_cast<int64>(2 * pair * H + unit) * H, H * H, 1, unit < H);
    real bias[4], ahead[4] = {};
#pragma unroll
    for (int j = 0; j < 4; j++) {
        bias[j] = unit < H ? load_or_zero(bias_ih, j * H + unit) + load_or_zero(bias_hh, j * H + unit) : real(0);
        if (active) ahead[j] = load(gates + (index_of(row, 0, steps, reverse) * 4 + j) * H + unit);
    }
    real h = active ? load_or_zero(h_first, cell) : real(0), c = active ? load_or_zero(c_first, cell) : real(0);
    clear(room);
    cluster_barrier();
    if (active)
        for (int b = 0; b < CLUSTER; b++) put(rooms, &room.lines[0][line].h.at[unit / 4].at[unit % 4], b, h);
    cluster_barrier();
    for (int64 k = 0; k < steps; k++) {
        const Step now = step_of(row, k, length, steps, reverse);
        real given[4], sums[ROWS][2], own[2][2];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            given[j] = ahead[j] + bias[j];
            if (active && k + 1 < steps)
                ahead[j] = load(gates + (index_of(row, k + 1, steps, reverse) * 4 + j) * H + unit);
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) weights.multiply(room.lines[k % 2][r].h, sums[r]);
        quad_scatter_rows(sums, own);
        const real mine[2] = {own[pair][0], own[pair][1]};
        const real others[2] = {__shfl_xor_sync(ALL, own[1 - pair][0], 4), __shfl_xor_sync(ALL, own[1 - pair][1], 4)};
        const real i = gate_of((pair ? others[0] : mine[0]) + given[0], false);
        const real f = gate_of((pair ? others[1] : mine[1]) + given[1], false);
        const real g = gate_of((pair ? mine[0] : others[0]) + given[2], true);
        const real o = gate_of((pair ? mine[1] : others[1]) + given[3], false), old = h;
        if (now.valid) {
            c = f * c + i * g;
            h = o * hyperbolic_tangent(c);
        }
        if (active) {
#pragma unroll
            for (int b = 0; b < CLUSTER; b++)
                put(rooms, &room.lines[(k + 1) % 2][line].h.at[unit / 4].at[unit % 4], b, h);
            const int64 at = now.index * H + unit;
            store(y + at, now.valid ? h : real(0));
            if (c_kept) {
                const real kept[4] = {i, f, g, o};
#pragma unroll
                for (int j = 0; j < 4; j++) store(gates + (now.index * 4 + j) * H + unit, kept[j]);
                store(h_before + at, old);
                c_kept[at] = c;
            }
        }
        cluster_barrier();
    }
    if (active) {
        store(h_last + cell, h);
        store(c_last + cell, c);
    }
}

struct Backward {
    Vector<4 * UNITS> d[ROWS];                    // of this block's units: i, f, g, o, i, ...
    real inbox[2][CLUSTER][ROWS][UNITS + 4];      // of the gradient of h, by the blocks it comes from
};

struct Read {
    real gates[4], c_before, g_y;
};

DEVICE Read read_step(const scalar* gates, const real* c_kept, const scalar* c_first, const scalar* g_y, int64 row,
                      int unit, int64 k, int64 steps, int64 reverse) {
    const int64 index = index_of(row, k, steps, reverse), at = index * H + unit;
    Read x;
#pragma unroll
    for (int j = 0; j < 4; j++) x.gates[j] = load(gates + (index * 4 + j) * H + unit);
    x.c_before = k ? c_kept[index_of(row, k - 1, steps, reverse) * H + unit] : load_or_zero(c_first, row * H + unit);
    x.g_y = load_or_zero(g_y, at);
    return x;
}

// A warp has one row of the block's units, then a thread's products are those of CLUSTER / 2 units of the whole layer
// with a quarter of the block's gates: what they add to the gradient of h goes to the units' owners.
KERNEL CLUSTERED lstm_cluster_back(scalar* gates, const scalar* weight, const scalar* c_first, const int64* lengths,
                                   const real* c_kept, const scalar* g_y, const scalar* g_h_last,
                                   const scalar* g_c_last, scalar* g_h_first, scalar* g_c_first, int64 batch,
                                   int64 steps, int64 reverse) {
    __shared__ Backward rooms[ROOMS];
    Backward& room = own_room(rooms);
    constexpr int OUTPUTS = CLUSTER / 2;
    const int rank = rank_of_block(), line = threadIdx.x / UNITS, local = threadIdx.x % UNITS;
    const int unit = rank * UNITS + local, first = threadIdx.x / 4;
    const int64 row = number_of_cluster() * ROWS + line, cell = row * H + unit;
    const bool active = unit < H && row < batch;
    const int64 length = active ? length_of(lengths, row, steps) : 0;
    Weights<OUTPUTS, 4 * UNITS> weights;
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++)
#pragma unroll
        for (int i = 0; i < UNITS; i++) {
            const int to = o * 64 + first, from = rank * UNITS + i / 4 * 4 + lane_of_quad();
            weights.of[o][i] = to < H && from < H ? load(weight + static_cast<int64>(i % 4 * H + from) * H + to) : real(0);
        }
    real g_h = active ? load_or_zero(g_h_last, cell) : real(0), g_c = active ? load_or_zero(g_c_last, cell) : real(0);
    real c_after = 0;
    Read ahead = {};
    if (active) {
        c_after = c_kept[index_of(row, steps - 1, steps, reverse) * H + unit];
        ahead = read_step(gates, c_kept, c_first, g_y, row, unit, steps - 1, steps, reverse);
    }
    cluster_barrier();  // all are there
    for (int64 k = steps - 1; k >= 0; k--) {
        const Step now = step_of(row, k, length, steps, reverse);
        const Read x = ahead;
        if (active && k) ahead = read_step(gates, c_kept, c_first, g_y, row, unit, k - 1, steps, reverse);
        const Slopes s = slopes_of(x.gates[0], x.gates[1], x.gates[2], x.gates[3], x.c_before, c_after);
        const real into = g_h + x.g_y, to_c = g_c + into * s.through;
        Four d = {};
        if (now.valid) d = {s.i * to_c, s.f * to_c, s.g * to_c, s.o * into};
        room.d[line].at[local] = d;
        __syncthreads();
        if (active) {
#pragma unroll
            for (int j = 0; j < 4; j++) store(gates + (now.index * 4 + j) * H + unit, d.at[j]);
        }
        real sums[ROWS][OUTPUTS], own[2][OUTPUTS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) weights.multiply(room.d[r], sums[r]);
        quad_scatter_rows(sums, own);
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++)
#pragma unroll
            for (int r = 0; r < 2; r++)
                put(rooms, &room.inbox[k % 2][rank][2 * lane_of_quad() + r][first % UNITS], 2 * o + first / UNITS,
                    own[r][o]);
        cluster_barrier();
        real sum = 0;
#pragma unroll
        for (int b = 0; b < CLUSTER; b++) sum += room.inbox[k % 2][b][line][local];
        if (now.valid) {
            g_h = sum;
            g_c = to_c * s.keep;
        }
        c_after = x.c_before;
    }
    if (active) {
        store(g_h_first + cell, g_h);
        store(g_c_first + cell, g_c);
    }
}
#endif
