"""The flat arena: the parameters of one group as one run of memory, with their gradients and moments beside them.

Decay, update and clipping are then one pass over a few long arrays, not one per parameter. A parameter stays an
ordinary attribute of its layer: its `data` is a view into the run. Arrays that cannot be written to (JAX, read-only
NumPy) are kept as separate arrays behind the same interface.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from portable_nn.backend.devices import convert
from portable_nn.backend.errors import NonFiniteError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.kernels import registry


class Run:
    """Parameters of one group, dtype and device, their gradients and their moments.

    Parameters
    ----------
    parameters : list of Parameter
        With values, all of one dtype and device.
    moments : tuple of str
        Names of the arrays that the optimiser keeps per parameter, zero at first.
    """

    def __init__(self, parameters: list[Any], moments: tuple[str, ...]) -> None:
        first = parameters[0].data
        self.xp, self.dtype, self.device = array_namespace(first), first.dtype, first.device
        self.parameters = parameters
        self.steps = [0] * len(parameters)
        self.offsets = [0]
        for parameter in parameters:
            self.offsets.append(self.offsets[-1] + parameter.size)
        self.values = self._zeros(self.offsets[-1])
        self.gradients = self._zeros(self.offsets[-1])
        self.moments = {name: self._zeros(self.offsets[-1]) for name in moments}
        self.views: list[Any] = [None] * len(parameters)
        self.adopt()

    def _zeros(self, size: int) -> Any:
        return self.xp.zeros((size,), dtype=self.dtype, device=self.device)

    def fits(self, parameter: Any) -> bool:
        """Whether the parameter's values are still of this run's library, dtype and device."""
        data = parameter.data
        return array_namespace(data) is self.xp and data.dtype == self.dtype and data.device == self.device

    def adopt(self) -> None:
        """Take in values that were assigned since the last step, and make each parameter a view of the run again."""
        for i, parameter in enumerate(self.parameters):
            if parameter.data is not self.views[i]:
                part = slice(self.offsets[i], self.offsets[i + 1])
                self.values[part] = self.xp.reshape(parameter.data, (-1,))
                self.views[i] = parameter._data = self.xp.reshape(self.values[part], parameter.shape)

    def gather(self, gradients: list[Any]) -> None:
        """Copy the gradients that are there into the run."""
        for i, g in enumerate(gradients):
            if g is not None:
                self.gradients[self.offsets[i]:self.offsets[i + 1]] = self.xp.reshape(g, (-1,))

    def segments(self, gradients: list[Any]) -> Iterator[tuple[slice, int]]:
        """Stretches of neighbours that have a gradient and have been updated equally often, and how often that is."""
        start = 0
        count = len(gradients)
        while start < count:
            stop = start + 1
            if gradients[start] is not None:
                while stop < count and gradients[stop] is not None and self.steps[stop] == self.steps[start]:
                    stop += 1
                yield slice(self.offsets[start], self.offsets[stop]), self.steps[start]
            start = stop

    def update(self, operation: str, definition: Callable[..., Any], gradients: list[Any],
               options: Callable[[int], dict[str, Any]]) -> None:
        """Run one optimiser update in place over every parameter that has a gradient.

        Parameters
        ----------
        operation : str
            Name under which kernels are registered; they write into their arguments.
        definition : callable
            `definition(values, gradient, *moments, **options) -> (values, *moments)`.
        options : callable
            `options(step)` gives the hyper-parameters of a parameter's step number `step`, from 1.
        """
        for part, step in self.segments(gradients):
            whole = part.start == 0 and part.stop == self.offsets[-1]
            arrays = [self.values, self.gradients, *self.moments.values()]
            views = arrays if whole else [x[part] for x in arrays]
            chosen = options(step + 1)
            kernel = registry.find(operation, self.xp, tuple(views), chosen)
            if kernel is not None:
                kernel.forward(*views, **chosen)
                continue
            values, *moments = definition(*views, **chosen)
            self.values[part] = values
            for name, moment in zip(self.moments, moments, strict=True):
                self.moments[name][part] = moment
        for i, g in enumerate(gradients):
            if g is not None:
                self.steps[i] += 1
                self.parameters[i].slot.version += 1

    def check_finite(self, gradients: list[Any]) -> None:
        """Raise NonFiniteError if a gradient holds NaN or infinity, naming its parameter.

        The sum of squares of the whole run tells at once, except where it overflows; then each gradient is looked at.
        """
        whole = self.gradients
        if math.isfinite(float(self.xp.vecdot(whole, whole))):
            return
        for parameter, g in zip(self.parameters, gradients, strict=True):
            if g is not None and not bool(self.xp.all(self.xp.isfinite(g))):
                raise NonFiniteError("finite gradients", f"NaN or infinity in the gradient of {parameter.name!r}",
                                     "lower the learning rate, clip gradients with clip_norm=1.0, or look for extreme "
                                     "values in the data")

    def scale(self, factor: Any) -> None:
        """Multiply all gradients by a scalar array."""
        self.gradients = self.gradients * self.xp.astype(factor, self.dtype)

    def moment(self, name: str, i: int) -> Any:
        """A copy of one parameter's moment."""
        part = self.moments[name][self.offsets[i]:self.offsets[i + 1]]
        return self.xp.asarray(self.xp.reshape(part, self.parameters[i].shape), copy=True)

    def set_moment(self, name: str, i: int, value: Any) -> None:
        """Replace one parameter's moment by a copy of `value`."""
        if tuple(value.shape) != self.parameters[i].shape:
            raise ShapeError(f"{name} of shape {self.parameters[i].shape} for {self.parameters[i].name}", f"{value.shape}",
                             "load the state of an optimiser over the same model")
        value = convert(value, xp=self.xp, device=self.device, dtype=self.dtype)
        self.moments[name][self.offsets[i]:self.offsets[i + 1]] = self.xp.reshape(value, (-1,))


class ListRun(Run):
    """The same for arrays that cannot be written to: one array per parameter, replaced at each step."""

    def __init__(self, parameters: list[Any], moments: tuple[str, ...]) -> None:
        first = parameters[0].data
        self.xp, self.dtype, self.device = array_namespace(first), first.dtype, first.device
        self.parameters, self.steps = parameters, [0] * len(parameters)
        self.kept: list[Any] = [None] * len(parameters)
        self.states = {name: [self.xp.zeros_like(p.data) for p in parameters] for name in moments}

    def adopt(self) -> None:
        """Nothing to take in: each parameter holds its own array."""

    def gather(self, gradients: list[Any]) -> None:
        self.kept = list(gradients)

    @property
    def gradients(self) -> Any:  # type: ignore[override]
        """All gradients as one array, for norms and checks."""
        parts = [self.xp.reshape(g, (-1,)) for g in self.kept if g is not None]
        return self.xp.concat(parts) if parts else self.xp.zeros((0,), dtype=self.dtype, device=self.device)

    def scale(self, factor: Any) -> None:
        self.kept = [None if g is None else g * self.xp.astype(factor, self.dtype) for g in self.kept]

    def update(self, operation: str, definition: Callable[..., Any], gradients: list[Any],
               options: Callable[[int], dict[str, Any]]) -> None:
        for i, g in enumerate(self.kept):
            if g is None:
                continue
            moments = [self.states[name][i] for name in self.states]
            self.steps[i] += 1
            values, *moments = definition(self.parameters[i].data, g, *moments, **options(self.steps[i]))
            self.parameters[i].data = values
            for name, moment in zip(self.states, moments, strict=True):
                self.states[name][i] = moment

    def moment(self, name: str, i: int) -> Any:
        return self.states[name][i]

    def set_moment(self, name: str, i: int, value: Any) -> None:
        self.states[name][i] = convert(value, xp=self.xp, device=self.device, dtype=self.dtype)


def make_runs(parameters: list[Any], moments: tuple[str, ...]) -> list[Run]:
    """The runs of one parameter group: one per library, device and dtype."""
    kinds: dict[tuple[Any, ...], list[Any]] = {}
    for parameter in parameters:
        data = parameter.data
        kinds.setdefault((id(array_namespace(data)), str(data.device), str(data.dtype)), []).append(parameter)
    return [(Run if _is_writable(same[0].data) else ListRun)(same, moments) for same in kinds.values()]


def _is_writable(data: Any) -> bool:
    return hasattr(type(data), "__setitem__") and "jax" not in type(data).__module__
