// Sorts indices with their positions, stably, by digits of up to 8 bits from the lowest, in launches which a CUDA graph can
// record (CuPy's own sort waits for the device): one for up to 8192 of them, beyond that three for each digit. Of equal
// indices the earlier position comes first.
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

// ---- few of them, in one block

constexpr int MANY = 1024, EACH = 8;  // threads, and elements of each at most; a warp has its elements in a row

// Which of the warp's lanes have the same digit.
DEVICE unsigned lanes_alike(unsigned digit, int bits) {
    unsigned same = 0xffffffffu;
    for (int bit = 0; bit < bits; bit++) {
        const unsigned set = __ballot_sync(0xffffffffu, digit >> bit & 1);
        same &= digit >> bit & 1 ? set : ~set;
    }
    return same;
}

// From how often each digit occurs in each warp, `counts` (32 warps, digits): how many elements of this digit come from
// earlier warps, and in `starts` where the first of each digit goes.
DEVICE void scan_digits(unsigned* counts, unsigned* starts, int digits) {
    __shared__ unsigned of_warps[DIGITS / 32];
    const int thread = threadIdx.x;
    unsigned total = 0;
    if (thread < digits) {
#pragma unroll 8
        for (int w = 0; w < MANY / 32; w++) {
            const unsigned here = counts[w * digits + thread];
            counts[w * digits + thread] = total;
            total += here;
        }
    }
    unsigned sum = total;  // of this and all earlier lanes
    for (int step = 1; step < 32; step *= 2) {
        const unsigned other = __shfl_up_sync(0xffffffffu, sum, step);
        if (thread % 32 >= step) sum += other;
    }
    if (thread < DIGITS && thread % 32 == 31) of_warps[thread / 32] = sum;
    __syncthreads();
    if (thread < digits) {
        for (int w = 0; w < thread / 32; w++) sum += of_warps[w];
        starts[thread] = sum - total;
    }
    __syncthreads();
}

// What a block sorts. `bits` is how many a key has, 1 or more.
struct Sorting {
    const int64* indices;
    unsigned* keys;
    int* positions;
    int64 count, size, bits;
};
struct Sortings {
    Sorting of_block[8];
};

// Blocks of 1024 threads, each of which sorts indices of its own.
extern "C" __global__ void __launch_bounds__(1024) sort_few(Sortings sortings) {
    __shared__ unsigned memory[MANY * EACH];  // digits counted by each warp, then what goes to another thread
    __shared__ unsigned starts[DIGITS];
    const auto [indices, sorted_keys, sorted_positions, count, size, bits] = sortings.of_block[blockIdx.x];
    const int thread = threadIdx.x, lane = thread % 32;
    const int rounds = static_cast<int>((count + MANY - 1) / MANY), first = thread / 32 * 32 * rounds + lane;
    const int passes = static_cast<int>((bits + 7) / 8), width = static_cast<int>((bits + passes - 1) / passes);
    const int digits = 1 << width;
    unsigned* own = memory + thread / 32 * digits;
    unsigned keys[EACH], positions[EACH], places[EACH];
#pragma unroll
    for (int r = 0; r < EACH; r++) {  // what fills up the last round has the largest digit every time: it stays behind
        const int i = first + r * 32;
        keys[r] = r < rounds && i < count ? key_of(indices, nullptr, i, size) : 0xffffffffu;
        positions[r] = i;
    }
    for (int shift = 0; shift < bits; shift += width) {
        for (int i = thread; i < MANY / 32 * digits; i += MANY) memory[i] = 0;
        __syncthreads();
#pragma unroll
        for (int r = 0; r < EACH; r++) {
            if (r >= rounds) break;
            const unsigned digit = keys[r] >> shift & (digits - 1), same = lanes_alike(digit, width);
            const int earlier = __popc(same & ((1u << lane) - 1));
            unsigned before = 0;
            if (earlier == 0) {
                before = own[digit];
                own[digit] = before + __popc(same);
            }
            places[r] = __shfl_sync(0xffffffffu, before, __ffs(same) - 1) + earlier;
            __syncwarp();
        }
        __syncthreads();
        scan_digits(memory, starts, digits);
#pragma unroll
        for (int r = 0; r < EACH; r++) {
            if (r >= rounds) break;
            const unsigned digit = keys[r] >> shift & (digits - 1);
            places[r] += starts[digit] + own[digit];
        }
#pragma unroll
        for (int part = 0; part < 2; part++) {
            unsigned (&moved)[EACH] = part ? positions : keys;
            __syncthreads();
#pragma unroll
            for (int r = 0; r < EACH; r++)
                if (r < rounds) memory[places[r]] = moved[r];
            __syncthreads();
#pragma unroll
            for (int r = 0; r < EACH; r++)
                if (r < rounds) moved[r] = memory[first + r * 32];
        }
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < EACH; r++) {
        const int i = first + r * 32;
        if (r < rounds && i < count) {
            sorted_keys[i] = keys[r];
            sorted_positions[i] = static_cast<int>(positions[r]);
        }
    }
}
