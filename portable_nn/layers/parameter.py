"""Parameters: the arrays that are trained, kept by handles that stay the same."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.autodiff import Tensor
from portable_nn.autodiff.engine import Leaf, Slot, next_sequence
from portable_nn.autodiff.namespace import tensor_namespace
from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.backend.devices import convert
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.storage import Initializer, Storage, dtype_of


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

    __slots__ = ("_tensor", "row_sparse", "slot", "trainable")

    def __init__(self, shape: tuple[int, ...], initializer: Initializer, dtype: str = "float32") -> None:
        self.trainable, self.row_sparse, self.slot, self._tensor = True, False, Slot(), None
        super().__init__(shape, initializer, dtype)

    @property
    def name(self) -> str:
        return self.slot.name

    @name.setter
    def name(self, value: str) -> None:
        self.slot.name = value

    @property
    def grad(self) -> Any:
        return self.slot.read()

    @grad.setter
    def grad(self, value: Any) -> None:
        self.slot.gradient = value

    @property
    def tensor(self) -> Tensor:
        view: Any = self._tensor
        data = self._data
        if view is not None and view._data is data and (view._node is not None) is self.trainable:
            return view
        data = self.data if data is None else data  # the property raises
        kind = tensor_namespace(array_namespace(data)).Tensor
        view = self._tensor = kind(data, Leaf(self.slot, data.dtype) if self.trainable else None)
        return view

    def _replace(self, value: Any) -> None:
        super()._replace(value)
        self.hold(value)

    def hold(self, data: Any) -> None:
        """Keep the values in other memory from now on; what was recorded from Tensors over the old is stale."""
        if self._tensor is not None and self._tensor._node is not None:
            self._tensor._node.slot = replaced = Slot(self.slot.name)
            replaced.version = math.inf
        self._data, self._tensor = data, None
        self.slot.version = next_sequence()

    def moved(self, xp: Any, device: Any, dtype: str | None) -> Any:
        move = super().moved(xp, device, dtype)
        gradient = self.grad
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
        self.slot, self._tensor = Slot(), None
        super()._restore(description, data, planned)
