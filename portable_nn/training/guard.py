"""The guard that ends a run at the first NaN or infinity, before it reaches the weights."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.backend.errors import NonFiniteError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.optim import Optimizer

#: On a GPU a look at the loss waits for the device, so it is taken this often; a latch holds the weights until then.
EVERY_ON_A_GPU = 50
_FIX = "lower the learning rate, clip gradients with clip_norm=1.0, or look for extreme values in the data"


class Guard:
    """Looks at losses and gradients: at every step on the host, through a latch now and then on a GPU.

    Parameters
    ----------
    optimizer : Optimizer
    device : str
        Where the model is.
    """

    def __init__(self, optimizer: Optimizer, device: str) -> None:
        self.optimizer = optimizer
        self.latch = None if _may_wait(device) else optimizer.make_latch()
        self._start = optimizer.steps

    def check_loss(self, value: Any) -> None:
        """Raise if the loss is not finite, naming the step and the first parameter that is not."""
        if value.size != 1:
            raise ShapeError("a loss of one number", f"shape {value.shape}", "return its mean over the rows")
        if self.latch is not None:
            self.latch.see_loss(value.data)
            return
        number = value.item()
        if not math.isfinite(number):
            raise self._bad_loss(self.optimizer.steps + 1, number)

    def note(self, value: Any, mass: Any, mean: Any) -> None:
        """`check_loss`, and count the loss with its mass to the mean."""
        note = getattr(self.latch, "note", None) if value.size == 1 else None
        if note is not None and note(value.data, mass, mean.place(value.data)):
            return
        mean.add(value.data, mass)
        self.check_loss(value)

    def backward(self, loss: Any) -> None:
        """Add up gradients, of the loss times its scale where there is one."""
        scaler = self.optimizer.loss_scaler
        (loss if scaler is None else scaler.scale(loss)).backward()

    def step(self, loss: Any) -> None:
        """Update the parameters, unless the loss or a gradient is not finite."""
        if self.latch is not None:
            self.optimizer.step(latch=self.latch)
            return
        try:
            self.optimizer.step(check_finite=True)
        except NonFiniteError as error:
            raise NonFiniteError(f"finite gradients at step {self.optimizer.steps + 1}, loss {loss.item():.6g}",
                                 error.args[1], error.args[2]) from None

    def look(self) -> None:
        """After a step: `finish`, now and then."""
        if self.latch is not None and self.optimizer._steps % EVERY_ON_A_GPU == 0:
            self.finish()

    def finish(self) -> None:
        """Read the latch, if there is one, and raise for what it holds."""
        report = None if self.latch is None else self.latch.report()
        if report is None:
            return
        step = self._start + report.step
        self.optimizer.steps = step - 1  # the updates since then were frozen
        if report.parameter is None or not math.isfinite(report.loss):
            raise self._bad_loss(step, report.loss)
        culprit = self.optimizer.parameters[report.parameter].name
        raise NonFiniteError(f"finite gradients at step {step}, loss {report.loss:.6g}",
                             f"NaN or infinity in the gradient of {culprit!r}", _FIX)

    def _bad_loss(self, step: int, loss: float) -> NonFiniteError:
        culprit = first_non_finite(self.optimizer)
        found = f"parameter {culprit!r} has become non-finite" if culprit else "all parameters are finite"
        return NonFiniteError(f"a finite loss at step {step}", f"{loss}; {found}", _FIX)


def _may_wait(device: str) -> bool:
    return not device.startswith("cuda")


def first_non_finite(optimizer: Optimizer) -> str | None:
    """The name of the first parameter with a NaN or infinite value."""
    for number, parameter in enumerate(optimizer.parameters):
        xp = array_namespace(parameter.data)
        if not bool(xp.all(xp.isfinite(parameter.data))):
            return parameter.name or f"number {number}"
    return None
