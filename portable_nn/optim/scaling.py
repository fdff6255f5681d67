"""Loss scaling: gradients in half precision kept from becoming zero, without a look at them by the host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.kernels import registry

#: Where a record says that the last update was passed over; as in kernels/cupy/src/optimizers.cu.
PASSED_OVER = 11


class LossScaler:
    """A factor of the loss that grows while gradients stay finite, and shrinks when they do not.

    The optimiser divides the gradients by it again. A step whose gradients overflow is passed over on the device: no
    parameter and no moment changes, and the next one tries a smaller scale. It does not count, neither for the learning
    rate's schedule nor for bias corrections: before the host computes those of a step, it waits to hear whether the
    step before was made, which by then has long been so unless steps are captured and short. Only where the optimiser's
    parameters are on a GPU: elsewhere products are never in half precision, and nothing need be scaled.

    Parameters
    ----------
    optimizer : Optimizer
        With parameters on one GPU, already there.
    scale : float
        To begin with.
    growth, backoff : float
        What the scale is multiplied by, after `interval` finite steps and at an overflow.
    interval : int

    Raises
    ------
    ArgumentError
        The parameters are elsewhere, or a number is out of range.

    Notes
    -----
    Micikevicius et al., "Mixed precision training", 2018, section 3.2; defaults as PyTorch's GradScaler.

    Example
    -------
    In a loop: `scaler = LossScaler(optimizer)`, then `scaler.scale(loss).backward()`, `optimizer.step()`,
    `optimizer.zero_grad()`.
    """

    def __init__(self, optimizer: Any, scale: float = 65536.0, *, growth: float = 2.0, backoff: float = 0.5,
                 interval: int = 2000) -> None:
        if not (1 <= scale <= 2**24 and growth > 1 and 0 < backoff < 1 and interval >= 1):
            raise ArgumentError("a scale from 1 to 2**24, growth above 1, backoff below 1 and an interval of 1 or more",
                                f"{scale}, {growth}, {backoff} and {interval}", "leave them at their defaults")
        optimizer._prepare()
        if optimizer._device is None:
            raise ArgumentError("an optimiser of parameters on one GPU to scale the loss of", f"{optimizer!r:.60}",
                                "move the model there first; elsewhere no loss need be scaled")
        #: What the update kernels read and write: the scale is in it.
        self.record = optimizer._device.numbers.new_record(scale)
        self.settings = (float(interval), float(growth), float(backoff))
        optimizer.loss_scaler = self
        self._verdict = registry.loaded_entries("download", array_namespace(self.record))[-1].forward(self.record)
        self._made: list[tuple[Any, list[int]]] | None = None
        self._view = optimizer._device.numbers.scale_of(self.record)

    def scale(self, loss: Any) -> Any:
        """The loss, a Tensor, times the scale."""
        xp = loss._namespace.raw
        return loss * type(loss)(xp.astype(xp.reshape(self._view[:1], ()), loss.dtype))

    def follow(self, runs: list[tuple[Any, list[int]]]) -> None:
        """After an update was queued, of these parameters of these runs: begin to read what became of it."""
        self._made = runs
        self._verdict.start()

    def settle(self, optimizer: Any) -> None:
        """If the last update was passed over, take back that it has been counted. Waits for it."""
        if self._made is None:
            return
        runs, self._made = self._made, None
        if self._verdict.numbers()[PASSED_OVER]:
            optimizer._steps -= 1
            for run, present in runs:
                for i in present:
                    run.steps[i] -= 1

    def state(self) -> list[float]:
        """The scale, and the finite steps since it last changed. Waits for the device."""
        return [float(x) for x in to_numpy(self._view)]

    def restore(self, state: list[float]) -> None:
        """Go on from `state()`."""
        for place, value in enumerate(state):
            self._view[place:place + 1] = float(value)


@contextmanager
def scaled_loss(optimizer: Any, precision: str | None, device: str, state: list[float] | None = None) -> Iterator[None]:
    """A loss scaler for float16 on a GPU, where the optimiser has none of its own; nothing elsewhere."""
    needed = precision == "float16" and device.startswith("cuda") and optimizer.loss_scaler is None
    if needed and registry.forced() is None:
        LossScaler(optimizer)
    if state is not None and optimizer.loss_scaler is not None:
        optimizer.loss_scaler.restore(state)
    try:
        yield
    finally:
        if needed:
            optimizer._settle()
            optimizer.loss_scaler = None
