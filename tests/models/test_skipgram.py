"""Skip-gram against its formulas, on every backend; training that is reproducible, learns, and touches few rows."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

from portable_nn import Tensor, fit, gradcheck, layers, optim
from portable_nn.backend.errors import ArgumentError, DataError, NonFiniteError
from portable_nn.data import SkipGramBatch, SkipGrams, make_corpus, to_tensors
from portable_nn.models import SkipGram, WordVectors, load, save, train_skipgram
from tests.helpers import dtype_name, to_numpy

#: Two topics that never meet.
TOPICS = [["red green blue colour"], ["cat dog bird animal"]]


def make_model(backend=None, vocabulary=7, dim=3, **options):
    model = SkipGram(vocabulary, dim, **options).initialize(0)
    rng = np.random.default_rng(1)
    for handle in model.parameters():
        handle.data = rng.standard_normal(handle.shape)
    if backend is not None:
        model.to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype))
    return model


def make_batch(backend=None, seed=0):
    rng = np.random.default_rng(seed)
    batch = SkipGramBatch(rng.integers(0, 7, (2, 3)), rng.integers(0, 7, (2, 6)),
                          rng.integers(0, 2, (2, 3, 4)).astype(float), rng.uniform(0, 2, (2, 3)))
    return batch if backend is None else SkipGramBatch(*map(backend.asarray, batch))


def make_skipgrams(texts=60, seed=0, **options):
    rng = np.random.default_rng(0)
    words = [topic[0].split() for topic in TOPICS]
    corpus = make_corpus([" ".join(rng.choice(words[i % 2], 12)) for i in range(texts)], min_count=1)
    return SkipGrams(corpus, **{"sample": 0, "shared": 8, "batch_words": 4, "seed": seed, **options})


def test_batches_give_the_loss_of_each_word(backend):
    model, batch = make_model(backend), make_batch()
    w, o = (to_numpy(x).astype(float) for x in model.state_dict().values())
    scores = np.einsum("gcd,gmd->gcm", w[batch.words], o[batch.outputs])
    expected = (-(batch.positive * scipy.special.log_expit(scores[..., :4])).sum(-1)
                - batch.negative * scipy.special.log_expit(-scores[..., 4:]).sum(-1))
    tolerance = 1e-12 if backend.has_float64 else 1e-5
    backend.assert_close(model(make_batch(backend)), expected, rtol=tolerance, atol=tolerance)


def test_words_give_scores_and_probabilities(backend):
    model, words = make_model(backend), np.asarray([[3, 1, 3]])
    w, o = (to_numpy(x).astype(float) for x in model.state_dict().values())
    tolerance = 1e-12 if backend.has_float64 else 1e-5
    backend.assert_close(model(backend.asarray(words)), w[words] @ o.T, rtol=tolerance, atol=tolerance)
    expected = scipy.special.softmax(w[words] @ o.T, axis=-1)
    backend.assert_close(model.context_probabilities(backend.asarray(words)), expected, rtol=tolerance, atol=tolerance)
    backend.assert_close(model.context_probabilities(3), expected[0, 0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("sparse", [True, False])
def test_gradients(backend, sparse):
    if not backend.has_float64:
        pytest.skip("differences need float64")
    model = make_model(backend, sparse=sparse)
    assert gradcheck(model, (make_batch(backend),))
    assert gradcheck(model, (backend.asarray(np.asarray([2, 0, 2])),))


def test_a_step_touches_only_the_rows_of_the_batch(backend):
    model = make_model(backend, vocabulary=50)
    before = {name: to_numpy(x).copy() for name, x in model.state_dict().items()}
    batch = make_batch(backend)
    model(to_tensors(batch)).sum().backward()
    for parameter in model.parameters():
        assert parameter.grad.rows.shape[0] <= 12 and parameter.grad.shape == (50, 3)
    optim.SGD(model.parameters(), lr=0.1).step()
    for (name, x), used in zip(model.state_dict().items(), (batch.words, batch.outputs), strict=True):
        changed = np.flatnonzero((to_numpy(x) != before[name]).any(axis=1))
        assert len(changed) and set(changed) <= set(to_numpy(used).ravel().tolist())


def test_training_is_reproducible_and_learns():
    skipgrams = make_skipgrams()
    runs = []
    for _ in range(2):
        model = SkipGram(8, 6)
        rows = train_skipgram(model, skipgrams, epochs=8, lr=0.05, progress=False)
        runs.append(model.words.weight.data)
    np.testing.assert_array_equal(*runs)
    other = SkipGram(8, 6)
    train_skipgram(other, make_skipgrams(seed=1), epochs=1, progress=False)
    assert not np.array_equal(other.words.weight.data, runs[0])
    assert [row["epoch"] for row in rows] == list(range(1, 9)) and not model.training
    assert 6 * np.log(2) > rows[0]["loss"] > rows[-1]["loss"]
    vectors = WordVectors(skipgrams.corpus.words, runs[0])
    assert {word for word, _ in vectors.nearest("cat", 3)} == {"dog", "bird", "animal"}


def test_training_on_every_backend(backend):
    skipgrams = make_skipgrams(10)
    model = SkipGram(8, 4).initialize(3)
    expected = SkipGram(8, 4).initialize(3)
    train_skipgram(expected, skipgrams, epochs=1, progress=False)
    model.to(backend.device, xp=backend.xp)
    if backend.name in ("numpy", "readonly", "cupy"):  # those whose devices have names
        train_skipgram(model, skipgrams, epochs=1, progress=False)
    else:
        optimizer = optim.SGD(model.parameters(), lr=0.025)
        batches = skipgrams.epoch(0)
        for number, batch in enumerate(batches):
            optimizer.groups[0]["lr"] = 0.025 + (1e-4 - 0.025) * number / len(batches)
            model(SkipGramBatch(*(Tensor(backend.asarray(x)) for x in batch))).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    for name, x in expected.state_dict().items():
        np.testing.assert_allclose(to_numpy(model.state_dict()[name]), x, rtol=1e-4, atol=1e-6)


def test_full_softmax_learns_the_shares_of_the_text():
    skipgrams = make_skipgrams(40, window=1)
    words, contexts = skipgrams.epoch(0).pairs()
    counts = np.zeros((8, 8))
    np.add.at(counts, (words, contexts), 1)
    model = SkipGram(8, 8, sparse=False)
    fit(model, layers.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.05), train=(words, contexts), epochs=30,
        batch_size=64, progress=False)
    got = model.context_probabilities(np.arange(8))
    np.testing.assert_allclose(got, counts / counts.sum(axis=1, keepdims=True), atol=0.06)


def test_negative_sampling_learns_the_shifted_mutual_information():
    """At the optimum w · o = log p(c | w) / (K q(c)) (Levy and Goldberg, 2014)."""
    skipgrams = make_skipgrams(40, window=1, negatives=2)
    pairs = [skipgrams.epoch(epoch).pairs() for epoch in range(30)]
    counts = np.zeros((8, 8))
    np.add.at(counts, tuple(np.concatenate(side) for side in zip(*pairs)), 1)
    model = SkipGram(8, 8)
    train_skipgram(model, skipgrams, epochs=30, lr=0.2, final_lr=1e-3, progress=False)
    q = skipgrams.corpus.counts**0.75 / np.sum(skipgrams.corpus.counts**0.75)
    seen = counts > 0
    expected = np.log(counts[seen] / (counts.sum(axis=1, keepdims=True) * 2 * q)[seen])
    scores = model(np.arange(8))
    assert np.abs(scores[seen] - expected).mean() < 0.12 and scores[~seen].max() < -1.5


def test_saved_and_loaded(tmp_path):
    model = make_model()
    save(model, tmp_path)
    again = load(tmp_path)
    assert repr(again) == repr(model)
    np.testing.assert_array_equal(again.context_probabilities(2), model.context_probabilities(2))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (3.0, 3), ("a", 3)])
def test_bad_sizes(sizes):
    with pytest.raises(ArgumentError, match="positive integer"):
        SkipGram(*sizes)


def test_unknown_words():
    for word in (7, -1):
        with pytest.raises(DataError, match=str(word)):
            make_model().context_probabilities(word)
    for word in ("film", 2.0, True, None):
        with pytest.raises(ArgumentError, match="a word's number"):
            make_model().context_probabilities(word)


@pytest.mark.parametrize("options", [{"epochs": 0}, {"lr": -1.0}, {"lr": 0.1, "final_lr": 0.2}, {"lr": float("nan")}])
def test_bad_training(options):
    with pytest.raises(ArgumentError, match="expected"):
        train_skipgram(SkipGram(8, 2), make_skipgrams(4), **options)


def test_models_and_texts_that_do_not_fit():
    with pytest.raises(ArgumentError, match="vocabulary_size=8"):
        train_skipgram(SkipGram(9, 2), make_skipgrams(4))
    lonely = SkipGrams(make_corpus(["film", "plot", "film"], min_count=1), sample=0)
    with pytest.raises(DataError, match="others beside them"):
        train_skipgram(SkipGram(2, 2), lonely, progress=False)


def test_a_loss_that_is_not_finite_stops():
    model = SkipGram(8, 2).initialize(0)
    model.words.weight.data = np.full((8, 2), np.nan, dtype=np.float32)
    with pytest.raises(NonFiniteError, match="epoch 1"):
        train_skipgram(model, make_skipgrams(4), epochs=2, progress=False)
