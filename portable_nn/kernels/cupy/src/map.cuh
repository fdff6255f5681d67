// Elementwise work: every array is read and written once, 16 bytes a thread where all are aligned.
#pragma once
#include "common.cuh"

// f(const real* x, real* y) makes one element of each output from one of each input. Null pointers are left out, their
// x are 0. Launched by `launch.elements`.
template <int INPUTS, int OUTPUTS, class F>
DEVICE void map(const scalar* const (&in)[INPUTS], scalar* const (&out)[OUTPUTS], int64 count, F f) {
    bool wide = true;
#pragma unroll
    for (int k = 0; k < INPUTS; k++) wide = wide && aligned(in[k]);
#pragma unroll
    for (int k = 0; k < OUTPUTS; k++) wide = wide && aligned(out[k]);
    FOR_ALL(i, WIDE, count) {
        if (wide && i + WIDE <= count) {
            real x[INPUTS][WIDE] = {}, y[OUTPUTS][WIDE];
#pragma unroll
            for (int k = 0; k < INPUTS; k++)
                if (in[k]) load<WIDE>(in[k] + i, x[k]);
#pragma unroll
            for (int j = 0; j < WIDE; j++) {
                real one[INPUTS], made[OUTPUTS];
#pragma unroll
                for (int k = 0; k < INPUTS; k++) one[k] = x[k][j];
                f(one, made);
#pragma unroll
                for (int k = 0; k < OUTPUTS; k++) y[k][j] = made[k];
            }
#pragma unroll
            for (int k = 0; k < OUTPUTS; k++)
                if (out[k]) store<WIDE>(out[k] + i, y[k]);
        } else {
            for (int64 j = i; j < count && j < i + WIDE; j++) {
                real one[INPUTS], made[OUTPUTS];
#pragma unroll
                for (int k = 0; k < INPUTS; k++) one[k] = in[k] ? load(in[k] + j) : real(0);
                f(one, made);
#pragma unroll
                for (int k = 0; k < OUTPUTS; k++)
                    if (out[k]) store(out[k] + j, made[k]);
            }
        }
    }
}
