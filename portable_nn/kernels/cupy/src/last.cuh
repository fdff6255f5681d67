// How the blocks of one launch leave something for the last of them to finish: sums in one launch instead of two.
#pragma once
#include "common.cuh"

// Of the memory that workspace.py gives to a launch, counters come first, each 0 between launches; then the rest.
constexpr int COUNTERS = 1024;

template <class T>
DEVICE unsigned* counters_of(T* workspace) { return reinterpret_cast<unsigned*>(workspace); }
template <class T, class U>
DEVICE T* memory_of(U* workspace) { return reinterpret_cast<T*>(reinterpret_cast<unsigned*>(workspace) + COUNTERS); }

// Whether this block is the last one of `count` to ask with this counter; all its threads must ask. Which block that is
// is left to chance, so it must do what any other would have done: sums in an order that does not depend on it.
//
// Whoever has written for the last block makes that visible to the whole device (the first fence) before its block
// counts itself (after the barrier); a thread of the last block reads (after the second) what was written before any of
// the counts. Read with `peer`, past the multiprocessor's own cache. The counter goes from `count` - 1 back to 0.
DEVICE bool is_last_block(unsigned* counter, unsigned count) {
    __shared__ int last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && threadIdx.y == 0) last = atomicInc(counter, count - 1) == count - 1;
    __syncthreads();
    if (last) __threadfence();
    return last;
}

// What another block has written in this launch.
template <class T>
DEVICE T peer(const T* p) { return __ldcg(p); }

// Thread 0 has the sum over the launch, in the last block, for which this gives true. Blocks have one row of threads.
DEVICE bool sum_launch(double& total, double* workspace) {
    total = row_sum(total);
    if (gridDim.x == 1) return true;
    double* left = memory_of<double>(workspace);
    if (threadIdx.x == 0) left[blockIdx.x] = total;
    if (!is_last_block(counters_of(workspace), gridDim.x)) return false;
    total = 0;
    FOR_ROW(i, 1, gridDim.x) total += peer(left + i);
    total = row_sum(total);
    return true;
}
