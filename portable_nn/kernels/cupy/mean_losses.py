"""Means of losses on CuPy, in one launch; most write their gradient in it too, for backward passes that begin there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from portable_nn.autodiff import Tensor
from portable_nn.autodiff.engine import enable_grad
from portable_nn.functional import mean_losses as functional
from portable_nn.kernels.cupy.constants import is_one
from portable_nn.kernels.cupy.launch import THREADS, as_int64, contiguous, empty, is_floating, kernel, rows
from portable_nn.kernels.cupy.products import half_dtype
from portable_nn.kernels.cupy.workspace import workspace
from portable_nn.kernels.registry import disabled, register

#: Blocks that work on one mean: their sums lie in the workspace.
_BLOCKS = 1024
#: Elements of a pair that one block takes; logits of rows that it has at once, as mean_losses.cu does, a row's at most.
_FEW, _AT_ONCE, _NARROW = 4096, 4096, 32


def _real(char: str) -> str:
    return "d" if char == "d" else "f"


def _as_real(x: Any, char: str) -> Any:
    """Targets, weights and cotangents of a kernel for this dtype: float32, of float64 that."""
    return contiguous(x.astype(_real(char), copy=False))


def _given(x: Any, char: str) -> Any:
    return 0 if x is None else _as_real(x, char)


def _result(out: Any, like: Any) -> Any:
    """A mean in the dtype of the predictions, of those that a context stores in half precision in float32."""
    half = half_dtype()
    return out if out.dtype == like.dtype or (half is not None and half == like.dtype) else out.astype(like.dtype)


def _may_wait(char: str) -> bool:
    """Whether a gradient may be written down before a loss is scaled: in float16 it could become zero."""
    return char != "e"


class _CrossEntropy:
    """What the kernels of a mean cross-entropy are given."""

    def __init__(self, logits: Any, target: Any, weight: Any, sample_weight: Any, ignore_index: int | None,
                 label_smoothing: float) -> None:
        self.logits, self.char, self.width = contiguous(logits), logits.dtype.char, logits.shape[-1]
        self.rows, self.real = target.size, _real(self.char)
        each = 1 if sample_weight is None else self.rows // sample_weight.size
        ignored = 0 if ignore_index is None else int(ignore_index)
        self.weights = (as_int64(target), _given(weight, self.char), _given(sample_weight, self.char), self.rows,
                        self.width, each, ignored, int(ignore_index is not None), float(label_smoothing))
        self.kept = empty((2 * self.rows + 1,), self.real)
        self.arrays = (logits, target, weight, sample_weight)
        self.options: dict[str, Any] = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
        self.gradient: Any = None

    def run(self, with_gradient: bool) -> Any:
        out, lanes = empty((), self.real), 1 << (self.width - 1).bit_length()
        if self.width <= _NARROW and self.rows * lanes <= _AT_ONCE:
            if with_gradient and _may_wait(self.char):
                self.gradient = empty(self.logits.shape, self.logits.dtype)
            threads = min(1024, max(32, 1 << (self.rows * lanes - 1).bit_length()))
            kernel("mean_losses", "mean_cross_entropy_at_once", self.char)(
                (1,), (threads,), (self.logits, out, self.kept, 0 if self.gradient is None else self.gradient, lanes,
                                   *self.weights))
        else:
            narrow = self.width <= 1024
            blocks = min(_BLOCKS // 2, -(-self.rows // 4)) if narrow else min(_BLOCKS, self.rows)
            threads = (32, 4) if narrow else (128 if self.width <= 2048 else 256 if self.width <= 8192 else 512, 1)
            kernel("mean_losses", "mean_cross_entropy", self.char)(
                (blocks,), threads, (self.logits, out, self.kept, workspace() if blocks > 1 else 0, *self.weights))
        return _result(out, self.logits)

    def backward(self, g: Any) -> Any:
        if self.gradient is not None and is_one(g):
            return self.gradient
        out = empty(self.logits.shape, self.logits.dtype)
        rows(kernel("mean_losses", "mean_cross_entropy_backward", self.char), self.rows, self.width,
             (self.logits, _as_real(g, self.char), self.kept, out, *self.weights))
        return out


def mean_cross_entropy(*arrays: Any, **options: Any) -> tuple[Any, Any]:
    call = _CrossEntropy(*arrays, **options)
    return call.run(with_gradient=True), call


def infer_mean_cross_entropy(*arrays: Any, **options: Any) -> Any:
    return _CrossEntropy(*arrays, **options).run(with_gradient=False)


def mean_cross_entropy_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    g_weights = _of_weights(saved, g, needs) if any(needs[2:]) else (None, None)
    return saved.backward(g) if needs[0] else None, None, *g_weights


mean_cross_entropy_backward.keeps_one = True  # type: ignore[attr-defined]


def _of_weights(call: _CrossEntropy, g: Any, needs: tuple) -> tuple:
    """The gradients of weights, by the definition: they are rarely parameters."""
    arrays = [Tensor(x, requires_grad=True) if need and i > 1 else x
              for i, (x, need) in enumerate(zip(call.arrays, needs, strict=True))]
    with enable_grad(), disabled():
        functional.mean_cross_entropy(*arrays, **call.options).backward(g)
    return tuple([x.grad if isinstance(x, Tensor) else None for x in arrays[2:]])


def _pair(operation: str, name: str, option: Callable[..., float]) -> None:
    """Register the mean of a loss of two arrays; `option(**options)` is the one number that its kernels take."""

    def run(x: Any, target: Any, g_x: Any, a: float) -> Any:
        out, count = empty((), _real(x.dtype.char)), x.size
        blocks = 1 if count <= _FEW else min(_BLOCKS, -(-count // (_FEW // 2)))
        threads = min(512, max(32, 1 << (count - 1).bit_length()))
        kernel("mean_losses", f"mean_{name}", x.dtype.char)(
            (blocks,), (threads,), (x, target, out, 0 if g_x is None else g_x, workspace() if blocks > 1 else 0, count,
                                    a))
        return _result(out, x)

    def forward(x: Any, target: Any, **options: Any) -> tuple[Any, Any]:
        x, a, char = contiguous(x), option(**options), x.dtype.char
        real, g_x = _as_real(target, char), empty(x.shape, x.dtype) if _may_wait(char) else None
        return run(x, real, g_x, a), (x, real, g_x, a, target.dtype)

    def infer(x: Any, target: Any, **options: Any) -> Any:
        return run(contiguous(x), _as_real(target, x.dtype.char), None, option(**options))

    def backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
        x, target, g_x, a, dtype = saved
        if g_x is not None and not needs[1] and is_one(g):
            return g_x, None
        char = x.dtype.char
        g_x, g_target = (empty(like.shape, like.dtype) if need else None for like, need in zip((x, target), needs))
        blocks = max(1, min(_BLOCKS, -(-x.size // THREADS)))
        kernel("mean_losses", f"mean_{name}_backward", char)(
            (blocks,), (THREADS,), (x, target, _as_real(g, char), 0 if g_x is None else g_x,
                                    0 if g_target is None else g_target, x.size, a))
        return g_x, None if g_target is None else g_target.astype(dtype, copy=False)

    backward.keeps_one = True  # type: ignore[attr-defined]
    forward.__qualname__ = operation
    register(operation, "cupy", forward, backward, lambda x, target, **options: is_floating(x) and x.size > 0,
             infer=infer)


register("mean_cross_entropy", "cupy", mean_cross_entropy, mean_cross_entropy_backward,
         lambda logits, *others, **options: is_floating(logits) and logits.size > 0, infer=infer_mean_cross_entropy)
_pair("mean_binary_cross_entropy_with_logits", "bce_with_logits", lambda: 0.0)
_pair("mean_binary_cross_entropy", "binary_cross_entropy", lambda: 0.0)
_pair("mean_squared_error", "squared_error", lambda: 0.0)
_pair("mean_absolute_error", "absolute_error", lambda: 0.0)
_pair("mean_huber_error", "huber_error", lambda delta: float(delta))
_pair("mean_quantile_error", "quantile_error", lambda quantile: float(quantile))
