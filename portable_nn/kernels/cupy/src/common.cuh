// What the kernels share: the scalar type a file is compiled for, wide loads, sums over a row, sums in a fixed order.
//
// A file is compiled once for each dtype, with -DSCALAR=0 (float), 1 (double), 2 (half) or 3 (bfloat16). `scalar` is how
// numbers are stored, `real` what is computed in: double for double, else float. No header is included, the CUDA
// toolkit's neither: CuPy need not find one, and NVRTC compiles in a third of the time.
//
// Sizes are passed as `int64` and hyper-parameters as `double`, which is what CuPy makes of Python's int and float.
#pragma once

typedef long long int64;
typedef unsigned long long uint64;

struct half_t { unsigned short bits; };
struct bfloat16_t { unsigned short bits; };

#ifndef SCALAR
#define SCALAR 0
#endif
#if SCALAR == 1
typedef double scalar;
typedef double real;
#else
typedef float real;
#if SCALAR == 0
typedef float scalar;
#elif SCALAR == 2
typedef half_t scalar;
#else
typedef bfloat16_t scalar;
#endif
#endif

#define KERNEL extern "C" __global__ void
// For launches of up to 512 threads, each of which can then have 128 registers: those of `launch.rows`.
#define ROW_KERNEL extern "C" __global__ void __launch_bounds__(512)
#define DEVICE __device__ __forceinline__

// The memory that a launch asks for with `shared_mem`, as a pointer.
#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name)                                  \
    extern __shared__ __align__(16) unsigned char dynamic_shared[]; \
    type* name = reinterpret_cast<type*>(dynamic_shared)
#endif

// ---- numbers as they are stored, and as they are computed with

DEVICE float widen(float x) { return x; }
DEVICE double widen(double x) { return x; }

DEVICE float widen(half_t x) {
#ifdef EMULATED
    return emulator::half_to_float(x.bits);
#else
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#endif
}

DEVICE float widen(bfloat16_t x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

DEVICE void narrow(float x, float& y) { y = x; }
DEVICE void narrow(double x, double& y) { y = x; }
DEVICE void narrow(double x, float& y) { y = static_cast<float>(x); }

DEVICE void narrow(float x, half_t& y) {  // to the nearest, ties to even
#ifdef EMULATED
    y.bits = emulator::float_to_half(x);
#else
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#endif
}

DEVICE void narrow(float x, bfloat16_t& y) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
#else
    unsigned bits = __float_as_uint(x);
    y.bits = (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fff
                                                : static_cast<unsigned short>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}

DEVICE real load(const scalar* p) { return widen(*p); }
DEVICE void store(scalar* p, real x) { narrow(x, *p); }
// What a value becomes in memory: for results that are computed in two steps, as their definition does.
DEVICE real rounded(real x) {
    scalar y;
    narrow(x, y);
    return widen(y);
}

// ---- several numbers at once

template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
    T at[N];
};

// How many scalars a thread moves at once: 16 bytes.
constexpr int WIDE = 16 / sizeof(scalar);

template <int N>
DEVICE void load(const scalar* p, real (&x)[N]) {
    Pack<scalar, N> pack = *reinterpret_cast<const Pack<scalar, N>*>(p);
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = widen(pack.at[i]);
}

template <int N>
DEVICE void store(scalar* p, const real (&x)[N]) {
    Pack<scalar, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) narrow(x[i], pack.at[i]);
    *reinterpret_cast<Pack<scalar, N>*>(p) = pack;
}

// Whether wide loads may start at p; of rows of `width` scalars, whether they may at each (null pointers never hinder).
DEVICE bool aligned(const void* p) { return reinterpret_cast<uint64>(p) % 16 == 0; }
DEVICE bool aligned(int64 width, const void* p, const void* q = nullptr, const void* r = nullptr,
                    const void* s = nullptr) {
    return width % WIDE == 0 && aligned(p) && aligned(q) && aligned(r) && aligned(s);
}

// ---- functions of `real` under one name

DEVICE float exponential(float x) { return expf(x); }
DEVICE double exponential(double x) { return exp(x); }
DEVICE float logarithm(float x) { return logf(x); }
DEVICE double logarithm(double x) { return log(x); }
DEVICE float log_plus_one(float x) { return log1pf(x); }
DEVICE double log_plus_one(double x) { return log1p(x); }
DEVICE float square_root(float x) { return sqrtf(x); }
DEVICE double square_root(double x) { return sqrt(x); }
DEVICE float hyperbolic_tangent(float x) { return tanhf(x); }
DEVICE double hyperbolic_tangent(double x) { return tanh(x); }
DEVICE float error_function(float x) { return erff(x); }
DEVICE double error_function(double x) { return erf(x); }
DEVICE float larger(float x, float y) { return fmaxf(x, y); }
DEVICE double larger(double x, double y) { return fmax(x, y); }
DEVICE float magnitude(float x) { return fabsf(x); }
DEVICE double magnitude(double x) { return fabs(x); }
// -inf: what the largest of nothing is.
DEVICE real lowest() { return static_cast<real>(-__int_as_float(0x7f800000)); }

// 1 / (1 + exp(-x)), without overflow and accurate in both tails.
DEVICE real sigmoid_of(real x) {
    real e = exponential(-magnitude(x));
    return (x < 0 ? e : real(1)) / (1 + e);
}

// ---- sums and maxima in a fixed order
//
// A row belongs to blockDim.x threads, a power of two from 32 to 512; several rows to a block only where they are 32.
// All threads of the block must take part, those of rows past the last one too.

struct Sum {
    template <class T>
    DEVICE T operator()(T x, T y) const { return x + y; }
};
struct Largest {
    template <class T>
    DEVICE T operator()(T x, T y) const { return larger(x, y); }
};

template <class T, class Operation>
DEVICE T reduce_warp(T x, Operation operation, int lanes = 32) {
    for (int lane = lanes / 2; lane > 0; lane /= 2) x = operation(x, __shfl_xor_sync(0xffffffffu, x, lane));
    return x;
}

template <class T, class Operation>
DEVICE T reduce_row(T x, Operation operation) {
    x = reduce_warp(x, operation);
    if (blockDim.x > 32) {
        __shared__ T of_warps[32];
        int warps = blockDim.x / 32;
        __syncthreads();  // whoever read the last result is done
        if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
        __syncthreads();
        x = reduce_warp(of_warps[threadIdx.x & (warps - 1)], operation, warps);
    }
    return x;
}

template <class T>
DEVICE T row_sum(T x) { return reduce_row(x, Sum()); }
template <class T>
DEVICE T row_max(T x) { return reduce_row(x, Largest()); }

DEVICE int64 row_of_thread() { return static_cast<int64>(blockIdx.x) * blockDim.y + threadIdx.y; }

// The first of `N` elements that this thread takes of a row or a vector, and how far on its next ones are.
#define FOR_ROW(i, N, width) \
    for (int64 i = static_cast<int64>(threadIdx.x) * (N); i < (width); i += static_cast<int64>(blockDim.x) * (N))
#define FOR_ALL(i, N, count)                                                                                  \
    for (int64 i = (static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x) * (N); i < (count);            \
         i += static_cast<int64>(gridDim.x) * blockDim.x * (N))
