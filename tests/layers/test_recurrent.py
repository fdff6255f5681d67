"""What the rows of tests/specs_recurrent.py do not say: lengths and padding, extreme values, dropout, foreign gates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from portable_nn import Tensor, functional, gradcheck, kernels, layers
from portable_nn.backend.errors import ArgumentError, ShapeError
from portable_nn.backend.namespace import array_namespace, namespace_name
from tests.helpers import Backend, dtype_name, to_numpy

KINDS = [layers.LSTM, layers.GRU]
STACKS = {"one": {}, "reverse": {"bidirectional": True}, "deep": {"num_layers": 2, "bidirectional": True}}


def build(kind: Any, backend: Backend, *args: Any, **options: Any) -> Any:
    module = kind(*args, **options)
    return module.to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype)).initialize(1)


def last_states(state: Any) -> list[Any]:
    return list(state) if isinstance(state, tuple) else [state]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("kind", KINDS)
def test_each_row_is_as_if_alone(kind: Any, stack: str, backend: Backend, rng: np.random.Generator) -> None:
    """A row of length n gives what its first n steps give by themselves, whatever the padding holds."""
    module = build(kind, backend, 2, 3, **STACKS[stack])
    x, lengths = rng.standard_normal((4, 5, 2)), [5, 0, 1, 3]
    x[np.arange(5) >= np.asarray(lengths)[:, None]] = np.nan
    y, state = module(backend.asarray(x), None, backend.asarray(np.asarray(lengths)))
    for b, n in enumerate(lengths):
        alone, end = module(backend.asarray(x[b:b + 1, :n]))
        np.testing.assert_allclose(to_numpy(y)[b, :n], to_numpy(alone)[0], atol=1e-6)
        assert not to_numpy(y)[b, n:].any()
        for s, wanted in zip(last_states(state), last_states(end), strict=True):
            np.testing.assert_allclose(to_numpy(s)[:, b], to_numpy(wanted)[:, 0], atol=1e-6)


@pytest.mark.one_device
@pytest.mark.parametrize("path", ["kernel", "generic", "definition"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_has_no_gradient(kind: Any, path: str, backend: Backend, rng: np.random.Generator) -> None:
    """What is not a number in the padding reaches no gradient; and the padding's own is zero."""
    module = build(kind, backend, 2, 3, num_layers=2, bidirectional=True)
    x, lengths = rng.standard_normal((3, 4, 2)), np.asarray([4, 0, 2])
    beyond = np.arange(4) >= lengths[:, None]
    results = []
    for padding in (np.nan, 7.0):
        x[beyond] = padding
        tensor = Tensor(backend.asarray(x), requires_grad=True)
        for p in module.parameters():
            p.grad = None
        with kernels.disabled(generic=path == "generic") if path != "kernel" else np.errstate():
            y, _ = module(tensor, None, backend.asarray(lengths))
            cotangent = np.random.default_rng(1).standard_normal(y.shape)
            y.backward(backend.asarray(cotangent, dtype=y.dtype))
        assert not to_numpy(tensor.grad)[beyond].any()
        results.append([to_numpy(tensor.grad), *(to_numpy(p.grad) for p in module.parameters())])
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
        assert np.isfinite(first).all()
        assert first.any()


@pytest.mark.one_device
@pytest.mark.parametrize("path", ["kernel", "generic", "definition"])
@pytest.mark.parametrize("kind", KINDS)
def test_extreme_values(kind: Any, path: str, backend: Backend, rng: np.random.Generator) -> None:
    """Inputs and states of ±1e4: no overflow, in float32 either."""
    module = build(kind, backend, 2, 3).to(dtype="float32")
    x = Tensor(backend.asarray(1e4 * np.sign(rng.standard_normal((3, 6, 2))), dtype="float32"), requires_grad=True)
    states = [Tensor(backend.asarray(1e4 * rng.standard_normal((1, 3, 3)), dtype="float32"), requires_grad=True)
              for _ in range(2 if kind is layers.LSTM else 1)]
    with np.errstate(over="raise", invalid="raise", divide="raise"), (
            kernels.disabled(generic=path == "generic") if path != "kernel" else np.errstate()):
        y, state = module(x, tuple(states) if len(states) == 2 else states[0])
        xp = array_namespace(y)
        total = xp.sum(y * y)
        for s in last_states(state):
            total = total + xp.sum(s * 1e-4)
        total.backward()
    for value in [y, x.grad, *(s.grad for s in states), *(p.grad for p in module.parameters())]:
        assert np.isfinite(to_numpy(value)).all()


@pytest.mark.one_device
@pytest.mark.parametrize("path", ["kernel", "generic", "definition"])
@pytest.mark.parametrize("stack", ["reverse", "deep"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_through_lengths_and_directions(kind: Any, stack: str, path: str, backend: Backend,
                                                  rng: np.random.Generator) -> None:
    if not backend.has_float64:
        pytest.skip("differences need float64")
    if path == "kernel" and not kernels.available(namespace_name(backend.xp)):
        pytest.skip("no kernels there")
    module = build(kind, backend, 2, 2, **STACKS[stack])
    x, lengths = backend.asarray(rng.standard_normal((4, 3, 2))), backend.asarray(np.asarray([0, 1, 3, 2]))
    count = module.num_layers * (1 + module.bidirectional)
    states = tuple(backend.asarray(rng.standard_normal((count, 4, 2))) for _ in range(2 if kind is layers.LSTM else 1))
    inputs = (x, states if len(states) == 2 else states[0], lengths)
    with kernels.disabled(generic=path == "generic") if path != "kernel" else np.errstate():
        assert gradcheck(module, inputs)


def test_second_order_through_layers(rng: np.random.Generator) -> None:
    for kind in KINDS:
        module = kind(2, 2, bidirectional=True).to(dtype="float64").initialize(1)
        lengths = np.asarray([3, 1])
        assert gradcheck(lambda x, m=module, n=lengths: m(x, None, n), (rng.standard_normal((2, 3, 2)),), order=2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fallback_gradient_is_not_zero(kind: Any, rng: np.random.Generator) -> None:
    """Without kernels, all parameters and the input still learn."""
    module = kind(2, 3).initialize(1)
    x = Tensor(rng.standard_normal((2, 4, 2)).astype("float32"), requires_grad=True)
    with kernels.disabled():
        y, _ = module(x)
        array_namespace(y).sum(y * y).backward()
    assert all(np.abs(g).max() > 1e-4 for g in [x.grad, *(p.grad for p in module.parameters())])


def test_numpy_has_kernels(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((2, 4, 3)), rng.standard_normal((8, 3))
    h = rng.standard_normal((8, 2))
    assert "kernels.numpy.lstm" in kernels.explain("lstm", x, None, None, w, h, None, None, None, reverse=False)
    w, h = w[:6], h[:6]
    assert "kernels.numpy.gru" in kernels.explain("gru", x, None, w, h, None, None, None, reverse=False)
    assert "generic" in kernels.explain("gru", x[:0], None, w, h, None, None, None, reverse=False)


@pytest.mark.parametrize("kind", KINDS)
def test_many_results_stay_as_they_were(kind: Any, rng: np.random.Generator) -> None:
    """Buffers that a backward pass works in are seen by no result, of this call or an earlier one."""
    module = kind(2, 3, num_layers=2).initialize(1)
    kept = []
    for _ in range(3):
        x = Tensor(rng.standard_normal((2, 4, 2)).astype("float32"), requires_grad=True)
        y, state = module(x)
        alive = [x, y, *last_states(state)]
        kept += [(t, np.array(t.data)) for t in alive]
        array_namespace(y).sum(y * y).backward()
        kept += [(g, np.array(g)) for g in (x.grad, *(p.grad for p in module.parameters()))]
        for p in module.parameters():
            p.grad = None
    for value, before in kept:
        np.testing.assert_array_equal(to_numpy(value), before)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_between_layers(kind: Any, rng: np.random.Generator) -> None:
    module = kind(2, 8, num_layers=2, dropout=0.5).initialize(3)
    x = rng.standard_normal((3, 5, 2)).astype("float32")
    position = module.random_position
    first, second = module(x)[0], module(x)[0]
    assert np.abs(first - second).max() > 1e-3
    module.random_position = position
    np.testing.assert_array_equal(module(x)[0], first)
    plain = kind(2, 8, num_layers=2)
    plain.load_state_dict(module.state_dict())
    np.testing.assert_array_equal(module.eval()(x)[0], plain(x)[0])
    single = kind(2, 8, dropout=0.5).initialize(3)  # there is nothing between the layers of one
    np.testing.assert_array_equal(single(x)[0], single(x)[0])


@pytest.mark.one_device
def test_lengths_as_a_list_and_of_every_integer_dtype(backend: Backend, rng: np.random.Generator) -> None:
    module = build(layers.LSTM, backend, 2, 3)
    x = backend.asarray(rng.standard_normal((3, 300, 2)))
    expected = to_numpy(module(x, None, [300, 0, 7])[0])
    for dtype in ("uint16", "int32", "int64"):
        lengths = backend.asarray(np.asarray([300, 0, 7]), dtype=dtype)
        np.testing.assert_array_equal(to_numpy(module(x, None, lengths)[0]), expected)
    for lengths in ([300, 0, 7], backend.asarray(np.asarray([300, 0, 7]))):
        recorded, _ = module(Tensor(x, requires_grad=True), None, lengths)
        np.testing.assert_allclose(to_numpy(recorded), expected, rtol=1e-6, atol=1e-7)
    short = backend.asarray(np.asarray([200, 0, 7]), dtype="uint8")  # counts of steps do not fit this dtype
    np.testing.assert_allclose(to_numpy(module(x, None, short)[0])[0, :200], expected[0, :200], rtol=1e-6, atol=1e-7)


def test_values_at_first() -> None:
    module = layers.LSTM(3, 16).initialize(0)
    for parameter in module.parameters():
        assert 0.2 < np.abs(parameter.data).max() <= 0.25


def test_repr() -> None:
    for text in ("LSTM(3, 4)", "LSTM(3, 4, num_layers=2, bias=False, batch_first=False)",
                 "GRU(3, 4, dropout=0.5, bidirectional=True)", "LSTMCell(3, 4)", "GRUCell(3, 4, bias=False)"):
        assert repr(eval(text, dict(vars(layers)))) == text


def test_cells_step_as_their_layers(backend: Backend, rng: np.random.Generator) -> None:
    for kind, step in ((layers.LSTM, layers.LSTMCell), (layers.GRU, layers.GRUCell)):
        module, cell = build(kind, backend, 2, 3), build(step, backend, 2, 3)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
        x, state = backend.asarray(rng.standard_normal((2, 4, 2))), None
        y, _ = module(x)
        for t in range(4):
            state = cell(x[:, t, :], state)
            np.testing.assert_allclose(to_numpy(last_states(state)[0]), to_numpy(y)[:, t], atol=1e-6)


def test_tutorial_gates(rng: np.random.Generator) -> None:
    """A tutorial's step, f, i, c, o over [h, x] in columns, equals a cell's."""
    weight, bias = rng.standard_normal((12, 5)), rng.standard_normal((12, 1))
    h, c, x = rng.standard_normal((3, 1)), rng.standard_normal((3, 1)), rng.standard_normal((2, 1))
    cell = layers.LSTMCell(2, 3).to(dtype="float64")
    cell.load_state_dict(layers.from_joint_weights(weight, bias))
    ours = cell(x.T, (h.T, c.T))

    z = np.split(weight @ np.vstack([h, x]) + bias, 4)
    f, i, o = (1 / (1 + np.exp(-z[k])) for k in (0, 1, 3))
    c = f * c + i * np.tanh(z[2])
    np.testing.assert_allclose(ours[0].T, o * np.tanh(c), rtol=1e-12)
    np.testing.assert_allclose(ours[1].T, c, rtol=1e-12)


def test_reorder_gates(backend: Backend) -> None:
    stacked = backend.asarray(np.arange(24.0).reshape(8, 3))
    blocks = np.split(to_numpy(stacked), 4)
    for order, places in {"fico": (1, 0, 2, 3), "ifgo": (0, 1, 2, 3), "ofig": (2, 1, 3, 0)}.items():
        wanted = np.concatenate([blocks[k] for k in places])
        backend.assert_close(layers.reorder_gates(stacked, order), wanted)
    with pytest.raises(ArgumentError, match="order"):
        layers.reorder_gates(stacked, "fiic")
    with pytest.raises(ShapeError, match="four gates"):
        layers.reorder_gates(stacked[:6, ...])
    with pytest.raises(ShapeError, match="H \\+ I"):
        layers.from_joint_weights(stacked, stacked[:4, 0])


def test_functional_refuses_weights_that_do_not_fit(backend: Backend) -> None:
    def zeros(*shape: int) -> Any:
        return backend.asarray(np.zeros(shape))

    x = zeros(2, 4, 3)
    good = {"weight_ih": zeros(8, 3), "weight_hh": zeros(8, 2), "bias_ih": zeros(8), "bias_hh": zeros(8)}
    assert functional.lstm(x, None, None, **good, lengths=None, reverse=False)[0].shape == (2, 4, 2)
    for name, wrong, words in (("weight_ih", zeros(8), "4 H"), ("weight_hh", zeros(8, 3), "4 H"),
                               ("weight_ih", zeros(6, 3), "4 H"), ("bias_hh", zeros(2), "biases"),
                               ("bias_ih", zeros(8, 1), "biases")):
        with pytest.raises(ShapeError, match=words):
            functional.lstm(x, None, None, **{**good, name: wrong}, lengths=None, reverse=False)
