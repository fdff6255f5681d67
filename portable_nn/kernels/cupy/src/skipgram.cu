// The loss of skip-gram with shared negatives: words (G, C, D) against outputs (G, K, D), of which the first M of each
// group are contexts. Blocks are small, so a warp makes each word's scores itself, without products of matrices. Words and
// outputs are rows of tables where there are indices of them, else (null) rows of arrays.
#include "common.cuh"

constexpr int AHEAD = 4;  // rows that are asked for before the first is waited for

DEVICE real not_a_number() { return real(__int_as_float(0x7fc00000)); }
DEVICE real softplus_of(real z) { return larger(z, real(0)) + log_plus_one(exponential(-magnitude(z))); }

// Rows of `table` by index; an index out of range reads nothing and gives NaN.
struct Rows {
    const int64* indices;
    const scalar* table;
    int64 size, width;

    DEVICE const scalar* row(int64 i) const {
        const int64 index = indices ? indices[i] : i;
        return !indices || (index >= 0 && index < size) ? table + index * width : nullptr;
    }
    template <int N>
    static DEVICE void read(const scalar* row, int64 column, real (&v)[N]) {
        if (row) load<N>(row + column, v);
        else
            for (int j = 0; j < N; j++) v[j] = not_a_number();
    }
};

struct Sizes {
    int64 words, per_group, contexts, candidates, width;  // words of all groups; of a group: words, M, K
};

// ---- losses[g, c] = Σ_m p softplus(-s) + q Σ_n softplus(s), and the scores s (G, C, K) for the way back

template <int N>
DEVICE void loss_of_word(const Rows& words, const Rows& outputs, const scalar* positive, const scalar* negative,
                         scalar* losses, real* scores, int64 row, const Sizes& of) {
    const scalar* word = words.row(row);
    const int64 first = row / of.per_group * of.candidates;
    real near = 0, far = 0;
    for (int64 start = 0; start < of.candidates; start += AHEAD) {
        const scalar* output[AHEAD];
        real sums[AHEAD] = {};
#pragma unroll
        for (int k = 0; k < AHEAD; k++) output[k] = start + k < of.candidates ? outputs.row(first + start + k) : nullptr;
        FOR_ROW(i, N, of.width) {
            real w[N], o[AHEAD][N];
            Rows::read<N>(word, i, w);
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                if (start + k < of.candidates) Rows::read<N>(output[k], i, o[k]);
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                if (start + k < of.candidates)
#pragma unroll
                    for (int j = 0; j < N; j++) sums[k] += w[j] * o[k][j];
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int64 candidate = start + k;
            if (candidate >= of.candidates) break;
            const real s = row_sum(sums[k]);
            if (threadIdx.x == 0) scores[row * of.candidates + candidate] = s;
            if (candidate < of.contexts) near += load(positive + row * of.contexts + candidate) * softplus_of(-s);
            else far += softplus_of(s);
        }
    }
    if (threadIdx.x == 0) store(losses + row, near + load(negative + row) * far);
}

// A row of threads a word.
ROW_KERNEL skipgram(const int64* words, const int64* outputs, const scalar* word_table, const scalar* output_table,
                    const scalar* positive, const scalar* negative, scalar* losses, real* scores, int64 word_size,
                    int64 output_size, int64 rows, int64 per_group, int64 contexts, int64 candidates, int64 width) {
    const int64 row = row_of_thread();
    if (row >= rows) return;
    const Rows of_words = {words, word_table, word_size, width}, of_outputs = {outputs, output_table, output_size, width};
    const Sizes of = {rows, per_group, contexts, candidates, width};
    if (aligned(width, word_table, output_table))
        loss_of_word<WIDE>(of_words, of_outputs, positive, negative, losses, scores, row, of);
    else loss_of_word<1>(of_words, of_outputs, positive, negative, losses, scores, row, of);
}

// ---- the way back: ∂word = Σ_k slope output and ∂output = Σ_c slope word

// The slope of the loss of a word in one of its scores. One element of g stands for all where `step` is 0.
struct Slopes {
    const real* scores;
    const scalar *positive, *negative, *g;
    int64 step;

    DEVICE real at(int64 word, int64 k, const Sizes& of) const {
        const real s = scores[word * of.candidates + k];
        return load(g + word * step) * (k < of.contexts ? -load(positive + word * of.contexts + k) * sigmoid_of(-s)
                                                        : load(negative + word) * sigmoid_of(s));
    }
};

// One row of a gradient: of the word, or of the output, with this number.
template <int N, bool WORD>
DEVICE void gradient_of_row(const Rows& others, const Slopes& slopes, scalar* gradient, int64 row, const Sizes& of) {
    const int64 group = row / (WORD ? of.per_group : of.candidates), count = WORD ? of.candidates : of.per_group;
    const int64 first = group * count, own = row - group * of.candidates;  // `own` of an output within its group
    FOR_ROW(i, N, of.width) {
        real sum[N] = {};
        for (int64 start = 0; start < count; start += AHEAD) {
            real v[AHEAD][N];
#pragma unroll
            for (int k = 0; k < AHEAD; k++)
                if (start + k < count) Rows::read<N>(others.row(first + start + k), i, v[k]);
#pragma unroll
            for (int k = 0; k < AHEAD; k++) {
                if (start + k >= count) break;
                const real slope = WORD ? slopes.at(row, start + k, of) : slopes.at(first + start + k, own, of);
#pragma unroll
                for (int j = 0; j < N; j++) sum[j] += slope * v[k][j];
            }
        }
        store<N>(gradient + row * of.width + i, sum);
    }
}

template <int N>
DEVICE void gradient_by_kind(const Rows& words, const Rows& outputs, const Slopes& slopes, scalar* g_words,
                             scalar* g_outputs, int64 row, const Sizes& of) {
    const int64 beyond = g_words ? of.words : 0;
    if (row < beyond) gradient_of_row<N, true>(outputs, slopes, g_words, row, of);
    else if (row - beyond < (g_outputs ? of.words / of.per_group * of.candidates : 0))
        gradient_of_row<N, false>(words, slopes, g_outputs, row - beyond, of);
}

// A row of threads for each word, then for each output; of the gradients that are not null.
ROW_KERNEL skipgram_backward(const int64* words, const int64* outputs, const scalar* word_table,
                             const scalar* output_table, const scalar* positive, const scalar* negative, const scalar* g,
                             const real* scores, scalar* g_words, scalar* g_outputs, int64 step, int64 word_size,
                             int64 output_size, int64 rows, int64 per_group, int64 contexts, int64 candidates,
                             int64 width) {
    const Rows of_words = {words, word_table, word_size, width}, of_outputs = {outputs, output_table, output_size, width};
    const Sizes of = {rows, per_group, contexts, candidates, width};
    const Slopes slopes = {scores, positive, negative, g, step};
    if (aligned(width, word_table, output_table, g_words, g_outputs))
        gradient_by_kind<WIDE>(of_words, of_outputs, slopes, g_words, g_outputs, row_of_thread(), of);
    else gradient_by_kind<1>(of_words, of_outputs, slopes, g_words, g_outputs, row_of_thread(), of);
}
