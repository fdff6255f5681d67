"""Functions of a Tensor namespace that take several arrays, an index or a dtype, or are made of other functions."""

from __future__ import annotations

import math
from typing import Any

from portable_nn.autodiff.engine import Node, is_recording
from portable_nn.autodiff.primitive import index_dtype, to_native_device, write
from portable_nn.autodiff.rules import RULES, Rule, refuse_dtype
from portable_nn.backend.errors import GradientError, ShapeError

_SLICE_BACK = Rule("", lambda xp, g, axis, start, stop: g[(*(slice(None),) * axis, slice(start, stop), ...)])
_INDEX_BACK = Rule("", lambda xp, g, axis, index: g[(*(slice(None),) * axis, index, ...)])


def add_derived(namespace: Any) -> None:
    """Put joining, indexing, casting and sorting functions into `namespace`."""
    raw, T, lift, unwrap = namespace.raw, namespace.Tensor, namespace.lift, namespace.unwrap
    slice_back, index_back = (rule.in_own_dtype() if namespace.mixes_dtypes else rule for rule in
                              (_SLICE_BACK, _INDEX_BACK))
    record = namespace.record_operation

    getitem_rule = RULES["getitem"]["x"]  # of one array alone: no dtypes are mixed

    def saved_of(x, *saved):
        return (*saved, x.dtype) if namespace.mixes_dtypes else saved

    def concat(arrays, /, *, axis=0):
        arrays = [lift(x) for x in arrays]
        out = raw.concat([x._data for x in arrays], axis=axis)
        if not is_recording() or all(x._node is None for x in arrays):
            return T(out)
        if axis is None:
            return concat([namespace.reshape(x, (-1,)) for x in arrays], axis=0)
        _real(out, "concat")
        axis, start, edges = axis % out.ndim, 0, []
        for x in arrays:
            stop = start + x.shape[axis]
            if x._node is not None:
                edges.append((x._node, slice_back, saved_of(x, axis, start, stop), None))
            start = stop
        return T(out, Node(tuple(edges)))

    def stack(arrays, /, *, axis=0):
        arrays = [lift(x) for x in arrays]
        out = raw.stack([x._data for x in arrays], axis=axis)
        axis %= out.ndim
        edges = [(x._node, index_back, saved_of(x, axis, i), None) for i, x in enumerate(arrays) if x._node is not None]
        if not edges or not is_recording():
            return T(out)
        _real(out, "stack")
        return T(out, Node(tuple(edges)))

    def _real(out, name):
        if not namespace.is_real_floating[out.dtype]:
            refuse_dtype(name, out.dtype)

    def unstack(x, /, *, axis=0):
        if x.ndim == 0:
            raise ShapeError("an array with an axis to unstack", "no axes", "reshape it first")
        return record("unstack", lambda x, *, axis: tuple(raw.unstack(x, axis=axis)), ("x",), (x,), {"axis": axis})

    def where(condition, x1, x2, /):
        return record("where", lambda a, b, condition: raw.where(condition, a, b), ("x1", "x2"), (x1, x2),
                      {"condition": unwrap(condition)})

    def diff(x, /, *, axis=-1, n=1, prepend=None, append=None):
        arrays = [lift(part) for part in (prepend, x, append) if part is not None]
        if is_recording() and any(part._node is not None for part in arrays):
            x = concat(arrays, axis=axis) if len(arrays) > 1 else arrays[0]
            before = (slice(None),) * (axis % x.ndim)
            for _ in range(n):
                x = x[(*before, slice(1, None), ...)] - x[(*before, slice(None, -1), ...)]
            return x
        edges = {name: unwrap(part) for name, part in (("prepend", prepend), ("append", append)) if part is not None}
        return T(raw.diff(unwrap(x), axis=axis, n=n, **edges))

    def astype(x, dtype, /, *, copy=True, device=None):
        x = lift(x)
        options = {} if device is None else {"device": device}
        if x._node is None or not is_recording() or raw.isdtype(dtype, ("bool", "integral")):
            return T(raw.astype(x._data, dtype, copy=copy, **options))
        if raw.isdtype(dtype, "complex floating"):
            raise GradientError("a real dtype for a recorded Tensor", f"{dtype}",
                                "detach it first; gradients here are real")
        return record("astype", lambda x, *, target: raw.astype(x, target, copy=copy, **options), ("x",), (x,),
                      {"target": dtype})

    def sort(x, /, *, axis=-1, descending=False, stable=True):
        x = lift(x)
        if x._node is None or not is_recording():
            return T(raw.sort(x._data, axis=axis, descending=descending, stable=stable))
        order = raw.argsort(x._data, axis=axis, descending=descending, stable=stable)
        return namespace.take_along_axis(x, order, axis=axis)

    def broadcast_arrays(*arrays):
        shapes = [x.shape for x in raw.broadcast_arrays(*map(unwrap, arrays))]
        return tuple(namespace.broadcast_to(x, shape) for x, shape in zip(arrays, shapes, strict=True))

    def getitem(x, key):
        key = tuple(map(_raw_key, key)) if isinstance(key, tuple) else _raw_key(key)
        data, node = x._data, x._node
        out = data[key]
        if node is None or not is_recording():
            return T(out)
        return T(out, Node(((node, getitem_rule, (data.shape, key), None),)))

    def _raw_key(part):
        return part._data if type(part) is T else part

    def setitem(x, key, value):
        """The array that x becomes: old values outside the key, new ones inside, both recorded."""
        key = tuple(map(_raw_key, key)) if isinstance(key, tuple) else _raw_key(key)
        new = type(value) is T and value._node is not None
        if not is_recording() or not (new or x._node is not None):
            data = raw.asarray(x._data, copy=True)
            data[key] = unwrap(value)
            return T(data)
        _real(x, "assignment to elements")
        dtype = index_dtype(raw, x.device)
        source = raw.full(x.shape, -1, dtype=dtype, device=x.device)  # which new value each element gets, if any
        shape = source[key].shape
        write(raw, source, key, raw.reshape(raw.arange(math.prod(shape), dtype=dtype, device=x.device), shape))
        inside = source >= 0
        if type(value) in (bool, int, float):
            return where(inside, value, x)
        values = namespace.reshape(namespace.broadcast_to(astype(value, x.dtype, copy=False), shape), (-1,))
        if values.size == 0:
            return x
        order = raw.reshape(raw.where(inside, source, raw.zeros_like(source)), (-1,))
        return where(inside, namespace.reshape(namespace.take(values, order, axis=0), x.shape), x)

    for function in (concat, stack, unstack, diff, where, astype, sort, broadcast_arrays):
        function.__qualname__ = function.__name__
        setattr(namespace, function.__name__, function)
    namespace._getitem, namespace._setitem = getitem, setitem
    namespace._to_device = lambda x, **options: record(
        "to_device", lambda x, *, device, stream, origin: to_native_device(x, device, stream), ("x",), (x,),
        {**options, "origin": x.device})
