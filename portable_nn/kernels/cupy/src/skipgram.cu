// The loss of skip-gram with shared negatives: words (G, C, D) against outputs (G, K, D), of which the first M of each
// group are contexts. Blocks are small, so a warp makes each word's scores itself, without products of matrices.
#include "common.cuh"

DEVICE real softplus_of(real z) { return larger(z, real(0)) + log_plus_one(exponential(-magnitude(z))); }

// losses[g, c] = Σ_m p softplus(-s) + q Σ_n softplus(s); the scores s (G, C, K) are kept. A row of threads a word.
ROW_KERNEL skipgram(const scalar* words, const scalar* outputs, const scalar* positive, const scalar* negative,
                scalar* losses, real* scores, int64 rows, int64 per_group, int64 contexts, int64 candidates,
                int64 width) {
    const int64 row = row_of_thread();
    if (row >= rows) return;
    const scalar* word = words + row * width;
    const scalar* first = outputs + row / per_group * candidates * width;
    real near = 0, far = 0;
    for (int64 k = 0; k < candidates; k++) {
        real sum = 0;
        FOR_ROW(i, 1, width) sum += load(word + i) * load(first + k * width + i);
        sum = row_sum(sum);
        if (threadIdx.x == 0) scores[row * candidates + k] = sum;
        if (k < contexts) near += load(positive + row * contexts + k) * softplus_of(-sum);
        else far += softplus_of(sum);
    }
    if (threadIdx.x == 0) store(losses + row, near + load(negative + row) * far);
}

// The slope of the loss of a word in one of its scores.
DEVICE real slope(const real* scores, const scalar* positive, const scalar* negative, const scalar* g, int64 row, int64 k,
                  int64 contexts, int64 candidates) {
    const real s = scores[row * candidates + k];
    return load(g + row) * (k < contexts ? -load(positive + row * contexts + k) * sigmoid_of(-s)
                                         : load(negative + row) * sigmoid_of(s));
}

// ∂word = Σ_k slope output.
ROW_KERNEL skipgram_words(const scalar* outputs, const scalar* positive, const scalar* negative, const scalar* g,
                      const real* scores, scalar* g_words, int64 rows, int64 per_group, int64 contexts,
                      int64 candidates, int64 width) {
    const int64 row = row_of_thread();
    if (row >= rows) return;
    const scalar* first = outputs + row / per_group * candidates * width;
    FOR_ROW(i, 1, width) {
        real sum = 0;
        for (int64 k = 0; k < candidates; k++)
            sum += slope(scores, positive, negative, g, row, k, contexts, candidates) * load(first + k * width + i);
        store(g_words + row * width + i, sum);
    }
}

// ∂output = Σ_c slope word; a row of threads an output.
ROW_KERNEL skipgram_outputs(const scalar* words, const scalar* positive, const scalar* negative, const scalar* g,
                        const real* scores, scalar* g_outputs, int64 rows, int64 per_group, int64 contexts,
                        int64 candidates, int64 width) {
    const int64 row = row_of_thread();
    if (row >= rows) return;
    const int64 group = row / candidates, k = row % candidates;
    FOR_ROW(i, 1, width) {
        real sum = 0;
        for (int64 word = group * per_group; word < (group + 1) * per_group; word++)
            sum += slope(scores, positive, negative, g, word, k, contexts, candidates) * load(words + word * width + i);
        store(g_outputs + row * width + i, sum);
    }
}
