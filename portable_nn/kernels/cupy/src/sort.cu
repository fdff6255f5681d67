// Sorts indices with their positions, stably, by digits of up to 8 bits from the lowest: three launches a digit, which a
// CUDA graph can record (CuPy's own sort waits for the device). Of equal indices the earlier position comes first.
// Scalars: f
#include "common.cuh"

constexpr int THREADS = 256, ITEMS = 8, TILE = THREADS * ITEMS;  // of one block
constexpr int DIGITS = 256;

// The key of element i: of the first pass the index itself, or `size` where it is out of range, so that those come last.
DEVICE unsigned key_of(const int64* indices, const unsigned* keys, int64 i, int64 size) {
    if (!indices) return keys[i];
    const int64 index = indices[i];
    return static_cast<unsigned>(index >= 0 && index < size ? index : size);
}

// counts[digit, block]: how often each digit occurs in each tile. `indices` is null but in the first pass.
KERNEL count_digits(const int64* indices, const unsigned* keys, unsigned* counts, int64 count, int64 size, int64 shift) {
    __shared__ unsigned found[DIGITS];
    found[threadIdx.x] = 0;
    __syncthreads();
    const int64 start = static_cast<int64>(blockIdx.x) * TILE;
    for (int item = 0; item < ITEMS; item++) {
        const int64 i = start + item * THREADS + threadIdx.x;
        if (i < count) atomicAdd(&found[key_of(indices, keys, i, size) >> shift & (DIGITS - 1)], 1u);
    }
    __syncthreads();
    counts[static_cast<int64>(threadIdx.x) * gridDim.x + blockIdx.x] = found[threadIdx.x];
}

// Each count becomes the sum of those before it; one block of 1024 threads.
extern "C" __global__ void __launch_bounds__(1024) scan_counts(unsigned* counts, int64 count) {
    __shared__ unsigned of_warps[32];
    unsigned before = 0;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int64 start = 0; start < count; start += 1024) {
        const int64 i = start + threadIdx.x;
        const unsigned own = i < count ? counts[i] : 0;
        unsigned sum = own;  // of this and all earlier lanes
        for (int step = 1; step < 32; step *= 2) {
            const unsigned other = __shfl_up_sync(0xffffffffu, sum, step);
            if (lane >= step) sum += other;
        }
        if (lane == 31) of_warps[warp] = sum;
        __syncthreads();
        unsigned total = of_warps[lane];
        for (int step = 1; step < 32; step *= 2) {
            const unsigned other = __shfl_up_sync(0xffffffffu, total, step);
            if (lane >= step) total += other;
        }
        const unsigned earlier = __shfl_sync(0xffffffffu, total, (warp + 31) % 32);
        if (i < count) counts[i] = before + (warp ? earlier : 0) + sum - own;
        before += __shfl_sync(0xffffffffu, total, 31);
        __syncthreads();
    }
}

// Each element to its place. Within a tile it is counted in order: by round, warp and lane.
KERNEL place_digits(const int64* indices, const unsigned* keys, const int* positions, const unsigned* counts,
                    unsigned* sorted_keys, int* sorted_positions, int64 count, int64 size, int64 shift) {
    __shared__ unsigned next[DIGITS];                  // where the next element of each digit goes
    __shared__ unsigned of_warps[THREADS / 32][DIGITS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    next[threadIdx.x] = counts[static_cast<int64>(threadIdx.x) * gridDim.x + blockIdx.x];
    const int64 start = static_cast<int64>(blockIdx.x) * TILE;
    for (int item = 0; item < ITEMS && start + item * THREADS < count; item++) {
        for (int w = 0; w < THREADS / 32; w++) of_warps[w][threadIdx.x] = 0;
        __syncthreads();
        const int64 i = start + item * THREADS + threadIdx.x;
        const bool inside = i < count;
        const unsigned key = inside ? key_of(indices, keys, i, size) : 0;
        const unsigned digit = inside ? key >> shift & (DIGITS - 1) : DIGITS;
        const unsigned same = __match_any_sync(0xffffffffu, digit);
        const unsigned rank = __popc(same & ((1u << lane) - 1));
        if (inside && rank == 0) of_warps[warp][digit] = __popc(same);
        __syncthreads();
        unsigned place = next[threadIdx.x];            // this thread looks after the digit of its number
        for (int w = 0; w < THREADS / 32; w++) {
            const unsigned here = of_warps[w][threadIdx.x];
            of_warps[w][threadIdx.x] = place;
            place += here;
        }
        next[threadIdx.x] = place;
        __syncthreads();
        if (inside) {
            const unsigned target = of_warps[warp][digit] + rank;
            sorted_keys[target] = key;
            sorted_positions[target] = indices ? static_cast<int>(i) : positions[i];
        }
        __syncthreads();
    }
}
