"""skipgram_loss on CuPy: one kernel forward, and one each for the gradients of words and outputs."""

from __future__ import annotations

from typing import Any

from portable_nn.functional.skipgram import _skipgram_backward
from portable_nn.kernels.cupy.launch import contiguous, empty, is_floating, kernel, rows
from portable_nn.kernels.registry import register

#: Words of a group from which on products of matrices are quicker.
_MOST_WORDS = 32


def skipgram_loss(words: Any, outputs: Any, positive: Any, negative: Any) -> tuple[Any, Any]:
    arrays = tuple([contiguous(x) for x in (words, outputs, positive, negative)])
    count, char, per_group, width = negative.size, words.dtype.char, words.shape[-2], words.shape[-1]
    sizes = (per_group, positive.shape[-1], outputs.shape[-2], width)
    losses, scores = empty(negative.shape, words.dtype), empty((count, sizes[2]), "d" if char == "d" else "f")
    rows(kernel("skipgram", "skipgram", char), count, width, (*arrays, losses, scores, count, *sizes))
    return losses, (arrays, scores, sizes)


def skipgram_backward(xp: Any, g: Any, saved: Any, needs: Any) -> tuple:
    (words, outputs, positive, negative), scores, sizes = saved
    g, char, width = contiguous(g), words.dtype.char, sizes[3]
    g_words = g_outputs = None
    if needs[0]:
        g_words = empty(words.shape, words.dtype)
        rows(kernel("skipgram", "skipgram_words", char), negative.size, width,
             (outputs, positive, negative, g, scores, g_words, negative.size, *sizes))
    if needs[1]:
        g_outputs, count = empty(outputs.shape, words.dtype), outputs.size // width
        rows(kernel("skipgram", "skipgram_outputs", char), count, width,
             (words, positive, negative, g, scores, g_outputs, count, *sizes))
    if not (needs[2] or needs[3]):
        return g_words, g_outputs, None, None
    others = (False, False, *needs[2:])  # rare: how much each context counts is no parameter
    return g_words, g_outputs, *_skipgram_backward(xp, g, words, outputs, positive, negative, others)[2:]


def supports(words: Any, outputs: Any, positive: Any, negative: Any) -> bool:
    return is_floating(words) and words.size > 0 and outputs.size > 0 and words.shape[-2] <= _MOST_WORDS


register("skipgram_loss", "cupy", skipgram_loss, skipgram_backward, supports)
