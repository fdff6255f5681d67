"""The Array API standard 2024.12, as signatures: what a Tensor namespace is generated from.

Arguments named here as arrays (`x`, `x1`, `x2`, `indices`, `condition`, …) take Tensors; the others are options.
"""

from __future__ import annotations

UNARY = """abs acos acosh asin asinh atan atanh bitwise_invert ceil conj cos cosh exp expm1 floor imag isfinite isinf
isnan log log1p log2 log10 logical_not negative positive real reciprocal round sign signbit sin sinh sqrt square tan
tanh
trunc""".split()

BINARY = """add atan2 bitwise_and bitwise_left_shift bitwise_or bitwise_right_shift bitwise_xor copysign divide equal
floor_divide greater greater_equal hypot less less_equal logaddexp logical_and logical_or logical_xor maximum minimum
multiply nextafter not_equal pow remainder subtract""".split()

#: Functions of arrays, with the exact signature of the standard.
FUNCTIONS = """
clip(x, /, min=None, max=None)
zeros_like(x, /, *, dtype=None, device=None)
ones_like(x, /, *, dtype=None, device=None)
empty_like(x, /, *, dtype=None, device=None)
full_like(x, /, fill_value, *, dtype=None, device=None)
tril(x, /, *, k=0)
triu(x, /, *, k=0)
matmul(x1, x2, /)
matrix_transpose(x, /)
tensordot(x1, x2, /, *, axes=2)
vecdot(x1, x2, /, *, axis=-1)
broadcast_to(x, /, shape)
expand_dims(x, /, axis=0)
flip(x, /, *, axis=None)
moveaxis(x, source, destination, /)
permute_dims(x, /, axes)
repeat(x, repeats, /, *, axis=None)
reshape(x, /, shape, *, copy=None)
roll(x, /, shift, *, axis=None)
squeeze(x, /, axis)
tile(x, repetitions, /)
argmax(x, /, *, axis=None, keepdims=False)
argmin(x, /, *, axis=None, keepdims=False)
count_nonzero(x, /, *, axis=None, keepdims=False)
nonzero(x, /)
searchsorted(x1, x2, /, *, side='left', sorter=None)
unique_all(x, /)
unique_counts(x, /)
unique_inverse(x, /)
unique_values(x, /)
argsort(x, /, *, axis=-1, descending=False, stable=True)
cumulative_sum(x, /, *, axis=None, dtype=None, include_initial=False)
cumulative_prod(x, /, *, axis=None, dtype=None, include_initial=False)
max(x, /, *, axis=None, keepdims=False)
mean(x, /, *, axis=None, keepdims=False)
min(x, /, *, axis=None, keepdims=False)
prod(x, /, *, axis=None, dtype=None, keepdims=False)
std(x, /, *, axis=None, correction=0.0, keepdims=False)
sum(x, /, *, axis=None, dtype=None, keepdims=False)
var(x, /, *, axis=None, correction=0.0, keepdims=False)
all(x, /, *, axis=None, keepdims=False)
any(x, /, *, axis=None, keepdims=False)
take(x, indices, /, *, axis=None)
take_along_axis(x, indices, /, *, axis=-1)
""".strip().splitlines()

LINALG = """
cholesky(x, /, *, upper=False)
cross(x1, x2, /, *, axis=-1)
det(x, /)
diagonal(x, /, *, offset=0)
eigh(x, /)
eigvalsh(x, /)
inv(x, /)
matrix_norm(x, /, *, keepdims=False, ord='fro')
matrix_power(x, n, /)
matrix_rank(x, /, *, rtol=None)
outer(x1, x2, /)
pinv(x, /, *, rtol=None)
qr(x, /, *, mode='reduced')
slogdet(x, /)
solve(x1, x2, /)
svd(x, /, *, full_matrices=True)
svdvals(x, /)
trace(x, /, *, offset=0, dtype=None)
vector_norm(x, /, *, axis=None, keepdims=False, ord=2)
""".strip().splitlines()
#: Functions that stand in the main namespace and in the `linalg` extension.
LINALG_SHARED = ("matmul", "matrix_transpose", "tensordot", "vecdot")

FFT = """
fft(x, /, *, n=None, axis=-1, norm='backward')
ifft(x, /, *, n=None, axis=-1, norm='backward')
fftn(x, /, *, s=None, axes=None, norm='backward')
ifftn(x, /, *, s=None, axes=None, norm='backward')
rfft(x, /, *, n=None, axis=-1, norm='backward')
irfft(x, /, *, n=None, axis=-1, norm='backward')
rfftn(x, /, *, s=None, axes=None, norm='backward')
irfftn(x, /, *, s=None, axes=None, norm='backward')
hfft(x, /, *, n=None, axis=-1, norm='backward')
ihfft(x, /, *, n=None, axis=-1, norm='backward')
fftshift(x, /, *, axes=None)
ifftshift(x, /, *, axes=None)
""".strip().splitlines()
#: Functions of the `fft` extension that make arrays.
FFT_CREATION = ("fftfreq(n, /, *, d=1.0, dtype=None, device=None)", "rfftfreq(n, /, *, d=1.0, dtype=None, device=None)")

#: Functions that make arrays from no array.
CREATION = """
arange(start, /, stop=None, step=1, *, dtype=None, device=None)
empty(shape, *, dtype=None, device=None)
eye(n_rows, n_cols=None, /, *, k=0, dtype=None, device=None)
full(shape, fill_value, *, dtype=None, device=None)
linspace(start, stop, /, num, *, dtype=None, device=None, endpoint=True)
ones(shape, *, dtype=None, device=None)
zeros(shape, *, dtype=None, device=None)
""".strip().splitlines()

#: Arguments that are arrays wherever they occur.
ARRAY_ARGUMENTS = frozenset({"x", "x1", "x2", "indices", "min", "max", "repeats", "sorter"})

CONSTANTS = ("e", "inf", "nan", "newaxis", "pi")
DTYPES = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64",
          "complex64", "complex128")
