"""Devices by name, moving and casting between libraries, and what is said when a library or GPU is missing."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable

import numpy as np
import pytest

from portable_nn.backend import devices
from portable_nn.backend.devices import (
    available_devices,
    convert,
    device_name,
    namespace_of_device,
    native_device,
    resolve_device,
    to_device,
    to_numpy,
)
from portable_nn.backend.errors import DeviceError, DTypeError, GradientError, MissingDependencyError
from tests.helpers import Backend

FakeCupy = Callable[[int, bool], None]


@pytest.fixture
def no_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)  # importing it raises ImportError


@pytest.fixture
def fake_cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    """A CuPy that counts as many GPUs as it is told, or finds no driver."""

    class CUDARuntimeError(RuntimeError):
        pass

    def install(count: int, driver: bool = True) -> None:
        def count_devices() -> int:
            if not driver:
                raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
            return count

        cupy = types.ModuleType("cupy")
        runtime = types.SimpleNamespace(getDeviceCount=count_devices, CUDARuntimeError=CUDARuntimeError)
        cupy.cuda = types.SimpleNamespace(runtime=runtime, Device=lambda number: f"Device({number})")
        monkeypatch.setitem(sys.modules, "cupy", cupy)

    return install


def test_without_cupy(no_cupy: None) -> None:
    assert (resolve_device("auto"), resolve_device("cpu"), available_devices()) == ("cpu", "cpu", ["cpu"])
    for device in ("cuda", "cuda:1"):
        with pytest.raises(MissingDependencyError, match="CuPy.*without it.*pip install .*cupy-cuda13x.*cupy-cuda12x"):
            resolve_device(device)


@pytest.mark.parametrize(("there", "said"), [("/usr/bin/nvidia-smi", "nvidia-smi is there"), (None, "probably no GPU")])
def test_without_cupy_says_what_is_known_of_a_gpu(no_cupy: None, monkeypatch: pytest.MonkeyPatch, there: str | None,
                                                  said: str) -> None:
    monkeypatch.setattr("shutil.which", lambda name: there)
    with pytest.raises(MissingDependencyError, match=said):
        to_device(np.ones(2), "cuda")


@pytest.mark.parametrize("driver", [True, False])
def test_without_gpu(fake_cupy: FakeCupy, driver: bool) -> None:
    fake_cupy(0, driver)
    assert (resolve_device("auto"), available_devices()) == ("cpu", ["cpu"])
    with pytest.raises(DeviceError, match="a GPU for device \"cuda\".*CuPy, but no GPU.*nvidia-smi"):
        resolve_device("cuda")


def test_with_gpus(fake_cupy: FakeCupy) -> None:
    fake_cupy(2)
    assert available_devices() == ["cpu", "cuda:0", "cuda:1"]
    assert [resolve_device(device) for device in ("auto", "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(DeviceError, match="one of the 2 devices.*cuda:2"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0", "", "CPU", None, 0])
def test_unknown_names(device: object) -> None:
    with pytest.raises(DeviceError, match='"cpu", "cuda", "cuda:1" or "auto"'):
        resolve_device(device)


def test_namespace_of_device(monkeypatch: pytest.MonkeyPatch) -> None:
    xp, native = namespace_of_device("cpu")
    assert (xp.asarray([1.0], dtype=xp.float32, device=native).dtype, native) == (np.float32, "cpu")
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setitem(sys.modules, "jax.numpy", None)
    with pytest.raises(MissingDependencyError, match="jax, for device.*pip install jax"):
        namespace_of_device("jax:cpu:0")


def test_device_name(backend: Backend) -> None:
    name = device_name(backend.asarray([1.0]))
    library, _, device = backend.name.partition(":")
    known = {"numpy": "cpu", "readonly": "cpu", "cupy": "cuda:0", "strict": f"array_api_strict:{device or 'cpu'}"}
    assert name == known.get(library, name) and (library in known or name.startswith(f"{library}:"))
    assert native_device(backend.asarray([1.0])) == backend.device
    assert resolve_device(name) == name


@pytest.mark.parametrize("data", [np.array(2.5), np.zeros((0, 3)), np.array([True, False]), np.arange(6).reshape(2, 3),
                                  np.array([1 + 2j]), np.linspace(0, 1, 7, dtype=np.float32)], ids=repr)
def test_to_numpy(backend: Backend, data: np.ndarray) -> None:
    x = backend.asarray(data)
    host = to_numpy(x)
    assert type(host) is np.ndarray and host.shape == data.shape
    np.testing.assert_allclose(host, data, rtol=1e-6)
    assert (host is x) == isinstance(x, np.ndarray)


def test_a_dtype_that_is_none(backend: Backend) -> None:
    with pytest.raises(DTypeError, match="'float23'"):
        convert(backend.asarray([1.0]), dtype="float23")


def test_to_numpy_of_other_things() -> None:
    assert isinstance(to_numpy(np.float32(3)), np.ndarray)
    with pytest.raises(DTypeError, match="numpy.asarray"):
        to_numpy([1, 2])


def test_there_and_back(backend: Backend) -> None:
    host = np.arange(6, dtype=np.float32).reshape(2, 3)
    host.flags.writeable = False
    name = device_name(backend.asarray([1.0]))
    moved = to_device(host, name)
    backend.assert_close(moved, host, rtol=0)
    assert to_device(moved, name) is moved
    back = to_device(moved, "cpu")
    assert isinstance(back, np.ndarray)
    np.testing.assert_array_equal(back, host)


def test_convert(backend: Backend) -> None:
    host = np.array([[0.0, 1.5], [2.5, 3.0]])
    x = convert(host, xp=backend.xp, device=backend.device, dtype="float32")
    backend.assert_close(x, host.astype(np.float32), rtol=0)
    for dtype in ("int32", backend.xp.int32, np.int32, np.dtype("int32")):
        backend.assert_close(convert(x, dtype=dtype), host.astype(np.int32))
    assert convert(x, dtype=x.dtype) is x and convert(x) is x
    assert convert(x, xp=backend.xp) is x
    np.testing.assert_array_equal(convert(x, device="cpu", dtype=np.float64), host)
    backend.assert_close(convert(np.array([True]), xp=backend.xp, device=backend.device), np.array([True]))
    if not isinstance(x, np.ndarray):
        swapped = convert(np.array([1, 2], dtype=">i4"), xp=backend.xp, device=backend.device)
        backend.assert_close(swapped, np.array([1, 2], dtype=np.int32))


def test_convert_between_devices_of_one_library() -> None:
    strict = pytest.importorskip("array_api_strict")
    x = strict.asarray([1.0, 2.0], dtype=strict.float64, device=strict.Device("device1"))
    assert device_name(to_device(x, "array_api_strict:cpu")) == "array_api_strict:cpu"
    assert device_name(convert(x, device=strict.Device("device2"))) == "array_api_strict:device2"
    narrow = convert(x, device="array_api_strict:no_float64", dtype="float32")
    assert (device_name(narrow), narrow.dtype) == ("array_api_strict:no_float64", strict.float32)
    assert device_name(convert(np.ones(2), xp=strict)) == "array_api_strict:cpu"
    assert device_name(convert(np.ones(2), xp=strict, device="device1")) == "array_api_strict:device1"
    with pytest.raises(DTypeError, match="no_float64.*float64"):
        to_device(np.ones(2), "array_api_strict:no_float64")
    with pytest.raises(DeviceError, match="device1.*nowhere"):
        to_device(x, "array_api_strict:nowhere")


def test_tensors(backend: Backend) -> None:
    """A Tensor is read, named and cast like its array, and moved by nobody: that would lose its tape."""
    from portable_nn.autodiff import Tensor

    raw = backend.asarray([1.0, 2.0])
    x = Tensor(raw, requires_grad=True)
    assert (device_name(x), native_device(x)) == (device_name(raw), backend.device)
    np.testing.assert_array_equal(to_numpy(x), to_numpy(raw))
    assert to_device(x, device_name(raw)) is x
    assert convert(x, dtype="float32").data.dtype == backend.xp.float32
    elsewhere = "array_api_strict:cpu" if device_name(raw) != "array_api_strict:cpu" else "cpu"
    with pytest.raises(GradientError, match=r"Tensor\(to_device"):
        to_device(x, elsewhere)


def test_importing_loads_no_heavy_library() -> None:
    code = ("import sys, numpy as np, portable_nn.backend as b\n"
            "from portable_nn.backend import random, special\n"
            "b.erf(np.ones(9, dtype=np.float32)); b.to_device(np.ones(3), 'cpu'); b.resolve_device('cpu')\n"
            "random.words(b.Stream(0, 'a'), 3); b.scatter_add(np.array([0]), np.ones((1, 2)), 3)\n"
            "print([m for m in ('cupy', 'scipy', 'sklearn', 'pandas', 'torch', 'jax') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parity
def test_torch() -> None:
    torch = pytest.importorskip("torch")
    host = np.arange(3.0)
    host.flags.writeable = False
    x = to_device(host, "torch:cpu")
    assert (device_name(x), x.dtype) == ("torch:cpu", torch.float64)
    np.testing.assert_array_equal(to_numpy(x.requires_grad_(True)), host)
    assert convert(x, dtype="float32").dtype == torch.float32
    assert devices.namespace_of_device("torch:cpu")[1] == torch.device("cpu")
    np.testing.assert_array_equal(to_numpy(torch.tensor([1 + 2j]).conj()), [1 - 2j])
    with pytest.raises(DTypeError, match="bfloat16"):
        to_numpy(torch.ones(2, dtype=torch.bfloat16))
