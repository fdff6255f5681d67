"""The words of `backend.random`'s streams: Philox4x64-10, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn.backend.random import Stream, key_and_counter
from portable_nn.kernels.compiled.jit import Inline, inline

_M0, _M1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_W0, _W1 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


class _HighProduct(Inline):
    """The upper half of the product of two uint64: Numba has no integers of 128 bits, LLVM has."""

    def made(self, char: str) -> Any:
        if not self._made:
            from llvmlite import ir
            from numba import types
            from numba.extending import intrinsic

            def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                wide, word = ir.IntType(128), ir.IntType(64)
                a, b = (builder.zext(x, wide) for x in arguments)
                return builder.trunc(builder.lshr(builder.mul(a, b), ir.Constant(wide, 64)), word)

            def high(typing_context, a, b):
                return types.uint64(types.uint64, types.uint64), generate

            self._made["f"] = self._made["d"] = intrinsic(high)
        return self._made[char]


high_product = _HighProduct(lambda a, b: np.uint64(int(a) * int(b) >> 64))


@inline
def fill(words, key, start):
    """Write the stream's blocks of four words from block `start` on; `key` is from `key_of`."""
    for i in range(words.size // 4):
        k0, k1 = key[0], key[1]
        a, b, c, d = key[2] + np.uint64(1 + start + i), key[3], key[4], key[5]
        for _ in range(10):
            a, b, c, d = high_product(_M1, c) ^ b ^ k0, _M1 * c, high_product(_M0, a) ^ d ^ k1, _M0 * a
            k0 += _W0
            k1 += _W1
        words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3] = a, b, c, d


def key_of(stream: Stream) -> np.ndarray:
    """The two words of the key and the four of the counter before the first block."""
    key, counter = key_and_counter(stream)
    return np.array([*key, *counter], dtype=np.uint64)
