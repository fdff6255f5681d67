// Dropout: the mask is NumPy's, bit for bit (backend/random.py: 16-bit lanes of Philox4x64-10 words), and kept nowhere.
#include "philox.cuh"

// out = x times `scale` where the element's lane is at least `threshold`, else times 0. A warp makes 32 blocks of the
// stream, 512 lanes, and hands them round in shared memory, so that neighbouring threads read and write neighbours.
// The stream's step is `step` plus what `offset` points to, if anything. Blocks of 256 threads, 4096 elements each.
KERNEL dropout(const scalar* x, scalar* out, int64 count, int64 threshold, double scale, uint64 seed, uint64 path,
               uint64 step, uint64 call, uint64 rank, const uint64* offset) {
    __shared__ __align__(16) unsigned short drawn[8][512];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int64 first = (static_cast<int64>(blockIdx.x) * 8 + warp) * 512;
    if (first >= count) return;
    if (offset) step += *offset;
    const Counter words = philox_block(first / 16 + lane, step, call, rank, seed, path);
    *reinterpret_cast<Counter*>(&drawn[warp][lane * 16]) = words;  // little-endian: the low lane first, as NumPy's view
    __syncwarp();
    const real factor = scale;
    const bool wide = aligned(x) && aligned(out) && first + 512 <= count;
#pragma unroll
    for (int i = lane * WIDE; i < 512; i += 32 * WIDE) {
        if (wide) {
            const Pack<unsigned short, WIDE> lanes = *reinterpret_cast<const Pack<unsigned short, WIDE>*>(&drawn[warp][i]);
            real v[WIDE];
            load<WIDE>(x + first + i, v);
#pragma unroll
            for (int j = 0; j < WIDE; j++) v[j] *= lanes.at[j] >= threshold ? factor : real(0);
            store<WIDE>(out + first + i, v);
        } else {
            for (int j = i; j < i + WIDE && first + j < count; j++)
                store(out + first + j, load(x + first + j) * (drawn[warp][j] >= threshold ? factor : real(0)));
        }
    }
}

// The words themselves, for tests: a block of four for each thread.
KERNEL philox_words(uint64* out, int64 blocks, uint64 seed, uint64 path, uint64 step, uint64 call, uint64 rank) {
    const int64 i = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= blocks) return;
    const Counter words = philox_block(i, step, call, rank, seed, path);
    for (int k = 0; k < 4; k++) out[4 * i + k] = words.word[k];
}
