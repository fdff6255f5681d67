"""A learning rate that falls when a figure has stopped getting better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.training.callbacks import Callback

if TYPE_CHECKING:
    from portable_nn.training.run import Training


class ReduceOnPlateau(Callback):
    """Multiply every group's learning rate by a factor when a figure has not improved for more than `patience` epochs.

    A resumed run goes on where it stood.

    Parameters
    ----------
    factor : float
        Between 0 and 1.
    patience : int
        How many epochs without improvement to let pass.
    monitor : str
        A column of the history: "validation", "train" or a metric's name.
    mode : "min" or "max", optional
        Whether lower or higher is better. By default "max" for accuracy, precision, recall and f1, else "min".
    threshold : float
        What share of the best figure counts as an improvement.
    cooldown : int
        How many epochs to wait after a reduction before counting again.
    min_lr : float
        The learning rate that it does not go below.

    Raises
    ------
    ArgumentError
        An option is out of range; the history has no such column; a learning rate is a schedule.

    Notes
    -----
    As `torch.optim.lr_scheduler.ReduceLROnPlateau` with a relative threshold.
    """

    def __init__(self, factor: float = 0.1, patience: int = 10, monitor: str = "validation", mode: str | None = None,
                 threshold: float = 1e-4, cooldown: int = 0, min_lr: float = 0.0) -> None:
        mode = mode or ("max" if monitor in ("accuracy", "precision", "recall", "f1") else "min")
        if mode not in ("min", "max") or not 0 < factor < 1:
            raise ArgumentError('mode "min" or "max" and a factor between 0 and 1', f"{mode!r} and {factor}",
                                "change them")
        if min(patience, cooldown, threshold, min_lr) < 0:
            raise ArgumentError("patience, cooldown, threshold and min_lr of 0 or more",
                                f"{patience}, {cooldown}, {threshold} and {min_lr}", "change them")
        self.factor, self.patience, self.monitor, self.mode = factor, patience, monitor, mode
        self.threshold, self.cooldown, self.min_lr = threshold, cooldown, min_lr
        self._forget()

    def _forget(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.bad_epochs = self.waiting = 0

    def on_start(self, training: Training) -> None:
        if any(callable(group["lr"]) for group in training.optimizer.groups):
            raise ArgumentError("learning rates that are numbers, for ReduceOnPlateau to change", "a schedule",
                                "use one or the other")
        if not training.epoch:  # a run of its own; a resumed one goes on
            self._forget()

    def on_epoch_end(self, training: Training) -> None:
        row = training.history.rows[-1]
        if self.monitor not in row:
            raise ArgumentError(f"a column to monitor among {sorted(row)}", f"{self.monitor!r}",
                                "pass validation= or metrics= to fit, or monitor another column")
        figure = row[self.monitor]
        if self._is_better(figure):
            self.best, self.bad_epochs = figure, 0
        else:
            self.bad_epochs += 1
        if self.waiting:
            self.waiting, self.bad_epochs = self.waiting - 1, 0
        if self.bad_epochs > self.patience:
            for group in training.optimizer.groups:
                group["lr"] = max(group["lr"] * self.factor, min(self.min_lr, group["lr"]))
            self.bad_epochs, self.waiting = 0, self.cooldown

    def _is_better(self, figure: float) -> bool:
        if math.isinf(self.best):
            return figure < self.best if self.mode == "min" else figure > self.best
        if self.mode == "min":
            return figure < self.best * (1 - self.threshold)
        return figure > self.best * (1 + self.threshold)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "bad_epochs": self.bad_epochs, "waiting": self.waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.bad_epochs, self.waiting = state["best"], state["bad_epochs"], state["waiting"]
