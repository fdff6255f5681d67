"""Adam for tables of which a step uses a few rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.optim.adam import adam_update
from portable_nn.optim.groups import check_betas, check_number
from portable_nn.optim.optimizer import Optimizer


class SparseAdam(Optimizer):
    """Adam whose step touches only the rows that have a gradient: values and moments of the others stay as they are.

    m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − lr √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + eps), on those rows; t
    counts the updates of the whole table. For Embedding(sparse=True) and EmbeddingBag(sparse=True); a dense gradient
    uses every row.

    Parameters
    ----------
    parameters : iterable of Parameter, or of groups
    lr : float or schedule
    betas : (float, float)
        From 0 up to but not including 1.
    eps : float
    clip_norm : float, optional
        Global norm to clip all gradients to.

    Source: as `torch.optim.SparseAdam`, a variant of Kingma and Ba, 2015, algorithm 1, with eps as at the end of its
    section 2.
    """

    operation = "adam_update"
    definition = staticmethod(adam_update)

    def __init__(self, parameters: Iterable[Any], lr: Any = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, *, clip_norm: float | None = None) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0}, clip_norm=clip_norm)

    def check_options(self, group: dict[str, Any]) -> None:
        super().check_options(group)
        check_betas(group)
        check_number(group, "eps", "for example 1e-8")
        if group["weight_decay"]:
            raise ArgumentError("no weight_decay for SparseAdam", f"{group['weight_decay']}",
                                "it would move rows that a step does not use: leave it out, or use AdamW")

    def moments(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def takes_rows(self, group: dict[str, Any]) -> bool:
        return True

    def options(self, group: dict[str, Any], lr: float, step: int) -> dict[str, Any]:
        beta1, beta2 = group["betas"]
        return {"beta1": beta1, "beta2": beta2, "eps": group["eps"], "weight_decay": 0.0, "shrink": 1.0,
                "step_size": lr * math.sqrt(1 - beta2**step) / (1 - beta1**step), "root_correction": 1.0}
