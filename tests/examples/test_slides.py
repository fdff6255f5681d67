"""Each part of the course, on every backend, without the mistake that tutorial code makes."""

from __future__ import annotations

import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import data, layers, models, optim
from tests.helpers import to_numpy

PATH = Path(__file__).resolve().parents[2] / "examples" / "slides.py"
spec = importlib.util.spec_from_file_location("slides_example", PATH)
slides = importlib.util.module_from_spec(spec)
spec.loader.exec_module(slides)


@pytest.fixture
def place(backend):
    def asarray(x):
        return backend.asarray(x, dtype=backend.xp.float32 if np.asarray(x).dtype.kind == "f" else None)
    return slides.Place(asarray, lambda module: module.to(backend.device, xp=backend.xp))


def numbers(found):
    """Arrays on the host, the rest as it is."""
    return {name: to_numpy(value) if hasattr(value, "shape") else value for name, value in found.items()}


def test_the_perceptron_shows_every_layer_with_samples_as_rows(place):
    found = numbers(slides.perceptron(place))
    assert found["hidden z"].shape == (4, 4) and found["output"].shape == (4, 1)
    np.testing.assert_allclose(found["hidden tanh(z)"], np.tanh(found["hidden z"]), rtol=1e-5)
    assert found["hidden z"].std() > 0.1 and np.ptp(found["output"]) > 0.05      # weights are no tiny constants


def test_backpropagation_reaches_every_layer_and_the_input(place):
    found = numbers(slides.backpropagation(place))
    assert sum(name.startswith("gradient of") for name in found) == 5
    assert found["loss after 100 steps"] < 0.1 * found["loss before"]
    assert ((found["XOR, probabilities"] > 0.5)[:, 0] == [False, True, True, False]).all()


def test_the_gradients_are_differences_of_the_loss():
    found = slides.backpropagation(slides.on("cpu"))
    model = models.MLP((2, 4, 1), activation="tanh").initialize(seed=0).to(dtype="float64")
    x, target = np.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.asarray([[0], [1], [1], [0]])
    state, criterion = model.state_dict(), layers.BCEWithLogitsLoss()

    def loss(**changed):
        model.load_state_dict({**state, **changed})
        return float(criterion(model(x), target))

    for name, values in state.items():
        for place in np.ndindex(values.shape):
            step = np.zeros(values.shape)
            step[place] = 1e-6
            slope = (loss(**{name: values + step}) - loss(**{name: values - step})) / 2e-6
            assert found[f"gradient of {name}"][place] == pytest.approx(slope, abs=1e-6)
    shape = found["gradient of the input"].shape
    assert shape == (4, 2) and np.abs(found["gradient of the input"]).min() > 0


def test_losses_are_finite_when_sure(place):
    found = numbers(slides.losses(place))
    assert found["binary cross-entropy"] == pytest.approx(0.1446, abs=5e-5)
    assert found["half squared error"] == pytest.approx(0.0100, abs=5e-5)
    assert found["squared error"] == pytest.approx(0.0200, abs=5e-5)
    for name in ("sure, right, right, wrong", "the same from logits"):
        assert math.isfinite(found[name]) and found[name] == pytest.approx(100 / 3, rel=1e-3)
    for loss, sure in ((layers.BCELoss(), [0.0, 1.0]), (layers.BCEWithLogitsLoss(), [-1e4, 1e4])):
        prediction = pnn.Tensor(place.asarray(sure), requires_grad=True)
        right = loss(prediction, place.asarray([0.0, 1.0]))
        right.backward()
        assert float(to_numpy(right.data)) == 0.0 and np.isfinite(to_numpy(prediction.grad)).all()
    with pytest.raises(pnn.ShapeError):                                      # (N, 1) against (N,) is no N × N
        layers.BCELoss()(place.asarray([[0.1], [0.9]]), place.asarray([0.0, 1.0]))


def test_averaged_momentum_is_plain_momentum_with_a_smaller_step(place):
    averaged, plain, start = numbers(slides.momentum(place)).values()
    np.testing.assert_allclose(averaged, plain, rtol=1e-5)
    assert start.tolist() == [[1.0, -2.0]] and abs(averaged[0, 0]) < 0.5      # the caller's array is untouched
    velocity, weight = 0.0, 1.0
    for _ in range(20):
        velocity = 0.9 * velocity + 0.1 * weight
        weight -= 0.1 * velocity
    assert averaged[0, 0] == pytest.approx(weight, rel=1e-5)


def test_activations_and_their_derivatives(place):
    relu, slope, tanh, tanh_slope = numbers(slides.activations(place)).values()
    assert relu.tolist() == [0, 0, 0, 1, 2] and slope.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(tanh, np.tanh(np.arange(-2.0, 3.0)), rtol=1e-5)
    np.testing.assert_allclose(tanh_slope, [0.0707, 0.4200, 1, 0.4200, 0.0707], atol=5e-5)
    with pytest.raises(pnn.DTypeError, match="astype"):
        pnn.functional.tanh(place.asarray([1, 2]))


def test_batch_normalisation_learns_and_tracks(place):
    found = numbers(slides.batch_normalisation(place))
    x = np.random.default_rng(0).normal(5.0, 3.0, size=(64, 2))
    np.testing.assert_allclose(found["batch after the layer, mean"], 0, atol=1e-5)
    np.testing.assert_allclose(found["running mean"], 0.1 * x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(found["running variance"], 0.9 + 0.1 * x.var(axis=0, ddof=1), rtol=1e-4)
    scaled = (x.mean(axis=0) - found["running mean"]) / np.sqrt(found["running variance"] + 1e-5)
    np.testing.assert_allclose(found["evaluation, mean"], scaled, rtol=1e-3)
    assert np.abs(found["gradient of γ"]).min() > 0.1 and np.abs(found["gradient of β"]).min() > 0.1


def test_dropout_keeps_its_mask_for_its_own_backward(place):
    found = numbers(slides.dropout(place))
    np.testing.assert_array_equal(found["training"], found["its gradient, the same mask"])
    kept = found["training"] != 0
    assert 0 < kept.sum() < 10
    np.testing.assert_allclose(found["training"][kept], 1 / found["keep_prob"], rtol=1e-3)
    np.testing.assert_array_equal(found["evaluation"], 1)
    share = layers.Dropout(p=1 - 0.8)(np.ones(100_000, dtype=np.float32)) != 0
    assert share.mean() == pytest.approx(0.8, abs=0.01)


def test_skip_gram_tells_a_words_contexts(place, backend):
    if backend.name == "strict:no_x64":
        pytest.skip("batches of skip-grams number words with 64-bit integers")
    found = numbers(slides.word_vectors(place))
    for name in ("loss of the full softmax, first epoch and last", "loss of negative sampling"):
        first, last = found[name]
        assert last < 0.9 * first
    assert found["the vector of sun"].shape == (8,) and found["probabilities"].sum() == pytest.approx(1, abs=1e-5)
    contexts = [context.split(" ")[0] for context in found["its contexts"].split(", ")]
    assert set(contexts[:2]) == {"shines", "warm"}


def test_both_tables_of_skip_gram_move_from_their_old_values():
    model = models.SkipGram(5, 3, sparse=False).initialize(0)
    rng = np.random.default_rng(0)
    words, contexts = rng.normal(size=(2, 5, 3)).astype(np.float32)
    model.load_state_dict({"words.weight": words, "contexts.weight": contexts})
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    layers.CrossEntropyLoss()(model(pnn.Tensor(np.asarray([2]))), pnn.Tensor(np.asarray([4]))).backward()
    optimizer.step()
    slope = np.exp(contexts @ words[2])
    slope = slope / slope.sum() - np.eye(5)[4]
    np.testing.assert_allclose(model.words.weight.data[2], words[2] - slope @ contexts, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.contexts.weight.data, contexts - np.outer(slope, words[2]), rtol=1e-4, atol=1e-6)


def test_attention_weights_are_a_softmax_over_what_may_be_seen(place):
    found = numbers(slides.attention(place))
    np.testing.assert_allclose(found["sums of all rows"], 1, rtol=1e-5)
    weights = found["weights of the second text's first head"]
    assert (weights[:, 2:] == 0).all() and (weights[np.triu_indices(4, 1)] == 0).all() and weights.shape == (4, 4)
    x = np.random.default_rng(1).normal(size=(1, 1, 3, 4))
    hidden = np.asarray([[False, True, False]] * 2 + [[True] * 3])
    arrays = place.asarray(x), place.asarray(hidden)
    got = to_numpy(pnn.functional.attention(arrays[0], arrays[0], arrays[0], arrays[1], causal=False, scale=None,
                                            dropout_p=0.0, stream=None))
    scores = np.exp(x[0, 0] @ x[0, 0].T / math.sqrt(4)) * ~hidden                # of the head's width
    expected = scores / np.maximum(scores.sum(axis=1, keepdims=True), 1e-30) @ x[0, 0]
    np.testing.assert_allclose(got[0, 0], expected, rtol=1e-4, atol=1e-6)        # a row hidden whole gives zeros


def test_the_lstm_reads_the_tutorials_weights_and_goes_back_through_time(place):
    found = numbers(slides.lstm(place))
    rng = np.random.default_rng(0)
    joint, bias = 0.5 * rng.normal(size=(12, 5)), 0.5 * rng.normal(size=12)
    x, h, c = rng.normal(size=(5, 2)), np.zeros(3), np.zeros(3)
    sigmoid = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    for t in range(5):                                                          # as the tutorial has it: f, i, c, o
        f, i, g, o = np.split(joint @ np.concatenate([h, x[t]]) + bias, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    for name in ("five steps of the cell", "the sequence's last output", "its last state"):
        np.testing.assert_allclose(found[name][0], h, rtol=1e-4, atol=1e-6)
    assert np.abs(found["gradient of the first input, four steps back"]).min() > 0


def test_the_transformer_block_hides_padding_and_learns_its_norms(place):
    found = numbers(slides.transformer(place))
    assert found["shape"] == (1, 3, 8) and found["difference by what is hidden"] < 1e-6
    names = dict(layers.TransformerEncoderLayer(8, 2, 32).named_parameters())
    assert found["parameters"] == len(names) == 12 and {"norm1.weight", "norm2.bias"} <= set(names)


def test_sentiment_learns_with_fewer_words_than_any_table(place):
    found = slides.sentiment(place)
    first, last = found["loss, first epoch and last"]
    assert last < 0.3 * first and found["accuracy"] == 1.0
    assert found["what a good plot"] == "positive" and found["a bad bad cast"] == "negative"


def test_training_changes_the_weights():
    vectorizer = data.TextVectorizer()
    rows = vectorizer.fit_transform(slides.TEXTS)
    model = models.TextClassifier(vectorizer.size)
    before = model.initialize(0).state_dict()
    pnn.fit(model, layers.CrossEntropyLoss(), optim.Adam(model.parameters()), train=(rows, slides.LABELS), epochs=1,
            progress=False)
    assert all((to_numpy(x) != before[name]).any() for name, x in model.state_dict().items())


def test_the_figures_are_those_of_the_confusion_matrix(place):
    found = slides.evaluation(place)
    assert found["confusion_matrix"] == [[427, 73], [51, 449]]
    for name, value in (("accuracy", 0.8760), ("precision", 0.8602), ("recall", 0.8980), ("f1", 0.8787)):
        assert found[name] == pytest.approx(value, abs=5e-5)
    table = str(found["history"]).splitlines()
    assert table[0].split()[:4] == ["epoch", "train", "validation", "accuracy"] and len(table) == 4


def test_the_forecaster_beats_the_last_value(place):
    found = slides.forecasting(place)
    assert found["windows and targets"] == ((990, 10, 1), (990, 1))
    errors = {name.removeprefix("mean squared error, "): value for name, value in found.items() if "error" in name}
    assert errors["last value"] == pytest.approx(0.0176, abs=5e-4) and errors["LSTM"] < 0.8 * errors["last value"]
    assert abs(found["the next value, forecast"] - found["and actual"]) < 0.5


def test_a_user_sees_all_of_them(capsys):
    assert slides.main(["--device", "cpu"]) == 0
    out = capsys.readouterr().out
    for number in range(1, len(slides.SLIDES) + 1):
        assert f"\n{number}. " in out
    assert "0.1446" in out and "[0.0707 0.4200 1.0000 0.4200 0.0707]" in out and "nan" not in out
    assert len(slides.SLIDES) == 14


def test_one_of_them_and_mistakes(capsys):
    assert slides.main(["--device", "cpu", "--only", "4", "--smoke"]) == 0
    assert "\n5. " not in capsys.readouterr().out
    assert slides.main(["--device", "cuda:99"]) == 2
    assert capsys.readouterr().err.startswith("error: expected")
    with pytest.raises(SystemExit):
        slides.main(["--only", "15"])


def test_the_readmes_table_has_a_row_for_each_slide_and_names_what_is_there():
    text = (PATH.parents[1] / "README.md").read_text(encoding="utf-8")
    section = text.partition("## From the slides to the library")[2].partition("\n## ")[0]
    rows = [row.split("|")[1:-1] for row in section.splitlines() if row.startswith("| ")]
    assert len(rows) == 2 + len(slides.SLIDES) and all(len(row) == 3 for row in rows)
    rooms = {"models": models, "functional": pnn.functional, "layers": layers, "optim": optim, "data": data, "pnn": pnn}
    for room, name in re.findall(r"`(\w+)\.(\w+)", "".join(row[1] for row in rows)):
        assert room in ("loss", "vectorizer") or hasattr(rooms[room], name), f"{room}.{name}"
    for name in re.findall(r"`([A-Z]\w+)", "".join(row[1] for row in rows)):
        assert hasattr(layers, name) or hasattr(pnn, name), name
