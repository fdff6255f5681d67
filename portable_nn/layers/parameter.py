"""Parameters: the arrays that are trained, kept by handles that stay the same."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff import Tensor
from portable_nn.autodiff.engine import Leaf, Slot
from portable_nn.autodiff.namespace import tensor_namespace
from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.backend.devices import convert
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.storage import Initializer, Storage, dtype_of

#: Type of raw array -> the Tensor type over it; asked once per parameter and call.
_tensor_types: dict[type, Any] = {}


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
    row_sparse : bool
        Whether gradients come as `RowSparse`: the optimisers then keep the parameter outside the arena.
    tensor : Tensor
        The values on the tape, for a formula of your own, such as a penalty on the weights.
    """

    __slots__ = ("row_sparse", "slot", "trainable")

    def __init__(self, shape: tuple[int, ...], initializer: Initializer, dtype: str = "float32") -> None:
        self.trainable, self.row_sparse, self.slot = True, False, Slot()
        super().__init__(shape, initializer, dtype)

    @property
    def name(self) -> str:
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
        kind: Any = _tensor_types.get(type(data))
        if kind is None:
            kind = _tensor_types[type(data)] = tensor_namespace(array_namespace(data)).Tensor
        return kind(data, Leaf(self.slot, data.dtype) if self.trainable else None)

    def _replace(self, value: Any) -> None:
        super()._replace(value)
        self.slot.version += 1

    def moved(self, xp: Any, device: Any, dtype: str | None) -> Any:
        move = super().moved(xp, device, dtype)
        gradient = self.slot.gradient
        if gradient is not None:
            gradient = gradient.data if isinstance(gradient, Tensor) else gradient
            place = {"xp": move[1][0], "device": move[1][1], "dtype": dtype_of(move[1][0], move[2])}
            gradient = gradient.moved(**place) if isinstance(gradient, RowSparse) else convert(gradient, **place)
        return *move, gradient

    def commit(self, move: Any) -> None:
        super().commit(move[:3])
        self.slot.gradient = move[3]

    def _description(self) -> dict[str, Any]:
        return {**super()._description(), "trainable": self.trainable, "row_sparse": self.row_sparse}

    def _restore(self, description: dict[str, Any], data: Any, planned: Any) -> None:
        self.slot = Slot()
        super()._restore(description, data, planned)
