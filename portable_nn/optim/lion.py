"""Lion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portable_nn.backend.namespace import array_namespace
from portable_nn.optim.groups import check_betas
from portable_nn.optim.optimizer import Optimizer


def lion_update(values: Any, gradient: Any, exp_avg: Any, *, lr: float, beta1: float, beta2: float,
                shrink: float) -> tuple[Any, Any]:
    """One step: θ ← shrink·θ − lr · sign(β₁m + (1 − β₁)g), then m ← β₂m + (1 − β₂)g; `shrink` is 1 − lr·λ."""
    xp = array_namespace(values)
    direction = xp.sign(exp_avg * beta1 + gradient * (1 - beta1))
    return values * shrink - direction * lr, exp_avg * beta2 + gradient * (1 - beta2)


class Lion(Optimizer):
    """Steps of one size, ±lr, along the sign of a momentum.

    c = β₁ m + (1 − β₁) g, θ ← θ − lr · (sign(c) + λ θ), m ← β₂ m + (1 − β₂) g. The paper's learning rates are 3 to 10
    times smaller than AdamW's, with λ as many times larger.

    Parameters
    ----------
    parameters : iterable of Parameter, or of groups
    lr : float or schedule
    betas : (float, float)
        From 0 up to but not including 1.
    weight_decay : float
        λ, apart from the gradient.
    clip_norm : float, optional
        Global norm to clip all gradients to.

    Source: Chen et al., "Symbolic discovery of optimization algorithms", 2023, algorithm 2.
    """

    operation = "lion_update"
    definition = staticmethod(lion_update)

    def __init__(self, parameters: Iterable[Any], lr: Any = 1e-4, betas: tuple[float, float] = (0.9, 0.99),
                 weight_decay: float = 0.0, *, clip_norm: float | None = None) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay}, clip_norm=clip_norm)

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        check_betas(group)

    def moments(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg",)

    def options(self, group: dict[str, Any], lr: float, step: int) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {"lr": lr, "beta1": beta1, "beta2": beta2, "shrink": 1 - lr * group["weight_decay"]}
