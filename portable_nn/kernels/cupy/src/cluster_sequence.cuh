// How a cluster of blocks goes through a sequence, forward and back; what a cell does is a type, in lstm_cluster.cu and
// gru_cluster.cu. GATES of these (3 or 4) have weights for h; gate j of unit u is row j H + u of the weights.
//
// Forward, all blocks have all of h, and each makes the sums of its own units; back, each has the gradients of its own
// units' sums, and gives each block what they add to the gradient of its h. Both go through shared memory, so that the
// cells of a warp are neighbours in memory: 32 units of a row.
#pragma once
#include "cluster.cuh"

// A row's hidden unit, whose states a thread has.
struct Place {
    int unit;
    int64 length, at, now, by;  // at: of the state; now: of the step, in (B, T, H), and how far it is to the next one
    bool active;

    DEVICE void find(int pass, const int64* lengths, int64 k, int64 batch, int64 steps, int64 reverse) {
        const int64 row = (number_of_cluster() * PASSES + pass) * ROWS + threadIdx.x / UNITS;
        unit = rank_of_block() * UNITS + threadIdx.x % UNITS;
        active = unit < H && row < batch;
        length = active ? length_of(lengths, row, steps) : 0;
        at = row * H + unit;
        now = index_of(row, k, steps, reverse) * H + unit;
        by = stride_of(H, reverse);
    }

    // Of the first gate, in (B, T, GATES, H).
    DEVICE int64 gates_at(int64 place) const { return GATES * place - (GATES - 1) * unit; }
};

struct ForwardRoom {
    Line<H> lines[2][PASSES][ROWS];
    real sums[PASSES][ROWS][GATES * UNITS + 4];
};

struct BackwardRoom {
    Line<4 * UNITS> d[PASSES][ROWS];                  // of this block's units: four of the first, of the next, ...
    real inbox[2][CLUSTER][PASSES][ROWS][UNITS + 4];  // of the gradient of h, by the blocks it comes from
};

#if PRECISION
struct ForwardWeights {
    Tile<H> tiles[1];  // half of the units of a gate

    DEVICE void read(const scalar* weight) {
        const int gate = threadIdx.x / 64, first = rank_of_block() * UNITS + threadIdx.x / 32 % 2 * 16;
        tiles[0].read([=](int output, int k) {
            return gate < GATES && first + output < H
                       ? load(weight + (static_cast<int64>(gate) * H + first + output) * H + k) : real(0);
        });
    }

    DEVICE void multiply(const ForwardRoom& room, int64 k, real (&sums)[PASSES][ROWS][GATES * UNITS + 4]) const {
        if (threadIdx.x / 64 >= GATES) return;
        const int first = threadIdx.x / 32 * 16;
#pragma unroll
        for (int p = 0; p < PASSES; p++)
            multiply_rows(tiles, room.lines[k % 2][p],
                          [&](int, int output, int row, real x) { sums[p][row][first + output] = x; });
    }
};

struct BackwardWeights {
    static constexpr int TILES = CLUSTER / 4;
    Tile<4 * UNITS> tiles[TILES];

    DEVICE void read(const scalar* weight) {
        const int rank = rank_of_block();
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            const int first = (threadIdx.x / 32 * TILES + i) * 16;
            tiles[i].read([=](int output, int k) {
                const int from = rank * UNITS + k / 4, to = first + output;
                return k % 4 < GATES && from < H && to < H
                           ? load(weight + (static_cast<int64>(k % 4) * H + from) * H + to) : real(0);
            });
        }
    }

    DEVICE void multiply(BackwardRoom* rooms, BackwardRoom& room, int64 k) const {
        const int first = threadIdx.x / 32 * TILES, rank = rank_of_block();
#pragma unroll
        for (int p = 0; p < PASSES; p++)
            multiply_rows(tiles, room.d[p], [&](int i, int output, int row, real x) {
                const int tile = first + i;
                put(rooms, &room.inbox[k % 2][rank][p][row][tile % 2 * 16 + output], tile / 2, x);
            });
    }
};
#else
// Eight threads have one unit, and each sums over an eighth of h for all rows.
struct ForwardWeights {
    Weights<GATES, H, 8> weights;

    DEVICE void read(const scalar* weight) {
        const int unit = rank_of_block() * UNITS + threadIdx.x / 8;
        weights.read(weight + static_cast<int64>(unit) * H, H * H, 1, unit < H);
    }

    DEVICE void multiply(const ForwardRoom& room, int64 k, real (&sums)[PASSES][ROWS][GATES * UNITS + 4]) const {
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            real own[GATES];
            multiply_rows(weights, room.lines[k % 2][p], own);
#pragma unroll
            for (int j = 0; j < GATES; j++) sums[p][threadIdx.x % 8][j * UNITS + threadIdx.x / 8] = own[j];
        }
    }
};

// Eight threads have a unit of each block's, and each sums over an eighth of this block's gates.
struct BackwardWeights {
    Weights<CLUSTER, 4 * UNITS, 8> weights;

    DEVICE void read(const scalar* weight) {
#pragma unroll
        for (int o = 0; o < CLUSTER; o++)
#pragma unroll
            for (int i = 0; i < UNITS / 2; i++) {
                const int to = o * UNITS + threadIdx.x / 8, own = i / 4 * 8 + threadIdx.x % 8;
                const int from = rank_of_block() * UNITS + own;
                const int64 at = (static_cast<int64>(i % 4) * H + from) * H + to;
                weights.of[o][i] = i % 4 < GATES && to < H && from < H ? load(weight + at) : real(0);
            }
    }

    DEVICE void multiply(BackwardRoom* rooms, BackwardRoom& room, int64 k) const {
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            real sums[CLUSTER];
            multiply_rows(weights, room.d[p], sums);
#pragma unroll
            for (int o = 0; o < CLUSTER; o++)
                put(rooms, &room.inbox[k % 2][rank_of_block()][p][threadIdx.x % 8][threadIdx.x / 8], o, sums[o]);
        }
    }
};
#endif

// h of a unit to all blocks: that of four neighbouring lanes together, each of which gives it to a quarter of them.
DEVICE void send(ForwardRoom* rooms, Line<H>& line, int unit, real h) {
    Quad four;
#pragma unroll
    for (int i = 0; i < 4; i++) round_operand(__shfl_sync(ALL, h, i, 4), four.at[i]);
    if (unit / 4 * 4 >= H) return;
#pragma unroll
    for (int b = 0; b < CLUSTER; b += 4) put(rooms, &line.at[unit / 4], b + threadIdx.x % 4, four);
}

// One cluster barrier a step: reading x W_ihᵀ of the next step comes before it, what is kept of this one is written
// while it waits for the others.
template <class Cell>
DEVICE void go_forward(const typename Cell::Arrays& arrays, int64 batch, int64 steps, int64 reverse) {
    __shared__ ForwardRoom rooms[ROOMS];
    ForwardRoom& room = own_room(rooms);
    ForwardWeights weights;
    weights.read(arrays.weight);
    real* all = reinterpret_cast<real*>(&room);
    for (int i = threadIdx.x; i < static_cast<int>(sizeof(ForwardRoom) / sizeof(real)); i += 256) all[i] = 0;
    cluster_barrier();
    Cell cells[PASSES] = {};
    const int line = threadIdx.x / UNITS;
#pragma unroll
    for (int p = 0; p < PASSES; p++) {
        Cell& own = cells[p];
        own.find(p, arrays.lengths, 0, batch, steps, reverse);
        if (own.active) own.begin(arrays);
        if (own.active) own.read(arrays, own.now);
        send(rooms, room.lines[0][p][line], own.unit, own.h);
    }
    const typename Cell::Bias bias(arrays, cells[0].unit);
    cluster_barrier();
    for (int64 k = 0; k < steps; k++) {
        const int64 step = reverse ? steps - 1 - k : k;
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            cells[p].go_on();
            if (cells[p].active && k + 1 < steps) cells[p].read(arrays, cells[p].now + cells[p].by);
        }
        weights.multiply(room, k, room.sums);
        __syncthreads();
#pragma unroll
        for (int p = 0; p < PASSES; p++) cells[p].step(room.sums[p][line], bias, step < cells[p].length);
#pragma unroll
        for (int p = 0; p < PASSES; p++)
            send(rooms, room.lines[(k + 1) % 2][p][line], cells[p].unit, cells[p].h);
        cluster_arrive();
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            if (cells[p].active) cells[p].write(arrays, step < cells[p].length);
            cells[p].now += cells[p].by;
        }
        cluster_wait();
    }
#pragma unroll
    for (int p = 0; p < PASSES; p++)
        if (cells[p].active) cells[p].end(arrays);
}

// What does not depend on later steps is read two steps and computed one step ahead.
template <class Cell>
DEVICE void go_back(const typename Cell::Arrays& arrays, int64 batch, int64 steps, int64 reverse) {
    __shared__ BackwardRoom rooms[ROOMS];
    BackwardRoom& room = own_room(rooms);
    BackwardWeights weights;
    weights.read(arrays.weight);
    Cell cells[PASSES] = {};
    const int line = threadIdx.x / UNITS, local = threadIdx.x % UNITS;
#pragma unroll
    for (int p = 0; p < PASSES; p++) {
        Cell& own = cells[p];
        own.find(p, arrays.lengths, steps - 1, batch, steps, reverse);
        if (!own.active) continue;
        own.begin(arrays, steps - 1);
        own.go_on();
        own.read(arrays, own.now - own.by, steps - 2);
    }
    cluster_barrier();  // all are there
    for (int64 k = steps - 1; k >= 0; k--) {
        const int64 step = reverse ? steps - 1 - k : k;
        Four d[PASSES];
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            Cell& own = cells[p];
            d[p] = own.differentiate(step < own.length);
            Quad four;
#pragma unroll
            for (int j = 0; j < 4; j++) round_operand(j < GATES ? d[p].at[j] : real(0), four.at[j]);
            room.d[p][line].at[local] = four;
        }
        __syncthreads();
        weights.multiply(rooms, room, k);
        cluster_arrive();
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            Cell& own = cells[p];
            if (!own.active) continue;
            own.write(arrays, d[p]);
            own.go_on();
            own.read(arrays, own.now - 2 * own.by, k - 2);
            own.now -= own.by;
        }
        cluster_wait();
#pragma unroll
        for (int p = 0; p < PASSES; p++) {
            real sum = 0;
#pragma unroll
            for (int b = 0; b < CLUSTER; b++) sum += room.inbox[k % 2][b][p][line][local];
            cells[p].receive(sum, step < cells[p].length);
        }
    }
#pragma unroll
    for (int p = 0; p < PASSES; p++)
        if (cells[p].active) cells[p].end(arrays);
}
