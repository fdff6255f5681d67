// What goes through a sequence in a cluster of blocks (from Hopper on): CLUSTER blocks of 256 threads share the weights,
// of up to 32 units each, in registers, and go through PASSES times 8 rows of the batch together; what all need lies in
// the shared memory of each, written by its owners over the cluster's own network.
//
// In the emulator, where one block runs at a time, a cluster is one block of (256, CLUSTER) threads.
#pragma once
#include "recurrent.cuh"

constexpr int UNITS = 32, ROWS = 8;

#ifdef __CUDACC__
#define CLUSTERED __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS)
#else
#define CLUSTERED __launch_bounds__(THREADS)
#endif

#ifdef EMULATED
constexpr int ROOMS = CLUSTER;
DEVICE int rank_of_block() { return threadIdx.y; }
DEVICE int64 number_of_cluster() { return blockIdx.x; }
DEVICE void cluster_barrier() { __syncthreads(); }
template <class Room>
DEVICE Room& own_room(Room* rooms) { return rooms[threadIdx.y]; }
// x in another block's shared memory, where `place` is in this one's.
template <class Room>
DEVICE void put(Room* rooms, real* place, int rank, real x) {
    const int64 bytes = (rank - static_cast<int>(threadIdx.y)) * static_cast<int64>(sizeof(Room));
    *reinterpret_cast<real*>(reinterpret_cast<unsigned char*>(place) + bytes) = x;
}
#else
constexpr int ROOMS = 1;
DEVICE int rank_of_block() {
    unsigned rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
DEVICE int64 number_of_cluster() { return blockIdx.x / CLUSTER; }
DEVICE void cluster_barrier() {
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}
template <class Room>
DEVICE Room& own_room(Room* rooms) { return *rooms; }
template <class Room>
DEVICE void put(Room*, float* place, int rank, float x) {
    unsigned local = static_cast<unsigned>(__cvta_generic_to_shared(place)), remote;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(local), "r"(rank));
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(remote), "f"(x) : "memory");
}
#endif

template <class Room>
DEVICE void clear(Room& room) {
    real* all = reinterpret_cast<real*>(&room);
    for (int i = threadIdx.x; i < static_cast<int>(sizeof(Room) / sizeof(real)); i += 256) all[i] = 0;
}

// The products of eight rows' vectors with the weights of eight lanes: lane r gets the sums of row r.
template <int OUTPUTS, int LENGTH, class Line>
DEVICE void multiply_rows(const Weights<OUTPUTS, LENGTH, 8>& weights, const Line (&lines)[ROWS], real (&out)[OUTPUTS]) {
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
