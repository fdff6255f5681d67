"""Calls of the operations over channels and time, as arguments of the `Case` of `tests/functional/cases.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Call = tuple[str, str, Callable[..., tuple], dict[str, Any]]



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


CALLS = [*batch_norm()]
