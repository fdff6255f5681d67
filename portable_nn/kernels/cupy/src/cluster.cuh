// What goes through a sequence in a cluster of blocks (from Hopper on): CLUSTER blocks of 256 threads share the weights of
// up to 32 units each, in registers, and go through 8 rows of the batch together; what all need lies in the shared memory
// of each, written by its owners over the cluster's own network.
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
    asm volatile("barrier.cluster.arrive.release.aligned;\n\tbarrier.cluster.wait.acquire.aligned;" ::: "memory");
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

// Sums over a quad of N numbers for each of the 8 rows: lane q gets those of the rows 2 q and 2 q + 1.
template <int N>
DEVICE void quad_scatter_rows(const real (&x)[ROWS][N], real (&out)[2][N]) {
    const bool high = lane_of_quad() & 2, odd = lane_of_quad() & 1;
#pragma unroll
    for (int n = 0; n < N; n++) {
        real half[4];
#pragma unroll
        for (int r = 0; r < 4; r++)
            half[r] = (high ? x[r + 4][n] : x[r][n]) + __shfl_xor_sync(ALL, high ? x[r][n] : x[r + 4][n], 2);
#pragma unroll
        for (int r = 0; r < 2; r++)
            out[r][n] = (odd ? half[r + 2] : half[r]) + __shfl_xor_sync(ALL, odd ? half[r] : half[r + 2], 1);
    }
}
