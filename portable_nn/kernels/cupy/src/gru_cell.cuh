// The GRU cell's gradient, for all ways through a sequence.
#pragma once
#include "recurrent.cuh"

// What the gradient of h is multiplied with, to be that of the sums of r and z, of b_n, a_n, and of h before.
struct Slopes {
    real r, z, b_n, a_n, keep;
};

DEVICE Slopes slopes_of(real r, real z, real n, real b_n, real h) {
    const real a_n = (1 - z) * (1 - n * n);
    return {a_n * b_n * r * (1 - r), (h - n) * z * (1 - z), a_n * r, a_n, z};
}
