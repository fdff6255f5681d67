"""The stand-in's ndarray: NumPy's results, CuPy's manners.

Results of no axes stay arrays; nothing is converted to NumPy unasked; NumPy arrays are refused beside it; all memory
is the stand-in's own (see `_memory`); arrays of another device than the current one are refused, where CuPy would warn
and be slow.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from cupy._device import Device, current_device, current_stream, record
from cupy._memory import Piece, owner


class ndarray:
    """An array of a stand-in GPU."""

    __slots__ = ("__weakref__", "_a", "_piece")
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, shape: Any, dtype: Any = float, memptr: Any = None, strides: Any = None,
                 order: str = "C") -> None:
        shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
        dtype = np.dtype(dtype)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._piece = Piece(size, current_device()) if memptr is None else memptr.mem
        first = 0 if memptr is None else memptr.ptr - self._piece.ptr
        self._a = np.ndarray(shape, dtype, self._piece.bytes, first, strides, order)

    shape = property(lambda self: self._a.shape)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    nbytes = property(lambda self: self._a.nbytes)
    itemsize = property(lambda self: self._a.itemsize)
    strides = property(lambda self: self._a.strides)
    flags = property(lambda self: self._a.flags)
    device = property(lambda self: Device(self._piece.device))
    T = property(lambda self: wrap(self._a.T))
    mT = property(lambda self: wrap(self._a.mT))
    real = property(lambda self: wrap(self._a.real))
    imag = property(lambda self: wrap(self._a.imag))

    @property
    def data(self) -> Any:
        pointer = int(self._a.ctypes.data) if self.size else self._piece.ptr
        return SimpleNamespace(ptr=pointer, mem=self._piece, device=self.device, device_id=self._piece.device)

    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        if current_stream().is_capturing():  # as CuPy says it, before CUDA could
            raise RuntimeError("the current stream is capturing, so D2H transfers are disallowed")
        if out is not None:
            out[...] = self._a
            return out
        return np.array(self._a, order="C")

    def set(self, host: np.ndarray, stream: Any = None) -> None:
        if not isinstance(host, np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        self._a[...] = host
        record(lambda: operator.setitem(self._a, ..., host), "copy from the host")

    def item(self, *index: Any) -> Any:
        return self.get().item(*index)

    def tolist(self) -> Any:
        return self.get().tolist()

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a "
                        "NumPy array explicitly.")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return call(getattr(ufunc, method), *inputs, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return call(function, *args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __len__(self) -> int:
        return len(self._a)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return repr(self._a)

    def __getitem__(self, key: Any) -> Any:
        return call(operator.getitem, self, _key(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        _in_place(self, lambda: operator.setitem(self._a, _bare(_key(key)), getattr(value, "_a", value)))

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        with self.device:
            return self.copy()

    def __reduce__(self) -> Any:
        from cupy import asarray

        return asarray, (self.get(),)

    def astype(self, dtype: Any, order: str = "K", casting: Any = None, subok: Any = None, copy: bool = True) -> Any:
        return self if not copy and self.dtype == np.dtype(dtype) else call(np.ndarray.astype, self, dtype, copy=True)

    def fill(self, value: Any) -> None:
        self[...] = value

    def view(self, dtype: Any = None) -> Any:
        return call(np.ndarray.view, self) if dtype is None else call(np.ndarray.view, self, dtype)


def _key(key: Any) -> Any:
    """Index arrays of NumPy's are moved, as CuPy does."""
    if isinstance(key, tuple):
        return tuple([_key(part) for part in key])
    return wrap(key) if isinstance(key, np.ndarray) else key


def wrap(result: Any) -> Any:
    """NumPy's result as ours: a view stays a view, anything else is copied to a piece of its own."""
    if isinstance(result, (tuple, list)) and not isinstance(result, str):
        parts = [wrap(part) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    if isinstance(result, np.generic) or (isinstance(result, np.ndarray) and owner(result) is None):
        fortran = result.ndim > 1 and result.flags.f_contiguous and not result.flags.c_contiguous
        new = ndarray(result.shape, result.dtype, order="F" if fortran else "C")
        new._a[...] = result
        return new
    if isinstance(result, np.ndarray):
        view = ndarray.__new__(ndarray)
        view._a, view._piece = result, owner(result)
        return view
    return result


def _bare(x: Any) -> Any:
    if isinstance(x, ndarray):
        if x._piece.device != current_device():
            raise ValueError(f"an array of device {x._piece.device} while device {current_device()} is current: CuPy "
                             "would reach it through peer access, with a warning")
        return x._a
    if isinstance(x, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if type(x) in (tuple, list):
        return type(x)([_bare(part) for part in x])
    return x


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a function of NumPy on the arrays' memory; recorded, if the stream captures."""
    bare, options = [_bare(x) for x in args], {key: _bare(value) for key, value in kwargs.items()}

    def compute() -> Any:
        with np.errstate(all="ignore"):
            return function(*bare, **options)

    if kwargs.get("out") is not None:
        _in_place(kwargs["out"], compute)
        return kwargs["out"]
    result = compute()
    wrapped = wrap(result)
    if isinstance(result, (np.ndarray, np.generic)) and wrapped._a is not result:
        record(lambda: operator.setitem(wrapped._a, ..., compute()), f"cupy.{function.__name__}")
    return wrapped


def _in_place(x: ndarray, change: Callable[[], Any]) -> None:
    with np.errstate(all="ignore"):
        change()
    record(change, "cupy, in place")


#: Whether products are cuBLAS's; a test that has no others to record sets it to False.
products_are_refused = True


def product(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that CuPy leaves to cuBLAS, which it refuses to record."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if products_are_refused and current_stream().is_capturing():
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        return call(function, *args, **kwargs)

    return run


_BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.true_divide, "pow": np.power,
           "floordiv": np.floor_divide, "mod": np.remainder, "and": np.bitwise_and, "or": np.bitwise_or,
           "xor": np.bitwise_xor, "lshift": np.left_shift, "rshift": np.right_shift}
_COMPARE = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
            "ne": np.not_equal}
_UNARY = {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}
_METHODS = ("all any argmax argmin argsort clip conj copy cumprod cumsum diagonal flatten max mean min nonzero prod "
            "ravel repeat reshape round searchsorted squeeze std sum swapaxes take trace transpose var").split()


def _takes(other: Any) -> bool:
    """Whether an operator takes this beside it; as CuPy, it leaves what it does not know to the other side's own
    operator only if that asks for it, and refuses it otherwise."""
    if isinstance(other, (ndarray, np.generic, np.ndarray, bool, int, float, complex)):
        return True
    if getattr(other, "__array_ufunc__", ...) is None or getattr(other, "__array_priority__", 0) > 100:
        return False
    raise TypeError(f"Unsupported type {type(other)}")


def _operator(function: Callable[..., Any], swapped: bool = False) -> Callable[..., Any]:
    def method(self: ndarray, other: Any) -> Any:
        if not _takes(other):
            return NotImplemented
        return call(function, other, self) if swapped else call(function, self, other)

    return method


def _assigning(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: ndarray, other: Any) -> Any:
        if not _takes(other):
            return NotImplemented
        value = _bare(other)
        _in_place(self, lambda: function(self._a, value, out=self._a))
        return self

    return method


for _name, _ufunc in _BINARY.items():
    setattr(ndarray, f"__{_name}__", _operator(_ufunc))
    setattr(ndarray, f"__r{_name}__", _operator(_ufunc, swapped=True))
    setattr(ndarray, f"__i{_name}__", _assigning(_ufunc))
for _name, _ufunc in _COMPARE.items():
    setattr(ndarray, f"__{_name}__", _operator(_ufunc))
for _name, _ufunc in _UNARY.items():
    setattr(ndarray, f"__{_name}__", lambda self, ufunc=_ufunc: call(ufunc, self))
for _name in _METHODS:
    _method = getattr(np.ndarray, _name)
    setattr(ndarray, _name, lambda self, *args, method=_method, **kwargs: call(method, self, *args, **kwargs))
_matmul = product(np.matmul)
for _name, _method in {"__matmul__": lambda self, other: _matmul(self, other) if _takes(other) else NotImplemented,
                       "__rmatmul__": lambda self, other: _matmul(other, self) if _takes(other) else NotImplemented,
                       "dot": product(np.dot)}.items():
    setattr(ndarray, _name, _method)
