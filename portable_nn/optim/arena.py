"""The flat arena: the parameters of one group as one run of memory, with their gradients and moments beside them.

Decay, update and clipping are then one pass over a few long arrays, not one per parameter. A parameter stays an
ordinary attribute of its layer: its `data` is a view into the run. Arrays whose views cannot be written through (JAX,
read-only NumPy) are kept apart behind the same interface, in `optim.separate`.

Each parameter begins at a multiple of 16 bytes, as products on a GPU and wide loads want it. After one of odd size is a
gap of zeros, which every update leaves zeros; to norms they add nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

from portable_nn.autodiff.engine import next_sequence
from portable_nn.autodiff.row_sparse import written
from portable_nn.backend.devices import convert, native_device, working_on
from portable_nn.backend.errors import ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.kernels import registry
from portable_nn.layers.storage import item_bytes
from portable_nn.optim.clipping import square_sum
from portable_nn.optim.gradients import check_gradient

#: From this many elements on, a gradient is read where the backward pass left it rather than copied into the run: the
#: copy then costs more than one more call of the kernel.
LARGE = 65_536
#: What each parameter's place in the run is a multiple of, in bytes.
ALIGNMENT = 16


class Run:
    """Parameters of one group, dtype and device, with their gradients and moments in one piece of memory each.

    Parameters
    ----------
    parameters : list of Parameter
        With values, all of one library, dtype and device.
    moments : tuple of str
        Names of the arrays that the optimiser keeps per parameter, zero at first.
    """

    #: Whether gradients may be row-sparse.
    takes_rows = False

    def __init__(self, parameters: list[Any], moments: tuple[str, ...]) -> None:
        first = parameters[0].data
        self.xp, self.dtype, self.device = array_namespace(first), first.dtype, native_device(first)
        self.parameters, self.moment_names = parameters, moments
        self.steps = [0] * len(parameters)
        self.views: list[Any] = [None] * len(parameters)  # what each parameter's data is, if nobody has replaced it
        self._entries: dict[str, list[registry.Kernel]] = {}
        self._pattern: list[bool] = []  # which parameters got no gradient last time
        self._copy = False
        self._kinds = [(type(p.data), p.shape, p.data.dtype) for p in parameters]
        self._reserve()

    def _reserve(self) -> None:
        unit = max(ALIGNMENT // item_bytes(self.parameters[0].dtype_name), 1)
        self.offsets = [0, *accumulate(-(-parameter.size // unit) * unit for parameter in self.parameters)]
        # Values, gradients and the moments, in the order in which updates take them.
        self.arrays = [self.xp.zeros((self.offsets[-1],), dtype=self.dtype, device=self.device)
                       for _ in range(2 + len(self.moment_names))]
        self._slots = [self._view(self.arrays[1], i) for i in range(len(self.parameters))]
        self._parts: list[list[Any]] = []    # [number of its first parameter, values, gradient, *moments]
        self._present: list[tuple[int, Any]] = []  # parameters that got a gradient last time, with their numbers
        self._direct: list[tuple[int, int]] = []  # (part, parameter) of gradients that are read where they are
        self._copied: list[int] = []         # parameters whose gradients are copied in

    def _view(self, array: Any, i: int) -> Any:
        return self.xp.reshape(array[self.offsets[i]:self._end(i)], self.parameters[i].shape)

    def _end(self, i: int) -> int:
        """Where a parameter ends, and the gap after it begins."""
        return self.offsets[i] + self.parameters[i].size

    def is_current(self) -> bool:
        """Whether every parameter still holds what the last step left there."""
        for parameter, view in zip(self.parameters, self.views):  # noqa: SIM110 - all() takes twice as long
            if parameter._data is not view:
                return False
        return True

    def adopt(self) -> bool:
        """Take in values assigned since the last step; False if some are of another library, dtype or device."""
        changed = [i for i, p in enumerate(self.parameters) if p._data is not self.views[i]]
        for i in changed:
            data = self.parameters[i].data
            if array_namespace(data) is not self.xp or data.dtype != self.dtype or native_device(data) != self.device:
                return False
        for i in changed:
            self._take(i)
        return True

    def _take(self, i: int) -> None:
        view = self._view(self.arrays[0], i)
        view[...] = self.parameters[i].data
        self.parameters[i].hold(view)
        self.views[i] = view

    def checked(self, gradients: list[Any]) -> list[Any]:
        """The raw arrays of gradients, one for each parameter or None, if they are where and as the parameters are."""
        raw: list[Any] = []
        for g, kind in zip(gradients, self._kinds):
            if g is not None and (type(g), g.shape, g.dtype) != kind:
                g = self._raw(g)
                check_gradient(self.parameters[len(raw)], g)
            raw.append(g)
        return raw

    @staticmethod
    def _raw(gradient: Any) -> Any:
        return written(getattr(gradient, "_data", gradient))

    def load(self, gradients: list[Any], *, copy: bool) -> None:
        """Bring in this step's gradients, None where a parameter has none; `copy` large ones too, to be scaled."""
        pattern = [g is None for g in gradients]
        if pattern != self._pattern or copy is not self._copy:
            self._divide(gradients, copy)
            self._pattern, self._copy = pattern, copy
        for i in self._copied:
            self._slots[i][...] = gradients[i]
        for part, i in self._direct:
            self._parts[part][2] = self.xp.reshape(gradients[i], (-1,))

    def _divide(self, gradients: list[Any], copy: bool) -> None:
        """Find the parts: neighbours with a gradient and the same number of updates; large ones by themselves."""
        self._parts, self._direct, self._copied = [], [], []
        large = [not copy and p.size >= LARGE for p in self.parameters]
        self._present = [(i, p) for i, p in enumerate(self.parameters) if gradients[i] is not None]
        start, count = 0, len(gradients)
        while start < count:
            stop = start + 1
            if gradients[start] is not None:
                while (stop < count and not large[start] and not large[stop] and gradients[stop] is not None
                       and self.steps[stop] == self.steps[start]):
                    stop += 1
                if large[start]:
                    self._direct.append((len(self._parts), start))
                else:
                    self._copied.extend(range(start, stop))
                self._parts.append([start, *(x[self.offsets[start]:self._end(stop - 1)] for x in self.arrays)])
            start = stop

    def loaded(self) -> Iterator[tuple[int, Any]]:
        """This step's gradients as flat arrays, each with the offset of its first element in the run."""
        return ((self.offsets[first], g) for first, _, g, *_ in self._parts)

    def squares(self) -> list[Any]:
        """Sums of the squares of this step's gradients, as 0-d arrays."""
        return [square_sum(part[2]) for part in self._parts]

    def scale(self, factor: Any) -> None:
        """Multiply this step's gradients, which `load` has copied, by a 0-d array."""
        factor = self.xp.astype(self.xp.asarray(factor), self.dtype)
        for part in self._parts:
            part[2][...] = part[2] * factor

    def update(self, operation: str, definition: Callable[..., Any], options: Callable[[int], dict[str, Any]],
               frozen: Any = None) -> None:
        """Run one optimiser update in place over every parameter that has a gradient.

        Parameters
        ----------
        operation : str
            Name under which kernels are registered; they write into their arguments.
        definition : callable
            `definition(values, gradient, *moments, **options) -> (values, *moments)`.
        options : callable
            `options(step)` gives the hyper-parameters of a parameter's step number `step`, from 1.
        frozen : 0-d bool array, optional
            Where it is true on the device, everything stays as it is.
        """
        for chosen, arrays in self._pieces(options):
            kernel = self._kernel(operation, arrays, chosen) if frozen is None else None
            if kernel is not None:
                kernel.forward(*arrays, **chosen)
                continue
            values, *moments = definition(*arrays, **chosen)
            for array, new in zip((arrays[0], *arrays[2:]), (values, *moments), strict=True):
                array[...] = new if frozen is None else self.xp.where(frozen, array, new)
        for part, _ in self._direct:
            self._parts[part][2] = None  # its memory is free for the next step's gradient
        now = next_sequence()
        for i, parameter in self._present:
            self.steps[i] += 1
            parameter.slot.version = now

    def _pieces(self, options: Callable[[int], dict[str, Any]]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
        """The parts with their hyper-parameters; one parameter at a time where an eps of 0 would be 0 / 0 in a gap."""
        for first, *arrays in self._parts:
            chosen = options(self.steps[first] + 1)
            if chosen.get("eps") != 0:
                yield chosen, arrays
                continue
            begin, i = self.offsets[first], first
            while i < len(self.parameters) and self.offsets[i] - begin < arrays[0].shape[0]:
                yield chosen, [x[self.offsets[i] - begin:self._end(i) - begin] for x in arrays]
                i += 1

    def _kernel(self, operation: str, arrays: list[Any], options: dict[str, Any]) -> registry.Kernel | None:
        entries = self._entries.get(operation)
        if entries is None:
            entries = self._entries[operation] = registry.loaded_entries(operation, self.xp)
        if entries and registry.forced() is None:
            for kernel in reversed(entries):
                if kernel.supports(*arrays, **options):
                    return kernel
        return None

    def moment(self, name: str, i: int) -> Any:
        """A copy of one parameter's moment."""
        with working_on(self.device):
            return self.xp.asarray(self._view(self.arrays[2 + self.moment_names.index(name)], i), copy=True)

    def restore(self, i: int, state: dict[str, Any]) -> None:
        """Set one parameter's step count and moments, copied from what `state_dict` gave; new moments stay zero."""
        self.steps[i], self._pattern = int(state["step"]), []
        for name in self.moment_names:
            if name in state:
                self._set_moment(name, i, self._fitted(state[name], name, i))

    def _set_moment(self, name: str, i: int, value: Any) -> None:
        self._view(self.arrays[2 + self.moment_names.index(name)], i)[...] = value

    def _fitted(self, value: Any, name: str, i: int) -> Any:
        if tuple(value.shape) != self.parameters[i].shape:
            raise ShapeError(f"{name} of shape {self.parameters[i].shape} for {self.parameters[i].name}",
                             f"{tuple(value.shape)}", "load the state of an optimiser over the same model")
        return convert(value, xp=self.xp, device=self.device, dtype=self.dtype)
