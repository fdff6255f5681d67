"""Storage: a named array that a module owns, made at first use, moved, cast, copied and pickled."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from typing import Any

from portable_nn.autodiff import Tensor
from portable_nn.backend.devices import convert, device_name, namespace_of_device, native_device, to_numpy, working_on
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from portable_nn.backend.libraries import dtype_name
from portable_nn.backend.namespace import array_namespace, is_array, namespace_name
from portable_nn.backend.random import Stream

Initializer = Callable[..., Any]


def is_floating(name: str) -> bool:
    """Whether a dtype of this name holds real numbers."""
    return name.startswith(("float", "bfloat"))


def item_bytes(name: str) -> int:
    """Bytes of one element of a dtype of this name, of which the digits are the bits; "bool" takes a byte."""
    return int(re.sub(r"\D", "", name) or 8) // 8


def check_size(name: str, value: Any, least: int = 0) -> int:
    """The number of features, rows or the like that a layer was given, as an int.

    Raises
    ------
    ArgumentError
        It is no integer, or less than `least`.
    """
    if not hasattr(value, "__index__") or operator.index(value) < least:
        raise ArgumentError(f"{name} as an integer of {least} or more", repr(value), "check the layer's arguments")
    return operator.index(value)


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
        if not isinstance(shape, (tuple, list)):
            raise ArgumentError("a shape, as a tuple of sizes", f"{shape!r:.60}", "pass (3,) for 3 elements")
        self.shape = tuple(check_size("every size of a shape", length) for length in shape)
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
        old = self._data
        if type(value) is type(old) and value.dtype == old.dtype and value.shape == old.shape:
            return value
        value = value.data if isinstance(value, Tensor) else value
        if not is_array(value):
            raise DTypeError(f"an array for {self}", type(value).__name__, "convert it first, as with numpy.asarray")
        if tuple(value.shape) != self.shape:
            raise ShapeError(f"values of shape {self.shape} for {self}", f"{tuple(value.shape)}",
                             "reshape them, or build the layer with other sizes")
        if is_floating(dtype_name(value.dtype)) != is_floating(self.dtype_name):
            raise DTypeError(f"values like {self.dtype_name} for {self}", f"{value.dtype}", "cast them first")
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
        return self.size * item_bytes(self.dtype_name)

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
        with working_on(device):
            value = self.initializer(stream, self.shape, dtype=dtype_of(xp, self.dtype_name, device), xp=xp,
                                     device=device)
        self._replace(self.checked(value))

    def zeros(self) -> Any:
        """Zeros where the values are, or will be, in their place."""
        xp, device = self._place()
        with working_on(device):
            return xp.zeros(self.shape, dtype=dtype_of(xp, self.dtype_name, device), device=device)

    def moved(self, xp: Any, device: Any, dtype: str | None) -> Any:
        """What `commit` turns this storage into: its values (None if not drawn yet), place and dtype after a move."""
        name = dtype if dtype is not None and is_floating(self.dtype_name) else self.dtype_name
        place = self._place() if xp is None else (xp, device)
        wanted = dtype_of(place[0], name, place[1])
        value = None if self._data is None else convert(self._data, xp=place[0], device=place[1], dtype=wanted)
        return value, place, name

    def commit(self, move: Any) -> None:
        """Carry out a move that `moved` prepared."""
        value, self._planned, self.dtype_name = move
        if value is not None and value is not self._data:
            self._replace(value)

    def copy_of(self, value: Any) -> Any:
        """A raw array of its own with the elements of `value`, on this storage's device and of its dtype."""
        xp, device = self._place()
        moved = convert(self.checked(value), xp=xp, device=device, dtype=dtype_of(xp, self.dtype_name, device))
        with working_on(device):
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
            dtype = dtype_of(planned[0], state["dtype_name"], planned[1])
            data = convert(data, xp=planned[0], device=planned[1], dtype=dtype)
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


def dtype_of(xp: Any, name: str, device: Any = None) -> Any:
    """The dtype of a namespace that goes by this name; a device without 64-bit integers counts in 32 bits."""
    if name == "int64" and name not in xp.__array_namespace_info__().dtypes(device=device, kind="signed integer"):
        name = "int32"
    dtype = getattr(xp, name, None)
    if dtype is None:
        raise DTypeError(f"a dtype that {namespace_name(xp)} has", repr(name), 'pass one it has, such as "float32"')
    return dtype


def _place_name(xp: Any, device: Any) -> str:
    """The name of a device that holds nothing of ours yet."""
    with working_on(device):
        return device_name(xp.empty((0,), dtype=xp.float32, device=device))
