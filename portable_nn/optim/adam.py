"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from portable_nn.backend.namespace import array_namespace
from portable_nn.optim.groups import check_betas, check_number
from portable_nn.optim.optimizer import Optimizer


def adam_update(values: Any, gradient: Any, exp_avg: Any, exp_avg_sq: Any, max_exp_avg_sq: Any = None, *, beta1: float,
                beta2: float, eps: float, weight_decay: float, shrink: float, step_size: float,
                root_correction: float) -> tuple[Any, ...]:
    """One step: m ← β₁m + (1 − β₁)g, v ← β₂v + (1 − β₂)g², θ ← shrink·θ − step_size · m / (√v / root_correction + eps).

    `step_size` is lr / (1 − β₁ᵗ), `root_correction` is √(1 − β₂ᵗ), `shrink` is AdamW's 1 − lr·λ, and `weight_decay`
    Adam's λ, added to the gradient as λθ. With AMSGrad the largest v so far stands in place of v.
    """
    xp = array_namespace(values)
    if weight_decay:
        gradient = gradient + values * weight_decay
    exp_avg = exp_avg * beta1 + gradient * (1 - beta1)
    exp_avg_sq = exp_avg_sq * beta2 + gradient * gradient * (1 - beta2)
    spread, largest = exp_avg_sq, []
    if max_exp_avg_sq is not None:
        spread = xp.maximum(max_exp_avg_sq, exp_avg_sq)
        largest = [spread]
    denominator = xp.sqrt(spread) / root_correction + eps
    return (values * shrink - exp_avg / denominator * step_size, exp_avg, exp_avg_sq, *largest)


class Adam(Optimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − lr · m̂ / (√v̂ + eps), where m̂ and v̂ are m and v divided by
    1 − βᵗ.

    Parameters
    ----------
    parameters : iterable of Parameter, or of groups
    lr : float or schedule
    betas : (float, float)
        From 0 up to but not including 1.
    eps : float
    weight_decay : float
        λ: adds λθ to the gradient. For decay apart from the gradient see AdamW.
    amsgrad : bool
        Divide by the largest v so far in place of v, so that steps never grow back.
    clip_norm : float, optional
        Global norm to clip all gradients to.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1; Reddi et al., "On the
    convergence of Adam and beyond", 2018, algorithm 2, with PyTorch's corrections for the start.
    """

    operation = "adam_update"
    definition = staticmethod(adam_update)
    decoupled = False

    def __init__(self, parameters: Iterable[Any], lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.0, amsgrad: bool = False, *,
                 clip_norm: float | None = None) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
                                      "amsgrad": amsgrad}, clip_norm=clip_norm)

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        check_betas(group)
        check_number(group, "eps", "for example 1e-8")

    def moments(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else []))

    def options(self, group: dict[str, Any], lr: float, step: int) -> dict[str, Any]:
        (beta1, beta2), decay = group["betas"], group["weight_decay"]
        return {"beta1": beta1, "beta2": beta2, "eps": group["eps"], "weight_decay": 0.0 if self.decoupled else decay,
                "shrink": 1 - lr * decay if self.decoupled else 1.0, "step_size": lr / (1 - beta1**step),
                "root_correction": math.sqrt(1 - beta2**step)}


class AdamW(Adam):
    """Adam with decay apart from the gradient: θ ← (1 − lr·λ) θ before each step.

    Parameters are those of Adam, with `weight_decay=0.01`, PyTorch's default.

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2.
    """

    decoupled = True

    def __init__(self, parameters: Iterable[Any], lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *,
                 clip_norm: float | None = None) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay, amsgrad, clip_norm=clip_norm)
