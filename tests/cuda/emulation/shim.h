// CUDA's device language for g++, as far as the kernels of this repository use it. See runtime.cpp for what runs them.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define EMULATED 1
#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict
// One block runs at a time, so that what is static is a block's. The section lets the runtime fill it before each.
#define __shared__ static __attribute__((section("shared_memory")))
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulator::dynamic_shared)

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) double2 { double x, y; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emulator {
struct Place { uint3 thread, block; dim3 threads, blocks; };
extern Place* self;
extern unsigned char* dynamic_shared;
void block_barrier(int line);
void warp_barrier(unsigned mask, int line);
// Gives the slots of this thread's warp in which all lanes of the mask have put their value.
const uint64_t* exchange(unsigned mask, uint64_t value, int line);
unsigned present_lanes();
float half_to_float(unsigned short bits);
unsigned short float_to_half(float x);

inline int lane() {
    unsigned linear = self->thread.x + self->threads.x * (self->thread.y + self->threads.y * self->thread.z);
    return linear % 32;
}
template <class T> uint64_t pack(T x) {
    static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &x, sizeof(T));
    return bits;
}
template <class T> T unpack(uint64_t bits) {
    T x;
    memcpy(&x, &bits, sizeof(T));
    return x;
}
template <class T> T shuffle(unsigned mask, T x, int source, int width, bool inside, int line) {
    const uint64_t* slots = exchange(mask, pack(x), line);
    int from = (lane() & ~(width - 1)) + (source & (width - 1));
    if (!inside) return x;
    return mask >> from & 1 ? unpack<T>(slots[from]) : unpack<T>(~uint64_t(0));  // NaN where CUDA leaves it open
}
}

#define threadIdx (emulator::self->thread)
#define blockIdx (emulator::self->block)
#define blockDim (emulator::self->threads)
#define gridDim (emulator::self->blocks)
#define warpSize 32

#define __syncthreads() emulator::block_barrier(__LINE__)
inline void emulated_syncwarp(int line, unsigned mask = 0xffffffffu) { emulator::warp_barrier(mask, line); }
#define __syncwarp(...) emulated_syncwarp(__LINE__ __VA_OPT__(,) __VA_ARGS__)
#define __threadfence() ((void)0)
#define __threadfence_block() ((void)0)

template <class T> T __shfl_sync(unsigned mask, T x, int source, int width = 32) {
    return emulator::shuffle(mask, x, source, width, true, 1);
}
template <class T> T __shfl_xor_sync(unsigned mask, T x, int flip, int width = 32) {
    int own = emulator::lane() & (width - 1), source = own ^ flip;
    return emulator::shuffle(mask, x, source, width, source < width, 2);
}
template <class T> T __shfl_down_sync(unsigned mask, T x, int delta, int width = 32) {
    int own = emulator::lane() & (width - 1);
    return emulator::shuffle(mask, x, own + delta, width, own + delta < width, 3);
}
template <class T> T __shfl_up_sync(unsigned mask, T x, int delta, int width = 32) {
    int own = emulator::lane() & (width - 1);
    return emulator::shuffle(mask, x, own - delta, width, own >= delta, 4);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    const uint64_t* slots = emulator::exchange(mask, predicate != 0, 5);
    unsigned votes = 0;
    for (int i = 0; i < 32; i++) votes |= (mask >> i & 1) && slots[i] ? 1u << i : 0;
    return votes;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, !predicate) == 0;
}
template <class T> unsigned __match_any_sync(unsigned mask, T x) {
    uint64_t own = emulator::pack(x);
    const uint64_t* slots = emulator::exchange(mask, own, 6);
    unsigned same = 0;
    for (int i = 0; i < 32; i++) same |= (mask >> i & 1) && slots[i] == own ? 1u << i : 0;
    return same;
}
inline unsigned __activemask() { return emulator::present_lanes(); }
#define __syncthreads_or(p) emulated_vote(__LINE__, (p), 0)
#define __syncthreads_and(p) emulated_vote(__LINE__, (p), 1)
inline int emulated_vote(int line, int predicate, int all) {
    static int votes[2];
    emulator::block_barrier(line);
    votes[0] = votes[1] = 0;
    emulator::block_barrier(line);
    votes[predicate != 0]++;
    emulator::block_barrier(line);
    return all ? votes[0] == 0 : votes[1] != 0;
}

#define EMULATED_ATOMIC(name, expression) \
    template <class T, class U> T name(T* p, U value) { T old = *p; T x = static_cast<T>(value); *p = expression; return old; }
EMULATED_ATOMIC(atomicAdd, old + x)
EMULATED_ATOMIC(atomicSub, old - x)
EMULATED_ATOMIC(atomicMax, old < x ? x : old)
EMULATED_ATOMIC(atomicMin, x < old ? x : old)
EMULATED_ATOMIC(atomicOr, old | x)
EMULATED_ATOMIC(atomicAnd, old & x)
EMULATED_ATOMIC(atomicXor, old ^ x)
EMULATED_ATOMIC(atomicExch, x)
EMULATED_ATOMIC(atomicInc, old >= x ? 0 : old + 1)
EMULATED_ATOMIC(atomicDec, old == 0 || old > x ? x : old - 1)
template <class T> T atomicCAS(T* p, T compare, T value) { T old = *p; if (old == compare) *p = value; return old; }

template <class T> T __ldg(const T* p) { return *p; }
template <class T> T __ldcs(const T* p) { return *p; }
template <class T> T __ldcg(const T* p) { return *p; }
template <class T> void __stcs(T* p, T x) { *p = x; }
template <class T> void __stwb(T* p, T x) { *p = x; }

inline uint64_t __umul64hi(uint64_t a, uint64_t b) { return static_cast<uint64_t>((unsigned __int128)a * b >> 64); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<uint64_t>(a) * b >> 32; }
inline float __uint_as_float(unsigned x) { return emulator::unpack<float>(x); }
inline float __int_as_float(int x) { return emulator::unpack<float>(static_cast<unsigned>(x)); }
inline unsigned __float_as_uint(float x) { return static_cast<unsigned>(emulator::pack(x)); }
inline int __float_as_int(float x) { return static_cast<int>(emulator::pack(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(uint64_t x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline float rsqrtf(float x) { return 1 / sqrtf(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1 / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fmul_rn(float x, float y) { volatile float z = x * y; return z; }
inline float __fadd_rn(float x, float y) { volatile float z = x + y; return z; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __dmul_rn(double x, double y) { volatile double z = x * y; return z; }
inline double __dadd_rn(double x, double y) { volatile double z = x + y; return z; }
template <class T, class U> auto min(T x, U y) -> decltype(x + y) { return y < x ? y : x; }
template <class T, class U> auto max(T x, U y) -> decltype(x + y) { return x < y ? y : x; }

// ---- from a kernel's own type to a call with packed arguments, and a description of them to check the packing by

namespace emulator {
using Body = void (*)(void**);
int run(const unsigned* grid, const unsigned* block, uint64_t shared, Body body, void** arguments,
        unsigned char* first, unsigned char* last, int order);

// How a parameter is written down: a letter, or <size> for a structure that is none of those.
template <class T> void letter(char*& p) {
    static const char letters[] = " Bh i   q";
    if (sizeof(T) <= 8 && letters[sizeof(T)] != ' ') *p++ = letters[sizeof(T)];
    else p += snprintf(p, 16, "<%u>", static_cast<unsigned>(sizeof(T)));
}
template <> inline void letter<float>(char*& p) { *p++ = 'f'; }
template <> inline void letter<double>(char*& p) { *p++ = 'd'; }
template <> inline void letter<void>(char*& p) { *p++ = 'v'; }
template <class T> struct Bare { using type = T; };
template <class T> struct Bare<const T> { using type = T; };
template <class T> struct Kind { static void write(char*& p) { letter<typename Bare<T>::type>(p); } };
template <class T> struct Kind<T*> {
    static void write(char*& p) { *p++ = '*'; letter<typename Bare<T>::type>(p); }
};
template <class T> struct Kind<T* __restrict> : Kind<T*> {};
template <unsigned... I> struct Indices {};
template <unsigned N, unsigned... I> struct Count : Count<N - 1, N - 1, I...> {};
template <unsigned... I> struct Count<0, I...> { using type = Indices<I...>; };
template <class... P> struct Signature {
    template <unsigned... I> static void call(void (*kernel)(P...), void** a, Indices<I...>) {
        kernel(*static_cast<P*>(a[I])...);
    }
    static void call(void (*kernel)(P...), void** a) { call(kernel, a, typename Count<sizeof...(P)>::type()); }
    static void describe(char* p) {
        char* unused[] = {p, (Kind<P>::write(p), p)...};
        (void)unused;
        *p = 0;
    }
};
template <class... P> Signature<P...> signature(void (*)(P...)) { return {}; }
}
extern "C" unsigned char __start_shared_memory[] __attribute__((weak, visibility("hidden")));
extern "C" unsigned char __stop_shared_memory[] __attribute__((weak, visibility("hidden")));
#define EMULATED_KERNEL(number, ...)                                                                               \
    static void body_##number(void** a) { decltype(emulator::signature(__VA_ARGS__))::call(__VA_ARGS__, a); }      \
    extern "C" void describe_##number(char* p) { decltype(emulator::signature(__VA_ARGS__))::describe(p); }        \
    extern "C" int launch_##number(const unsigned* grid, const unsigned* block, uint64_t shared, void** a, int order) { \
        return emulator::run(grid, block, shared, body_##number, a, __start_shared_memory, __stop_shared_memory, order); \
    }
