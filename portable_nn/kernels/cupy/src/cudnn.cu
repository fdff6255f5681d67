// What cuDNN's attention is given beside arrays, and what it may have left where nothing counts.
// Scalars: f
#include "philox.cuh"

// Seed and offset (numbers[0] and [1], not negative) from the first block of our own stream, whose step is `step` plus
// what `offset` points to, if anything: replays of a recorded step draw anew. Of lengths, if there are any: out[0 …] are
// all the queries, out[batch …] the keys that count, at least one, so that cuDNN meets no row without any. One block.
KERNEL cudnn_arguments(int64* numbers, uint64 seed, uint64 path, uint64 step, uint64 call, uint64 rank,
                       const uint64* offset, const int* lengths, int* out, int64 batch, int64 queries, int64 keys) {
    if (numbers && threadIdx.x == 0) {
        const Counter words = philox_block(0, step + (offset ? *offset : 0), call, rank, seed, path);
        numbers[0] = static_cast<int64>(words.word[0] >> 1);
        numbers[1] = static_cast<int64>(words.word[1] >> 36) * 4;  // below 2**30, so that sums with it stay small
    }
    if (!lengths) return;
    for (int64 i = threadIdx.x; i < batch; i += blockDim.x) {
        const int64 length = lengths[i];
        out[i] = static_cast<int>(queries);
        out[batch + i] = static_cast<int>(length < 1 ? 1 : length < keys ? length : keys);
    }
}

#define ROWS_OF(x) unsigned short *x, int64 x##_outer, int64 x##_inner, int64 x##_row, int64 x##_rows, int64 x##_width
#define PASS(x) x, x##_outer, x##_inner, x##_row, x##_rows, x##_width

DEVICE void clear_rows(unsigned short* x, int64 outer, int64 inner, int64 row, int64 rows, int64 width, int64 lead,
                       int64 heads, int64 first) {
    if (!x || first >= rows) return;
    const int64 packs = width / 8, count = (rows - first) * packs;
    x += (lead / heads) * outer + (lead % heads) * inner;
    Pack<unsigned short, 8> zeros;
#pragma unroll
    for (int i = 0; i < 8; i++) zeros.at[i] = 0;
    for (int64 i = threadIdx.x; i < count; i += blockDim.x)
        *reinterpret_cast<Pack<unsigned short, 8>*>(x + (first + i / packs) * row + i % packs * 8) = zeros;
}

// Zeros, in half precision, in what belongs to keys that do not count (of_keys, of_values), and to queries that see none
// (of_queries). Strides and widths are multiples of 8 elements. The grid is (outer × heads).
KERNEL clear_hidden(const int* lengths, ROWS_OF(of_queries), ROWS_OF(of_keys), ROWS_OF(of_values), int64 heads) {
    const int64 lead = blockIdx.x, length = lengths[lead / heads] > 0 ? lengths[lead / heads] : 0;
    if (length == 0) clear_rows(PASS(of_queries), lead, heads, 0);
    clear_rows(PASS(of_keys), lead, heads, length);
    clear_rows(PASS(of_values), lead, heads, length);
}
