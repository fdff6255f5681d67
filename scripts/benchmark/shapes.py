"""What can be told from a workload's sizes alone: its parameters, its multiplications, the bytes it must move."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmark.workloads import trains

Shapes = dict[str, tuple[int, ...]]


def parameter_shapes(spec: dict[str, Any]) -> Shapes:
    """The shape of every parameter, by name."""
    kind, dim = spec["kind"], spec.get("dim", 0)
    if kind == "mlp":
        found: Shapes = {}
        for number, (features_in, features_out) in enumerate(zip(spec["sizes"][:-1], spec["sizes"][1:])):
            found |= _linear(f"{2 * number}.", features_in, features_out)
        return found
    if kind == "bow":
        return {"embed.weight": (spec["vocab"], dim)} | _linear("hidden.", dim, spec["hidden"]) | _linear(
            "out.", spec["hidden"], 1)
    if kind == "lstm":
        gates, hidden = 4 * spec["hidden"], spec["hidden"]
        return {"lstm.weight_ih_l0": (gates, spec["features"]), "lstm.weight_hh_l0": (gates, hidden),
                "lstm.bias_ih_l0": (gates,), "lstm.bias_hh_l0": (gates,)} | _linear("out.", hidden, 1)
    if kind == "skipgram":
        return {"words.weight": (spec["vocab"], dim), "contexts.weight": (spec["vocab"], dim)}
    return _transformer(spec, dim, causal=kind == "gpt")


def _transformer(spec: dict[str, Any], dim: int, *, causal: bool) -> Shapes:
    found: Shapes = {"tokens.weight": (spec["vocab"], dim), "positions.weight": (spec["time"], dim)}
    attention, up, down = ("attention", "up", "down") if causal else ("self_attn", "linear1", "linear2")
    for number in range(spec["layers"]):
        name = f"blocks.{number}." if causal else f"encoder.layers.{number}."
        found |= {f"{name}{attention}.in_proj_weight": (3 * dim, dim), f"{name}{attention}.in_proj_bias": (3 * dim,)}
        found |= _linear(f"{name}{attention}.out_proj.", dim, dim)
        found |= _linear(f"{name}{up}.", dim, _wide(spec)) | _linear(f"{name}{down}.", _wide(spec), dim)
        found |= _norm(f"{name}norm1.", dim) | _norm(f"{name}norm2.", dim)
    if causal:
        return found | _norm("norm.", dim) | {"head.weight": (spec["vocab"], dim)}
    return found | _linear("out.", dim, 2)


def _linear(name: str, features_in: int, features_out: int) -> Shapes:
    return {name + "weight": (features_out, features_in), name + "bias": (features_out,)}


def _norm(name: str, dim: int) -> Shapes:
    return {name + "weight": (dim,), name + "bias": (dim,)}


def _wide(spec: dict[str, Any]) -> int:
    return spec["ff"] if "ff" in spec else 4 * spec["dim"]


def draw_weights(spec: dict[str, Any], dtype: str) -> dict[str, np.ndarray]:
    """Values for the parameters, of a size that a net would begin with."""
    rng = np.random.default_rng(0)
    found = {}
    for name, shape in parameter_shapes(spec).items():
        bound = 1 / math.sqrt(shape[-1])
        values = np.ones(shape) if "norm" in name and name.endswith("weight") else rng.uniform(-bound, bound, shape)
        found[name] = values.astype(dtype)
    return found


def operations(spec: dict[str, Any]) -> float:
    """Floating operations of a step's matrix products, two for each multiplication and its addition.

    Backward needs two products for each of forward's: for the weights and for the input, except where the input is
    data. A causal mask hides half of the scores. All else is small beside these.
    """
    kind, rows = spec["kind"], spec["batch"]
    first = 0.0  # products whose input is data
    if kind == "mlp":
        pairs = [a * b for a, b in zip(spec["sizes"][:-1], spec["sizes"][1:])]
        first, inner = rows * pairs[0], rows * sum(pairs[1:])
    elif kind == "bow":
        inner = rows * (spec["dim"] * spec["hidden"] + spec["hidden"])
    elif kind == "lstm":
        gates = rows * spec["time"] * 4 * spec["hidden"]
        first, inner = gates * spec["features"], gates * spec["hidden"] + rows * spec["hidden"]
    elif kind == "skipgram":
        inner = rows * (1 + spec["negatives"]) * spec["dim"]
    else:
        dim, time, causal = spec["dim"], spec["time"], kind == "gpt"
        of_token = spec["layers"] * (4 * dim**2 + 2 * dim * _wide(spec) + 2 * time * dim * (0.5 if causal else 1))
        inner = rows * time * (of_token + (dim * spec["vocab"] if causal else 0))
    return 2.0 * (2 * first + 3 * inner if trains(spec) else first + inner)


def traffic(spec: dict[str, Any], itemsize: int = 4) -> float:
    """Bytes that a step cannot but move: parameters and Adam's two moments read and written once, of tables in a
    forward pass or with sparse gradients only the rows that are used. Activations might stay in the cache."""
    kind, dim = spec["kind"], spec.get("dim", 0)
    if kind == "skipgram":
        return 2.0 * itemsize * dim * spec["batch"] * (2 + spec["negatives"])
    count = sum(math.prod(shape) for shape in parameter_shapes(spec).values())
    if trains(spec):
        return 6.0 * itemsize * count
    used = min(spec["vocab"], spec["batch"] * spec["time"])
    return 1.0 * itemsize * (count - (spec["vocab"] - used) * dim)
