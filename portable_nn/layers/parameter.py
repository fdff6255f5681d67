"""Parameters and buffers: the arrays that a module owns, made at first use and kept by handles that stay the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from portable_nn.autodiff import Tensor
from portable_nn.autodiff.engine import Leaf, Slot
from portable_nn.backend.devices import convert, device_name, namespace_of_device
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.backend.random import Stream

Initializer = Callable[..., Any]


class Storage:
    """A named array that is filled by an initializer at first use and can be moved and cast.

    Parameters
    ----------
    shape : tuple of int
    initializer : callable
        `initializer(stream, shape, *, dtype, xp, device) -> array`; see `layers.initializers`.
    dtype : str
        A name of the standard, such as "float32".
    """

    __slots__ = ("_data", "device", "dtype_name", "initializer", "name", "shape", "xp")

    def __init__(self, shape: tuple[int, ...], initializer: Initializer, dtype: str = "float32") -> None:
        if any(not isinstance(length, int) or length < 0 for length in shape):
            raise ArgumentError("sizes that are integers of 0 or more", f"{shape}", "check the layer's arguments")
        self.shape, self.initializer, self.dtype_name, self.name = tuple(shape), initializer, dtype, ""
        self.xp, self.device = None, None
        self._data: Any = None

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
        """
        if self._data is None:
            raise ArgumentError(f"values in {self.name or 'this parameter'}", "one not drawn yet",
                                "call model.initialize(seed), or the model itself, first")
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if value.shape != self.shape:
            raise ShapeError(f"values of shape {self.shape} for {self.name or 'this parameter'}", f"{value.shape}",
                             "reshape them, or build the layer with other sizes")
        self._replace(value)

    def _replace(self, value: Any) -> None:
        self._data = value

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    def fill(self, stream: Stream) -> None:
        """Draw the values from a random stream."""
        xp, device = (self.xp, self.device) if self.xp is not None else namespace_of_device("cpu")
        self._replace(self.initializer(stream, self.shape, dtype=getattr(xp, self.dtype_name), xp=xp, device=device))

    def to(self, *, xp: Any, device: Any, dtype: str | None) -> None:
        """Move to a namespace's device, and cast if the values are floating; values not drawn yet will be drawn there."""
        if dtype is not None and self.dtype_name.startswith("float"):
            self.dtype_name = dtype
        if xp is not None:
            self.xp, self.device = xp, device
        if self._data is not None:
            target = self.xp if self.xp is not None else array_namespace(self._data)
            self._replace(convert(self._data, xp=target, device=self.device, dtype=getattr(target, self.dtype_name)))

    def copy_of(self, value: Any) -> Any:
        """A raw array of its own, on this storage's device and in its dtype, with the elements of `value`."""
        xp = self.xp if self.xp is not None else (array_namespace(self._data) if self._data is not None
                                                  else namespace_of_device("cpu")[0])
        device = self.device if self.device is not None or self._data is None else self._data.device
        moved = convert(value, xp=xp, device=device, dtype=getattr(xp, self.dtype_name))
        return xp.asarray(moved, copy=True)

    def __deepcopy__(self, memo: dict) -> Storage:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__setstate__(copy.copy(self.__getstate__()))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        xp = None if self._data is None else array_namespace(self._data)
        return {"shape": self.shape, "initializer": self.initializer, "dtype_name": self.dtype_name, "name": self.name,
                "data": None if xp is None else xp.asarray(self._data, copy=True)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.shape, self.initializer = state["shape"], state["initializer"]
        self.dtype_name, self.name, self._data = state["dtype_name"], state["name"], state["data"]
        self.xp, self.device = None, None
        if self._data is not None:
            self.xp, self.device = array_namespace(self._data), getattr(self._data, "device", None)

    def __repr__(self) -> str:
        where = "not drawn yet" if self._data is None else device_name(self._data)
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
        super().__init__(shape, initializer, dtype)
        self.trainable = True
        self.slot = Slot()

    @property
    def grad(self) -> Any:
        return self.slot.gradient

    @grad.setter
    def grad(self, value: Any) -> None:
        self.slot.gradient = value

    @property
    def tensor(self) -> Tensor:
        data = self.data
        namespace = Tensor(data)._namespace
        return namespace.Tensor(data, Leaf(self.slot, data.dtype) if self.trainable else None)

    def _replace(self, value: Any) -> None:
        super()._replace(value)
        self.slot.version += 1

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "trainable": self.trainable}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.trainable, self.slot = state["trainable"], Slot(state["name"])
