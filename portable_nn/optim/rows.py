"""Parameters whose gradients are row-sparse: outside the arena, and a step touches only the rows that were used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from portable_nn.autodiff.engine import next_sequence
from portable_nn.autodiff.row_sparse import RowSparse, written
from portable_nn.backend.devices import native_device
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.scatter import scatter_add
from portable_nn.kernels import registry
from portable_nn.optim import separate
from portable_nn.optim.arena import Run
from portable_nn.optim.clipping import square_sum
from portable_nn.optim.device import DeviceRun
from portable_nn.optim.gradients import check_gradient


class RowRun(separate.SeparateRun):
    """A `Run` of tables. A dense gradient is taken too; it uses every row."""

    takes_rows = True

    def _take(self, i: int) -> None:
        # A copy: rows are written in place, and whoever assigned the values may still hold the array.
        self.views[i] = self.xp.asarray(self.parameters[i].data, copy=True)
        self.parameters[i].hold(self.views[i])

    def checked(self, gradients: list[Any]) -> list[Any]:
        raw = []
        for parameter, g in zip(self.parameters, gradients, strict=True):
            if isinstance(g, RowSparse):
                check_gradient(parameter, g, takes_rows=True)
            elif g is not None:
                g = written(getattr(g, "_data", g))
                check_gradient(parameter, g)
            raw.append(g)
        return raw

    def _coalesce(self) -> list[Any]:
        """The gradients, with each row once."""
        self._gradients = [g.coalesced() if isinstance(g, RowSparse) else g for g in self._gradients]
        return self._gradients

    def loaded(self) -> Iterator[tuple[int, Any]]:
        for i, g in enumerate(self._coalesce()):
            if g is not None:
                yield self.offsets[i], self.xp.reshape(g.rows if isinstance(g, RowSparse) else g, (-1,))

    def squares(self) -> list[Any]:
        return [square_sum(g) for _, g in self.loaded()]

    def update(self, operation: str, definition: Callable[..., Any], options: Callable[[int], dict[str, Any]],
               frozen: Any = None) -> None:
        xp = self.xp
        if frozen is None and operation == "sgd_update" and self._add(options):
            return
        for i, (parameter, g) in enumerate(zip(self.parameters, self._coalesce(), strict=True)):
            if g is None:
                continue
            self.steps[i] += 1
            held = [parameter._data, *(self._moments[name][i] for name in self.moment_names)]
            where = g.indices if isinstance(g, RowSparse) else None
            used = held if where is None else [xp.take(x, where, axis=0) for x in held]
            new = definition(used[0], g if where is None else g.rows, *used[1:], **options(self.steps[i]))
            if frozen is not None:
                new = [xp.where(frozen, old, x) for old, x in zip(used, new, strict=True)]
            if where is not None:
                new = [set_rows(x, where, rows) for x, rows in zip(held, new, strict=True)]
            if new[0] is not self.views[i]:
                self.views[i] = new[0]
                parameter.hold(new[0])
            parameter.slot.version = next_sequence()
            for name, moment in zip(self.moment_names, new[1:], strict=True):
                self._moments[name][i] = moment
        self._gradients = []

    def _add(self, options: Callable[[int], dict[str, Any]]) -> bool:
        """θ ← θ − lr · g in place, repeated rows and all, where there is a kernel for it: SGD takes rows only so."""
        [parameter], [g] = self.parameters, self._gradients
        if not isinstance(g, RowSparse):
            return False
        arrays = parameter._data, g.indices, *(g.factors or (None, g.rows))
        kernel = registry.find("add_rows", self.xp, arrays, {})
        if kernel is None:
            return False
        self.steps[0] += 1
        kernel.forward(*arrays, factor=-options(self.steps[0])["lr"])
        parameter.slot.version = next_sequence()
        self._gradients = []
        return True


def set_rows(values: Any, indices: Any, rows: Any) -> Any:
    """`values` with some rows replaced: the array itself where its library can write to them, else a new one."""
    if indices.shape[0] == 0:
        return values
    xp = array_namespace(values)
    kernel = registry.find("set_rows", xp, (values, indices, rows), {})
    if kernel is not None:
        return kernel.forward(values, indices, rows)
    ones = xp.ones(indices.shape, dtype=values.dtype, device=native_device(values))
    used = scatter_add(indices, ones, values.shape[0]) > 0
    used = xp.reshape(used, (values.shape[0],) + (1,) * (values.ndim - 1))
    return xp.where(used, scatter_add(indices, rows, values.shape[0]), values)


def make_runs(parameters: list[Any], moments: tuple[str, ...], operation: str, *, takes_rows: bool,
              on_device: bool) -> list[Run]:
    """The runs of one parameter group; tables that will have row-sparse gradients are apart, if rows will do.

    They are `DeviceRun`s where `on_device` says that all parameters of the optimiser are on one device with kernels.
    """
    tables = [p for p in parameters if takes_rows and p.row_sparse]
    others = [p for p in parameters if not (takes_rows and p.row_sparse)]
    if not on_device:
        return [*separate.make_runs(others, moments), *(RowRun([table], moments) for table in tables)]
    kinds: dict[tuple[bool, str], list[Any]] = {}
    for p in [*others, *tables]:
        kinds.setdefault((takes_rows and p.row_sparse, str(p.data.dtype)), []).append(p)
    return [DeviceRun(same, moments, operation, takes_rows=sparse) for (sparse, _), same in kinds.items()]
