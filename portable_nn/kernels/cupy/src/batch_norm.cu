// Batch norm over x (B, C, T): statistics of each channel over batch and time, then one pass over all elements.
//
// The statistics are those of chunks of rows, which the last block of a channel to finish joins in their order. ACROSS, for few steps, gives 32 neighbouring
// threads a channel each and takes 8 rows (b, t) at once, in blocks of (32, 8); else a block of (256, 1) is one channel's.
#include "last.cuh"

template <bool ACROSS>
struct Channel {
    int64 channel, first, last, start, step, channels, steps;

    DEVICE Channel(int64 rows, int64 channels, int64 steps) : channels(channels), steps(steps) {
        channel = ACROSS ? static_cast<int64>(blockIdx.x) * 32 + threadIdx.x : blockIdx.x;
        const int64 share = (rows + gridDim.y - 1) / gridDim.y;
        first = blockIdx.y * share;
        last = first + share < rows ? first + share : rows;
        start = first + (ACROSS ? threadIdx.y : threadIdx.x);
        step = ACROSS ? 8 : 256;
        if (channel >= channels) start = last;  // takes part in the sums alone
    }
    DEVICE int64 at(int64 row) const { return (row / steps * channels + channel) * steps + row % steps; }
    DEVICE int64 count() const { return last > first ? last - first : 0; }
    // Whether this thread writes what is known of its channel.
    DEVICE bool writes() const { return channel < channels && (ACROSS ? threadIdx.y : threadIdx.x) == 0; }
    DEVICE real sum(real x) const {
        if (!ACROSS) return row_sum(x);
        __shared__ real of_lanes[8][32];
        __syncthreads();
        of_lanes[threadIdx.y][threadIdx.x] = x;
        __syncthreads();
        x = 0;
        for (int lane = 0; lane < 8; lane++) x += of_lanes[lane][threadIdx.x];
        return x;
    }
};

// kept (2, C): mean and 1 / √(variance + ε); mean and variance also as results. All of channel c, from its chunks.
DEVICE void join_moments(int64 c, const real* partial, real* kept, scalar* mean, scalar* variance, int64 rows,
                         int64 channels, double eps) {
    const int64 chunks = gridDim.y, share = (rows + chunks - 1) / chunks;
    real count = 0, centre = 0, squares = 0;
    for (int64 chunk = 0; chunk < chunks; chunk++) {  // T. F. Chan et al., 1979
        const int64 left = rows - chunk * share;
        if (left <= 0) break;
        const real more = left < share ? left : share, total = count + more;
        const real d = peer(partial + chunk * channels + c) - centre;
        centre += d * (more / total);
        squares += peer(partial + (chunks + chunk) * channels + c) + d * d * (count * more / total);
        count = total;
    }
    const real spread = squares / rows;
    kept[c] = centre;
    kept[channels + c] = 1 / square_root(spread + static_cast<real>(eps));
    store(mean + c, centre);
    store(variance + c, spread);
}

// partial (2, chunks, C): the mean of each chunk, and Σ (x - that)².
template <bool ACROSS>
DEVICE void moments_of(const scalar* x, real* partial, real* kept, scalar* mean_out, scalar* variance, unsigned* counters,
                       int64 rows, int64 channels, int64 steps, double eps) {
    const Channel<ACROSS> c(rows, channels, steps);
    real sum = 0, squares = 0;
    for (int64 row = c.start; row < c.last; row += c.step) sum += load(x + c.at(row));
    const real mean = c.sum(sum) / (c.count() ? c.count() : 1);
    for (int64 row = c.start; row < c.last; row += c.step) {
        const real d = load(x + c.at(row)) - mean;
        squares += d * d;
    }
    squares = c.sum(squares);
    if (c.writes()) {
        partial[blockIdx.y * channels + c.channel] = mean;
        partial[(static_cast<int64>(gridDim.y) + blockIdx.y) * channels + c.channel] = squares;
    }
    if (gridDim.y > 1 && !is_last_block(counters + blockIdx.x, gridDim.y)) return;
    if (c.writes()) join_moments(c.channel, partial, kept, mean_out, variance, rows, channels, eps);
}

KERNEL moments(const scalar* x, real* partial, real* kept, scalar* mean, scalar* variance, unsigned* counters, int64 rows,
               int64 channels, int64 steps, int64 across, double eps) {
    if (across) moments_of<true>(x, partial, kept, mean, variance, counters, rows, channels, steps, eps);
    else moments_of<false>(x, partial, kept, mean, variance, counters, rows, channels, steps, eps);
}

DEVICE int64 channel_at(int64 i, int64 channels, int64 steps) {
    return i < (1ll << 32) ? static_cast<unsigned>(i) / static_cast<unsigned>(steps) % static_cast<unsigned>(channels)
                           : i / steps % channels;
}

KERNEL normalize(const scalar* x, const scalar* weight, const scalar* bias, const real* kept, scalar* out, int64 count,
                 int64 channels, int64 steps) {
    FOR_ALL(i, 1, count) {
        const int64 c = channel_at(i, channels, steps);
        real y = (load(x + i) - kept[c]) * kept[channels + c];
        if (weight) y *= load(weight + c);
        if (bias) y += load(bias + c);
        store(out + i, y);
    }
}

// What the gradients of a channel are made of; all but kept and factors may be null.
struct Gradients {
    const real* kept;
    const scalar *weight, *g_mean, *g_variance;
    scalar *g_weight, *g_bias;
    real* factors;

    // From Σ g and Σ g x̂, those of weight and bias, and in factors (3, C) those of ∂x = scale g + slope (x - mean) + shift.
    DEVICE void write(int64 c, real sum, real products, int64 rows, int64 channels) const {
        if (g_weight) store(g_weight + c, products);
        if (g_bias) store(g_bias + c, sum);
        const real rstd = kept[channels + c], scale = weight ? rstd * load(weight + c) : rstd;
        factors[c] = scale;
        factors[channels + c] = -scale * rstd * products / rows + (g_variance ? 2 * load(g_variance + c) / rows : real(0));
        factors[2 * channels + c] = -scale * sum / rows + (g_mean ? load(g_mean + c) / rows : real(0));
    }
};

#define GRADIENTS                                                                                              \
    const real *kept, const scalar *weight, const scalar *g_mean, const scalar *g_variance, scalar *g_weight, \
        scalar *g_bias, real *factors
#define GIVEN {kept, weight, g_mean, g_variance, g_weight, g_bias, factors}

// partial (2, chunks, C): Σ g and Σ g x̂ of each chunk.
template <bool ACROSS>
DEVICE void products_of(const scalar* x, const scalar* g, const Gradients& made, real* partial, unsigned* counters,
                        int64 rows, int64 channels, int64 steps) {
    const Channel<ACROSS> c(rows, channels, steps);
    const int64 chunks = gridDim.y;
    real sum = 0, products = 0, mean = 0, rstd = 0;
    if (c.channel < channels) mean = made.kept[c.channel], rstd = made.kept[channels + c.channel];
    for (int64 row = c.start; row < c.last; row += c.step) {
        const real d = load(g + c.at(row));
        sum += d;
        products += d * ((load(x + c.at(row)) - mean) * rstd);
    }
    sum = c.sum(sum);
    products = c.sum(products);
    if (chunks > 1) {
        if (c.writes()) {
            partial[blockIdx.y * channels + c.channel] = sum;
            partial[(chunks + blockIdx.y) * channels + c.channel] = products;
        }
        if (!is_last_block(counters + blockIdx.x, static_cast<unsigned>(chunks))) return;
        sum = products = 0;
        for (int64 chunk = 0; c.writes() && chunk < chunks; chunk++) {
            sum += peer(partial + chunk * channels + c.channel);
            products += peer(partial + (chunks + chunk) * channels + c.channel);
        }
    }
    if (c.writes()) made.write(c.channel, sum, products, rows, channels);
}

KERNEL products(const scalar* x, const scalar* g, GRADIENTS, real* partial, unsigned* counters, int64 rows, int64 channels,
                int64 steps, int64 across) {
    const Gradients made = GIVEN;
    if (across) products_of<true>(x, g, made, partial, counters, rows, channels, steps);
    else products_of<false>(x, g, made, partial, counters, rows, channels, steps);
}

// Where there is no g. A thread for each channel.
KERNEL no_products(GRADIENTS, int64 rows, int64 channels) {
    const int64 c = static_cast<int64>(blockIdx.x) * blockDim.x + threadIdx.x;
    const Gradients made = GIVEN;
    if (c < channels) made.write(c, 0, 0, rows, channels);
}

KERNEL normalize_backward(const scalar* x, const scalar* g, const real* kept, const real* factors, scalar* g_x,
                          int64 count, int64 channels, int64 steps) {
    FOR_ALL(i, 1, count) {
        const int64 c = channel_at(i, channels, steps);
        const real d = g ? factors[c] * load(g + i) : real(0);
        store(g_x + i, d + factors[channels + c] * (load(x + i) - kept[c]) + factors[2 * channels + c]);
    }
}
