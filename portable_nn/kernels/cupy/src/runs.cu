// Sums of rows that have the same index, from keys in order and the positions that they come from; always in one order.
#include "bags.cuh"
#include "row_index.cuh"

constexpr int PLACES = 32, WARPS = 16;  // of a block, below

// Σ of the rows of the places from `first` up to `last`, N columns of it by each lane; by a whole warp.
template <int N>
DEVICE void sum_places(const int* positions, const scalar* values, const Bags& bags, int64 first, int64 last,
                       int64 column, int64 width, real (&sum)[N]) {
    constexpr int AHEAD = N == 1 ? 8 : 4;  // rows that are asked for before the first is waited for
    const int lane = threadIdx.x;
    for (int64 start = first; start < last; start += 32) {
        const int length = last - start < 32 ? static_cast<int>(last - start) : 32;
        real own_share = 0;
        const int64 own_row = lane < length ? bags.row_of(positions[start + lane], own_share) : 0;
        for (int i = 0; i < length; i += AHEAD) {
            real v[AHEAD][N];
#pragma unroll
            for (int k = 0; k < AHEAD; k++) {
                const int64 row = __shfl_sync(0xffffffffu, own_row, i + k);
                if (i + k < length && column < width) load<N>(values + row * width + column, v[k]);
            }
#pragma unroll
            for (int k = 0; k < AHEAD; k++) {
                const real share = __shfl_sync(0xffffffffu, own_share, i + k);
                if (i + k < length && column < width)
#pragma unroll
                    for (int j = 0; j < N; j++) sum[j] += v[k][j] * share;
            }
        }
    }
}

// How far the run of `key` goes on from place `low`, where it may have ended; by a whole warp.
DEVICE int64 end_of_run(const unsigned* keys, unsigned key, int64 low, int64 count) {
    int64 high = count;
    while (low < high) {
        const int64 step = (high - low + 31) / 32, probe = low + threadIdx.x * step;
        const int same = __popc(__ballot_sync(0xffffffffu, probe < high && keys[probe] == key));
        if (same == 0) return low;
        high = min(high, low + same * step);
        low += (same - 1) * step + 1;
    }
    return low;
}

// The runs that begin at the places of this block, a group of 32 N columns of their rows.
template <int N>
DEVICE void sum_group(const unsigned* keys, const int* positions, const scalar* values, const Bags& bags, scalar* out,
                      int* slots, int64 count, int64 size, int64 group, int64 width) {
    __shared__ real parts[WARPS][32 * N];
    const int lane = threadIdx.x, warp = threadIdx.y;
    const int64 base = static_cast<int64>(blockIdx.x) * PLACES, column = (group * 32 + lane) * N;
    const int here = count - base < PLACES ? static_cast<int>(count - base) : PLACES;
    const unsigned own = lane < here ? keys[base + lane] : 0;
    const unsigned before = lane < here && base + lane > 0 ? keys[base + lane - 1] : 0;
    const unsigned heads = __ballot_sync(0xffffffffu, lane < here && (base + lane == 0 || own != before));
    const int last = 31 - __clz(heads);  // -1 where no run begins here
    const unsigned last_key = __shfl_sync(0xffffffffu, own, last & 31);
    const int64 end = heads ? end_of_run(keys, last_key, base + here, count) : 0;
    const bool together = heads && last_key < size && end - (base + last) > 32;  // of the block
    for (int i = warp; i < here; i += WARPS) {
        const unsigned key = __shfl_sync(0xffffffffu, own, i), later = heads >> i >> 1;
        if (i == last && together) continue;
        real sum[N] = {};
        if ((heads >> i & 1) && key < size) {
            sum_places<N>(positions, values, bags, base + i, later ? base + i + __ffs(later) : end, column, width, sum);
            if (slots && lane == 0) slots[key] = static_cast<int>(base + i);
        } else if (!slots) {
            continue;
        }
        if (column < width) store<N>(out + (slots ? base + i : static_cast<int64>(key)) * width + column, sum);
    }
    if (!together) return;
    const int64 first = base + last, each = (end - first + WARPS - 1) / WARPS;
    real sum[N] = {};
    sum_places<N>(positions, values, bags, first + warp * each, min(end, first + (warp + 1) * each), column, width, sum);
#pragma unroll
    for (int j = 0; j < N; j++) parts[warp][lane * N + j] = sum[j];
    __syncthreads();
    if (warp > 0) return;
    for (int w = 1; w < WARPS; w++)
#pragma unroll
        for (int j = 0; j < N; j++) sum[j] += parts[w][lane * N + j];
    if (column < width) store<N>(out + (slots ? first : static_cast<int64>(last_key)) * width + column, sum);
    if (slots && lane == 0) slots[last_key] = static_cast<int>(first);
}

template <int N>
DEVICE void sum_block(const unsigned* keys, const int* positions, const scalar* values, const Bags& bags, scalar* out,
                      int* slots, int64 count, int64 size, int64 width) {
    for (int64 group = blockIdx.y; group * 32 * N < width; group += gridDim.y) {
        sum_group<N>(keys, positions, values, bags, out, slots, count, size, group, width);
        __syncthreads();
    }
}

// Sums of rows that one layer of blocks (z) makes. Without an index (null) a sum goes to row `key` of `out`, a table of
// zeros. With one, in which the keys are, it goes to the row of the place where its run begins; the rows of the other
// places become zeros.
struct Summing {
    const unsigned* keys;
    const int* positions;
    const scalar* values;
    scalar* out;
    int* index;
    int64 size, width;
    Bags from;
};
struct Summings {
    Summing of_layer[8];
};

// For a few thousand keys, in one launch: blocks of 16 warps, each of which sums the runs that begin at 32 places, the
// last of them together if it is long.
extern "C" __global__ void __launch_bounds__(512) sum_few(Summings summings) {
    const auto [keys, positions, values, out, index, size, width, from] = summings.of_layer[blockIdx.z];
    const int64 count = from.count;
    int* slots = index ? index + INDEX_KEYS + count : nullptr;
    if (index && blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0 && threadIdx.y == 0) {
        index[0] = static_cast<int>(count);
        index[1] = static_cast<int>(width);
    }
    if (static_cast<int64>(blockIdx.x) * PLACES >= count) return;
    if (aligned(width, values, out)) sum_block<WIDE>(keys, positions, values, from, out, slots, count, size, width);
    else sum_block<1>(keys, positions, values, from, out, slots, count, size, width);
}

// The whole table from such sums: zeros where no index fell.
ROW_KERNEL write_rows(const scalar* sums, const int* index, scalar* out, int64 size, int64 width) {
    const int64 row = row_of_thread();
    if (row >= size) return;
    const int place = place_of_row(index, row);
    if (aligned(width, sums, out)) {
        FOR_ROW(i, WIDE, width) {
            real v[WIDE] = {};
            if (place >= 0) load<WIDE>(sums + place * width + i, v);
            store<WIDE>(out + row * width + i, v);
        }
    } else {
        FOR_ROW(i, 1, width) store(out + row * width + i, place >= 0 ? load(sums + place * width + i) : real(0));
    }
}

// ---- for many keys
//
// Chunks of 32 keys are summed by a warp each. A run of equal keys inside one chunk is written where it belongs; the
// parts of one that goes on are left in `heads` (of chunks where it goes on from the one before) and `tails` (where it
// begins), one row a chunk, for `join_runs`.

constexpr int CHUNK = 32, ROWS = 4;  // the second divides the first

template <int N>
DEVICE void sum_chunk(const unsigned* keys, const int* positions, const scalar* values, const Bags& bags, scalar* out,
                      real* heads, real* tails, int64 count, int64 size, int64 width) {
    const int64 chunk = static_cast<int64>(blockIdx.x) * blockDim.y + threadIdx.y, start = chunk * CHUNK;
    if (start >= count) return;
    const int length = count - start < CHUNK ? static_cast<int>(count - start) : CHUNK;
    const bool mine = threadIdx.x < length;
    const unsigned own_key = mine ? keys[start + threadIdx.x] : 0;
    real own_share = 0;
    const int64 own_row = mine ? bags.row_of(positions[start + threadIdx.x], own_share) : 0;
    const bool begun = start > 0 && keys[start - 1] == keys[start];
    const bool goes_on = start + length < count && keys[start + length] == keys[start + length - 1];
    for (int64 base = 0; base < width; base += 32 * N) {  // all lanes take part in the shuffles
        const int64 column = base + threadIdx.x * N;
        real sum[N] = {};
        bool open = begun;
        for (int i = 0; i < length; i += ROWS) {
            real v[ROWS][N];  // several rows are asked for before the first is waited for
#pragma unroll
            for (int k = 0; k < ROWS; k++) {
                const int64 row = __shfl_sync(0xffffffffu, own_row, i + k);
                if (i + k < length && column < width) load<N>(values + row * width + column, v[k]);
            }
#pragma unroll
            for (int k = 0; k < ROWS; k++) {
                const unsigned key = __shfl_sync(0xffffffffu, own_key, i + k);
                const real weight = __shfl_sync(0xffffffffu, own_share, i + k);
                const unsigned following = __shfl_sync(0xffffffffu, own_key, (i + k + 1) % 32);
                const bool last = i + k + 1 == length, ends = last || following != key;
                if (i + k >= length) break;
                if (column < width) {
#pragma unroll
                    for (int j = 0; j < N; j++) sum[j] += v[k][j] * weight;
                    if (ends) {
                        real* part = open ? heads : last && goes_on ? tails : nullptr;
                        if (part) {
#pragma unroll
                            for (int j = 0; j < N; j++) part[chunk * width + column + j] = sum[j];
                        } else if (key < size) {
                            store<N>(out + static_cast<int64>(key) * width + column, sum);
                        }
#pragma unroll
                        for (int j = 0; j < N; j++) sum[j] = 0;
                    }
                }
                if (ends) open = false;
            }
        }
    }
}

KERNEL sum_runs(const unsigned* keys, const int* positions, const scalar* values, const int64* offsets,
                const scalar* weights, int64 bags, int64 mean, scalar* out, real* heads, real* tails, int64 count,
                int64 size, int64 width) {
    const Bags from = {offsets, weights, bags, count, mean};
    if (aligned(width, values, out))
        sum_chunk<WIDE>(keys, positions, values, from, out, heads, tails, count, size, width);
    else sum_chunk<1>(keys, positions, values, from, out, heads, tails, count, size, width);
}

// The runs that begin in one chunk and go on in others; a warp for each chunk.
KERNEL join_runs(const unsigned* keys, scalar* out, const real* heads, const real* tails, int64 count, int64 size,
                 int64 width) {
    const int64 chunk = row_of_thread(), next = (chunk + 1) * CHUNK;
    if (next >= count) return;
    const unsigned key = keys[next - 1];
    const bool begun = chunk > 0 && keys[chunk * CHUNK] == key && keys[chunk * CHUNK - 1] == key;
    if (key >= size || keys[next] != key || begun) return;
    int64 last = chunk + 1, beyond = (count + CHUNK - 1) / CHUNK;  // the chunk in which the run ends, by halving
    while (last + 1 < beyond) {
        const int64 middle = (last + beyond) / 2;
        if (keys[middle * CHUNK] == key) last = middle;
        else beyond = middle;
    }
    FOR_ROW(column, 1, width) {
        real sum = tails[chunk * width + column];
#pragma unroll 8
        for (int64 c = chunk + 1; c <= last; c++) sum += heads[c * width + column];
        store(out + static_cast<int64>(key) * width + column, sum);
    }
}
