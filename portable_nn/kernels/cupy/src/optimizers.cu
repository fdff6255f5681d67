// Optimiser updates over the flat arena: one look at the gradients, one conclusion, one update, whatever their number.
//
// A launch takes a table of pieces by value: where each parameter's gradient lies, and where its values and moments begin
// in the run. So gradients are read where the backward pass left them, and a captured launch keeps their addresses.
// What changes from step to step (learning rate, bias corrections) is read from a small array on the device, and so are
// the factor that clips and the flag that freezes: nothing is read back. Sums run in one fixed order.
#include "row_index.cuh"

constexpr int PIECES = 96;   // of one launch; the table stays within the 4 KB that every device takes
constexpr int THREADS = 256;
constexpr int CHUNK = 2048;  // elements that one block works on
constexpr int WIDTH = 12;    // numbers in a row of step scalars

struct Pieces {
    const scalar* gradient[PIECES];
    int64 begin[PIECES];  // first element in the run
    int64 size[PIECES];
    int first_block[PIECES];
    int row[PIECES];      // of the step scalars
    const int* index[PIECES];  // of a table of which only sums of rows are there; else null
    int64 count;
};

// The record: what is known about this step and the run.
enum { TOTAL, FACTOR, APPLY, STEP_LOSS, STEPS, FROZEN, BAD_STEP, BAD_LOSS, BAD_ELEMENT, SCALE, GOOD_STEPS,
       PASSED_OVER };
// How to conclude, written by the host for each step. A MAX_NORM or INTERVAL of 0 stands for none.
enum { MAX_NORM, LATCHED, INTERVAL, GROWTH, BACKOFF };

constexpr double NO_ELEMENT = 9007199254740992.0;  // 2**53, beyond every element
constexpr double LARGEST_SCALE = 16777216.0;

DEVICE bool is_finite(real x) { return x - x == 0; }

DEVICE int piece_of(const Pieces& pieces, int block) {
    int low = 0, high = static_cast<int>(pieces.count) - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (pieces.first_block[middle] <= block) low = middle; else high = middle - 1;
    }
    return low;
}

// The sum and the smallest over the threads of the block, in a fixed order; thread 0 has them.
DEVICE void gather(double& sum, double& first) {
    __shared__ double sums[THREADS];
    __shared__ double firsts[THREADS];
    int thread = threadIdx.x;
    sums[thread] = sum;
    firsts[thread] = first;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) {
            sums[thread] += sums[thread + half];
            firsts[thread] = fmin(firsts[thread], firsts[thread + half]);
        }
        __syncthreads();
    }
    sum = sums[0];
    first = firsts[0];
}

// Which element of a table it is that stands at `place` of the sums of its rows; of a gradient without an index, that one.
DEVICE int64 element_of(const int* index, int64 place) {
    if (!index) return place;
    const int width = index[1];
    return static_cast<int64>(index[INDEX_KEYS + place / width]) * width + place % width;
}

// Of each block the sum of squares, and the first element that is not finite, counted from `start`.
KERNEL inspect(Pieces pieces, int64 start, double* squares, double* bad) {
    int block = blockIdx.x, piece = piece_of(pieces, block);
    const scalar* gradient = pieces.gradient[piece];
    int64 size = pieces.size[piece], base = start + pieces.begin[piece];
    int64 place = static_cast<int64>(block - pieces.first_block[piece]) * CHUNK + threadIdx.x;
    int64 stop = min(size, place - threadIdx.x + CHUNK);
    real sum = 0;
    double first = NO_ELEMENT;
#pragma unroll 4
    for (; place < stop; place += THREADS) {
        real g = load(gradient + place);
        sum += g * g;
        if (!is_finite(g)) first = fmin(first, static_cast<double>(base + element_of(pieces.index[piece], place)));
    }
    double total = sum;
    gather(total, first);
    if (threadIdx.x == 0) {
        squares[block] = total;
        bad[block] = first;
    }
}

// What the step comes to: the factor of the gradients, whether to apply them, and what the latch remembers.
DEVICE void decide(double total, double element, double* record, const double* settings) {
    bool finite = element == NO_ELEMENT, scaled = settings[INTERVAL] > 0;
    bool sound = record[STEP_LOSS] - record[STEP_LOSS] == 0;
    double factor = scaled ? 1 / record[SCALE] : 1;
    if (settings[MAX_NORM] > 0) {
        double clip = settings[MAX_NORM] / (sqrt(total) * factor + 1e-6);
        if (clip < 1) factor *= clip;
    }
    // Too large a scale is no fault of the model: pass the step over, and go on with a smaller one.
    bool overflow = scaled && !finite && sound && record[SCALE] > 1;
    if (!overflow) record[STEPS] += 1;
    if (overflow) {
        record[SCALE] = fmax(record[SCALE] * settings[BACKOFF], 1.0);
        record[GOOD_STEPS] = 0;
    } else if (scaled && finite && ++record[GOOD_STEPS] >= settings[INTERVAL]) {
        record[SCALE] = fmin(record[SCALE] * settings[GROWTH], LARGEST_SCALE);
        record[GOOD_STEPS] = 0;
    }
    if (settings[LATCHED] > 0 && !overflow && !(finite && sound) && record[FROZEN] == 0) {
        record[FROZEN] = 1;
        record[BAD_STEP] = record[STEPS];
        record[BAD_LOSS] = record[STEP_LOSS];
        record[BAD_ELEMENT] = finite ? -1 : element;
    }
    record[TOTAL] = total;
    record[FACTOR] = factor;
    record[APPLY] = record[FROZEN] == 0 && !overflow;
    record[PASSED_OVER] = record[FROZEN] == 0 && overflow;
    record[STEP_LOSS] = 0;
}

KERNEL conclude(const double* squares, const double* bad, int64 blocks, double* record, const double* settings) {
    double sum = 0, first = NO_ELEMENT;
    for (int64 i = threadIdx.x; i < blocks; i += THREADS) {
        sum += squares[i];
        first = fmin(first, bad[i]);
    }
    gather(sum, first);
    if (threadIdx.x == 0) decide(sum, first, record, settings);
}

// A loss of the step under way; of several, the first that is not finite counts.
KERNEL see_loss(const scalar* loss, double* record) {
    if (record[STEP_LOSS] - record[STEP_LOSS] == 0) record[STEP_LOSS] = load(loss);
}

// ---- the rules, one element each: the definition of each optimiser in optim/, in the same order

template <bool LARGEST>
struct Adam {  // s: beta1, 1 - beta1, beta2, 1 - beta2, eps, weight decay, shrink, step size, root of the correction
    static constexpr int MOMENTS = 2 + LARGEST;
    static DEVICE void apply(real& p, real g, real* m, const real* s) {
        if (s[5] != 0) g = g + p * s[5];
        m[0] = m[0] * s[0] + g * s[1];
        m[1] = m[1] * s[2] + g * g * s[3];
        real spread = m[1];
        if (LARGEST) spread = m[MOMENTS - 1] = m[MOMENTS - 1] >= spread ? m[MOMENTS - 1] : spread;
        p = p * s[6] - m[0] / (square_root(spread) / s[8] + s[4]) * s[7];
    }
};

struct Descent {  // s: learning rate, momentum, weight decay, keep
    static constexpr int MOMENTS = 0;
    static DEVICE void apply(real& p, real g, real* m, const real* s) {
        if (s[2] != 0) g = g + p * s[2];
        p = p - g * s[0];
    }
};

template <bool AHEAD>
struct Momentum {
    static constexpr int MOMENTS = 1;
    static DEVICE void apply(real& p, real g, real* m, const real* s) {
        if (s[2] != 0) g = g + p * s[2];
        m[0] = m[0] * s[1] + g * s[3];
        p = p - (AHEAD ? g + m[0] * s[1] : m[0]) * s[0];
    }
};

template <bool CENTERED, bool HEAVY>
struct RootMeanSquare {  // s: learning rate, alpha, 1 - alpha, eps, weight decay, momentum
    static constexpr int MOMENTS = 1 + CENTERED + HEAVY;
    static DEVICE void apply(real& p, real g, real* m, const real* s) {
        if (s[4] != 0) g = g + p * s[4];
        m[0] = m[0] * s[1] + g * g * s[2];
        real spread = m[0];
        if (CENTERED) {
            m[CENTERED] = m[CENTERED] * s[1] + g * s[2];
            spread = m[0] - m[CENTERED] * m[CENTERED];
            spread = spread < 0 ? 0 : spread;  // rounding alone takes it there
        }
        real direction = g / (square_root(spread) + s[3]);
        if (HEAVY) direction = m[MOMENTS - 1] = m[MOMENTS - 1] * s[5] + direction;
        p = p - direction * s[0];
    }
};

struct Lion {  // s: learning rate, beta1, 1 - beta1, beta2, 1 - beta2, shrink
    static constexpr int MOMENTS = 1;
    static DEVICE void apply(real& p, real g, real* m, const real* s) {
        real c = m[0] * s[1] + g * s[2];
        p = p * s[5] - (c > 0 ? real(1) : c < 0 ? real(-1) : c) * s[0];
        m[0] = m[0] * s[3] + g * s[4];
    }
};

// Where a run keeps its values and up to three moments; null where there are fewer.
struct Run {
    scalar* array[4];
};

// A span of a gradient: in a row from `from` on or, where `places` is not null, in the rows of a table that have a place
// there, from column `skipped` of the first on, with zeros between them.
struct Gradient {
    const scalar* from;
    const int* places;
    unsigned width, skipped;

    template <int N>
    DEVICE void read(int64 i, real (&g)[N]) const {
        if (!places) return load<N>(from + i, g);
        const unsigned at = skipped + static_cast<unsigned>(i), row = at / width;
        const int64 place = places[row];
        if (place >= 0) return load<N>(from + place * width + (at - row * width), g);
#pragma unroll
        for (int j = 0; j < N; j++) g[j] = 0;
    }
};

// Elements from `first` up to `last` of a gradient that begins at `place` of the run, N at a time.
template <class Rule, int N>
DEVICE void update_elements(const Run& run, int64 place, const Gradient& gradient, int64 first, int64 last, real factor,
                            const real* s) {
#pragma unroll 2
    for (int64 i = first + threadIdx.x * N; i < last; i += blockDim.x * N) {
        real x[4][N] = {}, g[N];  // values and moments
        gradient.read<N>(i, g);
#pragma unroll
        for (int a = 0; a <= Rule::MOMENTS; a++) load<N>(run.array[a] + place + i, x[a]);
#pragma unroll
        for (int j = 0; j < N; j++) {
            real moments[3] = {x[1][j], x[2][j], x[3][j]};
            Rule::apply(x[0][j], g[j] * factor, moments, s);
#pragma unroll
            for (int a = 0; a < Rule::MOMENTS; a++) x[a + 1][j] = moments[a];
        }
#pragma unroll
        for (int a = 0; a <= Rule::MOMENTS; a++) store<N>(run.array[a] + place + i, x[a]);
    }
}

// `count` elements, by all threads of a row of them; where `wide` says that the gradient may be read so, 16 bytes each.
template <class Rule>
DEVICE void update_span(const Run& run, int64 place, const Gradient& gradient, bool wide, int64 count, real factor,
                        const real* row) {
    real s[WIDTH];
#pragma unroll
    for (int i = 0; i < WIDTH; i++) s[i] = row[i];
    const int64 whole = wide && place % WIDE == 0 ? count / WIDE * WIDE : 0;  // the arrays themselves are aligned
    update_elements<Rule, WIDE>(run, place, gradient, 0, whole, factor, s);
    update_elements<Rule, 1>(run, place, gradient, whole, count, factor, s);
}

DEVICE void update_by(int64 rule, const Run& run, int64 place, const Gradient& gradient, bool wide, int64 count,
                      real factor, const real* row) {
    switch (rule) {  // as `RULES` in optimizers.py
        case 0: return update_span<Adam<false>>(run, place, gradient, wide, count, factor, row);
        case 1: return update_span<Adam<true>>(run, place, gradient, wide, count, factor, row);
        case 2: return update_span<Descent>(run, place, gradient, wide, count, factor, row);
        case 3: return update_span<Momentum<false>>(run, place, gradient, wide, count, factor, row);
        case 4: return update_span<Momentum<true>>(run, place, gradient, wide, count, factor, row);
        case 5: return update_span<RootMeanSquare<false, false>>(run, place, gradient, wide, count, factor, row);
        case 6: return update_span<RootMeanSquare<false, true>>(run, place, gradient, wide, count, factor, row);
        case 7: return update_span<RootMeanSquare<true, false>>(run, place, gradient, wide, count, factor, row);
        case 8: return update_span<RootMeanSquare<true, true>>(run, place, gradient, wide, count, factor, row);
        case 9: return update_span<Lion>(run, place, gradient, wide, count, factor, row);
    }
}

// Where `record` is null nothing clips, scales or freezes.
KERNEL update(Pieces pieces, int64 rule, scalar* values, scalar* first, scalar* second, scalar* third,
              const real* scalars, const double* record) {
    __shared__ int places[CHUNK];  // of the rows that this block works on
    if (record && record[APPLY] == 0) return;
    real factor = record ? static_cast<real>(record[FACTOR]) : real(1);
    int block = blockIdx.x, piece = piece_of(pieces, block);
    int64 start = static_cast<int64>(block - pieces.first_block[piece]) * CHUNK;
    int64 count = min(static_cast<int64>(CHUNK), pieces.size[piece] - start);
    const int* index = pieces.index[piece];
    Gradient gradient = {pieces.gradient[piece] + (index ? 0 : start), nullptr, 1, 0};
    if (index) {
        const int64 width = index[1], row = start / width, last = (start + count - 1) / width;
        for (int64 i = threadIdx.x; row + i <= last; i += THREADS) places[i] = place_of_row(index, row + i);
        __syncthreads();
        gradient = {pieces.gradient[piece], places, static_cast<unsigned>(width),
                    static_cast<unsigned>(start - row * width)};
    }
    const bool wide = aligned(gradient.from) && (!index || gradient.width % WIDE == 0);
    update_by(rule, Run{{values, first, second, third}}, pieces.begin[piece] + start, gradient, wide, count, factor,
              scalars + pieces.row[piece] * WIDTH);
}

// Sums of rows as `sum_few` leaves them, with their index, for each layer of blocks (z).
struct Tables {
    const scalar* sums[8];
    const int* index[8];
    int64 begin[8];  // first element in the run
    int64 size[8];   // rows
    int row[8];      // of the step scalars
};

// As `update`, for the rows alone that have a gradient; a warp for each.
ROW_KERNEL update_rows(Tables tables, int64 rule, scalar* values, scalar* first, scalar* second, scalar* third,
                       const real* scalars, const double* record) {
    const int layer = blockIdx.z;
    const int* index = tables.index[layer];
    const int64 place = row_of_thread(), width = index[1];
    if (place >= index[0] || (record && record[APPLY] == 0)) return;
    const int64 row = row_of_place(index, place, tables.size[layer]);
    if (row < 0) return;
    const Gradient gradient = {tables.sums[layer] + place * width, nullptr, 0, 0};
    update_by(rule, Run{{values, first, second, third}}, tables.begin[layer] + row * width, gradient, width % WIDE == 0,
              width, record ? static_cast<real>(record[FACTOR]) : real(1), scalars + tables.row[layer] * WIDTH);
}
