"""Norms of sums, and sums with dropout: what the layers compute one by one, masks and gradients included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import ShapeError, Tensor, layers
from portable_nn.autodiff import grad


class Joint(layers.Module):
    """One residual connection, by its parts or at once."""

    def __init__(self, norm: layers.Module, way: str, at_once: bool, dropout: Any = None) -> None:
        self.norm, self.way, self.at_once = norm, way, at_once
        self.dropout = layers.Dropout(0.4) if dropout is None else dropout

    def forward(self, x: Any, y: Any) -> Any:
        if self.way == "sum":
            return self.dropout(y, onto=x) if self.at_once else x + self.dropout(y)
        if self.way == "post":
            return self.norm(x, y, self.dropout) if self.at_once else self.norm(x + self.dropout(y))
        if self.at_once:
            s, h = self.norm.after(x, y, self.dropout) if self.way == "pre" else self.norm.after(x)
        else:
            s = x + self.dropout(y) if self.way == "pre" else x
            h = self.norm(s)
        return s * 0.3 + h


NORMS = {"layer": lambda: layers.LayerNorm(6), "rms": lambda: layers.RMSNorm(6),
         "two axes, no weights": lambda: layers.LayerNorm((3, 6), elementwise_affine=False)}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("way", ["sum", "post", "pre", "alone"])
@pytest.mark.parametrize("training", [True, False])
def test_at_once_as_in_parts(norm: str, way: str, training: bool, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 4, 3, 6))
    found = []
    for at_once in (False, True):
        joint = Joint(NORMS[norm](), way, at_once).initialize(5).to(dtype="float64").train(training)
        a, b = Tensor(x, requires_grad=True), Tensor(y, requires_grad=True)
        out = joint(a, b)
        (out * np.cos(np.arange(out.size).reshape(out.shape))).sum().backward()
        gradients = [a.grad, b.grad, *(p.grad for p in joint.parameters())]
        joint.random_position = (5, 0)
        found.append([out.numpy(), joint(x, y), *gradients])
    for got, wanted in zip(found[1], found[0], strict=True):
        assert (got is None) == (wanted is None)
        if wanted is not None:
            np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-12)


def test_second_order(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 3, 6))

    def gradient(at_once: bool) -> np.ndarray:
        joint = Joint(layers.LayerNorm(6), "pre", at_once).initialize(5).to(dtype="float64")

        def penalty(x: Any) -> Any:
            joint.random_position = (5, 0)
            return (grad(lambda x: (joint(x, y) ** 3).sum())(x) ** 2).sum()

        return grad(penalty)(x)

    np.testing.assert_allclose(gradient(True), gradient(False), rtol=1e-10, atol=1e-12)


def test_another_module_in_the_place_of_dropout(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 3, 6)).astype(np.float32)
    for way in ("pre", "post"):
        joint = Joint(layers.LayerNorm(6), way, True, dropout=layers.ReLU())
        parts = Joint(layers.LayerNorm(6), way, False, dropout=layers.ReLU())
        np.testing.assert_allclose(joint(x, y), parts(x, y), rtol=1e-5, atol=1e-6)


class Scaled(layers.Dropout):
    """A subclass that computes something else."""

    def forward(self, x: Any, onto: Any = None) -> Any:
        return 3 * x


def test_a_subclass_of_dropout_is_called(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 3, 6)).astype(np.float32)
    norm, linear = layers.LayerNorm(6), layers.Linear(6, 4).initialize(1)
    table, positions = layers.Embedding(5, 6).initialize(2), layers.LearnedPositions(3, 6).initialize(3)
    words = np.asarray([[1, 4, 0]])
    for p in (0.0, 0.5):
        scaled = Scaled(p)
        np.testing.assert_allclose(norm(x, y, scaled), norm(x + 3 * y), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(linear(x, None, scaled), 3 * linear(x), rtol=1e-6)
        np.testing.assert_allclose(table(words, positions, scaled), 3 * positions(table(words)), rtol=1e-6)


@pytest.mark.parametrize("norm_first", [True, False])
def test_other_modules_for_all_dropouts_of_a_transformer_layer(norm_first: bool, rng: np.random.Generator) -> None:
    x, memory = rng.standard_normal((2, 2, 3, 8)).astype(np.float32)
    for kind, arrays in ((layers.TransformerEncoderLayer, (x,)), (layers.TransformerDecoderLayer, (x, memory))):
        plain, other = (kind(8, 2, 16, 0.0, norm_first=norm_first).initialize(4) for _ in range(2))
        for name in ("dropout", "dropout1", "dropout2", "dropout3"):
            if hasattr(other, name):
                setattr(other, name, layers.Sequential())
        np.testing.assert_allclose(other(*arrays), plain(*arrays), rtol=1e-5, atol=1e-6)


def test_shapes_must_agree() -> None:
    x, y = np.ones((2, 6), dtype=np.float32), np.ones((1, 6), dtype=np.float32)
    for call in (lambda: layers.LayerNorm(6)(x, y), lambda: layers.Dropout(0.5)(y, onto=x),
                 lambda: layers.LayerNorm(6, elementwise_affine=False)(x, y)):
        with pytest.raises(ShapeError, match="one shape"):
            call()
