// Optimiser updates over the flat arena: one look at the gradients, one conclusion, one update, whatever their number.
//
// A launch takes a table of pieces by value: where each parameter's gradient lies, and where its values and moments begin
// in the run. So gradients are read where the backward pass left them, and a captured launch keeps their addresses.
// What changes from step to step (learning rate, bias corrections) is read from a small array on the device, and so are
// the factor that clips and the flag that freezes: nothing is read back. Sums run in one fixed order.

constexpr int PIECES = 96;   // of one launch; the table stays within the 4 KB that every device takes
constexpr int THREADS = 256;
constexpr int CHUNK = 2048;  // elements that one block works on

struct Pieces {
    const void* gradient[PIECES];
    long long begin[PIECES];   // first element in the run
    unsigned int size[PIECES];
    int first_block[PIECES];
    int scalars[PIECES];       // row of the step scalars
    int count;
    int unused;
};

// The record: what is known about this step and the run, as doubles.
enum { TOTAL, FACTOR, APPLY, STEP_LOSS, STEPS, FROZEN, BAD_STEP, BAD_LOSS, BAD_ELEMENT, SCALE, GOOD_STEPS };
// The settings of the conclusion, written by the host for each step. A max_norm or growth interval of 0 means none.
enum { MAX_NORM, LATCHED, INTERVAL, GROWTH, BACKOFF };

constexpr double NO_ELEMENT = 9007199254740992.0;  // 2**53, beyond every element

__device__ int piece_of(const Pieces& pieces, int block) {
    int low = 0, high = pieces.count - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (pieces.first_block[middle] <= block) low = middle; else high = middle - 1;
    }
    return low;
}

template <typename T>
__device__ bool is_finite(T x) {
    return x - x == T(0);
}

// The sum of squares and the first element that is not finite (counted from `start`), one of each per block.
template <typename T>
__global__ void inspect(Pieces pieces, long long start, double* squares, double* bad) {
    __shared__ double sums[THREADS];
    __shared__ double firsts[THREADS];
    int block = blockIdx.x, thread = threadIdx.x;
    int piece = piece_of(pieces, block);
    const T* gradient = static_cast<const T*>(pieces.gradient[piece]);
    long long size = pieces.size[piece];
    long long first = static_cast<long long>(block - pieces.first_block[piece]) * CHUNK;
    T sum = T(0);
    double found = NO_ELEMENT;
    for (int i = 0; i < CHUNK / THREADS; ++i) {
        long long place = first + i * THREADS + thread;
        if (place < size) {
            T g = gradient[place];
            sum += g * g;
            if (!is_finite(g) && found == NO_ELEMENT) found = static_cast<double>(start + pieces.begin[piece] + place);
        }
    }
    sums[thread] = static_cast<double>(sum);
    firsts[thread] = found;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) {
            sums[thread] += sums[thread + half];
            if (firsts[thread + half] < firsts[thread]) firsts[thread] = firsts[thread + half];
        }
        __syncthreads();
    }
    if (thread == 0) {
        squares[block] = sums[0];
        bad[block] = firsts[0];
    }
}

// What the step comes to: the factor of the gradients, whether to apply them, and what the latch remembers.
__device__ void decide(double total, double element, double* record, const double* settings) {
    bool finite = element == NO_ELEMENT;
    bool scaled = settings[INTERVAL] > 0;
    double unscaled = scaled ? 1.0 / record[SCALE] : 1.0;
    double factor = unscaled;
    if (settings[MAX_NORM] > 0) {
        double norm = sqrt(total) * unscaled;
        double clip = settings[MAX_NORM] / (norm + 1e-6);
        if (clip < 1.0) factor = clip * unscaled;
    }
    record[STEPS] += 1;
    bool overflow = scaled && !finite && record[SCALE] > 1.0 && is_finite(record[STEP_LOSS]);
    if (scaled) {  // too large a scale is no fault of the model: pass the step over and try a smaller one
        if (overflow) {
            record[SCALE] = fmax(record[SCALE] * settings[BACKOFF], 1.0);
            record[GOOD_STEPS] = 0;
        } else if (finite && ++record[GOOD_STEPS] >= settings[INTERVAL]) {
            record[SCALE] = fmin(record[SCALE] * settings[GROWTH], 16777216.0);
            record[GOOD_STEPS] = 0;
        }
    }
    bool fault = settings[LATCHED] > 0 && !overflow && (!finite || !is_finite(record[STEP_LOSS]));
    if (fault && record[FROZEN] == 0) {
        record[FROZEN] = 1;
        record[BAD_STEP] = record[STEPS];
        record[BAD_LOSS] = record[STEP_LOSS];
        record[BAD_ELEMENT] = finite ? -1.0 : element;
    }
    record[TOTAL] = total;
    record[FACTOR] = factor;
    record[APPLY] = record[FROZEN] == 0 && !overflow;
    record[STEP_LOSS] = 0;
}

__global__ void conclude(const double* squares, const double* bad, int blocks, double* record, const double* settings) {
    __shared__ double sums[THREADS];
    __shared__ double firsts[THREADS];
    int thread = threadIdx.x;
    double sum = 0, first = NO_ELEMENT;
    for (int i = thread; i < blocks; i += THREADS) {
        sum += squares[i];
        if (bad[i] < first) first = bad[i];
    }
    sums[thread] = sum;
    firsts[thread] = first;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (thread < half) {
            sums[thread] += sums[thread + half];
            if (firsts[thread + half] < firsts[thread]) firsts[thread] = firsts[thread + half];
        }
        __syncthreads();
    }
    if (thread == 0) decide(sums[0], firsts[0], record, settings);
}

// A loss of the step under way; of several, the first that is not finite counts.
template <typename T>
__global__ void see_loss(const T* loss, double* record) {
    if (is_finite(record[STEP_LOSS])) record[STEP_LOSS] = static_cast<double>(*loss);
}

// The update rules, one element each; each is the definition of its optimiser in optim/, in the same order.
enum { ADAM, AMSGRAD, SGD, MOMENTUM, NESTEROV, RMSPROP, RMSPROP_MOMENTUM, RMSPROP_CENTERED, RMSPROP_CENTERED_MOMENTUM,
       LION };

template <typename T, int RULE>
struct Rule;

template <typename T, bool LARGEST>
__device__ void adam(T& p, T g, T& m, T& v, T& largest, const T* s) {
    // s: beta1, 1 - beta1, beta2, 1 - beta2, eps, weight decay, shrink, step size, root of the correction
    if (s[5] != T(0)) g = g + p * s[5];
    m = m * s[0] + g * s[1];
    v = v * s[2] + g * g * s[3];
    T spread = v;
    if (LARGEST) spread = largest = (largest > v || largest != largest) ? largest : v;
    p = p * s[6] - m / (sqrt(spread) / s[8] + s[4]) * s[7];
}

template <typename T>
struct Rule<T, ADAM> {
    static constexpr int MOMENTS = 2;
    static __device__ void apply(T& p, T g, T* m, const T* s) { adam<T, false>(p, g, m[0], m[1], m[1], s); }
};

template <typename T>
struct Rule<T, AMSGRAD> {
    static constexpr int MOMENTS = 3;
    static __device__ void apply(T& p, T g, T* m, const T* s) { adam<T, true>(p, g, m[0], m[1], m[2], s); }
};

template <typename T>
struct Rule<T, SGD> {  // s: learning rate, momentum, weight decay, keep
    static constexpr int MOMENTS = 0;
    static __device__ void apply(T& p, T g, T* m, const T* s) {
        if (s[2] != T(0)) g = g + p * s[2];
        p = p - g * s[0];
    }
};

template <typename T, bool AHEAD>
__device__ void momentum(T& p, T g, T& v, const T* s) {
    if (s[2] != T(0)) g = g + p * s[2];
    v = v * s[1] + g * s[3];
    p = p - (AHEAD ? g + v * s[1] : v) * s[0];
}

template <typename T>
struct Rule<T, MOMENTUM> {
    static constexpr int MOMENTS = 1;
    static __device__ void apply(T& p, T g, T* m, const T* s) { momentum<T, false>(p, g, m[0], s); }
};

template <typename T>
struct Rule<T, NESTEROV> {
    static constexpr int MOMENTS = 1;
    static __device__ void apply(T& p, T g, T* m, const T* s) { momentum<T, true>(p, g, m[0], s); }
};

template <typename T, bool CENTERED, bool HEAVY>
struct RootMeanSquare {  // s: learning rate, alpha, 1 - alpha, eps, weight decay, momentum
    static constexpr int MOMENTS = 1 + CENTERED + HEAVY;
    static __device__ void apply(T& p, T g, T* m, const T* s) {
        if (s[4] != T(0)) g = g + p * s[4];
        m[0] = m[0] * s[1] + g * g * s[2];
        T spread = m[0];
        if (CENTERED) {
            m[1] = m[1] * s[1] + g * s[2];
            spread = m[0] - m[1] * m[1];
            spread = spread < T(0) ? T(0) : spread;  // rounding alone takes it there
        }
        T direction = g / (sqrt(spread) + s[3]);
        if (HEAVY) direction = m[MOMENTS - 1] = m[MOMENTS - 1] * s[5] + direction;
        p = p - direction * s[0];
    }
};

template <typename T>
struct Rule<T, RMSPROP> : RootMeanSquare<T, false, false> {};
template <typename T>
struct Rule<T, RMSPROP_MOMENTUM> : RootMeanSquare<T, false, true> {};
template <typename T>
struct Rule<T, RMSPROP_CENTERED> : RootMeanSquare<T, true, false> {};
template <typename T>
struct Rule<T, RMSPROP_CENTERED_MOMENTUM> : RootMeanSquare<T, true, true> {};

template <typename T>
struct Rule<T, LION> {  // s: learning rate, beta1, 1 - beta1, beta2, 1 - beta2, shrink
    static constexpr int MOMENTS = 1;
    static __device__ void apply(T& p, T g, T* m, const T* s) {
        T c = m[0] * s[1] + g * s[2];
        T direction = c > T(0) ? T(1) : c < T(0) ? T(-1) : c;
        p = p * s[5] - direction * s[0];
        m[0] = m[0] * s[3] + g * s[4];
    }
};

template <typename T, int RULE>
__device__ void update_element(long long place, T g, T* values, T* first, T* second, T* third, const T* s) {
    constexpr int MOMENTS = Rule<T, RULE>::MOMENTS;
    T* arrays[3] = {first, second, third};
    T moments[3];
    T p = values[place];
#pragma unroll
    for (int i = 0; i < MOMENTS; ++i) moments[i] = arrays[i][place];
    Rule<T, RULE>::apply(p, g, moments, s);
    values[place] = p;
#pragma unroll
    for (int i = 0; i < MOMENTS; ++i) arrays[i][place] = moments[i];
}

constexpr int WIDTH = 12;  // numbers in a row of step scalars

// `record` may be null: then nothing clips, scales or freezes.
template <typename T, int RULE>
__global__ void update(Pieces pieces, T* values, T* first, T* second, T* third, const T* scalars, const double* record) {
    if (record && record[APPLY] == 0) return;
    int block = blockIdx.x;
    int piece = piece_of(pieces, block);
    const T* gradient = static_cast<const T*>(pieces.gradient[piece]);
    const T* row = scalars + pieces.scalars[piece] * WIDTH;
    T s[WIDTH];
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) s[i] = row[i];
    T factor = record ? static_cast<T>(record[FACTOR]) : T(1);
    long long size = pieces.size[piece], begin = pieces.begin[piece];
    long long start = static_cast<long long>(block - pieces.first_block[piece]) * CHUNK;
#pragma unroll 4
    for (int i = 0; i < CHUNK / THREADS; ++i) {
        long long place = start + i * THREADS + threadIdx.x;
        if (place < size) {
            update_element<T, RULE>(begin + place, gradient[place] * factor, values, first, second, third, s);
        }
    }
}

// Row-sparse gradients: rows of one index are summed, in their order, into the first of them; the others become zeros
// with the owner -1. The numbers of rows stay as they are, so nothing is read back. One block looks at one row.
template <typename T, typename I>
__global__ void coalesce_rows(const I* indices, const T* rows, int count, int width, T* summed, long long* owners) {
    __shared__ int earlier;
    __shared__ int same[THREADS];
    int row = blockIdx.x, thread = threadIdx.x;
    I index = indices[row];
    if (thread == 0) earlier = 0;
    __syncthreads();
    for (int other = thread; other < row; other += THREADS) {
        if (indices[other] == index) earlier = 1;
    }
    __syncthreads();
    T* out = summed + static_cast<long long>(row) * width;
    bool repeated = earlier != 0;
    if (thread == 0) owners[row] = repeated ? -1 : static_cast<long long>(index);
    for (int column = thread; column < width; column += THREADS) {
        out[column] = repeated ? T(0) : rows[static_cast<long long>(row) * width + column];
    }
    if (repeated) return;
    for (int start = row + 1; start < count; start += THREADS) {
        int other = start + thread;
        __syncthreads();
        same[thread] = other < count && indices[other] == index;
        __syncthreads();
        int stop = count - start < THREADS ? count - start : THREADS;
        for (int i = 0; i < stop; ++i) {
            if (same[i]) {
                const T* more = rows + static_cast<long long>(start + i) * width;
                for (int column = thread; column < width; column += THREADS) out[column] += more[column];
            }
        }
    }
}

// As `update`, for the rows that `coalesce_rows` has summed; one block updates one row.
template <typename T, int RULE>
__global__ void update_rows(const T* summed, const long long* owners, int width, T* values, T* first, T* second,
                            T* third, const T* scalars, const double* record) {
    long long owner = owners[blockIdx.x];
    if (owner < 0 || (record && record[APPLY] == 0)) return;
    T s[WIDTH];
#pragma unroll
    for (int i = 0; i < WIDTH; ++i) s[i] = scalars[i];
    T factor = record ? static_cast<T>(record[FACTOR]) : T(1);
    const T* row = summed + static_cast<long long>(blockIdx.x) * width;
    for (int column = threadIdx.x; column < width; column += THREADS) {
        update_element<T, RULE>(owner * width + column, row[column] * factor, values, first, second, third, s);
    }
}
