"""`Training`: a run under way, as `fit` drives it, callbacks see it and checkpoints keep it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from portable_nn.layers import Module
from portable_nn.optim import Optimizer
from portable_nn.training.history import History

if TYPE_CHECKING:
    from portable_nn.training.callbacks import Callback


@dataclass
class Training:
    """A training run under way.

    Attributes
    ----------
    model, loss, optimizer : what `fit` was given
    callbacks : list of Callback
    epochs : int
        How many are planned.
    epoch : int
        How many are done.
    settings : dict
        The arguments that a resumed run must share: seed, batch_size and accumulate.
    history : History
    stop : bool
        Set it to end the run after this epoch.
    loss_scale : list of float, optional
        What a resumed run's loss scaler goes on from.
    """

    model: Module
    loss: Any
    optimizer: Optimizer
    callbacks: list[Callback]
    epochs: int
    settings: dict[str, int]
    epoch: int = 0
    history: History = field(default_factory=History)
    stop: bool = False
    loss_scale: list[float] | None = None

    def call(self, event: str) -> None:
        """Tell every callback of an event."""
        for callback in self.callbacks:
            getattr(callback, event)(self)
