"""One call of cuDNN's attention, forward and backward, over arrays that it can read where they lie."""

from __future__ import annotations

from typing import Any, NamedTuple

import cupy

from portable_nn.backend.random import keep_threshold
from portable_nn.kernels.cupy.cudnn_plans import Plan, Sizes, find
from portable_nn.kernels.cupy.dropout import stream_arguments
from portable_nn.kernels.cupy.heads import as_int32, dense, four_axes, like, readable, steps, stored_as
from portable_nn.kernels.cupy.launch import empty, kernel

_FLOAT32, _INT32, _INT64 = cupy.dtype("float32"), cupy.dtype("int32"), cupy.dtype("int64")


class Call(NamedTuple):
    """What forward and backward share.

    Attributes
    ----------
    arrays : tuple
        Query, key and value in half precision, of four axes.
    pointers : dict
        Of these and of `held`, by the names of `Plan`'s tensors.
    held : tuple
        Seed and offset, lengths as cuDNN takes them, and as they were given.
    """

    sizes: Sizes
    arrays: tuple
    pointers: dict[str, int]
    held: tuple

    def run(self, plan: Plan, **arrays: Any) -> None:
        plan.run({**self.pointers, **{name: x.data.ptr for name, x in arrays.items()}})

    def clear(self, queries: Any, keys: Any = None, values: Any = None) -> None:
        """Zeros for queries that see no key and for keys that do not count: cuDNN does not say what it leaves there."""
        given = self.held[2]
        if given is None:
            return
        outer, inner = queries.shape[:2]
        numbers = [(x, *steps(x)[:3], *x.shape[2:]) if x is not None else (0,) * 6 for x in (queries, keys, values)]
        arguments = given, *(n for part in numbers for n in part), inner
        kernel("cudnn", "clear_hidden")((outer * inner,), (128,), arguments)


def sizes_of(arrays: tuple, mask: Any, causal: bool, scale: float, dropout_p: float, stream: Any,
           side_by_side: bool) -> Sizes:
    """Of arrays that cuDNN can read; gradients lie side by side as they do, or each by itself."""
    own = [steps(x) for x in arrays]
    share = keep_threshold(dropout_p) / 65536 if stream is not None else 0.0
    gradients = own if side_by_side else [dense(x, x.shape[3]) for x in arrays]
    strides = (*own, dense(arrays[0], arrays[2].shape[3]), *gradients)
    return Sizes(cupy.cuda.runtime.getDevice(), arrays[0].dtype.char, tuple([x.shape for x in arrays]), strides, causal,
                 float(scale), share, mask is not None)


def _call(arrays: tuple, sizes: Sizes, mask: Any, stream: Any) -> Call:
    """Draw seed and offset, and bring lengths to what cuDNN takes, in one launch if there is any."""
    pointers = dict(zip("qkv", [x.data.ptr for x in arrays], strict=True))
    numbers = lengths = given = None
    (outer, _, queries, _), keys = sizes.shapes[0], sizes.shapes[1][2]
    if sizes.dropout_p:
        numbers = empty((2,), _INT64)
        pointers.update(seed=numbers.data.ptr, offset=numbers.data.ptr + 8)
    if sizes.padded:
        given, lengths = as_int32(mask), empty((2, outer), _INT32)
        pointers.update(lengths_q=lengths.data.ptr, lengths_kv=lengths.data.ptr + 4 * outer)
    if numbers is not None or lengths is not None:
        drawn = stream_arguments(stream) if numbers is not None else (0,) * 6
        kernel("cudnn", "cudnn_arguments")((1,), (128,), tuple([0 if x is None else x for x in (
            numbers, *drawn, given, lengths, outer, queries, keys)]))
    return Call(sizes, arrays, pointers, (numbers, lengths, given))


def attend(arrays: tuple, mask: Any, stream: Any, sizes: Sizes, keeps: bool) -> tuple | None:
    """Call, result and logs of the sums (None if they are not kept); None where cuDNN has no plan for the call."""
    plan = find("forward" if keeps else "infer", sizes)
    if plan is None or (keeps and find("backward", sizes) is None):
        return None
    call = _call(arrays, sizes, mask, stream)
    out = like(arrays[0], arrays[2].shape[3])
    stats = empty((*arrays[0].shape[:3], 1), _FLOAT32) if keeps else None
    call.run(plan, out=out, **({"stats": stats} if keeps else {}))
    call.clear(out)
    return call, out, stats


def pull(g: Any, found: tuple, gradients: tuple) -> None:
    """Write the gradients of query, key and value, for what `attend` gave."""
    call, out, stats = found
    g = readable(stored_as(four_axes(g), out.dtype))
    if steps(g) != call.sizes.strides[3]:
        g, given = like(call.arrays[0], out.shape[3]), g
        g[...] = given
    plan = find("backward", call.sizes)
    assert plan is not None  # forward has asked
    call.run(plan, out=out, stats=stats, g=g, **dict(zip(("g_q", "g_k", "g_v"), gradients, strict=True)))
    call.clear(*gradients)
