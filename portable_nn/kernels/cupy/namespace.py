"""The namespace of CuPy arrays: array-api-compat's, with products that CUDA graphs can record, and with bfloat16."""

from __future__ import annotations

import importlib
from types import ModuleType

from portable_nn.kernels.cupy import constants, halves, products, sums


def _with(module: ModuleType, **replaced: object) -> ModuleType:
    """A copy of a module with some things replaced; it keeps the name, by which array-api-compat knows it."""
    new = ModuleType(module.__name__, module.__doc__)
    vars(new).update(vars(module))
    vars(new).update(replaced)
    return new


_compat = importlib.import_module("array_api_compat.cupy")
_PRODUCTS = {"matmul": products.matmul, "tensordot": products.tensordot, "vecdot": products.vecdot}
_replaced = halves.replacements()
_SUMS = {name: sums.summing(_replaced[name], is_mean=name == "mean") for name in ("sum", "mean")}
namespace = _with(_compat, **_replaced | _SUMS, **_PRODUCTS, half_dtype=products.half_dtype,
                  one_like=constants.one_like,
                  linalg=_with(_compat.linalg, **_PRODUCTS, outer=products.outer))
