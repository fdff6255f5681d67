// Losses of a prediction x and a target t, with d = x - t and an option a: their values and slopes.
#pragma once
#include "common.cuh"

DEVICE real sign_of(real d) { return d > 0 ? real(1) : d < 0 ? real(-1) : d; }
// log x and 1 / x as functional/likelihoods.py clamps them.
DEVICE real clamped_log(real x) {
    real y = x <= 0 ? real(-100) : logarithm(x);
    return y < -100 ? real(-100) : y;
}
DEVICE real clamped_log1p(real x) {
    real y = x <= -1 ? real(-100) : log_plus_one(x);
    return y < -100 ? real(-100) : y;
}
DEVICE real clamped_inverse(real x) { return 1 / (x < real(1e-12) ? real(1e-12) : x); }
DEVICE real huber_slope(real d, real delta) { return magnitude(d) <= delta ? d : sign_of(d) * delta; }
DEVICE real quantile_slope(real d, real q) { return -d >= 0 ? -q : 1 - q; }
DEVICE real binary_slope(real x, real t) { return (1 - t) * clamped_inverse(1 - x) - t * clamped_inverse(x); }

// PAIR(name, value, slope of x, slope of t) for each of them.
#define PAIRS(PAIR)                                                                                                  \
    PAIR(bce_with_logits, (x > 0 || x != x ? x : real(0)) - x * t + log_plus_one(exponential(-magnitude(x))),        \
         sigmoid_of(x) - t, -x)                                                                                      \
    PAIR(squared_error, d * d, 2 * d, -2 * d)                                                                        \
    PAIR(absolute_error, magnitude(d), sign_of(d), -sign_of(d))                                                      \
    PAIR(huber_error, magnitude(d) <= a ? d * d / 2 : (magnitude(d) - a / 2) * a, huber_slope(d, a),                 \
         -huber_slope(d, a))                                                                                         \
    PAIR(quantile_error, -d >= 0 ? -d * a : -d * (a - 1), quantile_slope(d, a), -quantile_slope(d, a))               \
    PAIR(binary_cross_entropy, -(t * clamped_log(x) + (1 - t) * clamped_log1p(-x)), binary_slope(x, t),              \
         clamped_log1p(-x) - clamped_log(x))
