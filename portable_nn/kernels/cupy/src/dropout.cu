// Dropout, alone or added to something else: out = x + y where an element is kept, x alone (or 0) where it is dropped.
//
// X, Y and OUT are the numbers of the arrays' types, PACK how many elements of each a thread moves at once.
//
// Variants: ; X=0 Y=3 OUT=0 PACK=8; X=0 Y=0 OUT=2 PACK=8
#include "dropping.cuh"
#include "mixed.cuh"

#ifndef PACK
#define PACK WIDE
#define X SCALAR
#define Y SCALAR
#define OUT SCALAR
#endif

// `x` may be null. A warp works on 512 elements, which it draws for together; blocks of (32, 8) threads.
KERNEL dropout(const Type<X>::is* x, const Type<Y>::is* y, Type<OUT>::is* out, int64 count, DROPPING_PARAMETERS) {
    __shared__ Drawn drawn[8];
    const int64 first = (static_cast<int64>(blockIdx.x) * 8 + threadIdx.y) * 512;
    if (first >= count) return;
    const int64 width = count - first < 512 ? count - first : 512;
    const Dropping dropping = DROPPING;
    if (threshold) draw<32, 16 / PACK, PACK>(drawn[threadIdx.y], first, width, dropping);
    const bool wide = aligned(x) && aligned(y) && aligned(out);
#pragma unroll
    for (int k = 0; k < 16 / PACK; k++) {
        const int i = (k * 32 + threadIdx.x) * PACK, count_of_pack = width - i < PACK ? static_cast<int>(width) - i : PACK;
        const int64 at = first + i;
        real v[PACK] = {}, residual[PACK] = {};
        if (wide && count_of_pack == PACK) {
            read<PACK>(y + at, v);
            if (x) read<PACK>(x + at, residual);
        } else {
#pragma unroll
            for (int j = 0; j < PACK; j++) {
                if (j < count_of_pack) v[j] = widen(y[at + j]);
                if (x && j < count_of_pack) residual[j] = widen(x[at + j]);
            }
        }
        if (threshold) drop<PACK>(drawn[threadIdx.y], k, dropping, v);
#pragma unroll
        for (int j = 0; j < PACK; j++) v[j] += residual[j];
        if (wide && count_of_pack == PACK) write<PACK>(out + at, v);
        else
#pragma unroll
            for (int j = 0; j < PACK; j++)
                if (j < count_of_pack) narrow(v[j], out[at + j]);
    }
}

// The words themselves, for tests: a block of four for each thread.
KERNEL philox_words(uint64* out, int64 blocks, uint64 seed, uint64 path, uint64 step, uint64 call, uint64 rank) {
    const int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= blocks) return;
    const Counter words = philox_block(i, step, call, rank, seed, path);
    for (int k = 0; k < 4; k++) out[4 * i + k] = words.word[k];
}
