// Rows of a table by index, sums of them in bags, and what the way back needs: sums of rows that have the same index.
#include "common.cuh"

DEVICE real not_a_number() { return real(__int_as_float(0x7fc00000)); }

// out[i] = table[indices[i]], one row to a row of threads; an index out of range reads nothing and gives NaN.
template <int N>
DEVICE void copy_row(const scalar* from, scalar* to, int64 width) {
    FOR_ROW(i, N, width) {
        real v[N];
        if (from) load<N>(from + i, v);
        else
            for (int j = 0; j < N; j++) v[j] = not_a_number();
        store<N>(to + i, v);
    }
}

ROW_KERNEL take_rows(const int64* indices, const scalar* table, scalar* out, int64 rows, int64 size, int64 width) {
    const int64 row = row_of_thread();
    if (row >= rows) return;
    const int64 index = indices[row];
    const scalar* from = index >= 0 && index < size ? table + index * width : nullptr;
    if (aligned(width, table, out)) copy_row<WIDE>(from, out + row * width, width);
    else copy_row<1>(from, out + row * width, width);
}

// ---- bags: those of indices[offsets[b]] up to the next offset

constexpr int AHEAD = 8;  // rows that are asked for before the first is waited for; divides 32

// Σ or mean of weights[i] table[indices[i]] over a bag, in their order. Each lane reads an index of 32, for all.
template <int N>
DEVICE void sum_bag(const int64* indices, const scalar* weights, const scalar* table, scalar* out, int64 first,
                    int64 last, int64 size, int64 width, real share) {
    const int lane = threadIdx.x % 32;
    for (int64 base = 0; base < width; base += static_cast<int64>(blockDim.x) * N) {  // all lanes take part
        const int64 column = base + static_cast<int64>(threadIdx.x) * N;
        real sum[N] = {};
        for (int64 start = first; start < last; start += 32) {
            const bool mine = start + lane < last;
            const int64 own = mine ? indices[start + lane] : -1;
            const real own_weight = mine && weights ? load(weights + start + lane) : real(1);
            const int length = last - start < 32 ? static_cast<int>(last - start) : 32;
            for (int i = 0; i < length; i += AHEAD) {
                real v[AHEAD][N];
#pragma unroll
                for (int k = 0; k < AHEAD; k++) {
                    const int64 index = __shfl_sync(0xffffffffu, own, i + k);
                    if (i + k < length && column < width) {
                        if (index >= 0 && index < size) load<N>(table + index * width + column, v[k]);
                        else
                            for (int j = 0; j < N; j++) v[k][j] = not_a_number();
                    }
                }
#pragma unroll
                for (int k = 0; k < AHEAD; k++) {
                    const real weight = __shfl_sync(0xffffffffu, own_weight, i + k);
                    if (i + k < length && column < width)
#pragma unroll
                        for (int j = 0; j < N; j++) sum[j] += v[k][j] * weight;
                }
            }
        }
        if (column < width) {
#pragma unroll
            for (int j = 0; j < N; j++) sum[j] *= share;
            store<N>(out + column, sum);
        }
    }
}

ROW_KERNEL sum_bags(const int64* indices, const int64* offsets, const scalar* weights, const scalar* table, scalar* out,
                int64 bags, int64 count, int64 size, int64 width, int64 mean) {
    const int64 bag = row_of_thread();
    if (bag >= bags) return;
    const int64 first = offsets[bag], last = bag + 1 < bags ? offsets[bag + 1] : count;
    const real share = mean && last > first ? real(1) / (last - first) : real(1);
    if (aligned(width, table, out))
        sum_bag<WIDE>(indices, weights, table, out + bag * width, first, last, size, width, share);
    else sum_bag<1>(indices, weights, table, out + bag * width, first, last, size, width, share);
}

// For each index the number of its bag, and what its row counts there: its weight, or 1 / the bag's length.
KERNEL find_bags(const int64* offsets, const scalar* weights, int* bag_of, real* share, int64 bags, int64 count,
                 int64 mean) {
    const int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    int64 low = 0, high = bags - 1;  // the last bag that begins at or before i; of empty ones the last is not empty
    while (low < high) {
        const int64 middle = (low + high + 1) / 2;
        if (offsets[middle] <= i) low = middle;
        else high = middle - 1;
    }
    const int64 last = low + 1 < bags ? offsets[low + 1] : count;
    bag_of[i] = static_cast<int>(low);
    share[i] = mean ? real(1) / (last - offsets[low]) : weights ? load(weights + i) : real(1);
}

// ∂weights[i] = g[bag] · table[indices[i]].
ROW_KERNEL bag_weights(const int64* indices, const int* bag_of, const scalar* table, const scalar* g, scalar* g_weights,
                   int64 count, int64 size, int64 width) {
    const int64 i = row_of_thread();
    if (i >= count) return;
    const int64 index = indices[i];
    real sum = index >= 0 && index < size ? real(0) : not_a_number();
    if (index >= 0 && index < size)
        FOR_ROW(column, 1, width) sum += load(table + index * width + column) * load(g + bag_of[i] * width + column);
    sum = row_sum(sum);
    if (threadIdx.x == 0) store(g_weights + i, sum);
}

// ---- sums of rows that have the same index, in the order of their positions
//
// Keys are sorted; chunks of 32 of them are summed by a warp each. A run of equal keys inside one chunk is written where
// it belongs; the parts of one that goes on are left in `heads` (of chunks where it goes on from the one before) and
// `tails` (where it begins), one row a chunk, for `join_runs`. Rows: `source` says which row of `values` a position has,
// `share` what it counts; both may be null.

constexpr int CHUNK = 32, ROWS = 4;  // the second divides the first

template <int N>
DEVICE void sum_chunk(const unsigned* keys, const int* positions, const scalar* values, const int* source,
                      const real* share, scalar* out, real* heads, real* tails, int64 count, int64 size, int64 width) {
    const int64 chunk = static_cast<int64>(blockIdx.x) * blockDim.y + threadIdx.y, start = chunk * CHUNK;
    if (start >= count) return;
    const int length = count - start < CHUNK ? static_cast<int>(count - start) : CHUNK;
    const bool mine = threadIdx.x < length;
    const unsigned own_key = mine ? keys[start + threadIdx.x] : 0;
    const int position = mine ? positions[start + threadIdx.x] : 0;
    const int own_row = mine && source ? source[position] : position;
    const real own_share = mine && share ? share[position] : real(1);
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

KERNEL sum_runs(const unsigned* keys, const int* positions, const scalar* values, const int* source, const real* share,
                scalar* out, real* heads, real* tails, int64 count, int64 size, int64 width) {
    if (aligned(width, values, out))
        sum_chunk<WIDE>(keys, positions, values, source, share, out, heads, tails, count, size, width);
    else sum_chunk<1>(keys, positions, values, source, share, out, heads, tails, count, size, width);
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
