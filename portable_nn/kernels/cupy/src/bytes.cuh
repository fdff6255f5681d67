// Copies of bytes by several threads: 16 at a time where both sides allow it.
#pragma once
#include "common.cuh"

template <class T>
DEVICE void copy_by(char* target, const char* source, int64 size, int thread, int threads) {
    const int64 whole = size / static_cast<int64>(sizeof(T));
#pragma unroll 4
    for (int64 i = thread; i < whole; i += threads) {
        reinterpret_cast<T*>(target)[i] = reinterpret_cast<const T*>(source)[i];
    }
    for (int64 i = whole * static_cast<int64>(sizeof(T)) + thread; i < size; i += threads) target[i] = source[i];
}

DEVICE void copy_bytes(char* target, const char* source, int64 size, int thread, int threads) {
    const uint64 both = reinterpret_cast<uint64>(target) | reinterpret_cast<uint64>(source);
    if (both % 16 == 0) return copy_by<Pack<int64, 2>>(target, source, size, thread, threads);
    if (both % 4 == 0) return copy_by<int>(target, source, size, thread, threads);
    copy_by<char>(target, source, size, thread, threads);
}
