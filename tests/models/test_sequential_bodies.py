"""Forecasters that read the past in order: patches keep the axis of time, and every backend agrees."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError
from portable_nn.layers import MSELoss
from portable_nn.models import Forecaster, ForecastInputs, load, save
from portable_nn.models.forecasting.inputs import ForecastSizes
from portable_nn.models.forecasting.patches import Patches
from portable_nn.optim import AdamW
from portable_nn.training import evaluate, fit
from tests.helpers import to_numpy
from tests.models.test_forecaster import SIZES, make_inputs

BODIES = {"lstm": {"width": 6, "num_layers": 2, "hidden": [5]},
          "transformer": {"width": 8, "num_heads": 2, "feed_forward": 12, "attention_dropout": 0.0, "hidden": []}}
each_body = pytest.mark.parametrize("body", BODIES)


def make_model(body, seed=1):
    """A small forecaster whose last layers are no longer zero."""
    model = Forecaster(**SIZES._asdict(), body=body, lags=(1, 5), patch=5, ahead=2, dropout=0.0, **BODIES[body])
    rng = np.random.default_rng(seed)
    model.load_state_dict({name: 0.5 * rng.normal(size=x.shape).astype(x.dtype)
                           for name, x in model.initialize(seed).state_dict().items()})
    return model


@pytest.mark.parametrize("centre", [False, True])
def test_patches_are_rows_in_order(centre):
    past = make_inputs().past.copy()
    y = Patches(SIZES, 5, centre)(make_inputs())
    if centre:
        past[:, :, 0] -= past[:, :, 0].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(y, past[:, 2:].reshape(4, 2, 15), atol=1e-6)    # rows 0 and 1 fill no patch


@each_body
def test_members_begin_as_naive_forecasts(body):
    inputs = make_inputs()
    model = Forecaster(**SIZES._asdict(), body=body, lags=(1, 5), patch=4, **BODIES[body]).eval()
    expected = Forecaster(**SIZES._asdict(), body="linear", lags=(1, 5)).eval()
    np.testing.assert_array_equal(model.members(inputs), expected.members(inputs))


@each_body
def test_each_backend_gives_numpys_forecasts_and_gradients(backend, body):
    model = make_model(body)
    state, inputs = model.state_dict(), make_inputs()
    target = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    expected = model(inputs)
    MSELoss()(model(ForecastInputs(*map(Tensor, inputs))), Tensor(target)).backward()
    gradients = {name: np.array(to_numpy(p.grad)) for name, p in model.named_parameters()}

    moved = Forecaster(**model.config())
    moved.load_state_dict(state)
    moved.to(backend.device, xp=backend.xp)
    arrays = ForecastInputs(*(backend.asarray(x) for x in inputs))
    backend.assert_close(moved(arrays), expected, rtol=1e-4, atol=1e-5)
    MSELoss()(moved(ForecastInputs(*map(Tensor, arrays))), Tensor(backend.asarray(target))).backward()
    for name, parameter in moved.named_parameters():
        backend.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5)


@each_body
def test_the_order_of_the_past_matters_and_every_row_counts(body):
    model, inputs = make_model(body).eval(), make_inputs()
    before = model(inputs)
    for row in (2, 6, 11):
        past = inputs.past.copy()
        past[:, row, 1] += 1.0                       # a covariate, which no naive forecast sees
        assert np.abs(model(inputs._replace(past=past)) - before).max() > 1e-6
    past = inputs.past.copy()
    past[:, 2:12, 1:] = np.concatenate([past[:, 7:12, 1:], past[:, 2:7, 1:]], axis=1)
    assert np.abs(model(inputs._replace(past=past)) - before).max() > 1e-6


@each_body
def test_training_beats_the_naive_forecasts_it_starts_from(body):
    rng = np.random.default_rng(0)
    past = rng.normal(size=(400, 6, 1)).astype(np.float32)
    target = np.stack([0.5 * past[:, -1, 0] + 0.4 * past[:, 0, 0], 0.9 * past[:, -2, 0]], axis=1)
    inputs = ForecastInputs(past, np.zeros((400, 2, 0), dtype=np.float32), np.zeros((400, 0), dtype=np.float32))
    options = {**BODIES[body], "width": 16, "num_layers": 1}
    model = Forecaster(6, 2, body=body, lags=(1, 6), patch=2, dropout=0.0, **options).initialize(0)
    before = evaluate(model, inputs, target)["mse"]
    each = np.broadcast_to(target[:, None], (400, 2, 2))
    fit(model.members, MSELoss(), AdamW(model.parameters(), lr=1e-2), train=(inputs, each), epochs=30, progress=False)
    assert evaluate(model, inputs, target)["mse"] < 0.2 * before


@each_body
def test_it_comes_back_from_a_folder(tmp_path, body):
    model = make_model(body)
    save(model, tmp_path)
    again = load(tmp_path)
    assert again.config() == model.config() and repr(again) == repr(model.eval())
    np.testing.assert_array_equal(again(make_inputs()), model(make_inputs()))


@pytest.mark.parametrize(("options", "message"), [
    ({"patch": 13}, "patch of up to 12"), ({"patch": 0}, "patch"), ({"ahead": 6}, "horizon"), ({"ahead": 0}, "ahead"),
    ({"width": 0}, "width"), ({"num_layers": 0}, "num_layers"), ({"depth": 3}, "depth"), ({"dropout": 2.0}, "0 to 1"),
    ({"hidden": [0]}, "sizes")])
@each_body
def test_bad_options(body, options, message):
    with pytest.raises(ArgumentError, match=message):
        Forecaster(**{**SIZES._asdict(), "body": body, **options})


def test_heads_divide_the_width():
    with pytest.raises(ArgumentError, match="divides"):
        Forecaster(12, 5, body="transformer", width=10, num_heads=4)


def test_nothing_beside_the_series():
    inputs = make_inputs(sizes=ForecastSizes(context=12, horizon=5))
    for body, options in BODIES.items():
        assert Forecaster(12, 5, body=body, **options).eval()(inputs).shape == (4, 5)
