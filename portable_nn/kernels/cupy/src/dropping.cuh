// Dropout inside other kernels: the mask is NumPy's, bit for bit (backend/random.py: 16-bit lanes of Philox4x64-10
// words), drawn by a warp for 512 elements at a time, and kept nowhere.
#pragma once
#include "philox.cuh"

// An element is dropped where its lane is below `threshold` (0: none is), others are multiplied by `scale`.
struct Dropping {
    int64 threshold;
    real scale;
    uint64 seed, path, step, call, rank;

    // The 16 lanes that decide about elements 16 i to 16 i + 15.
    DEVICE Counter lanes(int64 i) const { return philox_block(i, step, call, rank, seed, path); }
};

// How a kernel takes them; the step is `step` plus what `offset` points to, if anything.
#define DROPPING_PARAMETERS                                                                             \
    int64 threshold, double scale, uint64 seed, uint64 path, uint64 step, uint64 call, uint64 rank, \
        const uint64* offset
#define DROPPING \
    { threshold, static_cast<real>(scale), seed, path, step + (offset ? *offset : 0), call, rank }

// One warp's lanes, in the order in which its threads read them.
struct alignas(16) Drawn {
    unsigned short at[512];
};

// Draw for a warp's elements of a row that begins at element `start` and belongs to THREADS threads, CHUNKS packs of N
// each, at most 16 elements. Each thread makes one block of the stream, and hands it round in shared memory; in a row
// that begins inside a block, one for each of its packs, of which it takes what is its own.
template <int THREADS_OF_ROW, int CHUNKS_OF_ROW, int N>
DEVICE void draw(Drawn& drawn, int64 start, int64 width, const Dropping& dropping) {
    static_assert(CHUNKS_OF_ROW * N <= 16, "a thread draws for 16 elements");
    const int lane = threadIdx.x % 32, before = static_cast<int>(threadIdx.x) - lane;  // threads of the row's other warps
    __syncwarp();  // whoever read what was drawn before is done
    if (start % 16 == 0) {
        const int chunk = lane / (2 * N);  // 32 N elements of each chunk are this warp's: 2 N blocks
        const int64 i = (static_cast<int64>(chunk) * THREADS_OF_ROW + before) * N + lane % (2 * N) * 16;
        if (chunk < CHUNKS_OF_ROW && i < width)
            *reinterpret_cast<Counter*>(&drawn.at[lane * 16]) = dropping.lanes((start + i) / 16);
    } else {
#pragma unroll 1
        for (int k = 0; k < CHUNKS_OF_ROW; k++) {
            const int64 i = (static_cast<int64>(k) * THREADS_OF_ROW + threadIdx.x) * N;
            if (i >= width) break;
            const Counter words = dropping.lanes((start + i) / 16);
            const int first = (start + i) % 16;  // a multiple of N, so that the pack is within the block
#pragma unroll
            for (int j = 0; j < N; j++)
                drawn.at[(k * 32 + lane) * N + j] = words.word[(first + j) / 4] >> (first + j) % 4 * 16;
        }
    }
    __syncwarp();
}

// This thread's pack k of what was drawn, applied to it.
template <int N>
DEVICE void drop(const Drawn& drawn, int k, const Dropping& dropping, real (&x)[N]) {
    const Pack<unsigned short, N> lanes =
        *reinterpret_cast<const Pack<unsigned short, N>*>(&drawn.at[(k * 32 + threadIdx.x % 32) * N]);
#pragma unroll
    for (int j = 0; j < N; j++) x[j] *= lanes.at[j] >= dropping.threshold ? dropping.scale : real(0);
}
