"""The workloads: shapes alone, so that every contender builds the same net, and the batches that all of them get.

A workload is one training step (forward, loss, backward, update) or, where `train` is False, one forward pass. Sizes
are what people run on such machines: a tabular MLP, a bag of words, LSTM forecasters, a Transformer that classifies,
nanoGPT's two Shakespeare configurations, MiniLM's inference, skip-gram with negative sampling.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

WORKLOADS: dict[str, dict[str, Any]] = {
    "mlp-small": {"kind": "mlp", "batch": 32, "sizes": (64, 64, 64, 10), "optimizer": "adam"},
    "mlp": {"kind": "mlp", "batch": 128, "sizes": (784, 512, 512, 10), "optimizer": "adam"},
    "bow": {"kind": "bow", "batch": 64, "time": 64, "vocab": 20_000, "dim": 100, "hidden": 64, "optimizer": "adam"},
    "lstm-64": {"kind": "lstm", "batch": 32, "time": 96, "features": 7, "hidden": 64, "optimizer": "adam"},
    "lstm-256": {"kind": "lstm", "batch": 128, "time": 96, "features": 7, "hidden": 256, "optimizer": "adam"},
    "encoder": {"kind": "encoder", "batch": 8, "time": 128, "vocab": 20_000, "dim": 512, "heads": 8, "ff": 2048,
                "layers": 2, "dropout": 0.1, "optimizer": "adamw"},
    "gpt-cpu": {"kind": "gpt", "batch": 12, "time": 64, "vocab": 65, "dim": 128, "heads": 4, "layers": 4,
                "dropout": 0.0, "optimizer": "adamw"},
    "gpt-baby": {"kind": "gpt", "batch": 64, "time": 256, "vocab": 65, "dim": 384, "heads": 6, "layers": 6,
                 "dropout": 0.2, "optimizer": "adamw",
                 "precision": "bfloat16"},
    "minilm-infer": {"kind": "encoder", "train": False, "batch": 32, "time": 128, "vocab": 30_522, "dim": 384,
                     "heads": 12, "ff": 1536, "layers": 6, "dropout": 0.0, "precision": "bfloat16"},
    "skipgram": {"kind": "skipgram", "batch": 1024, "negatives": 5, "vocab": 50_000, "dim": 100, "optimizer": "sgd"},
}


class Goal(NamedTuple):
    """What is to be reached on a GPU: a ratio to the fastest peer, whose step took `best_ms` on an H100; and perhaps a
    share of the rate of products.
    """

    ratio: float
    best_ms: float
    share: float | None = None


GOALS = {"mlp-small": Goal(1.15, .062), "mlp": Goal(1.3, .104), "bow": Goal(1.2, .127), "lstm-64": Goal(1.0, .191),
         "lstm-256": Goal(1.5, 2.22), "encoder": Goal(1.05, .973), "gpt-cpu": Goal(1.1, .927),
         "gpt-baby": Goal(1.2, 6.75, share=0.28), "minilm-infer": Goal(1.0, .659), "skipgram": Goal(1.1, .090)}
#: A step of these takes half a minute without a GPU.
CUDA_ONLY = ("gpt-baby",)
#: Batches that take turns, so that nothing can be remembered from the step before.
ROTATION = 8
LEARNING_RATES = {"adam": 1e-3, "adamw": 1e-3, "sgd": 0.05}
#: Rows of the parity check's batches, where all of them would take long in float64.
_PARITY_BATCH = {"lstm-256": 16, "encoder": 2, "gpt-cpu": 4, "gpt-baby": 2, "minilm-infer": 2}


def names(device: str) -> list[str]:
    """The workloads that are measured on a device."""
    return [name for name in WORKLOADS if device == "cuda" or name not in CUDA_ONLY]


def precision_of(spec: dict[str, Any], device: str) -> str:
    """What a workload computes in where nothing else is asked for: what it is run in where it matters."""
    return "float32" if device == "cpu" else spec.get("precision", "tf32")


def trains(spec: dict[str, Any]) -> bool:
    """Whether a workload is a training step, not a forward pass."""
    return spec.get("train", True)


def learning_rate(spec: dict[str, Any]) -> float:
    return LEARNING_RATES[spec["optimizer"]]


def make_batches(spec: dict[str, Any], count: int = ROTATION, seed: int = 0,
                 dtype: str = "float32") -> list[tuple[np.ndarray, ...]]:
    """Batches of a workload, on the host: what its net reads, then its targets.

    mlp (B, I), classes (B,); bow (B, T) words, (B,) zeros and ones; lstm (B, T, F), (B,); encoder (B, T) words, (B,)
    classes; gpt (B, T) words twice; skipgram words (B,), and (B, 1 + K) one context and K negatives.
    """
    rng = np.random.default_rng(seed)
    return [_make_batch(spec, rng, dtype) for _ in range(count)]


def _make_batch(spec: dict[str, Any], rng: np.random.Generator, dtype: str) -> tuple[np.ndarray, ...]:
    kind, rows, time = spec["kind"], spec["batch"], spec.get("time", 0)

    def words(*shape: int) -> np.ndarray:
        return rng.integers(0, spec["vocab"], shape, dtype=np.int64)

    if kind == "mlp":
        return rng.standard_normal((rows, spec["sizes"][0])).astype(dtype), rng.integers(0, spec["sizes"][-1], rows)
    if kind == "bow":
        return words(rows, time), rng.integers(0, 2, rows).astype(dtype)
    if kind == "lstm":
        return (rng.standard_normal((rows, time, spec["features"])).astype(dtype),
                rng.standard_normal(rows).astype(dtype))
    if kind == "encoder":
        return (words(rows, time), rng.integers(0, 2, rows)) if trains(spec) else (words(rows, time),)
    if kind == "gpt":
        return words(rows, time), words(rows, time)
    return words(rows), words(rows, 1 + spec["negatives"])


def for_parity(name: str) -> dict[str, Any]:
    """The workload with all that is random switched off, and fewer rows where a step in float64 takes long."""
    spec = {**WORKLOADS[name], "dropout": 0.0}
    return {**spec, "batch": _PARITY_BATCH.get(name, spec["batch"])}


def tiny(spec: dict[str, Any]) -> dict[str, Any]:
    """The same kind of net, too small to count: what a process runs first, so that its code is in memory."""
    small = {"batch": 2, "time": 4, "vocab": 11, "dim": 8, "heads": 2, "ff": 8, "layers": 1, "hidden": 4,
             "features": 3, "negatives": 2}
    sizes = {"sizes": (4,) * len(spec["sizes"])} if "sizes" in spec else {}
    return {**spec, **{key: value for key, value in small.items() if key in spec}, **sizes}


def doubled(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The workload with twice the batch, twice the time (where it has one), and twice the width."""
    found = {"batch": {**spec, "batch": 2 * spec["batch"]}}
    if "time" in spec:
        found["time"] = {**spec, "time": 2 * spec["time"]}
    widths = {key: 2 * spec[key] for key in ("dim", "ff", "hidden") if key in spec}
    if "sizes" in spec:
        first, *hidden, last = spec["sizes"]
        widths["sizes"] = (first, *(2 * size for size in hidden), last)
    found["width"] = {**spec, **widths}
    return found
