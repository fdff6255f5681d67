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

constexpr int WARPS = 8;  // of a block

// Σ weights[i] table[indices[i]] for i from `first` up to `last`, N columns of it by each lane; by a whole warp.
template <int N>
DEVICE void sum_looked_up(const int64* indices, const scalar* weights, const scalar* table, int64 first, int64 last,
                          int64 size, int64 column, int64 width, real (&sum)[N]) {
    constexpr int AHEAD = N < 8 ? 8 : 4;  // rows that are asked for before the first is waited for
    const int lane = threadIdx.x;
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
}

// The sum or mean of a bag, of which each of `warps` takes a part; warp 0 adds the parts in their order.
template <int N>
DEVICE void sum_bag(const int64* indices, const int64* offsets, const scalar* weights, const scalar* table, scalar* out,
                    int64 bags, int64 count, int64 size, int64 width, bool mean, int warps) {
    __shared__ real parts[WARPS][32 * N];
    const int lane = threadIdx.x, warp = threadIdx.y, part = warp % warps;
    const int64 bag = static_cast<int64>(blockIdx.x) * (WARPS / warps) + warp / warps;
    const int64 first = bag < bags ? offsets[bag] : 0;
    const int64 length = bag < bags ? (bag + 1 < bags ? offsets[bag + 1] : count) - first : 0;
    const int64 each = (length + warps - 1) / warps, begin = min(part * each, length);
    for (int64 column = (static_cast<int64>(blockIdx.y) * 32 + lane) * N; column - lane * N < width;
         column += static_cast<int64>(gridDim.y) * 32 * N) {
        real sum[N] = {};
        sum_looked_up<N>(indices, weights, table, first + begin, first + min(begin + each, length), size, column, width,
                         sum);
        if (warps > 1) {
#pragma unroll
            for (int j = 0; j < N; j++) parts[warp][lane * N + j] = sum[j];
            __syncthreads();
            for (int w = 1; part == 0 && w < warps; w++)
#pragma unroll
                for (int j = 0; j < N; j++) sum[j] += parts[warp + w][lane * N + j];
            __syncthreads();
        }
        if (part == 0 && bag < bags && column < width) {
#pragma unroll
            for (int j = 0; j < N; j++) sum[j] = mean && length > 1 ? sum[j] * (real(1) / length) : sum[j];
            store<N>(out + bag * width + column, sum);
        }
    }
}

// `warps` for each bag, 1 or all of a block.
extern "C" __global__ void __launch_bounds__(256) sum_bags(const int64* indices, const int64* offsets,
                                                           const scalar* weights, const scalar* table, scalar* out,
                                                           int64 bags, int64 count, int64 size, int64 width,
                                                           int64 mean, int64 warps) {
    const int together = static_cast<int>(warps);
    if (aligned(width, table, out))
        sum_bag<WIDE>(indices, offsets, weights, table, out, bags, count, size, width, mean, together);
    else sum_bag<1>(indices, offsets, weights, table, out, bags, count, size, width, mean, together);
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

// What each index adds to its row of the table: its share of its bag's gradient.
ROW_KERNEL bag_rows(const scalar* g, const int64* offsets, const scalar* weights, int64 bags, int64 mean, scalar* g_rows,
                    int64 count, int64 width) {
    const int64 i = row_of_thread();
    if (i >= count) return;
    real share;
    const scalar* from = g + Bags{offsets, weights, bags, count, mean}.row_of(i, share) * width;
    FOR_ROW(column, 1, width) store(g_rows + i * width + column, load(from + column) * share);
}
