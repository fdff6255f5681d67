// LSTM: a whole sequence in clusters of blocks, for layers too wide for one block's registers; arguments as in lstm.cu.
// Scalars: f e E
// Variants: HIDDEN=256 CLUSTER=8 PASSES=2 THREADS=256; HIDDEN=101 CLUSTER=4 PASSES=1 THREADS=256
#include "cluster.cuh"
#include "lstm_cell.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
struct Line : Vector<H, 8> {  // of one row; the gap moves the next row's to other banks
    Four gap;
};
struct Forward {
    Line lines[2][PASSES][ROWS];
};

// A cell: a row's hidden unit, whose states a thread has.
struct Cell {
    int64 row, length, at;
    bool active;
    real h, c, given[4];

    DEVICE void find(int line, int unit, const int64* lengths, int64 batch, int64 steps) {
        row = number_of_cluster() * PASSES * ROWS + line;
        active = unit < H && row < batch;
        length = active ? length_of(lengths, row, steps) : 0;
        at = row * H + unit;
    }

    DEVICE void read(const scalar* gates, int64 index, int unit) {
        if (!active) return;
#pragma unroll
        for (int j = 0; j < 4; j++) given[j] = load(gates + (index * 4 + j) * H + unit);
    }
};

// Eight threads have one unit, and each sums over an eighth of h for all rows; then each has the gates of one row.
KERNEL CLUSTERED lstm_cluster(scalar* gates, const scalar* weight, const scalar* bias_ih, const scalar* bias_hh,
                              const scalar* h_first, const scalar* c_first, const int64* lengths, scalar* y,
                              real* c_kept, scalar* h_before, scalar* h_last, scalar* c_last, int64 batch, int64 steps,
                              int64 reverse) {
    __shared__ Forward rooms[ROOMS];
    Forward& room = own_room(rooms);
    const int line = threadIdx.x % ROWS, unit = rank_of_block() * UNITS + threadIdx.x / ROWS;
    Weights<4, H, 8> weights;
    weights.read(weight + static_cast<int64>(unit) * H, H * H, 1, unit < H);
    real bias[4];
#pragma unroll
    for (int j = 0; j < 4; j++)
        bias[j] = unit < H ? load_or_zero(bias_ih, j * H + unit) + load_or_zero(bias_hh, j * H + unit) : real(0);
    clear(room);
    cluster_barrier();
    Cell cells[PASSES] = {};
#pragma unroll
    for (int p = 0; p < PASSES; p++) {
        Cell& own = cells[p];
        own.find(p * ROWS + line, unit, lengths, batch, steps);
        own.read(gates, index_of(own.row, 0, steps, reverse), unit);
        if (!own.active) continue;
        own.h = load_or_zero(h_first, own.at);
        own.c = load_or_zero(c_first, own.at);
        for (int b = 0; b < CLUSTER; b++) put(rooms, &room.lines[0][p][line].at[unit / 4].at[unit % 4], b, own.h);
    }
    cluster_barrier();
    for (int64 k = 0; k < steps; k++) {
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            Cell& own = cells[p];
            const Step now = step_of(own.row, k, own.length, steps, reverse);
            real sums[4], gate[4];
            const real given[4] = {own.given[0], own.given[1], own.given[2], own.given[3]}, old = own.h;
            if (k + 1 < steps) own.read(gates, index_of(own.row, k + 1, steps, reverse), unit);
            multiply_rows(weights, room.lines[k % 2][p], sums);
#pragma unroll
            for (int j = 0; j < 4; j++) gate[j] = gate_of(sums[j] + given[j] + bias[j], j == 2);
            if (now.valid) {
                own.c = gate[1] * own.c + gate[0] * gate[2];
                own.h = gate[3] * hyperbolic_tangent(own.c);
            }
            if (!own.active) continue;
#pragma unroll
            for (int b = 0; b < CLUSTER; b++)
                put(rooms, &room.lines[(k + 1) % 2][p][line].at[unit / 4].at[unit % 4], b, own.h);
            const int64 at = now.index * H + unit;
            store(y + at, now.valid ? own.h : real(0));
            if (!c_kept) continue;
#pragma unroll
            for (int j = 0; j < 4; j++) store(gates + (now.index * 4 + j) * H + unit, gate[j]);
            store(h_before + at, old);
            c_kept[at] = own.c;
        }
        cluster_barrier();
    }
#pragma unroll
    for (int p = 0; p < PASSES; p++) {
        if (!cells[p].active) continue;
        store(h_last + cells[p].at, cells[p].h);
        store(c_last + cells[p].at, cells[p].c);
    }
}

struct Backward {
    Vector<4 * UNITS, 8> d[PASSES][ROWS];                    // of this block's units: i, f, g, o, i, ...
    real inbox[2][CLUSTER][PASSES][ROWS][UNITS + 4];         // of the gradient of h, by the blocks it comes from
};

// On the way back h and c are their gradients.
struct CellBack : Cell {
    real c_after, c_before, g_y;

    DEVICE void read_back(const scalar* gates, const real* c_kept, const scalar* c_first, const scalar* g, int unit,
                          int64 k, int64 steps, int64 reverse) {
        if (!active || k < 0) return;
        const int64 index = index_of(row, k, steps, reverse);
        read(gates, index, unit);
        c_before = k ? c_kept[index_of(row, k - 1, steps, reverse) * H + unit] : load_or_zero(c_first, at);
        g_y = load_or_zero(g, index * H + unit);
    }
};

// A warp has one row of the block's units. Then eight threads have a unit of each block's, and each multiplies an
// eighth of this block's gates; what they add to the gradient of h goes to the units' owners.
KERNEL CLUSTERED lstm_cluster_back(scalar* gates, const scalar* weight, const scalar* c_first, const int64* lengths,
                                   const real* c_kept, const scalar* g_y, const scalar* g_h_last,
                                   const scalar* g_c_last, scalar* g_h_first, scalar* g_c_first, int64 batch,
                                   int64 steps, int64 reverse) {
    __shared__ Backward rooms[ROOMS];
    Backward& room = own_room(rooms);
    const int rank = rank_of_block(), line = threadIdx.x / UNITS, local = threadIdx.x % UNITS;
    const int unit = rank * UNITS + local, other = threadIdx.x / 8;
    Weights<CLUSTER, 4 * UNITS, 8> weights;
#pragma unroll
    for (int o = 0; o < CLUSTER; o++)
#pragma unroll
        for (int i = 0; i < UNITS / 2; i++) {
            const int to = o * UNITS + other, from = rank * UNITS + i / 4 * 8 + threadIdx.x % 8;
            const int64 at = static_cast<int64>(i % 4 * H + from) * H + to;
            weights.of[o][i] = to < H && from < H ? load(weight + at) : real(0);
        }
    CellBack cells[PASSES] = {};
#pragma unroll
    for (int p = 0; p < PASSES; p++) {
        CellBack& own = cells[p];
        own.find(p * ROWS + line, unit, lengths, batch, steps);
        own.read_back(gates, c_kept, c_first, g_y, unit, steps - 1, steps, reverse);
        if (!own.active) continue;
        own.h = load_or_zero(g_h_last, own.at);
        own.c = load_or_zero(g_c_last, own.at);
        own.c_after = c_kept[index_of(own.row, steps - 1, steps, reverse) * H + unit];
    }
    cluster_barrier();  // all are there
    for (int64 k = steps - 1; k >= 0; k--) {
        real g_c[PASSES];
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            CellBack& own = cells[p];
            const Step now = step_of(own.row, k, own.length, steps, reverse);
            const Slopes s = slopes_of(own.given[0], own.given[1], own.given[2], own.given[3], own.c_before,
                                       own.c_after);
            const real into = own.h + own.g_y, to_c = own.c + into * s.through;
            Four d = {};
            if (now.valid) d = {s.i * to_c, s.f * to_c, s.g * to_c, s.o * into};
            g_c[p] = to_c * s.keep;
            room.d[p][line].at[local] = d;
            own.c_after = own.c_before;
            own.read_back(gates, c_kept, c_first, g_y, unit, k - 1, steps, reverse);
            if (!own.active) continue;
#pragma unroll
            for (int j = 0; j < 4; j++) store(gates + (now.index * 4 + j) * H + unit, d.at[j]);
        }
        __syncthreads();
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            real sums[CLUSTER];
            multiply_rows(weights, room.d[p], sums);
#pragma unroll
            for (int o = 0; o < CLUSTER; o++)
                put(rooms, &room.inbox[k % 2][rank][p][threadIdx.x % 8][other], o, sums[o]);
        }
        cluster_barrier();
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            real sum = 0;
#pragma unroll
            for (int b = 0; b < CLUSTER; b++) sum += room.inbox[k % 2][b][p][line][local];
            if (step_of(cells[p].row, k, cells[p].length, steps, reverse).valid) {
                cells[p].h = sum;
                cells[p].c = g_c[p];
            }
        }
    }
#pragma unroll
    for (int p = 0; p < PASSES; p++) {
        if (!cells[p].active) continue;
        store(g_h_first + cells[p].at, cells[p].h);
        store(g_c_first + cells[p].at, cells[p].c);
    }
}
#endif
