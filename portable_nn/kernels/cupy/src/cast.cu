// float32 rounded to half precision, for products that compute in it.
// Scalars: e E
#include "common.cuh"

DEVICE void cast_all(const float* x, scalar* out, int64 count) {
    const bool wide = aligned(x) && aligned(out);
    FOR_ALL(i, 8, count) {
        if (wide && i + 8 <= count) {
            const Pack<float, 4>* p = reinterpret_cast<const Pack<float, 4>*>(x + i);
            const Pack<float, 4> first = p[0], second = p[1];
            Pack<scalar, 8> pack;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                narrow(first.at[j], pack.at[j]);
                narrow(second.at[j], pack.at[4 + j]);
            }
            *reinterpret_cast<Pack<scalar, 8>*>(out + i) = pack;
        } else {
            for (int64 j = i; j < count && j < i + 8; j++) narrow(x[j], out[j]);
        }
    }
}

KERNEL cast(const float* x, scalar* out, int64 count) { cast_all(x, out, count); }

// A weight and its bias.
KERNEL cast_both(const float* x, scalar* out, int64 count, const float* y, scalar* out_y, int64 count_y) {
    cast_all(x, out, count);
    cast_all(y, out_y, count_y);
}

// And back again.
KERNEL widen_all(const scalar* x, float* out, int64 count) {
    const bool wide = aligned(x) && aligned(out);
    FOR_ALL(i, 8, count) {
        if (wide && i + 8 <= count) {
            const Pack<scalar, 8> pack = *reinterpret_cast<const Pack<scalar, 8>*>(x + i);
            Pack<float, 4> parts[2];
#pragma unroll
            for (int j = 0; j < 8; j++) parts[j / 4].at[j % 4] = static_cast<float>(widen(pack.at[j]));
            reinterpret_cast<Pack<float, 4>*>(out + i)[0] = parts[0];
            reinterpret_cast<Pack<float, 4>*>(out + i)[1] = parts[1];
        } else {
            for (int64 j = i; j < count && j < i + 8; j++) out[j] = static_cast<float>(widen(x[j]));
        }
    }
}
