"""The guard that ends a run at the first NaN or infinity, before it reaches the weights."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.backend.errors import NonFiniteError
from portable_nn.backend.namespace import array_namespace
from portable_nn.optim import Optimizer

#: On a GPU a look at the loss waits for the device, so it is taken this often.
EVERY_ON_A_GPU = 50


class Guard:
    """Looks at losses and gradients: at every step on the host, now and then on a GPU."""

    def __init__(self, optimizer: Optimizer, device: str) -> None:
        self.optimizer = optimizer
        self.every = EVERY_ON_A_GPU if device.startswith("cuda") else 1

    def is_due(self) -> bool:
        """Whether this step is looked at."""
        return self.optimizer.steps % self.every == 0

    def check_loss(self, value: Any) -> None:
        """Raise if the loss is not finite, naming the step and the first parameter that is not."""
        number = value.item()
        if not math.isfinite(number):
            culprit = first_non_finite(self.optimizer)
            raise NonFiniteError(
                f"a finite loss at step {self.optimizer.steps + 1}",
                f"{number}; " + (f"parameter {culprit!r} has become non-finite" if culprit else "all parameters are finite"),
                "lower the learning rate, clip gradients with clip_norm=1.0, or look for extreme values in the data")

    def step(self, loss: Any) -> None:
        """Update the parameters, unless a gradient is not finite."""
        try:
            self.optimizer.step(check_finite=self.is_due())
        except NonFiniteError as error:
            raise NonFiniteError(f"finite gradients at step {self.optimizer.steps + 1}, loss {loss.item():.6g}",
                                 error.args[1], error.args[2]) from None


def first_non_finite(optimizer: Optimizer) -> str | None:
    """The name of the first parameter with a NaN or infinite value."""
    for number, parameter in enumerate(optimizer.parameters):
        xp = array_namespace(parameter.data)
        if not bool(xp.all(xp.isfinite(parameter.data))):
            return parameter.name or f"number {number}"
    return None
