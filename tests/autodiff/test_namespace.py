"""A Tensor namespace against the standard: names, signatures, and the results of the library underneath.

Each function runs three times: on raw arrays, on constant Tensors, and with every floating Tensor on the tape. The
results must be the same, down to dtype and shape; on the tape a function may also raise `GradientError`, if it is
listed here.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np
import pytest

from portable_nn.autodiff import Tensor
from portable_nn.autodiff.namespace import tensor_namespace
from portable_nn.backend.errors import GradientError
from tests.autodiff.calls import FFT, LINALG, B, C, F, I, S, V, X

RAW = array_api_compat.array_namespace(np.empty(0))
TNP = tensor_namespace(RAW)
#: What has no gradient, or none that is real. (`imag` of a real array is zero in NumPy, an error in the standard.)
NO_GRADIENT = {
    "nextafter",
    "unique_all",
    "unique_counts",
    "unique_inverse",
    "unique_values",
    "imag",
    "fft",
    "ifft",
    "fftn",
    "ifftn",
    "rfft",
    "rfftn",
    "ihfft",
    "hfft",
    "irfft",
    "irfftn",
}
FLOATS, COMPLEX = ("float32", "float64"), ("complex64", "complex128")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
NUMERIC, REAL = INTEGERS + FLOATS + COMPLEX, INTEGERS + FLOATS
#: Elementwise function -> the dtypes it takes, by the standard.
UNARY_DTYPES = {
    **dict.fromkeys("abs negative positive sign square isfinite isinf isnan".split(), NUMERIC),
    **dict.fromkeys("ceil floor round trunc".split(), REAL),
    **dict.fromkeys(
        "acos acosh asin asinh atan atanh cos cosh exp expm1 log log1p log2 log10 reciprocal sin sinh sqrt tan tanh "
        "conj real".split(),
        FLOATS + COMPLEX,
    ),
    "imag": COMPLEX,
    "signbit": FLOATS,
    "logical_not": ("bool",),
    "bitwise_invert": ("bool", *INTEGERS),
}
BINARY_DTYPES = {
    **dict.fromkeys("add multiply subtract pow equal not_equal".split(), NUMERIC),
    "divide": FLOATS + COMPLEX,
    **dict.fromkeys("less less_equal greater greater_equal maximum minimum floor_divide remainder".split(), REAL),
    **dict.fromkeys("atan2 copysign hypot logaddexp nextafter".split(), FLOATS),
    **dict.fromkeys("logical_and logical_or logical_xor".split(), ("bool",)),
    **dict.fromkeys("bitwise_and bitwise_or bitwise_xor".split(), ("bool", *INTEGERS)),
    **dict.fromkeys("bitwise_left_shift bitwise_right_shift".split(), INTEGERS),
}
SHAPES: list[tuple[int, ...]] = [(), (0,), (3,), (2, 3), (2, 0, 3)]
PAIRS: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((), ()),
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((), (2, 1)),
    ((2, 1), (1, 3)),
    ((0,), (1,)),
]


def make(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, size=shape).astype(dtype)
    x = rng.integers(1, 5, size=shape)
    return np.asarray(x + (1j * rng.normal(size=shape) if dtype in COMPLEX else 0), dtype=dtype)


def constant(x: Any) -> Any:
    return Tensor(x)


def recorded(x: Any) -> Any:
    return Tensor(x, requires_grad=x.dtype in (np.float32, np.float64))


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        assert getattr(ours, "_fields", ()) == getattr(theirs, "_fields", ())
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    elif isinstance(theirs, (np.ndarray, np.generic)):
        assert type(ours) is TNP.Tensor
        assert isinstance(ours.data, np.ndarray)
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5, atol=1e-7)
    else:
        assert ours == theirs


def compare(name: str, call: Callable[[Any, Callable[[Any], Any]], Any]) -> None:
    """`call(xp, wrap)` on raw arrays, constants and recorded Tensors."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = call(RAW, lambda x: x)
        same(call(TNP, constant), expected)
        try:
            found = call(TNP, recorded)
        except GradientError:
            assert name in NO_GRADIENT, f"{name} has no gradient"
            return
        same(found, expected)


@pytest.mark.parametrize("name", UNARY_DTYPES)
def test_unary(name: str) -> None:
    for dtype, shape in itertools.product(UNARY_DTYPES[name], SHAPES):
        compare(name, lambda xp, t, d=dtype, s=shape: getattr(xp, name)(t(make(s, d))))


@pytest.mark.parametrize("name", BINARY_DTYPES)
def test_binary(name: str) -> None:
    for dtype, (first, second) in itertools.product(BINARY_DTYPES[name], PAIRS):
        compare(name, lambda xp, t, d=dtype, a=first, b=second: getattr(xp, name)(t(make(a, d)), t(make(b, d, 1))))
    for dtype in BINARY_DTYPES[name]:
        number = True if dtype == "bool" else 2.0 if dtype in FLOATS + COMPLEX else 2
        compare(
            name,
            lambda xp, t, d=dtype, n=number: (
                getattr(xp, name)(t(make((3,), d)), n),
                getattr(xp, name)(n, t(make((3,), d))),
            ),
        )
    if set(FLOATS) <= set(BINARY_DTYPES[name]):
        compare(name, lambda xp, t: getattr(xp, name)(t(make((2, 3), "float32")), t(make((3,), "float64"))))


OPERATORS = [
    "a + b",
    "a - b",
    "a * b",
    "a / b",
    "a // b",
    "a % b",
    "a ** b",
    "a == b",
    "a != b",
    "a < b",
    "a <= b",
    "a > b",
    "a >= b",
]


@pytest.mark.parametrize("text", OPERATORS)
@pytest.mark.parametrize("other", ["array", "raw array", "number"])
def test_operators(text: str, other: str) -> None:
    for dtype in FLOATS:

        def call(xp: Any, t: Any, text: str = text, d: str = dtype) -> Any:
            a, b = t(make((2, 3), d)), make((3,), d, 1)
            b = t(b) if other == "array" else b if other == "raw array" else 2.0
            return eval(text), eval(text, {"a": b, "b": a})

        compare(text, call)


def test_other_operators() -> None:
    integers, matrix = make((3,), "int32"), make((3, 3), "float32")
    for text in ("a & b", "a | b", "a ^ b", "a << b", "a >> b", "~a", "a & 1", "1 | a", "2 ** a", "-a", "+a", "abs(a)"):
        compare(text, lambda xp, t, text=text: eval(text, {"a": t(integers), "b": t(integers)}))
    compare("matmul", lambda xp, t: (t(matrix) @ t(matrix), t(matrix) @ matrix, matrix @ t(matrix)))


@pytest.mark.parametrize(
    "text", ["x += y", "x -= y", "x *= y", "x /= y", "x //= y", "x %= y", "x **= y", "x @= y", "x += 2.0"]
)
def test_in_place_operators_rebind(text: str) -> None:
    x, y = make((3, 3), "float64"), make((3, 3), "float64", 1)
    for wrap in (constant, recorded):
        before = wrap(x.copy())
        scope: dict[str, Any] = {"x": before, "y": wrap(y)}
        exec(text, scope)
        expected = {"x": x.copy(), "y": y}
        exec(text, expected)
        same(scope["x"], expected["x"])
        np.testing.assert_array_equal(before.numpy(), x)


@pytest.mark.parametrize("name", [*F, *(f"linalg.{name}" for name in LINALG), *(f"fft.{name}" for name in FFT)])
def test_function(name: str) -> None:
    short = name.rpartition(".")[2]
    for call in (LINALG if name.startswith("linalg.") else FFT if name.startswith("fft.") else F)[short]:
        compare(short, lambda xp, t, call=call: eval(call, _scope(xp, t)))


def _scope(xp: Any, t: Callable[[Any], Any]) -> dict[str, Any]:
    """What the calls may name: the arrays wrapped, and `t` to wrap what they make of them."""
    arrays = {name: t(x) for name, x in {"X": X, "V": V, "S": S, "I": I, "B": B, "C": C}.items()}
    return {
        **arrays,
        "xp": xp,
        "np": np,
        "RAW": RAW,
        "Tensor": Tensor,
        "t": lambda x: x if isinstance(x, Tensor) else t(x),
    }
