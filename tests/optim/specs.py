"""One row per optimiser; a row buys every check of tests/optim/test_optimizers.py.

A row holds configurations: options, and the formula of one step once more in plain NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from portable_nn import optim


@dataclass(frozen=True)
class Case:
    """One configuration of an optimiser.

    Attributes
    ----------
    options : dict
    step : callable
        `step(t, values, gradient, state) -> values` in float64; t counts from 1, `state` is a dict kept between steps.
    """

    id: str
    kind: type
    options: dict[str, Any]
    step: Callable[[int, np.ndarray, np.ndarray, dict[str, Any]], np.ndarray]


def momentum_step(t: int, values: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    state["v"] = g if t == 1 else 0.9 * state["v"] + 0.75 * g
    return values - 0.1 * state["v"]


def averaged_step(t: int, values: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    state["v"] = 0.9 * state.get("v", 0) + 0.1 * g
    return values - 0.1 * state["v"]


def nesterov_step(t: int, values: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    g = g + 0.01 * values
    state["v"] = 0.9 * state.get("v", 0) + g
    return values - 0.1 * (g + 0.9 * state["v"])


def adam_step(decay: float, shrink: float) -> Callable[..., np.ndarray]:
    def step(t: int, values: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
        g = g + decay * values
        state["m"] = 0.8 * state.get("m", 0) + 0.2 * g
        state["v"] = 0.9 * state.get("v", 0) + 0.1 * g * g
        m_hat, v_hat = state["m"] / (1 - 0.8**t), state["v"] / (1 - 0.9**t)
        return values * (1 - 0.1 * shrink) - 0.1 * m_hat / (np.sqrt(v_hat) + 1e-3)
    return step


def amsgrad_step(t: int, values: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    state["m"] = 0.8 * state.get("m", 0) + 0.2 * g
    state["v"] = 0.9 * state.get("v", 0) + 0.1 * g * g
    state["top"] = np.maximum(state.get("top", 0), state["v"])
    return values - 0.1 * state["m"] / (1 - 0.8**t) / (np.sqrt(state["top"] / (1 - 0.9**t)) + 1e-3)


def rmsprop_step(centered: bool, momentum: float, decay: float) -> Callable[..., np.ndarray]:
    def step(t: int, values: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
        g = g + decay * values
        state["s"] = 0.9 * state.get("s", 0) + 0.1 * g * g
        state["a"] = 0.9 * state.get("a", 0) + 0.1 * g
        root = np.sqrt(np.maximum(state["s"] - (state["a"] ** 2 if centered else 0), 0))
        state["v"] = momentum * state.get("v", 0) + g / (root + 1e-2)
        return values - 0.1 * state["v"]
    return step


def sparse_adam_step(t: int, values: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    state["m"] = 0.8 * state.get("m", 0) + 0.2 * g
    state["v"] = 0.9 * state.get("v", 0) + 0.1 * g * g
    return values - 0.1 * np.sqrt(1 - 0.9**t) / (1 - 0.8**t) * state["m"] / (np.sqrt(state["v"]) + 1e-3)


def lion_step(t: int, values: np.ndarray, g: np.ndarray, state: dict[str, Any]) -> np.ndarray:
    """Chen et al., 2023, algorithm 2, line by line."""
    beta1, beta2, decay, eta, m = 0.7, 0.9, 0.2, 0.1, state.get("m", 0)
    c = beta1 * m + (1 - beta1) * g
    state["m"] = beta2 * m + (1 - beta2) * g
    return values - eta * (np.sign(c) + decay * values)


_RMS = {"lr": 0.1, "alpha": 0.9, "eps": 1e-2}
_ADAM = {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}
CASES = [
    Case("SGD-plain", optim.SGD, {"lr": 0.1}, lambda t, p, g, state: p - 0.1 * g),
    Case("SGD-decay", optim.SGD, {"lr": 0.1, "weight_decay": 0.2}, lambda t, p, g, state: p - 0.1 * (g + 0.2 * p)),
    Case("SGD-momentum", optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.25}, momentum_step),
    Case("SGD-nesterov", optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
         nesterov_step),
    Case("SGD-averaged", optim.SGD, {"lr": 0.1, "momentum": 0.9, "averaged": True}, averaged_step),
    Case("Adam", optim.Adam, _ADAM, adam_step(0.0, 0.0)),
    Case("Adam-decay", optim.Adam, {**_ADAM, "weight_decay": 0.1}, adam_step(0.1, 0.0)),
    Case("AdamW", optim.AdamW, {**_ADAM, "weight_decay": 0.1}, adam_step(0.0, 0.1)),
    Case("Adam-amsgrad", optim.Adam, {**_ADAM, "amsgrad": True}, amsgrad_step),
    Case("RMSprop", optim.RMSprop, _RMS, rmsprop_step(False, 0.0, 0.0)),
    Case("RMSprop-centered", optim.RMSprop, {**_RMS, "centered": True, "weight_decay": 0.1},
         rmsprop_step(True, 0.0, 0.1)),
    Case("RMSprop-momentum", optim.RMSprop, {**_RMS, "momentum": 0.8}, rmsprop_step(False, 0.8, 0.0)),
    Case("RMSprop-all", optim.RMSprop, {**_RMS, "centered": True, "momentum": 0.8}, rmsprop_step(True, 0.8, 0.0)),
    Case("SparseAdam", optim.SparseAdam, _ADAM, sparse_adam_step),
    Case("Lion", optim.Lion, {"lr": 0.1, "betas": (0.7, 0.9), "weight_decay": 0.2}, lion_step),
]
