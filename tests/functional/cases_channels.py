"""Calls of the operations over channels and time and of losses, as arguments of the `Case` of cases.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.functional import cases_losses

Call = cases_losses.Call



def batch_norm() -> list[Call]:
    def make(*shape: int, weight: bool = True, bias: bool = True, mean: float = 2) -> Callable[..., tuple]:
        return lambda rng: (rng.standard_normal(shape) + mean, rng.standard_normal(shape[1]) if weight else None,
                            rng.standard_normal(shape[1]) if bias else None)

    arguments = {"rows": make(4, 6), "steps": make(3, 2, 5), "two axes": make(3, 2, 2, 3),
                 "no bias": make(4, 6, bias=False), "bare": make(4, 6, weight=False, bias=False),
                 "bias alone": make(4, 2, 3, weight=False), "one row": make(1, 2, 5), "one channel": make(4, 1),
                 "no channels": make(4, 0), "one step": make(4, 2, 1), "blocks": make(40, 1001),
                 "blocks of steps": make(8, 11, 401, mean=0)}
    return [("batch_norm", name, lambda rng, value=value: (*value(rng), None, None), {"eps": 1e-5})
            for name, value in arguments.items()]


def conv1d() -> list[Call]:
    def make(x: tuple, weight: tuple, bias: bool = True) -> Callable[..., tuple]:
        return lambda rng: (rng.standard_normal(x), rng.standard_normal(weight),
                            rng.standard_normal(weight[0]) if bias else None)

    def options(stride: int = 1, padding: Any = 0, dilation: int = 1, groups: int = 1) -> dict[str, Any]:
        return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    plain = make((2, 3, 7), (4, 3, 3))
    calls = {"plain": (plain, options()), "stride": (plain, options(stride=2)), "padding": (plain, options(padding=2)),
             "same": (make((2, 3, 7), (4, 3, 4)), options(padding="same", dilation=2)),
             "causal": (plain, options(padding=(2, 0))), "dilation": (plain, options(dilation=2, stride=3)),
             "groups": (make((2, 4, 7), (6, 2, 3)), options(groups=2, padding=1, stride=2)),
             "depthwise": (make((2, 3, 7), (3, 1, 2)), options(groups=3)),
             "no bias": (make((2, 3, 7), (4, 3, 3), False), options()),
             "one": (make((1, 1, 1), (1, 1, 1)), options()), "no rows": (make((0, 3, 7), (4, 3, 3)), options()),
             "blocks": (make((4, 9, 301), (5, 9, 3)), options(padding=1))}
    return [("conv1d", name, *call) for name, call in calls.items()]


def pooling() -> list[Call]:
    def make(*shape: int) -> Callable[..., tuple]:  # numbers further apart than the steps of a check of gradients
        return lambda rng: (rng.permutation(math.prod(shape)).reshape(shape) * 0.1 - 1.0,)

    def options(kernel_size: int, stride: int = 1, padding: int = 0) -> dict[str, int]:
        return {"kernel_size": kernel_size, "stride": stride, "padding": padding}

    calls = []
    for name, (shape, arguments) in {
            "plain": ((2, 3, 7), options(3)), "stride": ((2, 3, 7), options(2, 2)), "gaps": ((2, 3, 8), options(2, 3)),
            "padding": ((2, 3, 7), options(3, 2, 1)), "one": ((1, 1, 1), options(1)), "none": ((0, 3, 7), options(2)),
            "blocks": ((4, 30, 301), options(3, 2))}.items():
        calls.append(("max_pool", name, make(*shape), {**arguments, "dilation": 1}))
        calls.append(("avg_pool", name, make(*shape), {**arguments, "count_include_pad": True}))
    return [*calls, ("max_pool", "dilation", make(2, 3, 7), {**options(3, 1, 1), "dilation": 2}),
            ("avg_pool", "padding left out", make(2, 3, 7), {**options(3, 2, 1), "count_include_pad": False})]


def over_time() -> list[Call]:
    def make(shape: tuple, mask: Any = None) -> Callable[..., tuple]:
        return lambda rng: (rng.permutation(math.prod(shape)).reshape(shape) * 0.1 - 1.0,
                            None if mask is None else np.asarray(mask, dtype=bool))

    hidden = [[0, 0, 1], [1, 1, 1], [1, 0, 1]]
    calls = {"channels first": (make((2, 3, 4)), 2), "channels last": (make((2, 3, 4)), -2), "rows": (make((2, 5)), 1),
             "mask": (make((3, 2, 3), hidden), -1), "mask, channels last": (make((3, 3, 2), hidden), 1),
             "one": (make((1, 1, 1)), 2), "no rows": (make((0, 3, 4)), 2), "no steps": (make((2, 3, 0)), 2),
             "blocks": (make((4, 30, 301)), 2)}
    return [("max_over_time", name, make, {"axis": axis}) for name, (make, axis) in calls.items()]


CALLS = [*batch_norm(), *conv1d(), *pooling(), *over_time(), *cases_losses.CALLS]
