"""Parameters and buffers: the arrays that a module owns, made at first use and kept by handles that stay the same."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from portable_nn.autodiff import Tensor
from portable_nn.autodiff.engine import Leaf, Slot
from portable_nn.autodiff.namespace import tensor_namespace
from portable_nn.backend.devices import convert, device_name, namespace_of_device, native_device, to_numpy
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from portable_nn.backend.libraries import dtype_name
from portable_nn.backend.namespace import array_namespace, is_array, namespace_name
from portable_nn.backend.random import Stream

Initializer = Callable[..., Any]


def is_floating(name: str) -> bool:
    """Whether a dtype of this name holds real numbers."""
    return name.startswith(("float", "bfloat"))


class Storage:
    """A named array that is filled by an initializer at first use and can be moved and cast.

    Parameters
    ----------
    shape : tuple of int
    initializer : callable
        `initializer(stream, shape, *, dtype, xp, device) -> array`; see `layers.initializers`.
    dtype : str
        A name of the standard, such as "float32".

    Attributes
    ----------
    name : str
        The dotted path in the model that drew or loaded the values; empty before.

    Raises
    ------
    ArgumentError
        A size is negative or no integer.
    """

    __slots__ = ("_data", "_planned", "dtype_name", "initializer", "name", "shape")

    def __init__(self, shape: tuple[int, ...], initializer: Initializer, dtype: str = "float32") -> None:
        try:
            self.shape = tuple(operator.index(length) for length in shape)
        except TypeError:
            self.shape = (-1,)
        if any(length < 0 for length in self.shape):
            raise ArgumentError("sizes that are integers of 0 or more", f"{shape!r:.60}", "check the layer's arguments")
        self.initializer, self.dtype_name, self.name = initializer, dtype, ""
        self._data: Any = None
        self._planned: Any = None  # (xp, device) where values not drawn yet will be

    @property
    def is_initialized(self) -> bool:
        """Whether there are values yet."""
        return self._data is not None

    @property
    def data(self) -> Any:
        """The raw array.

        Raises
        ------
        ArgumentError
            No values have been drawn yet.
        ShapeError, DTypeError
            The array assigned has another shape, or is floating where the values are integers or the other way round.
        """
        if self._data is None:
            raise ArgumentError(f"values in {self}", "one not drawn yet",
                                "call model.initialize(seed), or the model itself, first")
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        self._replace(self.checked(value))

    def checked(self, value: Any) -> Any:
        """The raw array of `value`, if it may become this storage's values."""
        value = value.data if isinstance(value, Tensor) else value
        if not is_array(value):
            raise DTypeError(f"an array for {self}", type(value).__name__, "convert it first, as with numpy.asarray")
        if tuple(value.shape) != self.shape:
            raise ShapeError(f"values of shape {self.shape} for {self}", f"{tuple(value.shape)}",
                             "reshape them, or build the layer with other sizes")
        if is_floating(dtype_name(value.dtype)) != is_floating(self.dtype_name):
            raise DTypeError(f"values of a dtype like {self.dtype_name} for {self}", f"{value.dtype}", "cast them first")
        return value if hasattr(value, "__setitem__") else array_namespace(value).asarray(value)  # a NumPy scalar

    def _replace(self, value: Any) -> None:
        if type(value) is not type(self._data) or value.dtype != self._data.dtype:
            self.dtype_name = dtype_name(value.dtype)
        self._data = value

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the values take, or will take."""
        xp, _ = self._place()
        dtype = _dtype(xp, self.dtype_name)
        kinds = ("real floating", "complex floating")
        bits = xp.finfo(dtype).bits if xp.isdtype(dtype, kinds) else 8 if dtype == xp.bool else xp.iinfo(dtype).bits
        return self.size * bits // 8

    def _place(self) -> tuple[Any, Any]:
        """Namespace and native device of the values, or where they will be drawn."""
        if self._data is not None:
            return array_namespace(self._data), native_device(self._data)
        return self._planned or namespace_of_device("cpu")

    @property
    def device(self) -> str:
        """The device's name, as "cpu" or "cuda:0"."""
        return device_name(self._data) if self._data is not None else _place_name(*self._place())

    def fill(self, stream: Stream) -> None:
        """Draw the values from a random stream, where the old ones are."""
        xp, device = self._place()
        value = self.initializer(stream, self.shape, dtype=_dtype(xp, self.dtype_name), xp=xp, device=device)
        self._replace(self.checked(value))

    def moved(self, xp: Any, device: Any, dtype: str | None) -> Any:
        """What `commit` turns this storage into: its values (None if not drawn yet), place and dtype after a move."""
        name = dtype if dtype is not None and is_floating(self.dtype_name) else self.dtype_name
        place = self._place() if xp is None else (xp, device)
        wanted = _dtype(place[0], name)
        value = None if self._data is None else convert(self._data, xp=place[0], device=place[1], dtype=wanted)
        return value, place, name

    def commit(self, move: Any) -> None:
        """Carry out a move that `moved` prepared."""
        value, self._planned, self.dtype_name = move
        if value is not None and value is not self._data:
            self._replace(value)

    def copy_of(self, value: Any) -> Any:
        """A raw array of its own, where and of the dtype that this storage's values are, with the elements of `value`."""
        xp, device = self._place()
        moved = convert(self.checked(value), xp=xp, device=device, dtype=_dtype(xp, self.dtype_name))
        return xp.asarray(moved, copy=True)

    def __deepcopy__(self, memo: dict) -> Storage:
        twin = memo[id(self)] = type(self).__new__(type(self))
        data = None if self._data is None else array_namespace(self._data).asarray(self._data, copy=True)
        twin._restore(self._description(), data, self._planned)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # Host arrays and the device's name: libraries disagree on whether their arrays and devices can be pickled.
        place = self.device if self._data is not None or self._planned else None
        return {**self._description(), "place": place, "data": None if self._data is None else to_numpy(self._data)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        place, data = state.pop("place"), state.pop("data")
        planned = None if place is None else namespace_of_device(place)
        if data is not None and planned is not None:
            data = convert(data, xp=planned[0], device=planned[1], dtype=_dtype(planned[0], state["dtype_name"]))
        self._restore(state, data, planned)

    def _description(self) -> dict[str, Any]:
        return {"shape": self.shape, "initializer": self.initializer, "dtype_name": self.dtype_name, "name": self.name}

    def _restore(self, description: dict[str, Any], data: Any, planned: Any) -> None:
        self._data, self._planned = data, planned
        for name, value in description.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        where = self.device if self._data is not None else "not drawn yet"
        return f"{type(self).__name__}({self.name + ', ' if self.name else ''}{self.shape}, {self.dtype_name}, {where})"


class Buffer(Storage):
    """An array that belongs to a module's state and is not trained, such as running statistics."""

    __slots__ = ()


class Parameter(Storage):
    """A trained array: a handle whose identity survives `to()`, `load_state_dict` and optimiser steps.

    Attributes
    ----------
    data : array
        The values.
    grad : array or None
        The gradient that backward passes have added up.
    trainable : bool
        False where it is frozen: it then takes part in forward passes as a constant.
    tensor : Tensor
        The values on the tape, for a formula of your own, such as a penalty on the weights.
    """

    __slots__ = ("slot", "trainable")

    def __init__(self, shape: tuple[int, ...], initializer: Initializer, dtype: str = "float32") -> None:
        self.trainable, self.slot = True, Slot()
        super().__init__(shape, initializer, dtype)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.slot.name

    @name.setter
    def name(self, value: str) -> None:
        self.slot.name = value

    @property
    def grad(self) -> Any:
        return self.slot.gradient

    @grad.setter
    def grad(self, value: Any) -> None:
        self.slot.gradient = value

    @property
    def tensor(self) -> Tensor:
        data = self._data if self._data is not None else self.data  # the property raises
        namespace = tensor_namespace(array_namespace(data))
        return namespace.Tensor(data, Leaf(self.slot, data.dtype) if self.trainable else None)

    def _replace(self, value: Any) -> None:
        super()._replace(value)
        self.slot.version += 1

    def moved(self, xp: Any, device: Any, dtype: str | None) -> Any:
        move = super().moved(xp, device, dtype)
        gradient = self.slot.gradient
        if gradient is not None:
            gradient = gradient.data if isinstance(gradient, Tensor) else gradient
            gradient = convert(gradient, xp=move[1][0], device=move[1][1], dtype=_dtype(move[1][0], move[2]))
        return *move, gradient

    def commit(self, move: Any) -> None:
        super().commit(move[:3])
        self.slot.gradient = move[3]

    def _description(self) -> dict[str, Any]:
        return {**super()._description(), "trainable": self.trainable}

    def _restore(self, description: dict[str, Any], data: Any, planned: Any) -> None:
        self.slot = Slot()
        super()._restore(description, data, planned)


def _dtype(xp: Any, name: str) -> Any:
    """The dtype of a namespace that goes by this name."""
    dtype = getattr(xp, name, None)
    if dtype is None:
        raise DTypeError(f"a dtype that {namespace_name(xp)} has", repr(name), 'pass one it has, such as "float32"')
    return dtype


def _place_name(xp: Any, device: Any) -> str:
    """The name of a device that holds nothing of ours yet."""
    return device_name(xp.empty((0,), dtype=xp.float32, device=device))
