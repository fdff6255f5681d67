// Philox4x64-10, bit for bit NumPy's: J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
#pragma once
#include "common.cuh"

struct Counter {
    uint64 word[4];
};

DEVICE uint64 high_product(uint64 a, uint64 b) { return __umul64hi(a, b); }

// Block `i` of a stream, four words: the cipher of the counter (0, step, call, rank) + 1 + i.
DEVICE Counter philox_block(uint64 i, uint64 step, uint64 call, uint64 rank, uint64 seed, uint64 path) {
    Counter c = {{i + 1, step, call, rank}};  // block 2**64 - 1, where the sum would carry over, is out of reach
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64 high0 = high_product(0xD2E7470EE14C6C93ull, c.word[0]), low0 = 0xD2E7470EE14C6C93ull * c.word[0];
        uint64 high1 = high_product(0xCA5A826395121157ull, c.word[2]), low1 = 0xCA5A826395121157ull * c.word[2];
        c = {{high1 ^ c.word[1] ^ seed, low1, high0 ^ c.word[3] ^ path, low0}};
        seed += 0x9E3779B97F4A7C15ull;
        path += 0xBB67AE8584CAA73Bull;
    }
    return c;
}
