// What softmax and cross-entropy share.
#pragma once
#include "common.cuh"

// A row's largest value and Σ exp(x - largest), in one pass: a thread rescales its sum where it meets a larger value.
template <int N>
DEVICE void exponentials(const scalar* x, int64 width, real& top, real& sum) {
    real largest = lowest(), total = 0;
    FOR_ROW(i, N, width) {
        real v[N];
        load<N>(x + i, v);
        real m = v[0];
#pragma unroll
        for (int j = 1; j < N; j++) m = larger(m, v[j]);
        if (m > largest) {
            total *= exponential(largest - m);
            largest = m;
        }
        const real shift = largest == lowest() ? real(0) : largest;  // -inf - -inf would be NaN
#pragma unroll
        for (int j = 0; j < N; j++) total += exponential(v[j] - shift);
    }
    top = row_max(largest);
    sum = row_sum(largest == top ? total : total * exponential(largest - top));
}
