// Rows of a table and the vectors of their positions, added up, and dropout of the sum.
//
// PACK is how many elements a thread moves at once.
//
// Variants: ; PACK=1
#include "dropping.cuh"
#include "mixed.cuh"

#ifndef PACK
#define PACK WIDE
#endif

// out = dropout(table[indices[row]] + positions[row % length]); an index out of range reads nothing and gives NaN. A warp
// works on 512 elements, which it draws for together; blocks of (32, 8) threads.
KERNEL embed_sequence(const int64* indices, const scalar* table, const scalar* positions, scalar* out, int64 count,
                      int64 size, int64 width, int64 length, DROPPING_PARAMETERS) {
    __shared__ Drawn drawn[8];
    const int64 first = (static_cast<int64>(blockIdx.x) * 8 + threadIdx.y) * 512;
    if (first >= count) return;
    const Dropping dropping = DROPPING;
    if (threshold) draw<32, 16 / PACK, PACK>(drawn[threadIdx.y], first, count - first, dropping);
#pragma unroll
    for (int k = 0; k < 16 / PACK; k++) {
        const int64 i = first + (k * 32 + threadIdx.x) * PACK;
        if (i >= count) continue;
        const int64 row = i / width, column = i - row * width, index = indices[row];
        real v[PACK], position[PACK];
        read<PACK>(positions + row % length * width + column, position);
        if (index >= 0 && index < size) read<PACK>(table + index * width + column, v);
#pragma unroll
        for (int j = 0; j < PACK; j++)
            v[j] = index >= 0 && index < size ? rounded(v[j] + position[j]) : real(__int_as_float(0x7fc00000));
        if (threshold) drop<PACK>(drawn[threadIdx.y], k, dropping, v);
        write<PACK>(out + i, v);
    }
}
