"""Models run again, by checkpoint and by gradcheck: the same random draws, and no trace of the repetition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import layers
from portable_nn.autodiff import Tensor, checkpoint, gradcheck
from portable_nn.backend.errors import GradientError

X = np.random.default_rng(0).normal(size=(5, 4))


class Counting(layers.Module):
    """A model that draws random numbers and counts its calls in a buffer."""

    def __init__(self) -> None:
        self.first, self.drop, self.second = layers.Linear(4, 8), layers.Dropout(0.5), layers.Linear(8, 3)
        self.register_buffer("calls", (), lambda stream, shape, *, dtype, xp, device: xp.zeros(shape, dtype=dtype))

    def forward(self, x: Any) -> Any:
        self.update_buffer("calls", self.calls + 1)
        return self.second(self.drop(self.first(x)))


class Nested(Counting):
    def forward(self, x: Any) -> Any:
        self.update_buffer("calls", self.calls + 1)
        return self.second(checkpoint(lambda h: self.drop(self.first(h)), x))


def build(kind: type[Counting]) -> Counting:
    return kind().to(dtype="float64").initialize(1)


def run(model: Counting, call: Any, passes: int = 2) -> list[np.ndarray]:
    """Outputs and gradients of some training calls."""
    found = []
    for _ in range(passes):
        x = Tensor(X, requires_grad=True)
        out = call(x)
        out.backward(np.ones((5, 3)))
        found += [out.data, x.grad, *(p.grad for p in model.parameters())]
    return [*found, model.calls.data]


@pytest.mark.parametrize("how", ["outside", "inside", "in a function"])
def test_a_checkpointed_model_trains_the_same(how: str) -> None:
    plain = build(Counting)
    model = build(Nested if how == "inside" else Counting)
    call: Any = {"outside": lambda x: checkpoint(model, x), "inside": model,
                 "in a function": lambda x: checkpoint(lambda x: model(x) * 1.0, x)}[how]
    for ours, theirs in zip(run(model, call), run(plain, plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert model.calls.data == 2


def test_a_step_between_forward_and_backward_raises() -> None:
    model = build(Counting)
    out = checkpoint(model, Tensor(X))
    model.first.weight.data = model.first.weight.data + 1.0
    with pytest.raises(GradientError, match=r"first\.weight"):
        out.backward(np.ones((5, 3)))


def test_gradcheck_leaves_a_model_as_it_was() -> None:
    model = build(Counting)
    before = {name: x.copy() for name, x in model.state_dict().items()}
    assert gradcheck(model, X, order=2)
    assert gradcheck(build(Nested), X)
    for name, x in model.state_dict().items():
        np.testing.assert_array_equal(x, before[name])
    assert all(p.grad is None for p in model.parameters())
    np.testing.assert_array_equal(run(model, model, 1)[0], run(build(Counting), build(Counting), 1)[0])
