"""Functions of a Tensor namespace that take several arrays, an index or a dtype, or that are made of other functions."""

from __future__ import annotations

from typing import Any

from portable_nn.autodiff.engine import Node, is_recording
from portable_nn.autodiff.primitive import to_native_device
from portable_nn.autodiff.rules import Rule
from portable_nn.backend.errors import GradientError, ShapeError

_SLICE_BACK = Rule("", lambda xp, g, axis, start, stop: g[(slice(None),) * axis + (slice(start, stop),)])
_INDEX_BACK = Rule("", lambda xp, g, axis, index: g[(slice(None),) * axis + (index, Ellipsis)])


def add_derived(namespace: Any) -> None:
    """Put joining, indexing, casting and sorting functions into `namespace`."""
    raw, T, lift, unwrap, record = namespace.raw, namespace.Tensor, namespace.lift, namespace.unwrap, namespace.record_operation

    def concat(arrays, /, *, axis=0):
        arrays = [lift(x) for x in arrays]
        out = raw.concat([x._data for x in arrays], axis=axis)
        if not is_recording() or all(x._node is None for x in arrays):
            return T(out)
        if axis is None:
            return concat([namespace.reshape(x, (-1,)) for x in arrays], axis=0)
        axis, start, edges = axis % out.ndim, 0, []
        for x in arrays:
            stop = start + x.shape[axis]
            if x._node is not None:
                edges.append((x._node, _SLICE_BACK, (axis, start, stop), None))
            start = stop
        return T(out, Node(tuple(edges)))

    def stack(arrays, /, *, axis=0):
        arrays = [lift(x) for x in arrays]
        out = raw.stack([x._data for x in arrays], axis=axis)
        axis %= out.ndim
        edges = [(x._node, _INDEX_BACK, (axis, i), None) for i, x in enumerate(arrays) if x._node is not None]
        return T(out, Node(tuple(edges)) if edges and is_recording() else None)

    def unstack(x, /, *, axis=0):
        x = lift(x)
        if x.ndim == 0:
            raise ShapeError("an array with an axis to unstack", "no axes", "reshape it first")
        x = namespace.moveaxis(x, axis, 0) if axis else x
        return tuple(x[i, ...] for i in range(x.shape[0]))

    def where(condition, x1, x2, /):
        condition = unwrap(condition)
        return record("where", lambda a, b, condition: raw.where(condition, a, b), ("x1", "x2"), _as_pair(x1, x2),
                      {"condition": condition})

    def _as_pair(x1, x2):
        """Both as Tensors of the result's shape's parts: Python scalars take the other's dtype, as in operators."""
        if not hasattr(x1, "dtype"):
            x1 = raw.asarray(x1, dtype=x2.dtype, device=x2.device)
        if not hasattr(x2, "dtype"):
            x2 = raw.asarray(x2, dtype=x1.dtype, device=x1.device)
        return lift(x1), lift(x2)

    def astype(x, dtype, /, *, copy=True, device=None):
        x = lift(x)
        options = {} if device is None else {"device": device}
        if x._node is None or not is_recording() or raw.isdtype(dtype, ("bool", "integral")):
            return T(raw.astype(x._data, dtype, copy=copy, **options))
        if raw.isdtype(dtype, "complex floating"):
            raise GradientError("a real dtype for a recorded Tensor", f"{dtype}", "detach it first; gradients here are real")
        return record("astype", lambda x, *, target: raw.astype(x, target, copy=copy, **options), ("x",), (x,),
                      {"target": dtype})

    def sort(x, /, *, axis=-1, descending=False, stable=True):
        x = lift(x)
        if x._node is None or not is_recording():
            return T(raw.sort(x._data, axis=axis, descending=descending, stable=stable))
        order = raw.argsort(x._data, axis=axis, descending=descending, stable=stable)
        return namespace.take_along_axis(x, order, axis=axis)

    def broadcast_arrays(*arrays):
        shape = raw.broadcast_arrays(*map(unwrap, arrays))[0].shape
        return tuple(namespace.broadcast_to(x, shape) for x in arrays)

    def getitem(x, key):
        key = tuple(map(_raw_key, key)) if isinstance(key, tuple) else _raw_key(key)
        return record("getitem", lambda x, *, key: x[key], ("x",), (x,), {"key": key})

    def _raw_key(part):
        return part._data if type(part) is T else part

    def setitem(x, key, value):
        """The array that x becomes: old values outside the key, new ones inside, both recorded."""
        key = tuple(map(_raw_key, key)) if isinstance(key, tuple) else _raw_key(key)
        data = raw.asarray(x._data, copy=True)
        data[key] = unwrap(value)
        recorded = is_recording() and (x._node is not None or (type(value) is T and value._node is not None))
        if not recorded:
            return T(data)
        mask = raw.zeros(x.shape, dtype=raw.bool, device=data.device)
        mask[key] = True
        inside = data[key]
        spread = namespace.broadcast_to(value, inside.shape) if type(value) is T else inside
        placed = record("setitem", lambda v, *, key: _set(raw, data, key, v), ("x",), (spread,), {"key": key})
        return namespace.where(mask, placed, x)

    for function in (concat, stack, unstack, where, astype, sort, broadcast_arrays):
        function.__qualname__ = function.__name__
        setattr(namespace, function.__name__, function)
    namespace._getitem, namespace._setitem = getitem, setitem
    namespace._to_device = lambda x, **options: record(
        "to_device", lambda x, *, device, stream, origin: to_native_device(x, device, stream), ("x",), (x,),
        {**options, "origin": x.device})


def _set(raw: Any, data: Any, key: Any, value: Any) -> Any:
    whole = raw.zeros_like(data)
    whole[key] = raw.astype(value, data.dtype, copy=False)
    return whole
