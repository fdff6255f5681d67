"""Losses agree with PyTorch in float64: class weights, smoothing, ignored labels, reductions, drawn by hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from portable_nn import layers
from portable_nn.autodiff import Tensor
from tests.parity.agreement import TOLERANCE

torch = pytest.importorskip("torch")

sizes, seeds, flags = st.integers(1, 5), st.integers(0, 10**6), st.booleans()
scales, reductions = st.sampled_from([0.1, 1.0, 30.0]), st.sampled_from(["none", "mean", "sum"])
configurations = settings(max_examples=60, deadline=None)


def agree(ours: Any, theirs: Any, x: np.ndarray, target: np.ndarray, axis: int | None = None) -> None:
    """Value and gradient; `axis` is where PyTorch has the classes that we have last."""
    mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out = ours.to(dtype="float64")(mine, target)
    expected = theirs.double()(other if axis is None else other.movedim(-1, axis), torch.tensor(target))
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), **TOLERANCE)
    g = np.random.default_rng(1).standard_normal(out.shape)
    out.backward(g)
    expected.backward(torch.tensor(g))
    np.testing.assert_allclose(mine.grad, other.grad.numpy(), **TOLERANCE)


@configurations
@given(sizes, st.integers(0, 4), sizes, scales, flags, st.sampled_from([-100, 0, 2]), reductions,
       st.sampled_from([None, 0.0, 0.1, 1.0]), seeds)
def test_labels(rows: int, steps: int, count: int, scale: float, weighted: bool, ignored: int, reduction: str,
                smoothing: float | None, seed: int) -> None:
    """Without smoothing it is NLLLoss on log-probabilities for None."""
    rng = np.random.default_rng(seed)
    lead = (rows, steps) if steps else (rows,)
    x, target = scale * rng.standard_normal((*lead, count)), rng.integers(0, count, lead)
    target[rng.random(lead) < 0.3] = ignored if ignored < count else 0
    assume(reduction != "mean" or np.any(target != ignored))  # where all are ignored theirs is NaN, ours 0
    weight = rng.uniform(0.5, 2, count) if weighted else None
    options: dict[str, Any] = {"ignore_index": ignored, "reduction": reduction}
    if smoothing is not None:
        options["label_smoothing"] = smoothing
    name = "NLLLoss" if smoothing is None else "CrossEntropyLoss"
    ours = getattr(layers, name)(None if weight is None else weight.tolist(), **options)
    theirs = getattr(torch.nn, name)(None if weight is None else torch.tensor(weight), **options)
    ours.to(dtype="float64")
    if weighted:
        ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    agree(ours, theirs, x, target, 1)


@configurations
@given(st.lists(sizes, min_size=1, max_size=3).map(tuple), scales, reductions, st.sampled_from([0.3, 1.0, 2.0]), seeds)
def test_residuals(shape: tuple, scale: float, reduction: str, delta: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, target = scale * rng.standard_normal(shape), rng.standard_normal(shape)
    target = np.where(rng.random(shape) < 0.2, x, target)
    for name, options in (("L1Loss", {}), ("MSELoss", {}), ("HuberLoss", {"delta": delta})):
        agree(getattr(layers, name)(reduction=reduction, **options),
              getattr(torch.nn, name)(reduction=reduction, **options), x, target)


@configurations
@given(sizes, sizes, scales, reductions, flags, seeds)
def test_yes_or_no(rows: int, columns: int, scale: float, reduction: str, weighted: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rows, columns
    target = np.where(rng.random(shape) < 0.5, rng.uniform(0, 1, shape), rng.integers(0, 2, shape))
    weight = rng.uniform(0.5, 2, columns) if weighted else None
    agree(layers.BCEWithLogitsLoss(reduction, weight),
          torch.nn.BCEWithLogitsLoss(reduction=reduction, pos_weight=None if weight is None else torch.tensor(weight)),
          scale * rng.standard_normal(shape), target)
    agree(layers.BCELoss(reduction), torch.nn.BCELoss(reduction=reduction), rng.uniform(1e-6, 1 - 1e-6, shape), target)


def test_sure_and_wrong_is_theirs_too() -> None:
    x, target = np.asarray([0.0, 1.0, 0.0, 1.0]), np.asarray([1.0, 0.0, 0.0, 1.0])
    theirs = torch.nn.BCELoss(reduction="none")(torch.tensor(x), torch.tensor(target))
    np.testing.assert_array_equal(layers.BCELoss("none")(x, target), theirs.numpy())
