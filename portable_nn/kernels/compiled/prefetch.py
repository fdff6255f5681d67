"""Asking for memory before it is needed: rows of a large table are far apart, and no processor can guess the next."""

from __future__ import annotations

import functools
from typing import Any

from portable_nn.kernels.compiled.jit import Inline, inline

#: Rows ahead of the one at work, and numbers in a cache line of 64 bytes.
AHEAD, LINE = 12, 16


class _Hint(Inline):
    """`hint(array, i)` for compiled functions: the memory of element i will soon be wanted."""

    @functools.cache  # noqa: B019 - there is one
    def made(self, char: str) -> Any:
        from llvmlite import ir
        from numba import types
        from numba.extending import intrinsic

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
            function = builder.module.declare_intrinsic(
                "llvm.prefetch", [pointer], ir.FunctionType(ir.VoidType(), [pointer, number, number, number]))
            builder.call(function, [builder.bitcast(builder.gep(array.data, [arguments[1]]), pointer),
                                    number(0), number(3), number(1)])  # to be read, kept near, data
            return context.get_dummy_value()

        def hint(typing: Any, array: Any, i: Any) -> tuple:
            return types.void(array, i), generate

        return intrinsic(hint)


hint = _Hint(lambda array, i: None)


@inline
def hint_row(table, row):
    """Row `row` of the table will soon be wanted."""
    start = row * table.shape[1]
    for i in range(start, start + table.shape[1], LINE):
        hint(table, i)
