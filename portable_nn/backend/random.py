"""Random draws that are a function of a key: no generator remembers anything, so a run can stop, resume and move.

The bits are those of `numpy.random.Philox` (Philox4x64-10; Salmon et al., "Parallel random numbers: as easy as 1, 2,
3", 2011). Block i of a stream, four words, is the cipher of counter + 1 + i under the key (seed, BLAKE2 of the path),
where the counter's words are (0, step, call, rank), lowest first. What is made of the words uses only operations that
IEEE 754 rounds exactly, so one seed gives the same numbers on every machine, library and version.
"""

from __future__ import annotations

import functools
import math
import threading
from typing import Any, NamedTuple

import numpy as np

from portable_nn.backend.capturing import CountedStep, refuse_host_data
from portable_nn.backend.devices import convert
from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.normal import inverse_normal

_LIMIT = 2**64
_local = threading.local()


class Stream(NamedTuple):
    """The name of an endless sequence of random words: different in any part, independent words.

    Parameters
    ----------
    seed : int
        From 0 to 2**64 - 1, the user's.
    path : str
        Who draws: a module's or parameter's dotted path.
    step, call, rank : int
        The training step, the draw of that path within the step, and the process. In a captured step `step` is a
        `CountedStep`, to which the device adds the steps since it was recorded.
    """

    seed: int
    path: str
    step: int = 0
    call: int = 0
    rank: int = 0


@functools.lru_cache(maxsize=4096)
def path_key(path: str) -> int:
    """The path's half of the key: the 64-bit BLAKE2b of its UTF-8 bytes, read as a little-endian number."""
    import hashlib  # loads OpenSSL

    return int.from_bytes(hashlib.blake2b(path.encode(), digest_size=8).digest(), "little")


def key_and_counter(stream: Stream) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The cipher's two key words and four counter words (lowest first) before the first block.

    Raises
    ------
    ArgumentError
        A number is negative, too large for 64 bits, or no integer.
    """
    seed, path, step, call, rank = stream
    for name, value in (("seed", seed), ("step", step), ("call", call), ("rank", rank)):
        if not (isinstance(value, (int, np.integer)) and 0 <= value < _LIMIT):
            raise ArgumentError(f"{name} an integer from 0 to 2**64 - 1", repr(value), "pass such a number, as 0")
    return (int(seed), path_key(path)), (0, int(step), int(call), int(rank))


def words(stream: Stream, count: int, start: int = 0) -> np.ndarray:
    """`count` words of a stream from its word `start` on, as a host array of uint64."""
    key, counter = key_and_counter(stream)
    if isinstance(stream.step, CountedStep):
        refuse_host_data("random numbers drawn on the host", "draw them on the device (dropout does), or pass them to "
                         "the step as an argument")
    block, skipped = divmod(start, 4)
    try:
        philox, state = _local.philox
    except AttributeError:
        philox, state = _local.philox = _new_generator()
    state["state"]["key"][:] = key
    state["state"]["counter"][:] = (block, *counter[1:])
    philox.state = state  # 2 µs, where building a generator takes 12
    return philox.random_raw(count + skipped)[skipped:]


def keep_threshold(p: float) -> int:
    """The 16-bit number below which a lane is dropped, so that a share p of them is: round(65536 p).

    Raises
    ------
    ArgumentError
        p is outside 0 to 1, or so near an end that rounding would drop nothing or everything unasked.
    """
    if not 0 <= p <= 1:
        raise ArgumentError("a dropout probability from 0 to 1", repr(p), "pass the share of elements to drop")
    threshold = math.floor(65536 * p + 0.5)
    if (threshold == 0 and p > 0) or (threshold == 65536 and p < 1):
        raise ArgumentError("a dropout probability of 0, 1, or at least 2**-17 from both", repr(p),
                            f"pass {threshold // 65536}, which is what it would round to")
    return threshold


def keep_mask(stream: Stream, shape: tuple[int, ...], p: float, *, xp: Any, device: Any,
              start: int = 0) -> tuple[Any, float]:
    """Which elements dropout keeps, and the share of them it keeps on average, exactly: 1 / share is the scale.

    The share is a multiple of 1/65536 and may differ from 1 - p by 2**-17. With p = 1 it is 0: scale nothing then.

    Parameters
    ----------
    shape : tuple of int
    p : float
        The probability of dropping an element.
    xp, device : namespace and its device
        Where the mask is wanted; it is drawn on the host.
    start : int
        How many elements to pass over: part of a larger mask, in its order, can be drawn alone.

    Returns
    -------
    (bool array of `shape`, float)
    """
    threshold, count = keep_threshold(p), math.prod(shape)
    if threshold % 65536 == 0:
        mask = np.full(shape, threshold == 0, dtype=np.bool_)
    else:
        first, skipped = divmod(start, 4)
        lanes = words(stream, -(-(count + skipped) // 4), first).astype("<u8", copy=False).view("<u2")
        lanes = lanes[skipped:skipped + count]
        mask = (lanes >= threshold).reshape(shape)
    return _place(mask, None, xp, device), 1 - threshold / 65536


def uniform(stream: Stream, shape: tuple[int, ...], low: float, high: float, *,
            dtype: Any, xp: Any, device: Any) -> Any:
    """Uniform numbers in [low, high), from the top 53 bits of a word each, rounded to `dtype`."""
    if not low < high:
        raise ArgumentError("low below high", f"low={low!r}, high={high!r}", "exchange them")
    u = (words(stream, math.prod(shape)) >> np.uint64(11)).view(np.int64).astype(np.float64)
    u *= 2.0**-53
    u *= high - low
    u += low
    u = _round(u.reshape(shape), dtype)
    return _place(np.minimum(u, np.nextafter(u.dtype.type(high), u.dtype.type(low))), dtype, xp, device)


def normal(stream: Stream, shape: tuple[int, ...], mean: float, std: float, *,
           dtype: Any, xp: Any, device: Any) -> Any:
    """Normal numbers from a word each, through the inverse of the distribution function, rounded to `dtype`.

    The top bit is the sign and the others the tail's probability, which goes down to 2**-65: up to 9.1 deviations.
    """
    z = inverse_normal(words(stream, math.prod(shape)))
    z *= std
    z += mean
    return _place(_round(z.reshape(shape), dtype), dtype, xp, device)


def permutation(stream: Stream, n: int) -> np.ndarray:
    """A random order of 0 to n - 1, as a host array of int64: the order of n words, ties by position."""
    return np.argsort(words(stream, n), kind="stable").astype(np.int64, copy=False)


def _new_generator() -> tuple[Any, dict[str, Any]]:
    philox = np.random.Philox(0)
    state = philox.state
    state["buffer_pos"] = 4  # the buffer is empty: the next word starts a block
    return philox, state


def _round(x: np.ndarray, dtype: Any) -> np.ndarray:
    return x if dtype is None else convert(x, dtype=dtype)


def _place(x: np.ndarray, dtype: Any, xp: Any, device: Any) -> Any:
    return convert(x, xp=xp, device=device, dtype=dtype)
