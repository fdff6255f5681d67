// Bags: those of indices[offsets[b]] up to the next offset.
#pragma once
#include "common.cuh"

// The bag of index i: the last that begins at or before it (of those that begin there, the last is not empty).
DEVICE int64 bag_of(const int64* offsets, int64 bags, int64 i) {
    int64 low = 0, high = bags - 1;
    while (low < high) {
        const int64 middle = (low + high + 1) / 2;
        if (offsets[middle] <= i) low = middle;
        else high = middle - 1;
    }
    return low;
}

// Where the gradient of what was looked up for index i lies, and what it counts: the row of its bag, times the index's
// weight or 1 / the bag's length. Without bags (offsets are null) that is row i.
struct Bags {
    const int64* offsets;
    const scalar* weights;
    int64 bags, count, mean;

    DEVICE int64 row_of(int64 i, real& share) const {
        share = 1;
        if (!offsets) return i;
        const int64 bag = bag_of(offsets, bags, i);
        if (mean) share = real(1) / ((bag + 1 < bags ? offsets[bag + 1] : count) - offsets[bag]);
        else if (weights) share = load(weights + i);
        return bag;
    }
};
