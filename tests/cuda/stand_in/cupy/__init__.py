"""A stand-in for CuPy over host memory, for tests on machines without a GPU. It is NOT CuPy, and no GPU is involved.

It has CuPy's names and manners as far as this library meets them: arrays of a type of their own, no conversion to
NumPy unasked, two devices, streams that record graphs, memory pools that count, and raw kernels, which run in the
emulator of `tests/cuda/emulation`. What passes here has its logic proved: dispatch, arguments, indices, barriers,
dtypes, values. That a GPU computes the same, how fast, and whether CuPy itself agrees, only a GPU can say.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from cupy import _device, _memory, _raw
from cupy._array import call, ndarray, product, wrap
from cupy._raw import RawKernel as RawKernel
from cupy._raw import RawModule as RawModule

__version__ = "14.2.0"
#: How the library's tests can tell it from CuPy.
is_stand_in = True

# The functions that CuPy 14.2 and NumPy both have, apart from those defined below.
_SHARED = """
abs absolute acos acosh add all allclose amax amin angle any append arange arccos arccosh arcsin arcsinh arctan
arctan2 arctanh argmax argmin argpartition argsort argwhere around array_equal array_equiv array_split
asarray_chkfinite asin asinh astype atan atan2 atanh atleast_1d atleast_2d atleast_3d average bartlett bincount
bitwise_and bitwise_count bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift
bitwise_xor blackman broadcast_arrays broadcast_to cbrt ceil choose clip column_stack compress concat
concatenate conj conjugate convolve copy copysign corrcoef correlate cos cosh count_nonzero cov cross cumprod
cumsum cumulative_prod cumulative_sum deg2rad degrees delete diag diag_indices diag_indices_from diagflat
diagonal diff digitize divide divmod dsplit dstack ediff1d einsum equal exp exp2 expand_dims expm1 extract eye
fabs fill_diagonal fix flatnonzero flip fliplr flipud float_power floor floor_divide fmax fmin fmod frexp
full_like gcd gradient greater greater_equal hamming hanning heaviside histogram histogram2d histogramdd hsplit
hstack hypot i0 identity imag indices inner interp intersect1d invert isclose iscomplex iscomplexobj isfinite
isfortran isin isinf isnan isneginf isposinf isreal isrealobj ix_ kaiser kron lcm ldexp left_shift less
less_equal lexsort linspace log log10 log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or
logical_xor logspace mask_indices matrix_transpose max maximum mean median meshgrid min minimum mod modf
moveaxis multiply nan_to_num nanargmax nanargmin nancumprod nancumsum nanmax nanmean nanmedian nanmin nanprod
nanstd nansum nanvar negative nextafter nonzero not_equal ones_like outer packbits pad partition percentile
permute_dims place poly polyadd polyfit polymul polysub polyval positive pow power prod ptp put put_along_axis
putmask quantile rad2deg radians ravel ravel_multi_index real real_if_close reciprocal remainder repeat reshape
resize right_shift rint roll rollaxis roots rot90 round row_stack searchsorted select setdiff1d setxor1d sign
signbit sin sinc sinh sort sort_complex split sqrt square squeeze stack std subtract sum swapaxes take
take_along_axis tan tanh tile trace transpose trapezoid tri tril tril_indices tril_indices_from trim_zeros triu
triu_indices triu_indices_from true_divide trunc union1d unique unique_all unique_counts unique_inverse
unique_values unpackbits unravel_index unwrap vander var vdot vsplit vstack where zeros_like
""".split()
_PRODUCTS = ("matmul", "dot", "tensordot", "vdot", "inner", "outer", "einsum")
_SAME = """bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128 intp
dtype generic number integer signedinteger unsignedinteger inexact floating complexfloating iinfo finfo newaxis nan inf
pi e broadcast_shapes result_type can_cast promote_types issubdtype isdtype isscalar""".split()


class _Function:
    """A function of NumPy's by name; a ufunc has `at`, `reduce` and the like too."""

    def __init__(self, function: Any) -> None:
        self._function, self.__name__ = function, function.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return call(self._function, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        method = getattr(object.__getattribute__(self, "_function"), name)
        if name == "at":
            def at(x: ndarray, *rest: Any) -> None:
                from cupy._array import _bare, _in_place

                bare = [_bare(part) for part in rest]
                _in_place(x, lambda: method(x._a, *bare))
            return at
        return lambda *args, **kwargs: call(method, *args, **kwargs)


for _name in _SHARED:
    if hasattr(np, _name):
        globals()[_name] = _Function(getattr(np, _name))
for _name in _PRODUCTS:
    globals()[_name] = product(getattr(np, _name))
for _name in _SAME:
    globals()[_name] = getattr(np, _name)
ndim, shape, size = (lambda x: x.ndim), (lambda x: x.shape), (lambda x: x.size)


def empty(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return ndarray(shape, dtype, order=order)


def zeros(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 0, dtype, order)


def ones(shape: Any, dtype: Any = float, order: str = "C") -> ndarray:
    return full(shape, 1, dtype, order)


def full(shape: Any, fill_value: Any, dtype: Any = None, order: str = "C") -> ndarray:
    dtype = np.asarray(getattr(fill_value, "_a", fill_value)).dtype if dtype is None else dtype
    new = ndarray(shape, dtype, order=order)
    new.fill(fill_value)
    return new


def empty_like(x: Any, dtype: Any = None, order: str = "K") -> ndarray:
    return ndarray(x.shape, x.dtype if dtype is None else dtype)


def array(obj: Any, dtype: Any = None, copy: bool | None = True, order: str = "K", ndmin: int = 0) -> ndarray:
    if isinstance(obj, ndarray):
        with obj.device:
            plain = copy is not True and (dtype is None or obj.dtype == dtype)
            result = obj if plain else call(np.array, obj, dtype=dtype, ndmin=ndmin)
        return result if result.device.id == _device.current_device() else _moved(result)
    if isinstance(obj, (list, tuple)) and obj and isinstance(obj[0], ndarray):
        return call(np.stack, [array(part, dtype) for part in obj])
    host = np.array(obj, dtype=dtype, ndmin=ndmin)
    if host.dtype.kind not in "biufcV":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    new = wrap(host.copy())
    _device.record(lambda: new._a.__setitem__(..., host), "copy from the host")
    return new


def _moved(x: ndarray) -> ndarray:
    new = ndarray(x.shape, x.dtype)
    new._a[...] = x._a
    return new


def asarray(a: Any, dtype: Any = None, order: Any = None, *, blocking: bool = False) -> ndarray:
    return array(a, dtype=dtype, copy=None)


def ascontiguousarray(a: Any, dtype: Any = None) -> ndarray:
    a = asarray(a, dtype)
    return a if a._a.flags.c_contiguous else a.copy()


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> np.ndarray:
    return a.get() if isinstance(a, ndarray) else np.asarray(a)


def copyto(dst: ndarray, src: Any, **options: Any) -> None:
    dst[...] = src


def get_array_module(*args: Any) -> Any:
    return sys.modules[__name__] if any(isinstance(x, ndarray) for x in args) else np


def get_default_memory_pool() -> Any:
    return _memory.default_pool


def _submodule(name: str, contents: dict[str, Any]) -> ModuleType:
    module = ModuleType(f"{__name__}.{name}")
    vars(module).update(contents)
    sys.modules[module.__name__] = module
    return module


linalg = _submodule("linalg", {name: product(getattr(np.linalg, name)) for name in (
    "cholesky cond cross det eig eigh eigvals eigvalsh inv lstsq matmul matrix_power matrix_rank matrix_transpose norm "
    "pinv qr slogdet solve svd tensorinv tensorsolve").split()} | {"LinAlgError": np.linalg.LinAlgError})
fft = _submodule("fft", {name: _Function(getattr(np.fft, name)) for name in (
    "fft fft2 fftfreq fftn fftshift hfft ifft ifft2 ifftn ifftshift ihfft irfft irfft2 irfftn rfft rfft2 rfftfreq "
    "rfftn").split()})
cuda = _submodule("cuda", {
    "Device": _device.Device, "Stream": _device.Stream, "ExternalStream": _device.ExternalStream,
    "Event": _device.Event, "Graph": _device.Graph, "runtime": _device.runtime, "MemoryPool": _memory.MemoryPool,
    "using_allocator": _memory.using_allocator, "Memory": _memory.Memory, "MemoryPointer": _memory.MemoryPointer,
    "get_current_stream": _device.current_stream,
    "is_available": lambda: True, "get_device_id": _device.current_device,
    "device": _submodule("cuda.device", {"Device": _device.Device}),
    "alloc_pinned_memory": _memory.alloc_pinned_memory, "PinnedMemory": lambda size, flags=0: bytearray(size),
    "PinnedMemoryPointer": lambda mem, offset: memoryview(mem)[offset:], "launches": _raw.launches,
    "recorded": _device.recorded})
_OWN = ("annotations", "sys", "np", "Any", "ModuleType", "call", "product", "wrap")
__all__ = [_name for _name in globals() if not _name.startswith("_") and _name not in _OWN]
