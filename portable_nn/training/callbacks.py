"""What may happen between epochs: stopping early, writing checkpoints, functions of your own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError
from portable_nn.data.files import as_path

if TYPE_CHECKING:
    from portable_nn.training.run import Training


class Callback:
    """Base of callbacks; override what you need. A plain function `f(training)` is called after each epoch too."""

    def on_start(self, training: Training) -> None:
        """Called once before the first epoch."""

    def on_epoch_end(self, training: Training) -> None:
        """Called after each epoch, once its row is in `training.history`; set `training.stop` to end the run."""

    def on_end(self, training: Training) -> None:
        """Called once when training ends, by Ctrl-C too."""

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs: numbers and strings, and arrays under "arrays"."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""


class EarlyStopping(Callback):
    """Stop when a figure has not improved for some epochs, and go back to the weights of the best one.

    Parameters
    ----------
    patience : int
        How many epochs without improvement to wait for.
    monitor : str
        A column of the history: "validation", "train" or a metric's name.
    mode : "min" or "max"
        Whether lower or higher is better. By default "max" for accuracy, precision, recall and f1, else "min".
    min_delta : float
        What counts as an improvement.
    """

    def __init__(self, patience: int = 5, monitor: str = "validation", mode: str | None = None,
                 min_delta: float = 0.0) -> None:
        mode = mode or ("max" if monitor in ("accuracy", "precision", "recall", "f1") else "min")
        if mode not in ("min", "max") or not isinstance(patience, int) or patience < 1:
            raise ArgumentError('mode "min" or "max" and patience of 1 or more',
                                f"mode={mode!r}, patience={patience!r}", "change them")
        if not isinstance(min_delta, (int, float)) or min_delta < 0:
            raise ArgumentError("min_delta of 0 or more", repr(min_delta), "pass how much lower or higher counts")
        self.patience, self.monitor, self.min_delta = patience, monitor, min_delta
        self.sign = 1 if mode == "min" else -1
        self._forget()

    def _forget(self) -> None:
        self.best, self.best_epoch = math.inf, 0
        self.weights: dict[str, Any] = {}

    def on_start(self, training: Training) -> None:
        if not training.epoch:  # a run of its own; a resumed one goes on
            self._forget()

    def on_epoch_end(self, training: Training) -> None:
        row = training.history.rows[-1]
        numbers = [name for name, value in row.items() if isinstance(value, (int, float))]
        if self.monitor not in numbers:
            raise ArgumentError(f"a column of numbers to monitor among {numbers}", f"{self.monitor!r}",
                                "pass validation= or metrics= to fit, or monitor another column")
        figure = self.sign * row[self.monitor]
        if figure < self.best - self.min_delta:
            self.best, self.best_epoch, self.weights = figure, row["epoch"], training.model.state_dict()
        elif row["epoch"] - self.best_epoch >= self.patience:
            training.stop = True

    def on_end(self, training: Training) -> None:
        if self.weights:
            training.model.load_state_dict(self.weights)
            training.history.best_epoch = self.best_epoch

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch,
                "arrays": {name: to_numpy(x) for name, x in self.weights.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_epoch, self.weights = state["best"], state["best_epoch"], dict(state["arrays"])


class Checkpoint(Callback):
    """Write everything that `fit(resume=path)` needs to go on as if nothing had happened.

    Parameters
    ----------
    path : str or Path
        One safetensors file, replaced as a whole.
    every : int
        How many epochs apart. The last epoch is always written.
    """

    def __init__(self, path: str | Path, every: int = 1) -> None:
        if not isinstance(every, int) or every < 1:
            raise ArgumentError("every of 1 epoch or more", repr(every), "pass a number of epochs")
        self.path, self.every = as_path(path), every

    def on_epoch_end(self, training: Training) -> None:
        if training.epoch % self.every == 0 or training.epoch == training.epochs or training.stop:
            from portable_nn.training.checkpoint import write_checkpoint

            write_checkpoint(self.path, training)


class Function(Callback):
    """A plain function as a callback."""

    def __init__(self, function: Callable[[Training], None]) -> None:
        self.on_epoch_end = function  # type: ignore[method-assign, assignment]


def in_calling_order(callbacks: Sequence[Any]) -> list[Callback]:
    """Functions made callbacks, and checkpoints put last, so that they keep what the others have done."""
    if isinstance(callbacks, Callback) or not isinstance(callbacks, Sequence):
        raise ArgumentError("a list of callbacks", f"{callbacks!r:.60}", "put it into brackets")
    found = []
    for callback in callbacks:
        if not isinstance(callback, Callback) and (isinstance(callback, type) or not callable(callback)):
            raise ArgumentError("callbacks that are Callback objects or functions", f"{callback!r:.60}",
                                "pass for example EarlyStopping(patience=3)")
        found.append(callback if isinstance(callback, Callback) else Function(callback))
    return sorted(found, key=lambda callback: isinstance(callback, Checkpoint))
