"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.optim.groups import check_number
from portable_nn.optim.optimizer import Optimizer


def rmsprop_update(values: Any, gradient: Any, square_avg: Any, *others: Any, lr: float, alpha: float, eps: float,
                   weight_decay: float, momentum: float, centered: bool) -> tuple[Any, ...]:
    """One step; `others` are the average of the gradient if `centered`, then the velocity if there is momentum.

    s ← αs + (1 − α)g², a ← αa + (1 − α)g, d = g / (√(s − a²) + eps), v ← momentum·v + d, θ ← θ − lr·v.
    """
    xp, moments = array_namespace(values), list(others)
    if weight_decay:
        gradient = gradient + values * weight_decay
    square_avg = square_avg * alpha + gradient * gradient * (1 - alpha)
    spread = square_avg
    if centered:
        moments[0] = moments[0] * alpha + gradient * (1 - alpha)
        spread = square_avg - moments[0] * moments[0]
        spread = xp.where(spread < 0, xp.zeros_like(spread), spread)  # rounding alone takes it there
    direction = gradient / (xp.sqrt(spread) + eps)
    if momentum:
        direction = moments[-1] = moments[-1] * momentum + direction
    return (values - direction * lr, square_avg, *moments)


class RMSprop(Optimizer):
    """Steps divided by a running root mean square of the gradient.

    s ← α s + (1 − α) g², θ ← θ − lr · g / (√s + eps). `centered` takes the square of a running average of g from s;
    momentum sums the steps up: v ← μ v + g / (√s + eps), θ ← θ − lr · v.

    Parameters
    ----------
    parameters : iterable of Parameter, or of groups
    lr : float or schedule
    alpha : float
        From 0 up to but not including 1.
    eps : float
    weight_decay : float
        λ: adds λθ to the gradient.
    momentum : float
        μ.
    centered : bool
    clip_norm : float, optional
        Global norm to clip all gradients to.

    Source: Tieleman and Hinton, "Lecture 6.5 - RMSprop", 2012; centered by Graves, "Generating sequences with
    recurrent neural networks", 2013, equations 38 to 45; formulas as PyTorch's, eps outside the root.
    """

    operation = "rmsprop_update"
    definition = staticmethod(rmsprop_update)

    def __init__(self, parameters: Iterable[Any], lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False, *,
                 clip_norm: float | None = None) -> None:
        super().__init__(parameters, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay,
                                      "momentum": momentum, "centered": centered}, clip_norm=clip_norm)

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        for name, example in (("alpha", "for example 0.99"), ("eps", "for example 1e-8"), ("momentum", "0 for none")):
            check_number(group, name, example)
        if not group["alpha"] < 1:
            raise ArgumentError("alpha from 0 up to but not including 1", f"{group['alpha']}", "pass for example 0.99")

    def moments(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("square_avg", *(["grad_avg"] if group["centered"] else []),
                *(["momentum_buffer"] if group["momentum"] else []))

    def options(self, group: dict[str, Any], lr: float, step: int) -> dict[str, Any]:
        names = ("alpha", "eps", "weight_decay", "momentum", "centered")
        return {"lr": lr, **{name: group[name] for name in names}}
