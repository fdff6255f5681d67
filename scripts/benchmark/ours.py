"""Our side: each workload as one would write it with the public API."""

from __future__ import annotations

from typing import Any

import numpy as np

import portable_nn as pnn
from benchmark.device import forget_peak, level, peak, release
from benchmark.workloads import learning_rate, trains
from portable_nn import layers, models, optim
from portable_nn.data.skipgrams import SkipGramBatch

#: What `worker` asks of each contender's module.
__all__ = ["Ours", "forget_peak", "level", "limit_threads", "peak", "release"]


class BagOfWords(layers.Module):
    def __init__(self, vocab: int, dim: int, hidden: int) -> None:
        self.embed = layers.EmbeddingBag(vocab, dim, mode="mean")
        self.hidden, self.out = layers.Linear(dim, hidden), layers.Linear(hidden, 1)

    def forward(self, words: Any) -> Any:
        return self.out(self.hidden(self.embed(words), activation="relu"))[:, 0]


class Forecaster(layers.Module):
    def __init__(self, features: int, hidden: int) -> None:
        self.lstm, self.out = layers.LSTM(features, hidden), layers.Linear(hidden, 1)

    def forward(self, series: Any) -> Any:
        _, (h, _) = self.lstm(series)
        return self.out(h[-1, ...])[:, 0]


class Encoder(layers.Module):
    def __init__(self, spec: dict[str, Any]) -> None:
        dim = spec["dim"]
        self.tokens, self.positions = layers.Embedding(spec["vocab"], dim), layers.LearnedPositions(spec["time"], dim)
        layer = layers.TransformerEncoderLayer(dim, spec["heads"], spec["ff"], spec["dropout"], activation="gelu")
        self.encoder = layers.TransformerEncoder(layer, spec["layers"])
        self.out = layers.Linear(dim, 2)

    def forward(self, words: Any) -> Any:
        h = self.encoder(self.tokens(words, self.positions))
        return self.out(pnn.array_namespace(h).mean(h, axis=1))


class Block(layers.Module):
    """What a block adds last it hands on unadded: the next norm takes the sum along."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        self.norm1, self.norm2 = layers.LayerNorm(dim), layers.LayerNorm(dim)
        self.attention = layers.MultiheadAttention(dim, heads, dropout)
        self.up, self.down = layers.Linear(dim, 4 * dim), layers.Linear(4 * dim, dim)
        self.dropout1, self.dropout2 = layers.Dropout(dropout), layers.Dropout(dropout)

    def forward(self, x: Any, added: Any) -> Any:
        x, h = self.norm1.after(x, added, self.dropout1)
        x, h = self.norm2.after(x, self.attention(h, causal=True), self.dropout2)
        return x, self.down(self.up(h, activation="gelu"))


class GPT(layers.Module):
    def __init__(self, spec: dict[str, Any]) -> None:
        dim = spec["dim"]
        self.tokens, self.positions = layers.Embedding(spec["vocab"], dim), layers.LearnedPositions(spec["time"], dim)
        self.dropout, self.last_dropout = layers.Dropout(spec["dropout"]), layers.Dropout(spec["dropout"])
        self.blocks = layers.ModuleList(Block(dim, spec["heads"], spec["dropout"]) for _ in range(spec["layers"]))
        self.norm, self.head = layers.LayerNorm(dim), layers.Linear(dim, spec["vocab"], bias=False)

    def forward(self, words: Any) -> Any:
        x, added = self.tokens(words, self.positions, self.dropout), None
        for block in self.blocks:
            x, added = block(x, added)
        return self.head(self.norm(x, added, self.last_dropout))


def make_model(spec: dict[str, Any]) -> tuple[layers.Module, Any]:
    """The net of a workload, and its loss (None where it has none, or computes it itself)."""
    kind = spec["kind"]
    if kind == "mlp":
        steps: list[layers.Module] = []
        for features_in, features_out in zip(spec["sizes"][:-1], spec["sizes"][1:]):
            steps += [layers.Linear(features_in, features_out), layers.ReLU()]
        return layers.Sequential(*steps[:-1]), layers.CrossEntropyLoss()
    if kind == "bow":
        return BagOfWords(spec["vocab"], spec["dim"], spec["hidden"]), layers.BCEWithLogitsLoss()
    if kind == "lstm":
        return Forecaster(spec["features"], spec["hidden"]), layers.MSELoss()
    if kind == "encoder":
        return Encoder(spec), layers.CrossEntropyLoss()
    if kind == "gpt":
        return GPT(spec), layers.CrossEntropyLoss()
    return models.SkipGram(spec["vocab"], spec["dim"]), None


def make_optimizer(spec: dict[str, Any], parameters: Any, **options: Any) -> optim.Optimizer:
    kind = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}[spec["optimizer"]]
    return kind(parameters, lr=learning_rate(spec), **options)


class Ours:
    """One contender; the others have the same methods.

    Parameters
    ----------
    spec : dict
        A workload.
    device : "cpu" or "cuda"
    precision : "float32" or "float64"; on CUDA "tf32" or "bfloat16" too
    mode : "eager" or "captured"
        Whether a GPU replays recorded steps.
    """

    def __init__(self, spec: dict[str, Any], device: str = "cpu", precision: str = "float32", mode: str = "eager",
                 **options: Any) -> None:
        self.spec, self.device, self.dtype = spec, device, "float64" if precision == "float64" else "float32"
        self.precision = "float32" if precision == "float64" else precision
        self.run = pnn.capture(self._step) if device == "cuda" and mode == "captured" else self._step
        self.model, self.criterion = make_model(spec)
        self.model.initialize(0).to(device, dtype=self.dtype).train(trains(spec))
        self.optimizer = make_optimizer(spec, self.model.parameters(), **options) if trains(spec) else None

    def put(self, batch: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
        """A batch where the step wants it: as `data.batches` gives it."""
        if self.spec["kind"] == "skipgram":
            words, samples = batch
            ones = np.ones((len(words), 1, 1), dtype=self.dtype)
            batch = (words[:, None], samples, ones, ones[:, 0])
        moved = [pnn.to_device(x.copy(), self.device) for x in batch]
        if not trains(self.spec):
            return tuple(moved)  # arrays in, arrays out: nothing is recorded
        tensors = tuple(map(pnn.Tensor, moved))
        return (SkipGramBatch(*tensors),) if self.spec["kind"] == "skipgram" else tensors

    def loss(self, batch: tuple[Any, ...]) -> Any:
        if self.criterion is None:
            losses = self.model(*batch)
            return pnn.array_namespace(losses).mean(losses)
        return self.criterion(self.model(batch[0]), batch[1])

    def step(self, batch: tuple[Any, ...]) -> Any:
        """One step of the workload."""
        if self.device == "cpu":
            return self._step(batch)
        with pnn.precision(self.precision):
            return self.run(batch)

    def _step(self, batch: tuple[Any, ...]) -> Any:
        if self.optimizer is None:
            return self.model(*batch)
        loss = self.loss(batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device != "cpu":
            import cupy

            cupy.cuda.runtime.deviceSynchronize()

    def fit(self, x: np.ndarray, y: np.ndarray, epochs: int) -> None:
        """Train a new net from the beginning, with `fit`."""
        model, criterion = make_model(self.spec)
        pnn.fit(model, criterion, make_optimizer(self.spec, model.parameters()), train=(x, y), epochs=epochs,
                batch_size=self.spec["batch"], progress=False)

    def load(self, weights: dict[str, np.ndarray]) -> None:
        self.model.load_state_dict(weights)

    def weights(self) -> dict[str, np.ndarray]:
        """The parameters by name, on the host."""
        return {name: pnn.to_numpy(value) for name, value in self.model.state_dict().items()}

    def result_and_gradients(self, batch: tuple[Any, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The loss of a batch and its gradients by name, with no update; for inference the result, and no gradients."""
        if self.optimizer is None:
            return pnn.to_numpy(self.step(batch)), {}
        loss = self.loss(batch)
        loss.backward()
        found = {name: parameter.grad for name, parameter in self.model.named_parameters()}
        self.optimizer.zero_grad()
        return loss.numpy(), {
            name: pnn.to_numpy(g.dense() if hasattr(g, "dense") else g) for name, g in found.items()}


def limit_threads(threads: int) -> None:
    """Give BLAS so many threads; the environment asked for them already, where it was read."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
