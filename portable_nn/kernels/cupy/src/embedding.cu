// Rows of a table by index, and sums of them in bags.
#include "bags.cuh"

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

// ∂weights[i] = g[bag] · table[indices[i]].
ROW_KERNEL bag_weights(const int64* indices, const int64* offsets, const scalar* table, const scalar* g,
                       scalar* g_weights, int64 bags, int64 count, int64 size, int64 width) {
    const int64 i = row_of_thread();
    if (i >= count) return;
    const int64 index = indices[i], bag = bag_of(offsets, bags, i);
    real sum = index >= 0 && index < size ? real(0) : not_a_number();
    if (index >= 0 && index < size)
        FOR_ROW(column, 1, width) sum += load(table + index * width + column) * load(g + bag * width + column);
    sum = row_sum(sum);
    if (threadIdx.x == 0) store(g_weights + i, sum);
}
