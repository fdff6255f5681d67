"""The forecaster: corrected naive forecasts, averaged, over arrays of any library."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.layers import MSELoss
from portable_nn.models import Forecaster, ForecastInputs
from portable_nn.models.forecasting.flat import Condense
from portable_nn.models.forecasting.inputs import ForecastSizes
from portable_nn.optim import AdamW
from portable_nn.training import evaluate, fit
from tests.helpers import to_numpy

SIZES = ForecastSizes(context=12, horizon=5, covariates=2, known=2, start=3)


def make_inputs(rows=4, sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (sizes.context, 1 + sizes.covariates), (sizes.horizon, sizes.known), (sizes.start,)
    return ForecastInputs(*(rng.normal(size=(rows, *shape)).astype(np.float32) for shape in shapes))


def test_members_begin_as_naive_forecasts():
    inputs = make_inputs()
    target = inputs.past[:, :, 0]
    model = Forecaster(**SIZES._asdict(), lags=(1, 2, 12, 7, 0)).eval()
    expected = [np.repeat(target[:, -1:], 5, axis=1),
                np.stack([target[:, -2], target[:, -1]] * 2 + [target[:, -2]], axis=1),
                target[:, :5], target[:, 5:10], np.zeros((4, 5), dtype=np.float32)]
    np.testing.assert_array_equal(model.members(inputs), np.stack(expected, axis=1))
    np.testing.assert_allclose(model(inputs), np.mean(expected, axis=0), rtol=1e-6)


def test_more_and_fewer_members_than_lags():
    inputs = make_inputs()
    members = Forecaster(**SIZES._asdict(), lags=(1, 12), members=3).eval().members(inputs)
    np.testing.assert_array_equal(members[:, 0], members[:, 2])
    one = Forecaster(**SIZES._asdict(), lags=(1, 12), members=1).eval()
    np.testing.assert_array_equal(one(inputs), members[:, 0])


@pytest.mark.parametrize("centre", [False, True])
def test_condensed_inputs_are_those_of_the_docstring(centre):
    inputs = make_inputs()
    condense = Condense(SIZES, recent=5, older=3, coarse=2, ahead=2, day=4, centre=centre)
    target, beside = inputs.past[:, :, 0], inputs.past[:, :, 1:]
    if centre:
        target = target - target.mean(axis=1, keepdims=True)
    days = beside.reshape(4, 3, 4, 2)
    expected = [target[:, 7:], target[:, 1:7].reshape(4, 2, 3).mean(axis=2),              # row 0 fills no block
                beside[:, 8:].reshape(4, 2, 2, 2).mean(axis=2), days.mean(axis=2), days.max(axis=2), days.min(axis=2),
                inputs.known[:, :4].reshape(4, 2, 2, 2).mean(axis=2), inputs.start]
    expected = np.concatenate([x.reshape(4, -1) for x in expected], axis=1)
    assert condense.out_features == expected.shape[1]
    np.testing.assert_allclose(condense(inputs), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("body", ["linear", "mlp"])
def test_each_backend_gives_numpys_forecasts_and_gradients(backend, body):
    options = {"hidden": [6], "dropout": 0.0} if body == "mlp" else {}
    model = Forecaster(**SIZES._asdict(), body=body, lags=(1, 5), recent=6, older=3, day=4, **options).initialize(1)
    rng = np.random.default_rng(0)
    state = {name: rng.normal(size=x.shape).astype(x.dtype) for name, x in model.state_dict().items()}
    model.load_state_dict(state)
    inputs, target = make_inputs(), rng.normal(size=(4, 5)).astype(np.float32)
    expected = model(inputs)
    MSELoss()(model(ForecastInputs(*map(Tensor, inputs))), Tensor(target)).backward()
    gradients = {name: np.array(to_numpy(p.grad)) for name, p in model.named_parameters()}

    moved = Forecaster(**model.config())
    moved.load_state_dict(state)
    moved.to(backend.device, xp=backend.xp)
    arrays = ForecastInputs(*(backend.asarray(x) for x in inputs))
    backend.assert_close(moved(arrays), expected)
    MSELoss()(moved(ForecastInputs(*map(Tensor, arrays))), Tensor(backend.asarray(target))).backward()
    for name, parameter in moved.named_parameters():
        backend.assert_close(parameter.grad, gradients[name])


@pytest.mark.parametrize("body", ["linear", "mlp"])
def test_training_beats_the_naive_forecasts_it_starts_from(body):
    rng = np.random.default_rng(0)
    sizes = ForecastSizes(context=6, horizon=2)
    past = rng.normal(size=(400, 6, 1)).astype(np.float32)
    target = np.stack([0.5 * past[:, -1, 0] + 0.4 * past[:, 0, 0], 0.9 * past[:, -2, 0]], axis=1)
    inputs = ForecastInputs(past, np.zeros((400, 2, 0), dtype=np.float32), np.zeros((400, 0), dtype=np.float32))
    options = {"hidden": [16], "dropout": 0.0} if body == "mlp" else {}
    model = Forecaster(**sizes._asdict(), body=body, lags=(1, 6), **options).initialize(0)
    before = evaluate(model, inputs, target)["mse"]
    each = np.broadcast_to(target[:, None], (400, 2, 2))
    fit(model.members, MSELoss(), AdamW(model.parameters(), lr=1e-2), train=(inputs, each), epochs=15, progress=False)
    assert evaluate(model, inputs, target)["mse"] < 0.05 * before


def test_the_configuration_rebuilds_it():
    for model in (Forecaster(12, 5, body="linear", lags=(0, 3), recent=4, older=2, centre=True),
                  Forecaster(**SIZES._asdict(), hidden=[7, 5], dropout=0.1, activation="relu", members=2, day=4)):
        again = Forecaster(**model.config())
        assert again.config() == model.config() and repr(again) == repr(model)


@pytest.mark.parametrize(("options", "message"), [
    ({"body": "oracle"}, "linear"), ({"lags": (13,)}, "context of 12"), ({"lags": ()}, "lags"),
    ({"horizon": 0}, "horizon"), ({"lags": (-1,)}, "lags"), ({"covariates": -1}, "covariates"),
    ({"members": 0}, "members"), ({"width": 3}, "width"), ({"recent": 13}, "recent"), ({"coarse": 0}, "coarse"),
    ({"ahead": 6}, "ahead"), ({"day": -1}, "day")])
def test_bad_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        Forecaster(**{**SIZES._asdict(), **options})


def test_inputs_of_other_sizes():
    model, inputs = Forecaster(**SIZES._asdict()).eval(), make_inputs()
    for wrong in (inputs._replace(past=inputs.past[:, 1:]), inputs._replace(known=inputs.known[:, :, :1]),
                  inputs._replace(start=inputs.start[:3]), inputs[:2], inputs.past):
        with pytest.raises(ShapeError, match="past"):
            model(wrong)
