"""Do two contenders compute the same? From the same weights, in float64, without dropout: loss, gradients, updates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmark.workloads import make_batches, trains

TOLERANCE, STEPS = 1e-8, 5
#: The kinds of arrays that are compared; "result" is the loss, or the logits of a forward pass.
KINDS = ("result", "gradient", "parameter")


def record(make: Any, spec: dict[str, Any], device: str, weights: Path, results: Path, **options: Any) -> None:
    """Run a workload's check on one contender. The first one draws the weights, the others read them.

    Parameters
    ----------
    make : callable
        `make(spec, device, precision, **options)` is a contender.
    """
    contender = make(spec, device, "float64", **options)
    if not weights.exists():
        rng = np.random.default_rng(1)  # so that nothing is zero, as biases are at first
        np.savez(weights, **{key: value + 0.01 * rng.standard_normal(value.shape)
                             for key, value in contender.weights().items()})
    with np.load(weights) as drawn:
        contender.load(dict(drawn))
    batches = [contender.put(batch) for batch in make_batches(spec, STEPS, dtype="float64")]
    result, gradients = contender.result_and_gradients(batches[0])
    found = {"result": result} | {f"gradient {key}": value for key, value in gradients.items()}
    if trains(spec):
        for batch in batches:
            contender.step(batch)
        contender.synchronize()
        found |= {f"parameter {key}": value for key, value in contender.weights().items()}
    np.savez(results, **found)


def differences(ours: Path, theirs: Path) -> dict[str, float]:
    """The largest difference of each kind, as a share of the largest number of that kind.

    Raises
    ------
    ValueError
        One has an array that the other lacks, or of another shape.
    """
    with np.load(ours) as first, np.load(theirs) as second:
        if set(first) != set(second):
            raise ValueError(f"only one has {sorted(set(first) ^ set(second))}")
        found = {}
        for kind in KINDS:
            names = [name for name in first if name.split(" ")[0] == kind]
            if not names:
                continue
            for name in names:
                if first[name].shape != second[name].shape:
                    raise ValueError(f"{name} is {first[name].shape} here and {second[name].shape} there")
            scale = max(np.max(np.abs(second[name]), initial=0.0) for name in names)
            worst = max(np.max(np.abs(first[name] - second[name]), initial=0.0) for name in names)
            found[kind] = float(worst / scale) if np.isfinite(worst) else float("inf")
    return found
