"""Layers and losses agree with PyTorch in float64, in configurations that hypothesis draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portable_nn import layers
from portable_nn.autodiff import Tensor
from tests.parity.agreement import TOLERANCE, agree, normal

torch = pytest.importorskip("torch")

sizes, seeds, flags = st.integers(1, 5), st.integers(0, 10**6), st.booleans()
leads = st.lists(st.integers(0, 4), max_size=2).map(tuple)
configurations = settings(max_examples=25, deadline=None)


@configurations
@given(sizes, sizes, flags, leads, seeds)
def test_linear(in_features: int, out_features: int, bias: bool, lead: tuple, seed: int) -> None:
    options = (in_features, out_features, bias)
    agree(layers.Linear(*options), torch.nn.Linear(*options), normal(seed, (*lead, in_features)))


@configurations
@given(st.sampled_from([("ReLU", {}), ("Sigmoid", {}), ("Tanh", {}), ("GELU", {}), ("GELU", {"approximate": "tanh"})]),
       leads, st.sampled_from([1.0, 20.0, 1000.0]), seeds)
def test_activations(kind: tuple[str, dict], shape: tuple, scale: float, seed: int) -> None:
    name, options = kind
    agree(getattr(layers, name)(**options), getattr(torch.nn, name)(**options), scale * normal(seed, shape))


@configurations
@given(st.lists(sizes, min_size=1, max_size=2), st.sampled_from([1e-5, 1e-2, 1.0]), flags, flags, leads, seeds)
def test_layer_norm(shape: list[int], eps: float, affine: bool, bias: bool, lead: tuple, seed: int) -> None:
    options = (tuple(shape), eps, affine, bias)
    agree(layers.LayerNorm(*options), torch.nn.LayerNorm(*options), normal(seed, (*lead, *shape)))


@configurations
@given(sizes, sizes, st.none() | st.integers(-1, 0), leads, seeds)
def test_embedding(rows: int, columns: int, padding: int | None, shape: tuple, seed: int) -> None:
    indices = np.random.default_rng(seed).integers(0, rows, shape)
    options = (rows, columns, padding)
    agree(layers.Embedding(*options), torch.nn.Embedding(*options), indices, differentiable=())


@configurations
@given(sizes, sizes, st.lists(st.integers(0, 3), min_size=1, max_size=5), st.sampled_from(["mean", "sum", "weighted"]),
       seeds)
def test_embedding_bag(rows: int, columns: int, lengths: list[int], mode: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    indices, offsets = rng.integers(0, rows, sum(lengths)), np.cumsum([0, *lengths[:-1]])
    weights = rng.standard_normal(sum(lengths)) if mode == "weighted" else None
    options = {"mode": mode.replace("weighted", "sum")}
    agree(layers.EmbeddingBag(rows, columns, **options), torch.nn.EmbeddingBag(rows, columns, **options),
          indices, offsets, weights, differentiable=(2,) if weights is not None else ())


@configurations
@given(sizes, sizes, sizes, flags, seeds)
def test_embedding_bags_of_equal_length(rows: int, bags: int, length: int, mean: bool, seed: int) -> None:
    indices = np.random.default_rng(seed).integers(0, rows, (bags, length))
    ours, theirs = (nn.EmbeddingBag(rows, 3, mode="mean" if mean else "sum") for nn in (layers, torch.nn))
    agree(ours, theirs, indices, differentiable=())


@configurations
@given(st.lists(sizes, min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 3), flags, seeds)
def test_flatten(shape: list[int], first: int, count: int, negative: bool, seed: int) -> None:
    start = first % len(shape)
    end = min(start + count, len(shape) - 1)
    options = (start, end - len(shape)) if negative else (start, end)
    agree(layers.Flatten(*options), torch.nn.Flatten(*options), normal(seed, tuple(shape)))


@configurations
@given(st.lists(sizes, min_size=2, max_size=5), st.sampled_from(["ReLU", "Tanh", "GELU", "Sigmoid"]), flags, seeds)
def test_models(widths: list[int], activation: str, normalised: bool, seed: int) -> None:
    def build(nn: Any) -> Any:
        steps: list[Any] = []
        for a, b in zip(widths, widths[1:]):
            steps += [nn.Linear(a, b), *([nn.LayerNorm(b)] if normalised else []), getattr(nn, activation)()]
        return nn.Sequential(*steps, nn.Linear(widths[-1], 2), nn.Dropout(0.5)).eval()

    ours, theirs = build(layers), build(torch.nn)
    agree(ours, theirs, normal(seed, (4, widths[0])))
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]


@configurations
@given(st.sampled_from(["CrossEntropyLoss", "BCEWithLogitsLoss", "MSELoss"]), sizes, sizes,
       st.sampled_from([1.0, 1e4]), flags, seeds)
def test_losses(name: str, rows: int, columns: int, scale: float, weighted: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = scale * rng.standard_normal((rows, columns))
    target = rng.integers(0, columns, rows) if name == "CrossEntropyLoss" else rng.uniform(0, 1, (rows, columns))
    weight = rng.uniform(0.5, 2, rows) if weighted else None
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    value = getattr(layers, name)()(ours, Tensor(target), weight)
    value.backward()
    each = getattr(torch.nn, name)(reduction="none")(theirs, torch.tensor(target)).reshape(rows, -1).mean(dim=1)
    w = torch.ones(rows, dtype=torch.float64) if weight is None else torch.tensor(weight)
    expected = (each * w).sum() / w.sum()
    expected.backward()
    np.testing.assert_allclose(value.item(), expected.item(), **TOLERANCE)
    np.testing.assert_allclose(ours.grad, theirs.grad.numpy(), **TOLERANCE)
    if weight is None:
        plain = getattr(torch.nn, name)()(torch.tensor(x), torch.tensor(target))
        np.testing.assert_allclose(value.item(), plain.item(), **TOLERANCE)


def test_defaults_are_pytorchs() -> None:
    for name, arguments in (("Linear", (3, 2)), ("GELU", ()), ("LayerNorm", (3,)), ("Dropout", ()), ("Flatten", ()),
                            ("Embedding", (4, 3)), ("EmbeddingBag", (4, 3))):
        ours, theirs = getattr(layers, name)(*arguments), getattr(torch.nn, name)(*arguments)
        for option in ("eps", "approximate", "p", "padding_idx", "mode", "start_dim", "end_dim", "elementwise_affine"):
            if hasattr(ours, option):
                assert getattr(ours, option) == getattr(theirs, option), (name, option)
        assert _shapes(ours) == _shapes(theirs)


def _shapes(module: Any) -> dict[str, tuple[int, ...]]:
    return {key: tuple(x.shape) for key, x in module.state_dict().items()}
