"""Where a step of ours spends its time: each operation's forward and backward, the optimiser, and the rest.

Time is counted once: an operation that calls others has what they leave. The rest is Python between the operations:
the tape, layers, checks.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any


class Profile:
    """Seconds and calls by (operation, direction)."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self.calls: dict[tuple[str, str], int] = defaultdict(int)
        self._inner: list[float] = [0.0]

    def timed(self, function: Callable[..., Any], label: Callable[..., str] | str, way: str) -> Callable[..., Any]:
        """The function, noting its own time under a label, or under what `label(first argument)` gives."""
        clock, inner = time.perf_counter, self._inner

        def run(*args: Any, **options: Any) -> Any:
            key = (label if isinstance(label, str) else label(args[0]), way)
            inner.append(0.0)
            start = clock()
            try:
                return function(*args, **options)
            finally:
                passed = clock() - start
                self.seconds[key] += passed - inner.pop()
                self.calls[key] += 1
                inner[-1] += passed

        return run

    def install(self, contender: Any) -> None:
        """Wrap what a step is made of, for the life of this process."""
        from portable_nn.autodiff import engine, standard
        from portable_nn.autodiff.rules import RULES
        from portable_nn.functional import fused

        owners = {id(rule): name for name, rules in RULES.items() for rule in rules.values()}
        fused.Fused.__call__ = self.timed(fused.Fused.__call__, lambda f: f.name, "forward")
        fused.FusedNode.pull = self.timed(fused.FusedNode.pull, lambda node: node.fused.name, "backward")
        engine.Node.pull = self.timed(engine.Node.pull, lambda node: _rule_name(node, owners), "backward")
        if contender.optimizer is not None:
            kind = type(contender.optimizer)
            kind.step = self.timed(kind.step, "optimiser", "update")
            kind.zero_grad = self.timed(kind.zero_grad, "zero_grad", "update")
        namespace = _tensor_namespace()
        names = [text.split("(")[0] for text in standard.FUNCTIONS] + standard.UNARY + standard.BINARY
        for name in filter(lambda name: hasattr(namespace, name), names):
            setattr(namespace, name, self.timed(getattr(namespace, name), "xp." + name, "forward"))
        kind = namespace.Tensor
        for name in [name for name in vars(kind) if name.startswith("__") and callable(vars(kind)[name])]:
            if name not in ("__new__", "__init__", "__doc__"):
                setattr(kind, name, self.timed(vars(kind)[name], "xp." + name.strip("_"), "forward"))
        kind.__getitem__ = self.timed(kind.__getitem__, "xp.getitem", "forward")

    def clear(self) -> None:
        self.seconds.clear()
        self.calls.clear()

    def table(self, steps: int, seconds: float) -> list[dict[str, Any]]:
        """Rows with the milliseconds per step of each operation, the largest first, and the rest last."""
        operations = {name for name, _ in self.seconds}
        rows = [{"operation": name, **{way: 1e3 * self.seconds.get((name, way), 0.0) / steps
                                       for way in ("forward", "backward", "update")},
                 "calls": sum(self.calls.get((name, way), 0) for way in ("forward", "backward", "update")) / steps}
                for name in operations]
        rows.sort(key=_total, reverse=True)
        rest = 1e3 * (seconds - sum(self.seconds.values())) / steps
        return [*rows, {"operation": "the rest", "forward": 0.0, "backward": 0.0, "update": rest, "calls": 0.0}]


def _tensor_namespace() -> Any:
    import numpy as np

    import portable_nn as pnn

    return pnn.array_namespace(pnn.Tensor(np.zeros(1, dtype=np.float32)))


def _rule_name(node: Any, owners: dict[int, str]) -> str:
    return "xp." + owners.get(id(node.edges[0][1]), "other") if node.edges else "xp.other"


def _total(row: dict[str, Any]) -> float:
    return row["forward"] + row["backward"] + row["update"]


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """The table as text, without what takes less than a thousandth."""
    whole = sum(map(_total, rows))
    text = [f"  {'operation':34s} {'forward':>9s} {'backward':>9s} {'update':>9s} {'share':>7s} {'calls':>7s}"]
    for row in rows:
        if _total(row) >= 0.001 * whole:
            cells = "".join(f" {row[way]:9.3f}" if row[way] else " " * 10 for way in ("forward", "backward", "update"))
            text.append(f"  {row['operation']:34s}{cells} {100 * _total(row) / whole:6.1f}% {row['calls']:7.1f}")
    return [*text, f"  {'a step, ms':34s} {whole:9.3f}"]
