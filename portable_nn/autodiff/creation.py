"""Functions of a Tensor namespace that make arrays or tell facts about dtypes."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff import standard
from portable_nn.autodiff.engine import is_recording
from portable_nn.autodiff.rules import refuse
from portable_nn.autodiff.signatures import generate, split
from portable_nn.autodiff.tensor import Tensor
from portable_nn.backend.errors import DTypeError


def add_creation(namespace: Any) -> None:
    """Put creation functions, dtype functions and inspection into `namespace`."""
    raw, lift = namespace.raw, namespace.lift

    for text in standard.CREATION:
        name, _ = split(text)
        setattr(namespace, name, _constant(namespace, text, getattr(raw, name, None)))
    if hasattr(namespace, "fft"):
        for text in standard.FFT_CREATION:
            name, _ = split(text)
            setattr(namespace.fft, name, _constant(namespace, text, getattr(raw.fft, name)))

    def asarray(obj, /, *, dtype=None, device=None, copy=None):
        if isinstance(obj, (list, tuple)) and _holds_tensor(obj):
            raise DTypeError("numbers in the nested sequence", "Tensors", "use xp.stack or xp.concat, which record")
        if not isinstance(obj, Tensor):
            return namespace.Tensor(raw.asarray(obj, dtype=dtype, device=device, copy=copy))
        obj = lift(obj)
        if obj._node is None:
            return namespace.Tensor(raw.asarray(obj._data, dtype=dtype, device=device, copy=copy))
        if dtype is not None and dtype != obj.dtype:
            obj = namespace.astype(obj, dtype)
        elif copy:
            obj = namespace.positive(obj)
        return obj if device is None else obj.to_device(device)

    def from_dlpack(x, /, *, device=None, copy=None):
        options = {name: value for name, value in (("device", device), ("copy", copy)) if value is not None}
        return namespace.Tensor(raw.from_dlpack(x.data if isinstance(x, Tensor) and x._node is None else x, **options))

    def meshgrid(*arrays, indexing="xy"):
        """As the standard's, by reshaping and broadcasting, so that it is recorded."""
        arrays = tuple([namespace.reshape(x, (-1,)) if x.ndim == 0 else lift(x) for x in arrays])
        count = len(arrays)
        order = list(range(count))
        if indexing == "xy" and count > 1:
            order[0], order[1] = 1, 0
        shape = tuple(arrays[i].shape[0] for i in order)
        grids = []
        for position, x in enumerate(arrays):
            axis = order.index(position)
            grids.append(namespace.broadcast_to(
                namespace.reshape(x, (1,) * axis + (x.shape[0],) + (1,) * (count - axis - 1)), shape))
        return tuple(grids)

    def result_type(*arrays_and_dtypes):
        return raw.result_type(*(x._data if isinstance(x, Tensor) else x for x in arrays_and_dtypes))

    def can_cast(from_, to, /):
        return raw.can_cast(from_._data if isinstance(from_, Tensor) else from_, to)

    def finfo(type, /):
        return raw.finfo(type.dtype if isinstance(type, Tensor) else type)

    def iinfo(type, /):
        return raw.iinfo(type.dtype if isinstance(type, Tensor) else type)

    namespace.asarray, namespace.from_dlpack, namespace.meshgrid = asarray, from_dlpack, meshgrid
    namespace.result_type, namespace.can_cast, namespace.finfo, namespace.iinfo = result_type, can_cast, finfo, iinfo
    namespace.isdtype = raw.isdtype
    namespace.__array_namespace_info__ = raw.__array_namespace_info__
    namespace.__array_api_version__ = "2024.12"


def _constant(namespace: Any, text: str, function: Any) -> Any:
    """A creation function with the signature `text`, giving a constant Tensor."""
    def record(name: str, call: Any, arguments: tuple, arrays: tuple, options: dict) -> Any:
        tensors = {key: value for key, value in options.items() if isinstance(value, Tensor)}
        for key, value in tensors.items():
            if value._node is not None and is_recording():
                refuse(name, key)
        options = options | {key: namespace.unwrap(value) for key, value in tensors.items()}
        return namespace.wrap(call(*map(namespace.unwrap, arrays), **options))

    return generate(text, function, record)


def _holds_tensor(obj: Any) -> bool:
    return any(isinstance(x, Tensor) or (isinstance(x, (list, tuple)) and _holds_tensor(x)) for x in obj)
