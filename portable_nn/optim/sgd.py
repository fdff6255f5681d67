"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.optim.groups import check_number
from portable_nn.optim.optimizer import Optimizer


def sgd_update(values: Any, gradient: Any, velocity: Any = None, *, lr: float, momentum: float, weight_decay: float,
               keep: float, nesterov: bool) -> tuple[Any, ...]:
    """One step: v ← momentum·v + keep·g, then θ ← θ − lr·v, or with Nesterov θ ← θ − lr·(g + momentum·v)."""
    if weight_decay:
        gradient = gradient + values * weight_decay
    if velocity is None:
        return (values - gradient * lr,)
    velocity = velocity * momentum + gradient * keep
    direction = gradient + velocity * momentum if nesterov else velocity
    return values - direction * lr, velocity


class SGD(Optimizer):
    """Gradient descent, with momentum on request.

    v ← μ v + (1 − dampening) g, θ ← θ − lr · v, where the first v is g, as in PyTorch. With `averaged=True`
    v ← μ v + (1 − μ) g from v = 0, as textbooks have it: the same steps as plain momentum at lr · (1 − μ). Nothing
    corrects for the start, so after t steps v is 1 − μᵗ times a mean of the gradients, and the first steps are short.

    Parameters
    ----------
    parameters : iterable of Parameter, or of groups
    lr : float or schedule
    momentum : float
        μ, from 0 up to but not including 1 for a stable average.
    dampening : float
    weight_decay : float
        λ: adds λθ to the gradient.
    nesterov : bool
        Step along g + μ v. Needs momentum, and no dampening.
    averaged : bool
        Weigh each new gradient by 1 − μ.
    clip_norm : float, optional
        Global norm to clip all gradients to.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    operation = "sgd_update"
    definition = staticmethod(sgd_update)

    def __init__(self, parameters: Iterable[Any], lr: Any = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
                 weight_decay: float = 0.0, nesterov: bool = False, *, averaged: bool = False,
                 clip_norm: float | None = None) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "dampening": dampening,
                                      "weight_decay": weight_decay, "nesterov": nesterov, "averaged": averaged},
                         clip_norm=clip_norm)

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        check_number(group, "momentum", "for example 0.9")
        check_number(group, "dampening", "0 for none")
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ArgumentError("momentum and no dampening for nesterov=True",
                                f"momentum={group['momentum']}, dampening={group['dampening']}", "set momentum=0.9")
        if group["averaged"] and (group["dampening"] or group["nesterov"]):
            raise ArgumentError("averaged=True without dampening and nesterov",
                                f"dampening={group['dampening']}, nesterov={group['nesterov']}", "choose one of them")

    def moments(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def takes_rows(self, group: dict[str, Any]) -> bool:
        return not group["momentum"] and not group["weight_decay"]

    def options(self, group: dict[str, Any], lr: float, step: int) -> dict[str, Any]:
        momentum = group["momentum"]
        plain = 1.0 if step == 1 else 1 - group["dampening"]  # the first velocity is the gradient itself
        keep = 1 - momentum if group["averaged"] else plain
        return {"lr": lr, "momentum": momentum, "weight_decay": group["weight_decay"], "keep": keep,
                "nesterov": group["nesterov"]}
