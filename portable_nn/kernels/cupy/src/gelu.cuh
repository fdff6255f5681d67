// The normal distribution, which GELU and its slope are made of: its share Φ(z) below z, and its density.
#pragma once
#include "common.cuh"

#if SCALAR < 2
DEVICE void normal(real z, real& share, real& density) {
    share = real(0.5) * (1 + error_function(z * real(0.70710678118654752440)));
    density = exponential(real(-0.5) * z * z) * real(0.39894228040143267794);
}
#else
// For half precision, which an error of 3e-7 is lost in: one exponential for both, or kernels would wait for arithmetic
// rather than memory. M. Abramowitz and I. Stegun, "Handbook of mathematical functions", 1964, 7.1.26.
DEVICE void normal(real z, real& share, real& density) {
    const real e = __expf(-0.5f * z * z), t = __fdividef(1.0f, 1.0f + 0.3275911f * 0.70710678f * magnitude(z));
    const real series = (((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f;
    const real beyond = 0.5f * e * t * series;
    share = z < 0 ? beyond : 1 - beyond;
    density = e * 0.39894228f;
}
#endif

DEVICE real gelu_exact(real z) {
    real share, density;
    normal(z, share, density);
    return z * share;
}

DEVICE real gelu_exact_slope(real z) {
    real share, density;
    normal(z, share, density);
    return share + z * density;
}
