"""The arena's interface over arrays that cannot be written to: one array per parameter, replaced at each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any

from portable_nn.backend.devices import native_device
from portable_nn.backend.namespace import array_namespace
from portable_nn.optim.arena import Run
from portable_nn.optim.clipping import square_sum


class SeparateRun(Run):
    """A `Run` for JAX arrays, read-only NumPy arrays and others without writable views; updates are the definition."""

    def _reserve(self) -> None:
        self.offsets = [0, *accumulate(parameter.size for parameter in self.parameters)]
        self._moments = {name: [self.xp.zeros_like(p.data) for p in self.parameters] for name in self.moment_names}
        self._gradients: list[Any] = []

    def _take(self, i: int) -> None:
        self.views[i] = self.parameters[i].data

    def load(self, gradients: list[Any], *, copy: bool) -> None:
        self._gradients = list(gradients)

    def loaded(self) -> Iterator[tuple[int, Any]]:
        return ((self.offsets[i], self.xp.reshape(g, (-1,))) for i, g in enumerate(self._gradients) if g is not None)

    def squares(self) -> list[Any]:
        return [square_sum(g) for _, g in self.loaded()]

    def scale(self, factor: Any) -> None:
        factor = self.xp.astype(self.xp.asarray(factor), self.dtype)
        self._gradients = [None if g is None else g * factor for g in self._gradients]

    def update(self, operation: str, definition: Callable[..., Any], options: Callable[[int], dict[str, Any]],
               frozen: Any = None) -> None:
        for i, (parameter, g) in enumerate(zip(self.parameters, self._gradients, strict=True)):
            if g is None:
                continue
            self.steps[i] += 1
            moments = [self._moments[name][i] for name in self.moment_names]
            old = [parameter.data, *moments]
            new = definition(old[0], g, *moments, **options(self.steps[i]))
            values, *moments = new if frozen is None else map(partial(self.xp.where, frozen), old, new)
            parameter.data = values
            self.views[i] = parameter.data
            for name, moment in zip(self.moment_names, moments, strict=True):
                self._moments[name][i] = moment
        self._gradients = []

    def moment(self, name: str, i: int) -> Any:
        return self._moments[name][i]

    def _set_moment(self, name: str, i: int, value: Any) -> None:
        self._moments[name][i] = self.xp.asarray(value, copy=True)


def make_runs(parameters: list[Any], moments: tuple[str, ...]) -> list[Run]:
    """The runs of one parameter group: one per library, device and dtype; parameters keep their order within each."""
    kinds: dict[tuple[Any, ...], list[Any]] = {}
    for parameter in parameters:
        data = parameter.data
        kind = (id(array_namespace(data)), parameter.device, str(data.dtype), _is_read_only(data))
        kinds.setdefault(kind, []).append(parameter)
    return [(Run if has_writable_views(same[0].data) else SeparateRun)(same, moments) for same in kinds.values()]


def has_writable_views(data: Any) -> bool:
    """Whether a change to a slice of an array like this one shows in the array itself; the standard leaves it open."""
    if _is_read_only(data):
        return False
    xp = array_namespace(data)
    probe = xp.zeros((2, 2), dtype=data.dtype, device=native_device(data))
    try:
        xp.reshape(probe[1:, ...], (2,))[...] = xp.ones_like(probe[0, ...])
    except (TypeError, ValueError):
        return False
    return bool(probe[1, 1] == 1)


def _is_read_only(data: Any) -> bool:
    return not getattr(getattr(data, "flags", None), "writeable", True)  # NumPy alone has such a flag
