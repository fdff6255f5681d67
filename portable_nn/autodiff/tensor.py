"""`Tensor`: an array that remembers how it was made."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.autodiff.engine import Leaf, Slot, is_recording, next_sequence, run_backward
from portable_nn.backend.devices import device_name, to_numpy
from portable_nn.backend.errors import DTypeError, GradientError, ShapeError
from portable_nn.backend.namespace import array_namespace

#: Type of raw array -> the Tensor type over it.
_kinds: dict[type, Any] = {}


class Tensor:
    """An array whose operations are recorded, so that gradients can be computed.

    Parameters
    ----------
    x : array
        Any Array API array; the Tensor aliases it, so do not change x before the backward pass.
    requires_grad : bool
        Whether gradients are wanted with respect to this Tensor; x must then be real and floating.

    Attributes
    ----------
    data : array
        The raw array.
    grad : array or None
        The gradient that backward passes have added up, for a Tensor with `requires_grad=True`.

    Examples
    --------
    >>> import numpy as np
    >>> x = Tensor(np.asarray([1.0, 2.0]), requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4.])
    """

    __slots__ = ("__weakref__", "_data", "_node")
    __array_ufunc__ = None  # NumPy's operators give way to ours, which lift the array
    _namespace: Any
    _data: Any
    _node: Any

    def __new__(cls, x: Any, requires_grad: bool = False) -> Tensor:
        if isinstance(x, Tensor):
            x = x._data
        kind = _kinds.get(type(x)) or _tensor_type(x)
        node = None
        if requires_grad:
            namespace = kind._namespace
            if not namespace.isdtype(x.dtype, "real floating"):
                raise DTypeError("a real floating Tensor where requires_grad=True", f"dtype {x.dtype}",
                                 "convert it first, for example with xp.astype(x, xp.float32)")
            node = Leaf(Slot(), x.dtype)
        return kind(x, node)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return self._namespace

    @property
    def data(self) -> Any:
        """The raw array."""
        data = self._data
        return data if hasattr(data, "__setitem__") else self._namespace.raw.asarray(data)

    @property
    def requires_grad(self) -> bool:
        """Whether this Tensor is on the tape: a leaf, or made from one."""
        return self._node is not None

    @property
    def grad(self) -> Any:
        return self._node.slot.read() if type(self._node) is Leaf else None

    @grad.setter
    def grad(self, value: Any) -> None:
        if type(self._node) is not Leaf:
            raise GradientError("a Tensor made with requires_grad=True", "one computed from others or a constant",
                                "set .grad on the Tensor or Parameter it was computed from")
        self._node.slot.gradient = value

    @property
    def dtype(self) -> Any:
        return self._data.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return math.prod(self._data.shape)  # PyTorch's `size` is a method

    @property
    def device(self) -> Any:
        return getattr(self._data, "device", "cpu")

    @property
    def T(self) -> Tensor:
        if self.ndim != 2:
            raise ShapeError("a matrix, of 2 axes", f"{self.ndim} axes",
                             "use .mT for stacks of matrices or permute_dims")
        return self._namespace.matrix_transpose(self)

    @property
    def mT(self) -> Tensor:
        return self._namespace.matrix_transpose(self)

    def backward(self, gradient: Any = None, *, create_graph: bool = False) -> None:
        """Compute the gradient of this Tensor for every leaf it was made from, and add it to each leaf's `grad`.

        Parameters
        ----------
        gradient : array of this Tensor's shape, optional
            The gradient of whatever is wanted with respect to this Tensor; 1 if it has one element.
        create_graph : bool
            Record the pass too, so that the gradients, then Tensors, can be differentiated again.

        Raises
        ------
        GradientError
            The Tensor is not on the tape, its graph has been freed, or a parameter has changed since the forward pass.
        ShapeError
            `gradient` is needed, or its shape is not this Tensor's.
        """
        if self._node is None:
            raise GradientError("a Tensor on the tape", "one that no recorded operation made",
                                "pass Tensors, not raw arrays, to the model, and not inside no_grad()")
        namespace = self._namespace
        gradient = _starting_gradient(self, gradient)
        xp = namespace if create_graph else namespace.raw
        found = run_backward(self._node, namespace.lift(gradient) if create_graph else gradient, xp,
                             create_graph=create_graph)
        for leaf, g in found.items():
            slot = leaf.slot
            known = slot.gradient
            slot.gradient = g if known is None else known + g

    def detach(self) -> Tensor:
        """The same values, as a constant."""
        return type(self)(self._data)

    def item(self) -> Any:
        """The one element, as a Python number. Waits for the device."""
        if self.size != 1:
            raise ShapeError("a Tensor of one element", f"shape {self.shape}", "use .numpy(), or reduce it first")
        return self.numpy().reshape(()).item()

    def numpy(self) -> Any:
        """The values as a NumPy array. Waits for the device."""
        return to_numpy(self._data)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return self._namespace.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        return self._namespace.mean(self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        return self._namespace.reshape(self, shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape)

    def to_device(self, device: Any, /, *, stream: Any = None) -> Tensor:
        """The Tensor on another device of its library, as the standard's `to_device`; recorded."""
        return self._namespace._to_device(self, device=device, stream=stream)

    def __getitem__(self, key: Any) -> Tensor:
        return self._namespace._getitem(self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Copy on write: this handle gets a new value, computed from the old; what others hold does not change."""
        leaf = self._node if type(self._node) is Leaf else None
        if leaf is not None and is_recording():
            raise GradientError("no change to a Tensor made with requires_grad=True", "an assignment to its elements",
                                "compute a new Tensor, for example with xp.where, or assign inside no_grad()")
        new = self._namespace._setitem(self, key, value)
        self._data, self._node = new._data, new._node
        if leaf is not None:  # still a leaf, but what was recorded from the old values is stale
            leaf.slot.version = next_sequence()
            self._node = Leaf(leaf.slot, leaf.dtype)

    def __bool__(self) -> bool:
        return bool(self._scalar("bool"))

    def __int__(self) -> int:
        return int(self._scalar("int"))

    def __float__(self) -> float:
        return float(self._scalar("float"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex"))

    def __index__(self) -> int:
        return self._data.__index__()

    def _scalar(self, kind: str) -> Any:
        if self.ndim:
            raise DTypeError(f"a Tensor of no axes for {kind}()", f"shape {self.shape}",
                             "use .item() or reduce it first")
        return self._data

    def __len__(self) -> int:
        if not self.ndim:
            raise DTypeError("a Tensor with an axis for len()", "one of no axes", "use .size")
        return self.shape[0]

    def __format__(self, specification: str) -> str:
        return format(self.item(), specification) if specification else repr(self)

    def __iter__(self) -> Any:
        return iter(self._namespace.unstack(self))

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        self._refuse_export()
        array = to_numpy(self._data)
        return array if dtype is None else array.astype(dtype)

    def __array_function__(self, function: Any, types: Any, arguments: Any, keywords: Any) -> Any:
        raise DTypeError("an Array API function for a Tensor", f"numpy.{getattr(function, '__name__', function)}",
                         "use the function of the same name in portable_nn.array_namespace(tensor), or tensor.numpy()")

    def __dlpack__(self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None,
                   copy: Any = None) -> Any:
        self._refuse_export()
        options = {"stream": stream, "max_version": max_version, "dl_device": dl_device, "copy": copy}
        return self.data.__dlpack__(**{name: value for name, value in options.items() if value is not None})

    def __dlpack_device__(self) -> Any:
        return self.data.__dlpack_device__()

    def _refuse_export(self) -> None:
        if self._node is not None:
            raise GradientError("a constant Tensor to export", "one on the tape, whose gradient would be lost",
                                "use tensor.detach() or tensor.numpy()")

    def __repr__(self) -> str:
        recorded = ", requires_grad=True" if self._node is not None else ""
        return f"Tensor({self.data!r}{recorded}, device={device_name(self._data)!r})"

    def __reduce__(self) -> Any:
        if self._node is not None and type(self._node) is not Leaf:
            raise GradientError("a leaf or a constant to copy or pickle", "a Tensor computed from others",
                                "detach it first")
        return Tensor, (self.data, self._node is not None)

    __hash__ = None  # type: ignore[assignment]  # == compares elements, as for every array


def _tensor_type(x: Any) -> Any:
    """The Tensor type over arrays like x, remembered by their type."""
    from portable_nn.autodiff.namespace import tensor_namespace

    kind = tensor_namespace(array_namespace(x)).Tensor
    if not hasattr(type(x), "__jax_array__"):  # values of one type come from several traces
        _kinds[type(x)] = kind
    return kind


def one_like(tensor: Tensor) -> Any:
    """The gradient 1 of a result of one element, raw; a library may keep it, for kernels that hand on nothing of it:
    their backward has an attribute `keeps_one`."""
    raw = tensor._namespace.raw
    make = getattr(raw, "one_like", None) if hasattr(getattr(tensor._node, "backward", None), "keeps_one") else None
    return raw.ones_like(tensor._data) if make is None else make(tensor._data)


def _starting_gradient(tensor: Tensor, gradient: Any) -> Any:
    """The raw gradient to begin a backward pass with."""
    namespace = tensor._namespace
    if gradient is None:
        if tensor.size != 1:
            raise ShapeError("a loss of one element, or a gradient to start from", f"shape {tensor.shape}",
                             "reduce the loss with sum or mean, or pass gradient=")
        return one_like(tensor)
    gradient = namespace.unwrap(gradient)
    if gradient.shape != tensor.shape:
        raise ShapeError(f"a gradient of shape {tensor.shape}", f"shape {gradient.shape}", "reshape or broadcast it")
    return gradient
