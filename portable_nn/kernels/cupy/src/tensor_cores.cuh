// Small products by the tensor cores of a warp: D (16, 8) += A (16, K) B (K, 8), summed in float32. PRECISION says what
// of: 1 TF32, 2 bfloat16. K is 8 words, of one number or of two.
//
// Who has what is the same for both, as the PTX ISA says of mma.m16n8k8 (.tf32) and mma.m16n8k16 (.bf16). With
// g = lane / 4 and t = lane % 4, by rows and columns, K counted in words:
//   A: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4);  B: (t, g), (t + 4, g);
//   D: (g, 2 t), (g, 2 t + 1), (g + 8, 2 t), (g + 8, 2 t + 1).
#pragma once
#include "common.cuh"

#if PRECISION == 1
typedef float operand;
#else
typedef bfloat16_t operand;
#endif
constexpr int PER_WORD = 4 / sizeof(operand);

DEVICE void round_operand(float x, bfloat16_t& y) { narrow(x, y); }
DEVICE void round_operand(float x, float& y) {  // to TF32, the nearest, ties away from zero
#ifdef EMULATED
    const unsigned bits = __float_as_uint(x);
    y = (bits & 0x7f800000u) == 0x7f800000u ? x : __uint_as_float((bits + 0x1000) & ~0x1fffu);
#else
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    y = __uint_as_float(bits);
#endif
}

DEVICE unsigned word_of(const float (&x)[1]) { return __float_as_uint(x[0]); }
DEVICE unsigned word_of(const bfloat16_t (&x)[2]) { return x[0].bits | static_cast<unsigned>(x[1].bits) << 16; }

#ifdef EMULATED
DEVICE float multiply_words(unsigned x, unsigned y) {
#if PRECISION == 1  // the hardware does not look at the last 13 bits
    return __uint_as_float(x & ~0x1fffu) * __uint_as_float(y & ~0x1fffu);
#else
    return __uint_as_float(x << 16) * __uint_as_float(y << 16)
           + __uint_as_float(x & 0xffff0000u) * __uint_as_float(y & 0xffff0000u);
#endif
}
#endif

// All lanes of the warp must take part, together: `__syncwarp` before, where some may have gone another way.
DEVICE void multiply_tile(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#ifdef EMULATED
    __shared__ unsigned registers[64][32][6];
    const int thread = threadIdx.x + blockDim.x * threadIdx.y, lane = thread % 32;
    unsigned(*of)[6] = registers[thread / 32];
    for (int i = 0; i < 4; i++) of[lane][i] = a[i];
    of[lane][4] = b0;
    of[lane][5] = b1;
    __syncwarp();
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 8; k++)
            d[i] += multiply_words(of[row % 8 * 4 + k % 4][row / 8 + k / 4 * 2], of[column * 4 + k % 4][4 + k / 4]);
    }
    __syncwarp();
#elif PRECISION == 1
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}
