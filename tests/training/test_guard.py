"""The guard: at the first NaN or infinity the run stops, says where, and the weights are those before that step."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from portable_nn import layers, optim
from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import NonFiniteError
from portable_nn.backend.namespace import array_namespace
from portable_nn.training import fit
from portable_nn.training import guard as guards
from tests.helpers import Backend, dtype_name, to_numpy
from tests.training.tasks import classes, classifier, values


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """NumPy warns of the very values that these tests make."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


class Poisoned:
    """A loss that turns bad at its n-th call: the loss itself, or only its gradient."""

    def __init__(self, at: int, what: str, model: Any) -> None:
        self.at, self.what, self.calls, self.inner = at, what, 0, layers.CrossEntropyLoss()
        self.model, self.before = model, np.empty(0)

    def __call__(self, prediction: Any, target: Any, weight: Any = None) -> Any:
        self.calls += 1
        value = self.inner(prediction, target, weight)
        if self.calls != self.at:
            return value
        self.before = values(self.model)
        xp = array_namespace(value)
        if self.what == "loss":
            return value * float("inf")
        zero = xp.sum(self.model[0].bias.tensor * 0.0)
        return value + xp.sqrt(zero) * 0.0  # the gradient of √0 is infinite


def run(backend: Backend, at: int, what: str, **options: Any) -> tuple[Any, str]:
    model = classifier(backend=backend)
    loss = Poisoned(at, what, model)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    x, y = classes()
    with pytest.raises(NonFiniteError) as caught:
        fit(model, loss, optimizer, train=(x, y.astype(np.int32)), batch_size=10, epochs=3, progress=False, **options)
    np.testing.assert_array_equal(values(model), loss.before)
    assert optimizer.steps == -(-at // options.get("accumulate", 1)) - 1
    assert all(p.grad is None for p in model.parameters()) and model.training
    return optimizer, str(caught.value)


def test_a_bad_loss(backend: Backend) -> None:
    _, message = run(backend, 8, "loss")
    assert "a finite loss at step 8; got inf; all parameters are finite. Lower the learning rate" in message


def test_a_bad_gradient(backend: Backend) -> None:
    _, message = run(backend, 8, "gradient")
    assert "finite gradients at step 8, loss " in message and "in the gradient of '0.bias'" in message


def test_a_bad_loss_among_accumulated_ones(backend: Backend) -> None:
    _, message = run(backend, 8, "loss", accumulate=3)
    assert "step 3" in message


@pytest.mark.parametrize("every", [1, 4, 50])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_latch(backend: Backend, what: str, every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: looked at now and then, updates frozen from the bad step on, the message about that step."""
    monkeypatch.setattr(guards, "EVERY_ON_A_GPU", every)
    monkeypatch.setattr(guards, "_may_wait", lambda device: False)
    optimizer, message = run(backend, 8, what)
    assert ("a finite loss at step 8; got inf" if what == "loss" else "finite gradients at step 8, loss ") in message
    assert ("all parameters are finite" if what == "loss" else "in the gradient of '0.bias'") in message
    assert optimizer.steps == 7


def test_the_latch_changes_nothing_else(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    for waits in (True, False):
        monkeypatch.setattr(guards, "_may_wait", lambda device, waits=waits: waits)
        model = classifier(backend=backend)
        x, y = classes()
        fit(model, layers.CrossEntropyLoss(), optim.AdamW(model.parameters(), clip_norm=1.0),
            train=(x, y.astype(np.int32)), batch_size=10, epochs=2, progress=False)
        runs.append(values(model))
    np.testing.assert_allclose(*runs, rtol=1e-5)


def test_the_latch_over_two_dtypes_and_missing_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameter is named by its place in the optimiser, wherever its run holds it."""
    parameters = []
    for number in range(5):
        parameter = layers.Parameter((number + 1,), layers.initializers.zeros, ("float32", "float64")[number % 2])
        parameter.data, parameter.name = np.zeros(number + 1, dtype=parameter.dtype_name), f"p{number}"
        parameters.append(parameter)
    for bad in range(5):
        optimizer = optim.SGD(parameters, lr=1.0)
        guard = guards.Guard(optimizer, "cuda:0")
        for step in range(3):
            for number, parameter in enumerate(parameters):
                parameter.grad = np.zeros(parameter.shape, dtype=parameter.dtype_name)
                if step == 2 or step == 1 and number == bad:  # the first bad step is the one that is reported
                    parameter.grad[-1] = np.nan
                if number == (bad + 1) % 5:
                    parameter.grad = None
            loss = Tensor(np.asarray(0.5))
            guard.check_loss(loss)
            guard.step(loss)
        with pytest.raises(NonFiniteError, match=rf"step 2, loss 0.5; got NaN or infinity in the gradient of 'p{bad}'"):
            guard.finish()
        assert all(np.all(p.data == 0) for p in parameters)
        optimizer.release()


def test_a_parameter_that_is_not_finite(backend: Backend) -> None:
    model = classifier(backend=backend).initialize(0)
    broken = to_numpy(model[3].bias.data).copy()
    broken[1] = np.nan
    model[3].bias.data = backend.asarray(broken, dtype_name(backend.float_dtype))
    with pytest.raises(NonFiniteError, match=r"step 1; got nan; parameter '3.bias' has become non-finite"):
        x, y = classes()
        fit(model, layers.CrossEntropyLoss(), optim.SGD(model.parameters()), train=(x, y.astype(np.int32)),
            progress=False)
