"""State dicts: names, copies, and refusals that name everything at once."""

from __future__ import annotations

import numpy as np
import pytest

from portable_nn import layers
from portable_nn.autodiff import Tensor
from portable_nn.backend.errors import DataError
from portable_nn.layers import initializers
from tests.helpers import Backend, assert_close, to_numpy
from tests.layers.models import Counting, Tied, Twice, mlp


def test_values_are_copies() -> None:
    model = mlp().initialize()
    state = model.state_dict()
    state["0.weight"][...] = 0
    assert np.all(model[0].weight.data != 0)
    model.load_state_dict(state)
    state["0.weight"][...] = 1
    assert np.all(model[0].weight.data == 0)


def test_states_move_between_backends(backend: Backend) -> None:
    source = mlp().initialize(1)
    there = mlp().to(backend.device, xp=backend.xp)  # not drawn: it need not be
    there.load_state_dict(source.state_dict())
    assert [p.name for p in there.parameters()] == [p.name for p in source.parameters()]
    back = mlp().to(dtype="float64")
    back.load_state_dict(there.state_dict())
    for p, q, r in zip(source.parameters(), there.parameters(), back.parameters(), strict=True):
        assert_close(q.data, backend.asarray(p.data), rtol=0.0, atol=0.0)
        assert r.data.dtype == np.float64
        np.testing.assert_array_equal(r.data, p.data)


def test_handles_stay_and_tensors_load() -> None:
    model, weight = mlp(), None
    weight = model[0].weight
    model.load_state_dict({name: Tensor(x) for name, x in mlp().initialize(2).state_dict().items()})
    assert model[0].weight is weight
    assert model.is_initialized


def test_shared_ones_appear_under_each_name_and_may_be_given_under_one() -> None:
    assert list(Twice().state_dict()) == ["first.weight", "first.bias", "second.weight", "second.bias"]
    state = Tied().initialize(3).state_dict()
    assert list(state) == ["embedding.weight", "output.weight"]
    model = Tied()
    model.load_state_dict({"output.weight": state["output.weight"]})
    np.testing.assert_array_equal(model.embedding.weight.data, state["embedding.weight"])


def test_everything_wrong_is_in_one_message_and_nothing_changes() -> None:
    model = mlp().initialize(1)
    before = model.state_dict()
    state = {"0.weight": np.ones((4, 3), dtype=np.int64), "0.bias": np.ones(5), "3.weight": [1.0], "extra": np.ones(1)}
    with pytest.raises(DataError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    for words in ("missing ['3.bias']", "unexpected ['extra']", "0.weight of dtype int64 instead of float32",
                  "0.bias of shape (5,) instead of (4,)", "3.weight of dtype list"):
        assert words in message
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(DataError):  # the others would fit
        model.load_state_dict({**mlp().initialize(2).state_dict(), "3.bias": np.ones(7)})
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    model.load_state_dict({"0.bias": np.ones(4), "extra": np.ones(1)}, strict=False)
    np.testing.assert_array_equal(model[0].bias.data, np.ones(4))
    with pytest.raises(DataError, match="state_dict"):
        model.load_state_dict(["0.bias"])
    with pytest.raises(DataError, match=r"0\.bias"):
        model.load_state_dict({"0.bias": np.ones(5)}, strict=False)


def test_what_a_partial_state_leaves_out_is_drawn() -> None:
    model = mlp()
    model.load_state_dict({"0.bias": np.ones(4)}, strict=False)
    model(np.ones((1, 3), dtype=np.float32))
    np.testing.assert_array_equal(model[0].weight.data, mlp().initialize(0)[0].weight.data)
    np.testing.assert_array_equal(model[0].bias.data, np.ones(4))


def test_buffers_are_in_the_state() -> None:
    model = Counting()
    model(np.ones((1, 3), dtype=np.float32))
    twin = Counting()
    twin.load_state_dict(model.state_dict())
    assert to_numpy(twin.count.data) == 1
    whole = layers.Module()
    whole.register_buffer("steps", (), initializers.zeros, dtype="int64")
    with pytest.raises(DataError, match="float64 instead of int64"):
        whole.load_state_dict({"steps": np.asarray(1.5)})
