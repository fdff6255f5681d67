// Copies of bytes by several threads: 16 at a time where both sides allow it.
#pragma once
#include "common.cuh"

template <class T>
DEVICE void copy_by(char* target, const char* source, int64 size, int thread, int threads) {
    constexpr int AHEAD = 4;  // that are read before the first is written: the compiler cannot know that they may be
    const T* from = reinterpret_cast<const T*>(source);
    T* to = reinterpret_cast<T*>(target);
    const int64 whole = size / static_cast<int64>(sizeof(T));
    for (int64 first = thread; first < whole; first += AHEAD * threads) {
        T v[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (first + k * threads < whole) v[k] = from[first + k * threads];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (first + k * threads < whole) to[first + k * threads] = v[k];
    }
    for (int64 i = whole * static_cast<int64>(sizeof(T)) + thread; i < size; i += threads) target[i] = source[i];
}

DEVICE void copy_bytes(char* target, const char* source, int64 size, int thread, int threads) {
    const uint64 both = reinterpret_cast<uint64>(target) | reinterpret_cast<uint64>(source);
    if (both % 16 == 0) return copy_by<Pack<int64, 2>>(target, source, size, thread, threads);
    if (both % 4 == 0) return copy_by<int>(target, source, size, thread, threads);
    copy_by<char>(target, source, size, thread, threads);
}
