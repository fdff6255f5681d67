"""What a course from a two-layer net to a Transformer teaches, in fourteen short runs: seconds, on any device.

    python examples/slides.py                    # all of them
    python examples/slides.py --only 9 10        # attention and the LSTM
    python examples/slides.py --device cuda

Each part is a function below: how the library says it, with what a tutorial's own code does wrong in its docstring. The
README has the same list as a table.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import portable_nn as pnn
from portable_nn import data, functional, layers, models, optim

TEXTS = ["a good film", "a good plot", "what a good cast", "a bad film", "a bad plot", "what a bad cast"]
LABELS = np.asarray([1, 1, 1, 0, 0, 0], dtype=np.int32)    # some devices have no int64


class Place(NamedTuple):
    """Where the slides run: `asarray(x)` gives an array there, floats as float32; `put(module)` moves a module."""

    asarray: Callable[[Any], Any]
    put: Callable[[Any], Any]


def on(device: str) -> Place:
    """The slides on a device of the library: "cpu", "cuda", "cuda:1" or "auto"."""
    def asarray(x: Any) -> Any:
        x = np.asarray(x)
        return pnn.to_device(x.astype(np.float32) if x.dtype.kind == "f" else x, device)
    asarray([0.0])  # a device that is not there is named now
    return Place(asarray, lambda module: module.to(device))


def perceptron(place: Place) -> dict[str, Any]:
    """1. NeuralNetwork([2, 4, 1]) is MLP((2, 4, 1)): samples are rows here, columns in many a tutorial. Weights are
    scaled to the layer's width, where 0.01 for all of them lets nothing through, and hidden layers are not all
    sigmoids."""
    model = place.put(models.MLP((2, 4, 1), activation="tanh").initialize(seed=0))
    x = place.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])                    # (4, 2)
    output, steps = model(x, intermediates=True)
    return {"hidden z": steps[0].affine, "hidden tanh(z)": steps[0].output, "output": output}


def backpropagation(place: Place) -> dict[str, Any]:
    """2. The gradients of every layer and of the input, not of the last layer alone, from a loss that takes logits
    and so divides by nothing; checked against differences of the loss. Then XOR is learnt with them."""
    model = place.put(models.MLP((2, 4, 1), activation="tanh").initialize(seed=0))
    x, target = place.asarray([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), place.asarray([[0], [1], [1], [0]])
    inputs, criterion = pnn.Tensor(x, requires_grad=True), layers.BCEWithLogitsLoss()
    criterion(model(inputs), target).backward()
    found = {f"gradient of {name}": parameter.grad for name, parameter in model.named_parameters()}
    found["gradient of the input"] = inputs.grad

    loss = criterion(model(x), target)
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        criterion(model(pnn.Tensor(x)), target).backward()
        optimizer.step()
    return {**found, "loss before": loss, "loss after 100 steps": criterion(model(x), target),
            "XOR, probabilities": functional.sigmoid(model(x))}


def losses(place: Place) -> dict[str, Any]:
    """3. Cross-entropy of probabilities, and of logits, which is the better one to train with; squared error, and
    its half. Clipping at 1e-15 does nothing in float32, where 1 - 1e-15 is 1: these stay finite, sure and right or
    sure and wrong."""
    target, prediction = place.asarray([0.0, 1.0, 1.0]), place.asarray([0.1, 0.9, 0.8])
    sure, logits = place.asarray([0.0, 1.0, 0.0]), place.asarray([-100.0, 100.0, -100.0])
    return {"binary cross-entropy": layers.BCELoss()(prediction, target),
            "half squared error": layers.HalfMSELoss()(prediction, target),
            "squared error": layers.MSELoss()(prediction, target),
            "sure, right, right, wrong": layers.BCELoss()(sure, target),
            "the same from logits": layers.BCEWithLogitsLoss()(logits, target)}


def momentum(place: Place) -> dict[str, Any]:
    """4. v = βv + (1 - β)g is SGD(averaged=True): plain momentum at lr · (1 - β). The arrays that came in stay as
    they were; tutorials update them in place."""
    start = place.asarray([[1.0, -2.0]])
    ends = {}
    for name, options in (("averaged", {"lr": 0.1, "averaged": True}),
                          ("plain, lr · (1 - β)", {"lr": 0.1 * (1 - 0.9)})):
        layer = place.put(layers.Linear(2, 1, bias=False))
        layer.load_state_dict({"weight": start})
        optimizer = optim.SGD(layer.parameters(), momentum=0.9, **options)
        for _ in range(20):
            layer.weight.grad = layer.weight.data         # the gradient of half the squared length
            optimizer.step()
        ends[name] = layer.weight.data
    return {**ends, "where both began, unchanged": start}


def activations(place: Place) -> dict[str, Any]:
    """5. ReLU, tanh, and their derivatives by differentiation. The slope of ReLU at 0 is 0 here; integers into tanh
    are refused with a word about astype."""
    x = place.asarray([-2.0, -1.0, 0.0, 1.0, 2.0])
    return {"relu": functional.relu(x), "its derivative": pnn.elementwise_grad(functional.relu)(x),
            "tanh": functional.tanh(x), "and its": pnn.elementwise_grad(functional.tanh)(x)}


def batch_normalisation(place: Place) -> dict[str, Any]:
    """6. γ and β learn, as the gradients of weight and bias show; running statistics move in training alone and are
    what evaluation uses."""
    x = place.asarray(np.random.default_rng(0).normal(5.0, 3.0, size=(64, 2)))
    y = (norm := place.put(layers.BatchNorm1d(2, eps=1e-5)))(pnn.Tensor(x))
    layers.MSELoss()(y, pnn.Tensor(place.asarray(np.ones((64, 2))))).backward()
    return {"batch after the layer, mean": _mean(y.data), "gradient of γ": norm.weight.grad,
            "gradient of β": norm.bias.grad, "running mean": norm.running_mean.data,
            "running variance": norm.running_var.data, "evaluation, mean": _mean(norm.eval()(x))}


def dropout(place: Place) -> dict[str, Any]:
    """7. keep_prob 0.8 is p = 0.2, the share that is dropped; what is kept is scaled up, so that evaluation has
    nothing to do. Each forward pass has its own mask, and its backward uses that one, whatever was computed in
    between."""
    layer = layers.Dropout(p=1 - 0.8)
    x = pnn.Tensor(place.asarray(np.ones((1, 10))), requires_grad=True)
    y = layer.train()(x)
    layer.eval()(x.data)                                  # an inference in between
    pnn.array_namespace(y).sum(y).backward()
    return {"keep_prob": 0.8, "training": y.data, "its gradient, the same mask": x.grad,
            "evaluation": layer.eval()(x.data)}


def word_vectors(place: Place) -> dict[str, Any]:
    """8. Skip-gram: `context_probabilities(word)` is a softmax over all words. A full softmax is called one here, and
    negative sampling draws its negatives; either way both tables move along gradients of their old values, not one by
    what the other has become."""
    corpus = data.make_corpus(["sun shines warm", "moon shines cold", "fire burns warm", "ice feels cold"] * 10,
                              min_count=1)
    pairs = data.SkipGrams(corpus, window=2, negatives=3, sample=0.0, batch_words=32)
    words, contexts = pairs.epoch(0).pairs()
    full = place.put(models.SkipGram(len(corpus.words), 8, sparse=False).initialize(0))
    history = pnn.fit(full, layers.CrossEntropyLoss(), optim.Adam(full.parameters(), lr=0.05),
                      train=(words.astype(np.int32), contexts.astype(np.int32)), batch_size=64, epochs=20,
                      progress=False)
    sampled = place.put(models.SkipGram(len(corpus.words), 8).initialize(0))
    rows = models.train_skipgram(sampled, pairs, epochs=20, lr=0.05, progress=False)
    sun = corpus.words.index("sun")
    seen = pnn.to_numpy(full.context_probabilities(sun))
    return {"loss of the full softmax, first epoch and last": (history["train"][0], history["train"][-1]),
            "loss of negative sampling": (rows[0]["loss"], rows[-1]["loss"]),
            "the vector of sun": sampled.words.weight.data[sun, ...],
            "its contexts": ", ".join(f"{corpus.words[i]} {seen[i]:.2f}" for i in np.argsort(-seen)[:3]),
            "probabilities": seen}


def attention(place: Place) -> dict[str, Any]:
    """9. True in a mask means hidden, everywhere here. Weights are a softmax over what may be seen: every row sums
    to 1, or to 0 where all is hidden. Heads of width D are scaled by √D, not by the whole width, and have
    projections of their own."""
    rng = np.random.default_rng(0)
    x = place.asarray(rng.normal(size=(2, 4, 8)))                                          # (B, T, width)
    padding = place.asarray([[False, False, False, False], [False, False, True, True]])
    output, weights = place.put(layers.MultiheadAttention(8, num_heads=2))(x, padding_mask=padding, causal=True,
                                                                           return_weights=True)
    plain = functional.attention(x, x, x, None, causal=True, scale=None, dropout_p=0.0, stream=None)
    return {"one head by hand, shape": tuple(plain.shape), "two heads, shape": tuple(output.shape),
            "weights of the second text's first head": weights[1, 0, ...],
            "sums of all rows": pnn.array_namespace(weights).sum(weights, axis=-1)}


def lstm(place: Place) -> dict[str, Any]:
    """10. One step and a sequence, backwards through time too. A tutorial's one matrix over [h, x] with gates f, i,
    c, o becomes ours (i, f, g, o) with one call."""
    rng = np.random.default_rng(0)
    joint, bias = (place.asarray(0.5 * rng.normal(size=shape)) for shape in ((4 * 3, 3 + 2), (4 * 3,)))
    state = layers.from_joint_weights(joint, bias, order="fico")
    cell, sequence = place.put(layers.LSTMCell(2, 3)), place.put(layers.LSTM(2, 3))
    cell.load_state_dict(state)
    sequence.load_state_dict({f"{name}_l0": x for name, x in state.items()})
    x = pnn.Tensor(place.asarray(rng.normal(size=(1, 5, 2))), requires_grad=True)          # (B, T, I)
    h = c = place.asarray(np.zeros((1, 3)))
    for t in range(5):
        h, c = cell(x.data[:, t, ...], (h, c))
    y, (last, _) = sequence(x)
    pnn.array_namespace(y).sum(y[:, -1, ...]).backward()
    return {"five steps of the cell": h, "the sequence's last output": y.data[:, -1, ...],
            "its last state": last.data[0, ...], "gradient of the first input, four steps back": x.grad[:, 0, ...]}


def transformer(place: Place) -> dict[str, Any]:
    """11. A block with learned norms, dropout, masks and positions: what stands behind a text's end changes
    nothing."""
    layer = place.put(layers.TransformerEncoderLayer(d_model=8, nhead=2, dim_feedforward=32, dropout=0.1)).eval()
    positions = layers.PositionalEncoding(8)
    x = np.random.default_rng(0).normal(size=(1, 5, 8))
    padding = place.asarray([[False, False, False, True, True]])
    changed = x.copy()
    changed[:, 3:] = 100.0
    outputs = [layer(positions(place.asarray(part)), padding_mask=padding)[:, :3, ...] for part in (x, changed)]
    xp = pnn.array_namespace(outputs[0])
    return {"shape": tuple(outputs[0].shape), "parameters": sum(1 for _ in layer.parameters()),
            "difference by what is hidden": xp.max(xp.abs(outputs[0] - outputs[1]))}


def sentiment(place: Place) -> dict[str, Any]:
    """12. The table has a row for each word that was found, texts stay sparse, training changes the weights, and
    logits (N, 2) against labels (N,) is no N × N. `examples/sentiment.py` does it on real reviews."""
    vectorizer = data.TokenVectorizer()
    rows = vectorizer.fit_transform(TEXTS)
    model = place.put(models.TextClassifier(vectorizer.size, body="lstm", width=8, hidden=8, dropout=0.0))
    history = pnn.fit(model, layers.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.03), train=(rows, LABELS),
                      batch_size=6, epochs=25, progress=False)
    pipeline = models.TextPipeline(vectorizer, model, ["negative", "positive"])
    new = ["what a good plot", "a bad bad cast", "words never seen"]
    return {"loss, first epoch and last": (history["train"][0], history["train"][-1]),
            "accuracy": pnn.evaluate(model, rows, LABELS)["accuracy"],
            **dict(zip(new, pipeline.predict(new), strict=True))}


def evaluation(place: Place) -> dict[str, Any]:
    """13. All figures come from one confusion matrix (rows are the truth), so they cannot contradict it; the
    history of training and validation is a table."""
    truth, answer = np.repeat([0, 0, 1, 1], [427, 73, 51, 449]), np.repeat([0, 1, 0, 1], [427, 73, 51, 449])
    truth, logits = truth.astype(np.int32), place.asarray(np.eye(2)[answer])
    found = pnn.evaluate(place.put(layers.Sequential()), logits, truth)
    model = place.put(models.MLP((2, 8, 2)))
    history = pnn.fit(model, layers.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=0.01),
                      train=(logits[::10, ...], truth[::10]), validation=0.2, metrics=["accuracy"], batch_size=20,
                      epochs=3, progress=False)
    return {**found, "history": history}


def forecasting(place: Place) -> dict[str, Any]:
    """14. Windows of sin(0.1 t) with noise, split in time; the forecaster is trained, and stands beside naive
    forecasts. `examples/forecasting.py` does it on real demand."""
    series = data.load_series("sine")
    learn, _, judge = data.split_in_time(len(series.values))
    view = data.windows(series.values, context=10, horizon=1)
    encoder = models.SeriesEncoder(context=10, horizon=1).fit(series, learn)
    train, test = (encoder.windows(series, rows.start, rows.stop) for rows in (learn, judge))
    model = place.put(models.Forecaster(10, 1, lags=(0,), body="lstm", width=16, hidden=[16], dropout=0.0))
    pnn.fit(model, layers.MSELoss(), optim.Adam(model.parameters(), lr=3e-3), train=(train.inputs, train.targets),
            batch_size=32, epochs=8, progress=False)
    pipeline = models.ForecastPipeline(encoder, model)
    actual, forecast = encoder.in_units(test.targets, test.usual), pipeline.predict(test)
    naive = {"last value": models.naive_forecasts(series.values, test.origins, 1, 1),
             "ridge": models.ridge_forecasts(series.values, train.origins, test.origins, 10, 1)}
    errors = {name: float(np.mean((x - actual) ** 2)) for name, x in {"LSTM": forecast, **naive}.items()}
    return {"windows and targets": (view.inputs.shape, view.targets.shape),
            **{f"mean squared error, {name}": error for name, error in errors.items()},
            "the next value, forecast": forecast[-1, 0], "and actual": actual[-1, 0]}


def _mean(x: Any) -> Any:
    return pnn.array_namespace(x).mean(x, axis=0)


SLIDES = [perceptron, backpropagation, losses, momentum, activations, batch_normalisation, dropout, word_vectors,
          attention, lstm, transformer, sentiment, evaluation, forecasting]


def show(slide: Callable[[Place], dict[str, Any]], place: Place) -> None:
    """Print what a slide says and finds."""
    print("\n" + textwrap.fill(" ".join(str(slide.__doc__).split()), 100) + "\n")
    for name, value in slide(place).items():
        text = written(value)
        print(f"  {name}:" + (f"\n{text}".replace("\n", "\n      ") if "\n" in text else f" {text}"))


def written(value: Any) -> str:
    """A result as text: numbers with four decimals."""
    if isinstance(value, tuple) and all(isinstance(part, float) for part in value):
        return ", ".join(map(written, value))
    value = pnn.to_numpy(value) if hasattr(value, "shape") else value
    if isinstance(value, np.ndarray) and value.ndim:
        return np.array2string(value, precision=4, suppress_small=True, floatmode="fixed")
    return f"{float(value):.4f}" if isinstance(value, (float, np.ndarray, np.floating)) else str(value)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help='"cpu", "cuda", "cuda:1" or "auto"')
    parser.add_argument("--only", nargs="+", type=int, metavar="N", choices=range(1, len(SLIDES) + 1), help="which")
    parser.add_argument("--smoke", action="store_true", help="no difference: the slides take seconds anyway")
    options = parser.parse_args(arguments)
    try:
        place = on(options.device)
        for number in options.only or range(1, len(SLIDES) + 1):
            show(SLIDES[number - 1], place)
    except (pnn.PortableNNError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
