// What goes through a sequence in a cluster of blocks (from Hopper on): CLUSTER blocks of 256 threads share the
// weights, of up to 32 units each, in registers, and go through PASSES times 8 rows of the batch together; what all need
// lies in the shared memory of each, written by its owners over the cluster's own network.
//
// In the emulator, where one block runs at a time, a cluster is one block of (256, CLUSTER) threads.
#pragma once
#include "recurrent.cuh"
#if PRECISION
#include "tensor_cores.cuh"
#else
typedef real operand;
DEVICE void round_operand(real x, operand& y) { y = x; }
#endif

constexpr int UNITS = 32, ROWS = 8;

#ifdef __CUDACC__
#define CLUSTERED __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(256, 1)
#elif CLUSTER == 8
#define CLUSTERED __launch_bounds__(2048)
#else
#define CLUSTERED __launch_bounds__(1024)
#endif

typedef Pack<operand, 4> Quad;

#ifdef EMULATED
constexpr int ROOMS = CLUSTER;
DEVICE int rank_of_block() { return threadIdx.y; }
DEVICE int64 number_of_cluster() { return blockIdx.x; }
DEVICE void cluster_arrive() {}
DEVICE void cluster_wait() { __syncthreads(); }
template <class Room>
DEVICE Room& own_room(Room* rooms) { return rooms[threadIdx.y]; }
// x in another block's shared memory, where `place` is in this one's.
template <class Room, class T>
DEVICE void put(Room* rooms, T* place, int rank, const T& x) {
    const int64 bytes = (rank - static_cast<int>(threadIdx.y)) * static_cast<int64>(sizeof(Room));
    *reinterpret_cast<T*>(reinterpret_cast<unsigned char*>(place) + bytes) = x;
}
#else
constexpr int ROOMS = 1;
DEVICE int rank_of_block() {
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
DEVICE int64 number_of_cluster() { return blockIdx.x / CLUSTER; }
// What was written before the one is seen by all threads of the cluster after the other.
DEVICE void cluster_arrive() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
DEVICE void cluster_wait() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }
template <class Room>
DEVICE Room& own_room(Room* rooms) { return *rooms; }
DEVICE unsigned address_of(const void* place, int rank) {
    unsigned address;
    asm("mapa.shared::cluster.u32 %0, %1, %2;"
        : "=r"(address)
        : "r"(static_cast<unsigned>(__cvta_generic_to_shared(place))), "r"(rank));
    return address;
}
template <class Room>
DEVICE void put(Room*, float* place, int rank, float x) {
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(address_of(place, rank)), "f"(x) : "memory");
}
template <class Room>
DEVICE void put(Room*, Pack<float, 4>* place, int rank, const Pack<float, 4>& x) {
    asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address_of(place, rank)), "f"(x.at[0]),
                 "f"(x.at[1]), "f"(x.at[2]), "f"(x.at[3])
                 : "memory");
}
template <class Room>
DEVICE void put(Room*, Pack<bfloat16_t, 4>* place, int rank, const Pack<bfloat16_t, 4>& x) {
    asm volatile("st.shared::cluster.v2.b32 [%0], {%1, %2};" ::"r"(address_of(place, rank)),
                 "r"(x.at[0].bits | static_cast<unsigned>(x.at[1].bits) << 16),
                 "r"(x.at[2].bits | static_cast<unsigned>(x.at[3].bits) << 16)
                 : "memory");
}
#endif

DEVICE void cluster_barrier() {
    cluster_arrive();
    cluster_wait();
}

// ---- products with a row's vector

#if PRECISION
typedef Pack<unsigned, 4> Words;

// Of one row; as many chunks of 16 words as are needed, and their number odd, so that the next row lies in other banks.
template <int LENGTH>
struct alignas(16) Line {
    static constexpr int CHUNKS = (LENGTH + 16 * PER_WORD - 1) / (16 * PER_WORD);
    Quad at[(CHUNKS | 1) * 4 * PER_WORD];
};

// The weights of 16 outputs in a warp, for tiles of 16 outputs and 8 rows. A lane takes four words of a chunk of each
// row at once, so these are in the order of two products: 4 t and 4 t + 1, then 4 t + 2 and 4 t + 3.
template <int LENGTH>
struct Tile {
    static constexpr int CHUNKS = Line<LENGTH>::CHUNKS;
    unsigned words[2 * CHUNKS][4];

    template <class F>
    DEVICE void read(F weight) {  // weight(output, element)
        const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < 2 * CHUNKS; i++)
#pragma unroll
            for (int r = 0; r < 4; r++) {
                operand x[PER_WORD];
#pragma unroll
                for (int e = 0; e < PER_WORD; e++) {
                    const int k = (i / 2 * 16 + 4 * t + i % 2 * 2 + r / 2) * PER_WORD + e;
                    round_operand(k < LENGTH ? weight(g + r % 2 * 8, k) : real(0), x[e]);
                }
                words[i][r] = word_of(x);
            }
    }
};

// The products of eight rows' vectors with all tiles of a warp. A lane gets outputs g and g + 8 of rows 2 t and 2 t + 1:
// `take(tile, output, row, sum)`.
template <int TILES, int LENGTH, class F>
DEVICE void multiply_rows(const Tile<LENGTH> (&tiles)[TILES], const Line<LENGTH> (&lines)[ROWS], F take) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const Words* own = reinterpret_cast<const Words*>(lines[g].at) + t;
    float sums[TILES][2][4] = {};  // two chains, for the time that a product takes
    __syncwarp();
#pragma unroll
    for (int i = 0; i < Tile<LENGTH>::CHUNKS; i++) {
        const Words x = own[4 * i];
#pragma unroll
        for (int j = 0; j < TILES; j++) {
            multiply_tile(sums[j][0], tiles[j].words[2 * i], x.at[0], x.at[1]);
            multiply_tile(sums[j][1], tiles[j].words[2 * i + 1], x.at[2], x.at[3]);
        }
    }
#pragma unroll
    for (int j = 0; j < TILES; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) take(j, g + i / 2 * 8, 2 * t + i % 2, sums[j][0][i] + sums[j][1][i]);
}
#else
// Of one row; the gap moves the next row's to other banks.
template <int LENGTH>
struct Line : Vector<LENGTH, 8> {
    Four gap;
};

// The products of eight rows' vectors with the weights of eight lanes: lane r gets the sums of row r.
template <int OUTPUTS, int LENGTH>
DEVICE void multiply_rows(const Weights<OUTPUTS, LENGTH, 8>& weights, const Line<LENGTH> (&lines)[ROWS],
                          real (&out)[OUTPUTS]) {
    const bool high = threadIdx.x & 4, middle = threadIdx.x & 2, low = threadIdx.x & 1;
    real half[4][OUTPUTS];
#pragma unroll
    for (int r = 0; r < 4; r++) {
        real first[OUTPUTS], second[OUTPUTS];
        weights.multiply(lines[r], first);
        weights.multiply(lines[r + 4], second);
#pragma unroll
        for (int o = 0; o < OUTPUTS; o++)
            half[r][o] = (high ? second[o] : first[o]) + __shfl_xor_sync(ALL, high ? first[o] : second[o], 4);
    }
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++) {
        real quarter[2];
#pragma unroll
        for (int r = 0; r < 2; r++)
            quarter[r] = (middle ? half[r + 2][o] : half[r][o])
                         + __shfl_xor_sync(ALL, middle ? half[r][o] : half[r + 2][o], 2);
        out[o] = (low ? quarter[1] : quarter[0]) + __shfl_xor_sync(ALL, low ? quarter[0] : quarter[1], 1);
    }
}
#endif
