// Arrays of several scalar types in one kernel: their types by the numbers of SCALAR, and wide loads and stores of each.
#pragma once
#include "common.cuh"

template <int> struct Type;
template <> struct Type<0> { typedef float is; };
template <> struct Type<1> { typedef double is; };
template <> struct Type<2> { typedef half_t is; };
template <> struct Type<3> { typedef bfloat16_t is; };

// The type of a sum: the wider one.
template <class T, class U, bool = (sizeof(T) >= sizeof(U))> struct Wider { typedef T is; };
template <class T, class U> struct Wider<T, U, false> { typedef U is; };

// N elements, at most 16 bytes at a time, to which p must be aligned.
template <int N, class T>
DEVICE void read(const T* p, real (&x)[N]) {
    constexpr int M = N * sizeof(T) > 16 ? 16 / sizeof(T) : N;
#pragma unroll
    for (int i = 0; i < N; i += M) {
        const Pack<T, M> pack = *reinterpret_cast<const Pack<T, M>*>(p + i);
#pragma unroll
        for (int j = 0; j < M; j++) x[i + j] = widen(pack.at[j]);
    }
}

template <int N, class T>
DEVICE void write(T* p, const real (&x)[N]) {
    constexpr int M = N * sizeof(T) > 16 ? 16 / sizeof(T) : N;
#pragma unroll
    for (int i = 0; i < N; i += M) {
        Pack<T, M> pack;
#pragma unroll
        for (int j = 0; j < M; j++) narrow(x[i + j], pack.at[j]);
        // 16 bytes at once, where the compiler would write numbers behind dropout one by one.
        if (sizeof(pack) == 16) __stwb(reinterpret_cast<uint4*>(p + i), *reinterpret_cast<const uint4*>(&pack));
        else *reinterpret_cast<Pack<T, M>*>(p + i) = pack;
    }
}

// What x becomes as a T in memory.
template <class T>
DEVICE real rounded_to(real x) {
    T y;
    narrow(x, y);
    return widen(y);
}
