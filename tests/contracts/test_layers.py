"""What every public layer and loss must do, on every backend; the rows are in tests/specs.py and specs_losses.py."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from portable_nn import layers
from portable_nn.autodiff import Tensor, no_grad
from portable_nn.autodiff.gradcheck import gradcheck
from portable_nn.autodiff.tree import leaves, map_leaves
from portable_nn.backend.errors import DataError, DeviceError, DTypeError, PortableNNError
from portable_nn.backend.namespace import array_namespace
from portable_nn.kernels import disabled
from tests.helpers import Backend, assert_close, dtype_name, to_numpy
from tests.specs import LAYERS, Bad, Case, Spec
from tests.specs_attention import ATTENTION_LAYERS
from tests.specs_channels import CHANNELS
from tests.specs_losses import LOSSES
from tests.specs_recurrent import RECURRENT

SPECS = [*LAYERS, *CHANNELS, *LOSSES, *RECURRENT, *ATTENTION_LAYERS]
CASES = [pytest.param(case, id=f"{spec.kind.__name__}-{case.id}") for spec in SPECS for case in spec.cases]
CHECKED = [pytest.param(case, id=f"{spec.kind.__name__}-{case.id}") for spec in SPECS for case in spec.cases
           if case.checks_gradient]
BAD = [pytest.param(bad, id=f"{spec.kind.__name__}-{bad.id}") for spec in SPECS for bad in spec.bad]


def build(case: Case, backend: Backend) -> Any:
    """The case's module with values on the backend, read-only ones where it has such, in its widest floating dtype."""
    module = case.make().to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype)).initialize(1)
    for handle in module._handles().values():
        handle.data = backend.asarray(to_numpy(handle.data))
    return module


def place(case: Case, backend: Backend) -> tuple:
    return map_leaves(backend.asarray, case.inputs(np.random.default_rng(0)))


def expect(case: Case, module: Any) -> np.ndarray:
    """The formula in NumPy, in float64, of the state and inputs as the backend has them."""
    wide = lambda x: np.asarray(x, dtype=np.float64) if np.asarray(x).dtype.kind == "f" else np.asarray(x)  # noqa: E731
    state = {name: wide(to_numpy(x)) for name, x in module.state_dict().items()}
    return np.asarray(case.reference(state, *case.inputs(np.random.default_rng(0))))


def is_floating(x: Any, backend: Backend) -> bool:
    return backend.xp.isdtype(x.dtype, "real floating")


def run_recorded(module: Any, inputs: tuple, backend: Backend) -> tuple[Any, list[Tensor]]:
    """The output of a recorded call and the Tensors that went in, floating ones with a gradient."""
    tensors = map_leaves(lambda x: Tensor(x, requires_grad=is_floating(x, backend)), inputs)
    return module(*tensors), [x for x in leaves(tensors) if x.requires_grad]


def gradients(case: Case, backend: Backend) -> list[Any]:
    """The gradients of inputs and parameters for a random cotangent."""
    module, inputs = build(case, backend), place(case, backend)
    out, sources = run_recorded(module, inputs, backend)
    if not out.requires_grad:
        return []
    out.backward(backend.asarray(np.random.default_rng(1).standard_normal(out.shape), dtype=out.dtype))
    return [*(x.grad for x in sources), *(p.grad for p in module.parameters())]


def tolerance(backend: Backend) -> float:
    return 1e-12 if backend.has_float64 else 1e-5


def test_every_public_layer_has_a_row() -> None:
    public = {x for x in vars(layers).values() if isinstance(x, type) and issubclass(x, layers.Module)}
    rows = [spec.kind for spec in SPECS]
    assert set(rows) == public - {layers.Module}
    assert len(set(rows)) == len(rows)
    assert all(spec.cases for spec in SPECS)
    assert all(spec.bad for spec in SPECS)


@pytest.mark.parametrize("case", CASES)
def test_forward(case: Case, backend: Backend) -> None:
    module, inputs = build(case, backend), place(case, backend)
    expected = expect(case, module).astype(dtype_name(backend.float_dtype))
    out = module(*inputs)
    assert not isinstance(out, Tensor)
    assert_close(out, expected, rtol=tolerance(backend), atol=tolerance(backend))
    recorded, _ = run_recorded(build(case, backend), inputs, backend)
    assert isinstance(recorded, Tensor)
    with no_grad():
        constant, _ = run_recorded(build(case, backend), inputs, backend)
    assert isinstance(constant, Tensor)
    assert not constant.requires_grad
    for x in (recorded.data, constant.data):
        assert_close(x, out, rtol=tolerance(backend))  # of one namespace, dtype and device, too


@pytest.mark.one_device
@pytest.mark.parametrize("case", CASES)
def test_gradients_have_the_place_of_their_arrays(case: Case, backend: Backend) -> None:
    module, inputs = build(case, backend), place(case, backend)
    sources = [x for x in leaves(inputs) if is_floating(x, backend)] + [p.data for p in module.parameters()]
    found = gradients(case, backend)
    assert len(found) == len(sources)
    for g, x in zip(found, sources, strict=True):
        assert_close(g, backend.asarray(to_numpy(g), dtype=x.dtype))
        assert g.shape == x.shape
        assert g.dtype == x.dtype
        assert array_namespace(g) is array_namespace(x)


@pytest.mark.one_device
@pytest.mark.parametrize("case", CASES)
def test_gradients_with_and_without_kernels(case: Case, backend: Backend) -> None:
    found = gradients(case, backend)
    for generic in (True, False):
        with disabled(generic=generic):
            defined = gradients(case, backend)
        for g, definition in zip(found, defined, strict=True):
            assert_close(g, definition, rtol=10 * tolerance(backend), atol=tolerance(backend))


@pytest.mark.one_device
@pytest.mark.parametrize("case", CHECKED)
def test_gradients_are_those_of_the_formula(case: Case, backend: Backend) -> None:
    if not backend.has_float64:
        pytest.skip("differences need float64")
    assert gradcheck(build(case, backend), place(case, backend))


@pytest.mark.parametrize("case", CASES)
def test_copies(case: Case, backend: Backend) -> None:
    module, inputs = build(case, backend), place(case, backend)
    fresh = case.make().to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype)).initialize(2)
    fresh.load_state_dict({name: to_numpy(x) for name, x in module.state_dict().items()})
    fresh.random_position = module.random_position
    twins = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), fresh]
    expected = module(*inputs)
    for twin in twins:
        assert repr(twin) == repr(module)
        assert list(twin.state_dict()) == list(module.state_dict())
        assert all(a is not b for a, b in zip(twin.parameters(), module.parameters(), strict=True))
        assert_close(twin(*inputs), expected, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("case", CASES)
def test_mode_and_repr(case: Case) -> None:
    module = case.make()
    assert all(not m.training for m in module.eval().modules())
    assert all(m.training for m in module.train().modules())
    text = repr(module)
    assert text.startswith(type(module).__name__ + "(")
    if not module._modules:
        assert repr(eval(text, dict(vars(layers)))) == text


@pytest.mark.parametrize("case", CASES)
def test_forward_in_float32_stays_there(case: Case, backend: Backend) -> None:
    module = case.make().to(backend.device, xp=backend.xp).initialize(1)
    narrow = lambda x: backend.asarray(x, dtype="float32" if np.asarray(x).dtype.kind == "f" else None)  # noqa: E731
    inputs = map_leaves(narrow, case.inputs(np.random.default_rng(0)))
    out = module(*inputs)
    assert dtype_name(out.dtype) == "float32"
    assert_close(out, expect(case, module).astype(np.float32), rtol=1e-5, atol=1e-5)


@pytest.mark.one_device
@pytest.mark.parametrize("bad", BAD)
def test_bad_input(bad: Bad, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    if backend.name == "cupy" and bad.error is DataError:
        pytest.skip("values on a GPU are not looked at: the device would have to wait")
    # The modules that a bad call makes draw their values on the backend.
    monkeypatch.setattr("portable_nn.layers.storage.namespace_of_device", lambda device: (backend.xp, backend.device))

    def asarray(x: Any) -> Any:
        return backend.asarray(x, dtype="float32" if np.asarray(x).dtype.kind == "f" else None)

    with pytest.raises(bad.error) as caught:
        bad.call(asarray)
    check_error(caught.value, bad.words)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind.__name__)
def test_mixed_dtypes_and_libraries(spec: Spec, backend: Backend) -> None:
    case = spec.cases[0]
    module, inputs = build(case, backend), case.inputs(np.random.default_rng(0))
    if len(module.parameters()) == 0:
        pytest.skip("nothing to differ from")
    if backend.name.startswith("strict"):
        with pytest.raises(DeviceError) as caught:
            module(*inputs)
        check_error(caught.value, "to_device")
    if backend.has_float64 and all(np.asarray(x).dtype.kind == "f" for x in leaves(inputs)):
        with pytest.raises(DTypeError) as mixed:
            module(*map_leaves(lambda x: backend.asarray(x, dtype="float32"), inputs))
        check_error(mixed.value, "float32")


def check_error(error: Exception, words: str) -> None:
    """It is one of ours, with its three parts, and says what it should."""
    assert isinstance(error, PortableNNError)
    assert len(error.args) == 3
    assert all(isinstance(part, str) and part for part in error.args)
    assert words in str(error)
