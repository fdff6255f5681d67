"""Matrix products as the definitions write them, and what a lower precision means for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from portable_nn.autodiff.custom import custom_gradient
from portable_nn.autodiff.engine import unbroadcast
from portable_nn.backend import precision as contexts
from portable_nn.backend.namespace import array_namespace
from portable_nn.kernels import registry


def precision(name: str, *, emulate: bool = False) -> AbstractContextManager[None]:
    """Within this context matrix products may compute in a lower precision, where the device is faster at it.

    Parameters, their gradients, optimiser states, losses and statistics stay float32; so do sums. What is rounded are
    the arguments of products (of linear, attention, recurrent and convolution layers), forward and backward; float64 is
    left alone. It is a permission: kernels on CuPy make use of it, NumPy computes in float32, where half precision
    would be 200 times slower.

    In "bfloat16" and "float16" models of float32 hand on arrays of that dtype on CuPy, since moving them is half the
    time of a step there: the results of linear layers, attention and norms, and their gradients, are half precision,
    and other operations keep the dtype of what they get. float32 + half precision is float32; embeddings, convolutions,
    recurrent layers, batch norm and losses give float32; so do `predict` and `evaluate`. Outside such a context
    float32 and half precision do not mix: cast what you take out of it. (bfloat16 is the dtype of ml_dtypes.)

    Parameters
    ----------
    name : "float32", "tf32", "bfloat16" or "float16"
        "float32" takes an outer permission back. "float16" overflows at 65,504 and loses small gradients: those need a
        loss scale, which `fit(precision="float16")` brings; in a loop of your own see `optim.LossScaler`.
    emulate : bool
        Round in array code, on any library, and slowly: what the kernels are held to, and a way to see on a CPU what a
        precision does to a model. Operations run as their definitions then, and all dtypes stay as they are.

    Raises
    ------
    ArgumentError
        The name is another.

    Example
    -------
    >>> import numpy as np
    >>> from portable_nn import functional
    >>> x = np.asarray([[1.001]], dtype=np.float32)
    >>> with precision("bfloat16", emulate=True):
    ...     functional.linear(x, x, None, activation=None)
    array([[1.]], dtype=float32)
    """
    return _emulated(name) if emulate else contexts.computing_in(name)


@contextmanager
def _emulated(name: str) -> Iterator[None]:
    with contexts.computing_in(name, emulate=True), registry.disabled():
        yield


def product(a: Any, b: Any) -> Any:
    """a @ b; where a lower precision is emulated, of arguments rounded to it, and so is its gradient."""
    xp = array_namespace(a, b)
    if contexts.emulated_precision() is None or a.dtype != xp.float32:
        return xp.matmul(a, b)
    return _rounded_product(a, b)


@custom_gradient
def _rounded_product(a: Any, b: Any) -> Any:
    xp, name = array_namespace(a, b), contexts.emulated_precision() or "float32"
    a_shape, b_shape = a.shape, b.shape
    a, b = contexts.rounded(a, name), contexts.rounded(b, name)

    def backward(g: Any) -> tuple[Any, Any]:
        g = contexts.rounded(g, name)
        g_a, g_b = xp.matmul(g, xp.matrix_transpose(b)), xp.matmul(xp.matrix_transpose(a), g)
        return unbroadcast(xp, g_a, a_shape), unbroadcast(xp, g_b, b_shape)

    return xp.matmul(a, b), backward


def in_float32(x: Any) -> Any:
    """x, or where it is in the half precision that this context stores, as float32: for operations that keep to that.

    Their parameters are float32, so that x beside them says nothing of what is wanted. Recorded; None stays None.
    """
    if contexts.compute_precision() not in contexts.STORED or x is None:
        return x
    xp = array_namespace(x)
    half = getattr(getattr(xp, "raw", xp), "half_dtype", lambda: None)()
    return xp.astype(x, xp.float32) if half is not None and x.dtype == half else x


def stored(x: Any) -> Any:
    """x as an operation hands it on: where half precision is emulated, rounded to it, and so is its cotangent."""
    name = contexts.emulated_precision()
    if name not in contexts.STORED or x.dtype != array_namespace(x).float32:
        return x
    return _rounded(x)


@custom_gradient
def _rounded(x: Any) -> Any:
    name = contexts.emulated_precision() or "float32"
    return contexts.rounded(x, name), lambda g: contexts.rounded(g, name)
