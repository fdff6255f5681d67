"""Half precision as what activations are stored in: every layer in such a context, against itself in float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import functional, layers
from portable_nn.autodiff.tree import leaves, map_leaves
from portable_nn.backend.namespace import array_namespace
from portable_nn.functional.products import precision
from portable_nn.kernels import registry
from tests.contracts.test_layers import CHECKED
from tests.cuda.checks import host_dtype, read
from tests.cuda.steps import recordable_products
from tests.specs import Case

NAMES = ["bfloat16", "float16"]
#: The distance of neighbouring numbers at 1.
EPS = {"bfloat16": 2.0**-7, "float16": 2.0**-10}


@pytest.fixture(autouse=True)
def usable(gpu: Any) -> None:
    from portable_nn.kernels.cupy import blas

    if not blas.usable():
        pytest.skip("products are CuPy's")


def run(case: Case, gpu: Any, half: Any = None, narrow: bool = False) -> tuple[Any, list[Any], list[Any]]:
    """The result, the floating Tensors that went in, and their gradients and those of parameters, in float32 or a
    context of half precision, where inputs may be in it too."""
    module = case.make().to("cuda", dtype="float32").initialize(1)
    rng = np.random.default_rng(0)

    def tensor(x: Any) -> Any:
        x = gpu.asarray(np.asarray(x))
        floating = gpu.xp.isdtype(x.dtype, "real floating")
        x = x.astype(host_dtype(half) if half and narrow and x.ndim else "float32") if floating else x
        return pnn.Tensor(x, requires_grad=floating)

    inputs = map_leaves(tensor, case.inputs(rng))
    with precision(half or "float32"):
        out = module(*inputs)
    sources = [x for x in leaves(inputs) if x.requires_grad]
    if out.requires_grad:
        g = np.random.default_rng(1).standard_normal(out.shape).astype("float32")
        out.backward(gpu.asarray(g).astype(out.dtype))
    return out, sources, [*(x.grad for x in sources), *(p.grad for p in module.parameters())]


def near(actual: Any, wanted: Any, eps: float, what: str) -> None:
    """Within some roundings of the largest values, and closer on the whole: a relu may fall on the other side of 0."""
    actual = actual.dense() if hasattr(actual, "dense") else actual
    wanted = wanted.dense() if hasattr(wanted, "dense") else wanted
    got, exact = read(actual), read(wanted)
    assert got.shape == exact.shape, what
    scale = 2 * np.max(np.abs(exact), initial=0.0)
    assert np.max(np.abs(got - exact), initial=0) <= 32 * eps * scale + eps, what
    assert np.linalg.norm(got - exact) <= 24 * eps * np.linalg.norm(exact) + eps * np.sqrt(exact.size), what


@pytest.mark.parametrize("narrow", [False, True], ids=["float32 in", "half in"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CHECKED)
def test_layers(gpu: Any, case: Case, name: str, narrow: bool) -> None:
    """Values and gradients; gradients have the dtypes of what they are for."""
    compare(run(case, gpu), run(case, gpu, name, narrow), name)


@pytest.mark.parametrize("pair", [False, True], ids=["definition", "generic"])
@pytest.mark.parametrize("case", CHECKED)
def test_layers_without_kernels(gpu: Any, case: Case, pair: bool) -> None:
    exact = run(case, gpu)
    with registry.disabled(generic=pair):
        found = run(case, gpu, "bfloat16", True)
    compare(exact, found, "bfloat16")


def compare(exact: tuple, actual: tuple, name: str) -> None:
    (wanted, _, wanted_gradients), (out, sources, gradients) = exact, actual
    assert out.dtype in (host_dtype("float32"), host_dtype(name))
    near(out.data, wanted.data, EPS[name], "value")
    for i, (g, w) in enumerate(zip(gradients, wanted_gradients, strict=True)):
        assert (g is None) == (w is None)
        if g is not None:
            assert g.dtype == (sources[i].dtype if i < len(sources) else host_dtype("float32"))
            near(g, w, EPS[name], f"gradient {i}")


#: Functions of a half h (2, 3) and a float32 w (3,), and whether the result is half.
MIXED: dict[str, tuple[Any, bool]] = {
    "add": (lambda xp, h, w: w + h, False), "multiply": (lambda xp, h, w: h * w, False),
    "number": (lambda xp, h, w: 1 - 2.0 * h / 3, True), "power": (lambda xp, h, w: h**2, True),
    "where": (lambda xp, h, w: xp.where(h.data > 0, h, w), False),
    "where half": (lambda xp, h, w: xp.where(h.data > 0, h, 2 * h), True),
    "concat": (lambda xp, h, w: xp.concat([h, xp.broadcast_to(w, (2, 3))], axis=0), False),
    "stack": (lambda xp, h, w: xp.stack([h, h + 1]), True), "unstack": (lambda xp, h, w: xp.unstack(h)[1], True),
    "matmul": (lambda xp, h, w: h @ w, False), "matmul half": (lambda xp, h, w: h @ xp.matrix_transpose(h), True),
    "sum": (lambda xp, h, w: xp.sum(h, axis=0), True), "mean": (lambda xp, h, w: xp.mean(h), True),
    "var": (lambda xp, h, w: xp.var(h, axis=1), True), "max": (lambda xp, h, w: xp.max(h, axis=1), True),
    "getitem": (lambda xp, h, w: h[:, 1:], True), "reshape": (lambda xp, h, w: xp.reshape(h, (3, 2)), True),
    "permute": (lambda xp, h, w: xp.permute_dims(h, (1, 0)), True), "exp": (lambda xp, h, w: xp.exp(h), True),
    "take": (lambda xp, h, w: xp.take(h, xp.asarray([0, 0, 1], device=h.device), axis=1), True),
    "clip": (lambda xp, h, w: xp.clip(h, -0.5, 0.5), True), "maximum": (lambda xp, h, w: xp.maximum(h, w), False),
    "cumulative sum": (lambda xp, h, w: xp.cumulative_sum(h, axis=1), True),
    "astype": (lambda xp, h, w: xp.astype(h, xp.float32) + w, False),
    "gelu": (lambda xp, h, w: functional.gelu(h, approximate="none"), True),
    "generic": (lambda xp, h, w: generic(functional.softmax, h, axis=-1), True),
    "definition": (lambda xp, h, w: generic(functional.gelu, h, False, approximate="none"), True),
}


def generic(function: Any, x: Any, pair: bool = True, **options: Any) -> Any:
    with registry.disabled(generic=pair):
        return function(x, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("operation", MIXED)
def test_operations(gpu: Any, operation: str, name: str, rng: np.random.Generator) -> None:
    """Recorded operations of half precision, alone and beside float32: each gradient has its own operand's dtype."""
    function, narrow = MIXED[operation]
    values = [np.round(rng.standard_normal(shape) * 4).astype("f") / 4 + 0.125 for shape in ((2, 3), (3,))]
    results = []
    for dtype in ("float32", name):
        h, w = (pnn.Tensor(gpu.asarray(x.astype("f")).astype(host_dtype(kind)), requires_grad=True)
                for x, kind in zip(values, (dtype, "float32")))
        with precision("float32" if dtype == "float32" else name):
            out = function(array_namespace(h), h, w)
        out.backward(array_namespace(out.data).ones_like(out.data))
        results.append((out.data, h.grad, w.grad))
        assert h.grad.dtype == h.dtype and (w.grad is None or w.grad.dtype == "float32")
        assert out.dtype == host_dtype(dtype if narrow else "float32")
    for wanted, actual in zip(*results, strict=True):
        assert (wanted is None) == (actual is None)
        if wanted is not None:
            near(actual, wanted, EPS[name], operation)


def test_bfloat16_is_a_floating_dtype(gpu: Any) -> None:
    import ml_dtypes

    x = gpu.asarray(np.asarray([[0.5, -2, 3]], np.float32))
    xp, dtype = array_namespace(x), np.dtype(ml_dtypes.bfloat16)
    half = xp.astype(x, dtype)
    assert xp.isdtype(dtype, "real floating") and xp.isdtype(dtype, ("bool", "numeric")) and xp.isdtype(dtype, dtype)
    assert not xp.isdtype(dtype, "integral") and not xp.isdtype(dtype, xp.float32) and xp.isdtype(x.dtype, xp.float32)
    assert float(xp.finfo(dtype).max) > 1e38 and float(xp.finfo(half).eps) == EPS["bfloat16"]
    assert xp.finfo(xp.float32).bits == xp.finfo(x).bits == 32
    assert xp.result_type(half, x) == xp.float32 and xp.result_type(half, 2.0) == dtype == xp.result_type(half, half)
    ones = xp.ones((1, 3000), dtype=dtype, device=x.device)
    for found, wanted in ((xp.sum(ones, axis=1), 3008), (xp.mean(ones), 1), (xp.max(half), 3), (xp.argmin(half), 1),
                          (xp.sum(ones, dtype=xp.float32), 3000), (xp.any(xp.logical_not(half)), False)):
        assert float(found.ravel()[0]) == wanted
    assert xp.sort(half, axis=-1).dtype == xp.sign(half).dtype == xp.full_like(half, 2).dtype == dtype


def test_contexts(gpu: Any) -> None:
    """Half precision is stored in a context of it alone, and mixed dtypes are refused elsewhere."""
    from portable_nn.kernels.cupy.products import half_dtype

    x, weight = gpu.asarray(np.ones((2, 3), np.float32)), gpu.asarray(np.ones((4, 3), np.float32))
    narrow = x.astype("float16")
    assert half_dtype() is None
    with precision("tf32"):
        assert half_dtype() is None
    with precision("float16"):
        assert half_dtype() == "float16"
        assert functional.linear(narrow, weight, None, activation=None).dtype == "float16"
        with pytest.raises(pnn.DTypeError):
            functional.linear(narrow.astype("float64"), weight, None, activation=None)
        with precision("float32"):
            assert functional.linear(x, weight, None, activation=None).dtype == "float32"
        with precision("float16", emulate=True):
            assert half_dtype() is None
        with pytest.raises(pnn.DTypeError):  # NumPy is not changed by the context
            functional.linear(narrow.get(), weight.get(), None, activation=None)
    with pytest.raises(pnn.DTypeError):
        functional.linear(narrow, weight, None, activation=None)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("activation", [None, "relu", "gelu", "tanh"])
def test_emulation_is_what_kernels_compute(gpu: Any, activation: str | None, name: str,
                                           rng: np.random.Generator) -> None:
    """Two linear layers: NumPy in a context that emulates, CuPy in one that stores, a rounding apart at most."""
    values = [rng.standard_normal(shape).astype("f") / 2 for shape in ((9, 16), (24, 16), (8, 24))]
    results = []
    for place, emulate in ((lambda x: x, True), (gpu.asarray, False)):
        x, *weights = (pnn.Tensor(place(value), requires_grad=True) for value in values)
        with precision(name, emulate=emulate):
            out = functional.linear(x, weights[0], None, activation=activation)
            out = functional.linear(out, weights[1], None, activation=None)
            out.backward(array_namespace(out.data).ones_like(out.data))
        results.append([pnn.to_numpy(a).astype("f") for a in (out.data, x.grad, *(w.grad for w in weights))])
    for emulated, computed in zip(*results, strict=True):
        assert np.linalg.norm(emulated - computed) <= EPS[name] / 2 * np.linalg.norm(emulated)


@pytest.mark.parametrize("name", NAMES)
def test_products_of_mixed_dtypes(gpu: Any, name: str, rng: np.random.Generator) -> None:
    """The float32 factor is rounded, as two of float32 would be; half precision is not widened to be rounded again."""
    a, b = (gpu.asarray(rng.standard_normal(shape).astype("f")) for shape in ((2, 3, 4), (4, 5)))
    narrow = a.astype(host_dtype(name)), b.astype(host_dtype(name))
    xp = array_namespace(a)
    with precision(name):
        exact = xp.matmul(narrow[0].astype("f"), narrow[1].astype("f"))
        for x1, x2 in ((a, narrow[1]), (narrow[0], b), (a[0, 0], narrow[1]), (narrow[0], b[:, 0])):
            found = xp.matmul(x1, x2)
            assert found.dtype == "float32"
            wanted = exact[0, 0] if x1.ndim == 1 else exact[..., 0] if x2.ndim == 1 else exact
            np.testing.assert_array_equal(found.get(), wanted.get())
        assert xp.matmul(*narrow).dtype == host_dtype(name)


@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_run_again_in_the_precision_of_their_first_run(gpu: Any, name: str) -> None:
    layer = layers.Sequential(layers.Linear(3, 4), layers.GELU(), layers.Linear(4, 2)).to("cuda").initialize(0)
    gradients = []
    for run_again in (False, True):
        x = pnn.Tensor(gpu.asarray(np.ones((2, 3), np.float32)), requires_grad=True)
        with precision(name):
            out = pnn.checkpoint(layer, x) if run_again else layer(x)
        out.backward(array_namespace(out.data).ones_like(out.data))
        gradients.append(read(x.grad))
    np.testing.assert_array_equal(*gradients)


class Words(layers.Module):
    """A Transformer, or an LSTM, that classifies rows of words."""

    def __init__(self, kind: str, width: int = 16) -> None:
        self.embed, self.positions = layers.Embedding(11, width), layers.LearnedPositions(9, width)
        if kind == "lstm":
            self.body: layers.Module = layers.LSTM(width, width)
        else:
            layer = layers.TransformerEncoderLayer(width, 2, 2 * width, 0.1, activation="gelu")
            self.body = layers.TransformerEncoder(layer, 2)
        self.out = layers.Linear(width, 3)

    def forward(self, words: Any) -> Any:
        h = self.body(self.positions(self.embed(words)))
        h = h[0] if isinstance(h, tuple) else h
        return self.out(array_namespace(h).mean(h, axis=1))


def convolutions() -> layers.Module:
    return layers.Sequential(layers.Conv1d(4, 8, 3, padding=1), layers.BatchNorm1d(8), layers.ReLU(),
                             layers.MaxPool1d(2), layers.Flatten(), layers.Linear(32, 8), layers.ReLU(),
                             layers.Linear(8, 3))


def fitted(kind: str, name: str, capture: bool) -> tuple[list[float], dict[str, np.ndarray], Any]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 36)
    x = np.clip(rng.integers(0, 6, (36, 9)) + 2 * y[:, None], 0, 10)
    x = rng.normal(size=(36, 4, 8)).astype("f") + y[:, None, None] if kind == "cnn" else x
    model = (convolutions() if kind == "cnn" else Words(kind)).to("cuda").initialize(0)
    optimizer = pnn.optim.AdamW(model.parameters(), lr=0.01)
    seen: set[Any] = set()
    metrics = {"accuracy": lambda prediction, target: seen.add(prediction.dtype) or np.mean(
        np.argmax(prediction, -1) == target)}
    history = pnn.fit(model, layers.CrossEntropyLoss(), optimizer, train=(x, y), epochs=3, batch_size=12,
                      validation=(x, y), metrics=metrics, capture=capture, precision=name, progress=False, seed=1)
    assert seen == {np.dtype("float32")}
    with precision(name):
        out = pnn.predict(model, x)
        scores = pnn.evaluate(model, x, y)
    assert out.dtype == "float32" and isinstance(scores["accuracy"], float)
    return [row["train"] for row in history], {n: pnn.to_numpy(v) for n, v in model.state_dict().items()}, out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["transformer", "lstm", "cnn"])
def test_training(gpu: Any, kind: str, name: str) -> None:
    """A run in half precision, captured and not, is near the one in float32; predictions are float32."""
    exact = fitted(kind, "float32", False)[0]
    losses, weights, _ = fitted(kind, name, False)
    assert losses[-1] < losses[0]
    np.testing.assert_allclose(losses, exact, atol=30 * EPS[name])
    with recordable_products():
        again, same, _ = fitted(kind, name, True)
    assert again == losses and all(x.dtype == np.float32 for x in weights.values() if x.dtype.kind == "f")
    for key, value in weights.items():
        np.testing.assert_array_equal(same[key], value)
