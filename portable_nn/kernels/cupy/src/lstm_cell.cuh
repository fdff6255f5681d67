// The LSTM cell's gradient, for all ways through a sequence.
#pragma once
#include "recurrent.cuh"

// What a step back multiplies: the gradients of the sums of i, f and g are i, f, g times that of c, that of o is o times
// that of h; through is ∂c/∂h, keep what c before keeps of c's.
struct Slopes {
    real i, f, g, o, through, keep;
};

DEVICE Slopes slopes_of(real i, real f, real g, real o, real c_before, real c_after) {
    const real t = tanh_of(c_after);
    return {g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g), t * o * (1 - o), o * (1 - t * t), f};
}
