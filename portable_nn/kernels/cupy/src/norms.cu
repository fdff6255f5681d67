// Layer norm and RMS norm over rows, of x or of the sum x + dropout(y), which is kept beside them; and the gradients of
// all arguments in one kernel, with those of weight and bias.
//
// A row belongs to THREADS threads, which hold it in registers: CHUNKS packs of PACK elements each, at most 16, so that
// each thread draws one block of dropout's stream for a row. CENTRED is layer norm. `scalar` is the type of the weights;
// X, Y and OUT are the numbers of the types of x, y and the norm, and the sum has the wider one of x and y.
//
// Variants: CENTRED=1 CHUNKS=2 TWICE=1; CENTRED=0 THREADS=64 PACK=1 CHUNKS=16; X=0 Y=3 OUT=3 PACK=8 CHUNKS=2; THREADS=512 PACK=1 CHUNKS=16
#include "dropping.cuh"
#include "last.cuh"
#include "mixed.cuh"

#ifndef CENTRED
#define CENTRED 1
#endif
#ifndef TWICE
#define TWICE 0
#endif
#ifndef THREADS
#define THREADS 32
#endif
#ifndef PACK
#define PACK WIDE
#endif
#ifndef CHUNKS
#define CHUNKS 1
#endif
#ifndef X
#define X SCALAR
#endif
#ifndef Y
#define Y X
#endif
#ifndef OUT
#define OUT SCALAR
#endif
typedef Type<X>::is x_type;
typedef Type<Y>::is y_type;
typedef Type<OUT>::is out_type;
typedef Wider<x_type, y_type>::is sum_type;
#if TWICE
typedef out_type more_type;
#else
typedef sum_type more_type;
#endif

// Threads of a block backward, which adds up the gradients of the weights; forward, where blocks share nothing.
constexpr int MANY = sizeof(real) == 8 && THREADS < 512 ? 256 : 512;
#if THREADS <= 128
#define FEW 128  // of which as many as hide how far memory is
#define FEW_KERNEL extern "C" __global__ void __launch_bounds__(FEW, 6)
#else
#define FEW THREADS
#define FEW_KERNEL ROW_KERNEL
#endif

// This thread's packs of a row: pack k begins at column i.
#define FOR_PACKS(k, i, width)                \
    _Pragma("unroll") for (int k = 0; k < CHUNKS; k++) \
        if (const int64 i = (k * THREADS + static_cast<int>(threadIdx.x)) * PACK; i < (width))
#define FOR_PACK(j) _Pragma("unroll") for (int j = 0; j < PACK; j++)

DEVICE int warp_of_block() { return (threadIdx.y * THREADS + threadIdx.x) / 32; }

// The sums of two numbers over a row. All threads of the block must take part, those of rows past the last one too.
DEVICE void row_sums(real& first, real& second) {
    first = reduce_warp(first, Sum());
    second = reduce_warp(second, Sum());
    if (THREADS > 32) {
        constexpr int WARPS = THREADS / 32;
        __shared__ real of_warps[2][MANY / 32];
        const int warp = warp_of_block(), start = warp / WARPS * WARPS;
        __syncthreads();  // whoever read the last sums is done
        if (threadIdx.x % 32 == 0) {
            of_warps[0][warp] = first;
            of_warps[1][warp] = second;
        }
        __syncthreads();
        first = second = 0;
#pragma unroll
        for (int i = 0; i < WARPS; i++) {
            first += of_warps[0][start + i];
            second += of_warps[1][start + i];
        }
    }
}

DEVICE void read_weights(const scalar* p, bool wide, real (&w)[PACK]) {
    if (wide) read<PACK>(p, w);
    else FOR_PACK(j) w[j] = load(p + j);
}

// `y`, `sum`, `weight`, `bias` and `mean` may be null; the sum is x without y.
FEW_KERNEL add_norm(const x_type* x, const y_type* y, const scalar* weight, const scalar* bias, sum_type* sum,
                out_type* out, real* mean, real* rstd, int64 rows, int64 columns, double eps, DROPPING_PARAMETERS) {
    __shared__ Drawn drawn[FEW / 32];
    const int64 row = row_of_thread(), start = row * columns, width = row < rows ? columns : 0;
    real v[CHUNKS][PACK] = {};
    FOR_PACKS(k, i, width) read<PACK>(x + start + i, v[k]);
    if (y) {
        real d[CHUNKS][PACK] = {};
        FOR_PACKS(k, i, width) read<PACK>(y + start + i, d[k]);
        const Dropping dropping = DROPPING;
        if (threshold) draw<THREADS, CHUNKS, PACK>(drawn[warp_of_block()], start, width, dropping);
        FOR_PACKS(k, i, width) {
            if (threshold) drop<PACK>(drawn[warp_of_block()], k, dropping, d[k]);
            FOR_PACK(j) v[k][j] = rounded_to<sum_type>(v[k][j] + d[k][j]);
            if (sum) write<PACK>(sum + start + i, v[k]);
        }
    }
    real centre = 0, squares = 0, nothing = 0;
    if (CENTRED) {
        FOR_PACKS(k, i, width) FOR_PACK(j) centre += v[k][j];
        row_sums(centre, nothing);
        centre /= columns;
    }
    FOR_PACKS(k, i, width) FOR_PACK(j) squares += (v[k][j] - centre) * (v[k][j] - centre);
    row_sums(squares, nothing);
    const real r = 1 / square_root(squares / columns + static_cast<real>(eps));
    if (threadIdx.x == 0 && row < rows) {
        if (CENTRED && mean) mean[row] = centre;
        if (rstd) rstd[row] = r;
    }
    const bool wide = aligned(weight) && aligned(bias);
    FOR_PACKS(k, i, width) {
        real w[PACK], b[PACK];
        if (weight) read_weights(weight + i, wide, w);
        if (bias) read_weights(bias + i, wide, b);
        FOR_PACK(j) {
            v[k][j] = (v[k][j] - centre) * r;
            if (weight) v[k][j] *= w[j];
            if (bias) v[k][j] += b[j];
        }
        write<PACK>(out + start + i, v[k]);
    }
}

// ---- backward

// How many blocks' sums one block adds up, and of how many it reads a column at once.
constexpr int TOGETHER = 24, AT_ONCE = 8;

// The sums over several blocks' sums, (3, `blocks`, width): those of `count` blocks from `first` on. f takes them.
template <class F>
DEVICE void add_blocks(const real* left, int blocks, int first, int count, int width, F f) {
    for (int i = threadIdx.y * THREADS + threadIdx.x; i < width; i += MANY) {
        real sums[3] = {};
#pragma unroll 1
        for (int start = 0; start < count; start += AT_ONCE) {
#pragma unroll
            for (int block = start; block < start + AT_ONCE; block++)
#pragma unroll
                for (int o = 0; o < 3; o++)
                    sums[o] += block < count ? peer(left + (o * blocks + first + block) * width + i) : real(0);
        }
        f(i, sums);
    }
}

// ∂w, ∂b and the sums of y's gradient, from what each thread has summed of its columns: over the rows of the block, then
// over groups of blocks, then over groups; the last block of a group to finish adds it up, the last of those all groups.
DEVICE void add_up(const real (&sums)[3][CHUNKS][PACK], real* shared, real* left, unsigned* counters, scalar* g_weight,
                   scalar* g_bias, real* y_sums, int width) {
    const int blocks = gridDim.x, block = blockIdx.x;
    constexpr int ROWS = MANY / THREADS, SIDE = CHUNKS * THREADS * PACK;
#pragma unroll
    for (int o = 0; o < 3; o++) {
        if (ROWS == 1) {
            FOR_PACKS(k, i, width) FOR_PACK(j) left[(o * blocks + block) * width + i + j] = sums[o][k][j];
            continue;
        }
        __syncthreads();
        FOR_PACKS(k, i, width) FOR_PACK(j) shared[threadIdx.y * SIDE + i + j] = sums[o][k][j];
        __syncthreads();
        for (int i = threadIdx.y * THREADS + threadIdx.x; i < width; i += MANY) {
            real total = 0;
#pragma unroll
            for (int row = 0; row < ROWS; row++) total += shared[row * SIDE + i];
            left[(o * blocks + block) * width + i] = total;
        }
    }
    const int side = blocks <= TOGETHER ? blocks : 12;  // of 132 blocks, 11 groups
    const int group = block / side, groups = (blocks + side - 1) / side, first = group * side;
    const int count = blocks - first < side ? blocks - first : side;
    const auto finish = [=](int i, const real (&totals)[3]) {
        if (g_weight) store(g_weight + i, totals[0]);
        if (g_bias) store(g_bias + i, totals[1]);
        if (y_sums) y_sums[i] = totals[2];
    };
    if (!is_last_block(counters + 1 + group, count)) return;
    if (groups == 1) {
        add_blocks(left, blocks, first, count, width, finish);
        return;
    }
    real* of_groups = left + 3 * blocks * width;
    add_blocks(left, blocks, first, count, width, [=](int i, const real (&totals)[3]) {
#pragma unroll
        for (int o = 0; o < 3; o++) of_groups[(o * groups + group) * width + i] = totals[o];
    });
    if (is_last_block(counters, groups))
        add_blocks(of_groups, groups, 0, groups, width, finish);
}

// The gradient of the sum: rstd (ĝ - mean(ĝ) - x̂ mean(ĝ x̂)), where ĝ = g w (RMS norm has no mean(ĝ)), plus `more`, what
// else was made of it; where TWICE is 1 that is more of g instead. A row of g stands for `every` of the others. That is
// the gradient of x; y's goes through the mask, and `y_sums` are its sums over the rows. All
// but s, g and rstd may be null; if any sums are wanted, `left` has room for 3 (blocks + 11) rows.
ROW_KERNEL add_norm_backward(const sum_type* sum, const scalar* weight, const out_type* g, const more_type* more,
                         const real* mean, const real* rstd, x_type* g_x, y_type* g_y, scalar* g_weight,
                         scalar* g_bias, real* y_sums, real* left, unsigned* counters, int64 rows, int64 columns,
                         int64 every, DROPPING_PARAMETERS) {
    union Memory {
        real sums[MANY > THREADS ? MANY * CHUNKS * PACK : 1];  // of wide rows of float64 they would not fit
        Drawn drawn[MANY / 32];
    };
    __shared__ __align__(16) Memory memory;
    Drawn& drawn = memory.drawn[warp_of_block()];
    real sums[3][CHUNKS][PACK] = {};
    const bool wide = aligned(weight);
    const Dropping dropping = DROPPING;
    for (int64 above = static_cast<int64>(blockIdx.x) * blockDim.y; above < rows; above += gridDim.x * blockDim.y) {
        const int64 row = above + threadIdx.y, start = row * columns, width = row < rows ? columns : 0;
        const out_type* g_row = g + (every == 1 ? row : row / every) * columns;
        real v[CHUNKS][PACK] = {}, d[CHUNKS][PACK] = {}, e[CHUNKS][PACK] = {};
        FOR_PACKS(k, i, width) {
            read<PACK>(sum + start + i, v[k]);
            read<PACK>(g_row + i, d[k]);
            if (more) read<PACK>(more + start + i, e[k]);
        }
        const real centre = CENTRED && width ? mean[row] : real(0), r = width ? rstd[row] : real(0);
        if (g_y && threshold) draw<THREADS, CHUNKS, PACK>(drawn, start, width, dropping);
        real shift = 0, slope = 0;
        FOR_PACKS(k, i, width) {
            real w[PACK];
            if (weight) read_weights(weight + i, wide, w);
            FOR_PACK(j) {
                if (TWICE) d[k][j] += e[k][j];
                v[k][j] = (v[k][j] - centre) * r;
                sums[0][k][j] += d[k][j] * v[k][j];
                sums[1][k][j] += d[k][j];
                if (weight) d[k][j] *= w[j];
                shift += d[k][j];
                slope += d[k][j] * v[k][j];
            }
        }
        row_sums(shift, slope);
        shift = CENTRED ? shift / columns : real(0);
        slope /= columns;
        FOR_PACKS(k, i, width) {
            FOR_PACK(j) v[k][j] = r * (d[k][j] - shift - v[k][j] * slope) + (TWICE ? real(0) : e[k][j]);
            if (g_x) write<PACK>(g_x + start + i, v[k]);
            if (g_y) {
                if (threshold) drop<PACK>(drawn, k, dropping, v[k]);
                write<PACK>(g_y + start + i, v[k]);
            }
            FOR_PACK(j) sums[2][k][j] += v[k][j];
        }
    }
    if (left) add_up(sums, memory.sums, left, counters, g_weight, g_bias, y_sums, static_cast<int>(columns));
}
