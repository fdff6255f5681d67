"""The namespace comes from the arguments, and mixtures are refused by name."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from portable_nn.backend import namespace
from portable_nn.backend.errors import DeviceError, DTypeError
from portable_nn.backend.namespace import array_namespace, is_array, is_tensor, namespace_name, register_namespace
from tests.helpers import Backend


def test_backends(backend: Backend) -> None:
    x = backend.asarray([1.0, 2.0])
    assert array_namespace(x) is backend.xp
    assert array_namespace(None, 1, 2.0, x, True, x) is backend.xp
    assert is_array(x) and not is_tensor(x)
    assert namespace_name(backend.xp) == {"readonly": "numpy", "strict": "array_api_strict"}.get(
        backend.name.partition(":")[0], backend.name)


@pytest.mark.parametrize("arguments", [(), (1, None), ([1, 2],), ("text",), (np.ones(2), [1]), (np.ndarray,),
                                       (np.ma.masked_array([1.0, 2.0], mask=[False, True]),)])
def test_no_arrays(arguments: tuple[object, ...]) -> None:
    with pytest.raises(DTypeError):
        array_namespace(*arguments)


def test_two_libraries_are_named_in_order() -> None:
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(DeviceError, match="numpy and array_api_strict.*to_device"):
        array_namespace(np.ones(2), strict.ones(2))
    with pytest.raises(DeviceError, match="array_api_strict and numpy"):
        array_namespace(strict.ones(2), 3.0, np.ones(2))


def test_two_devices_of_one_library_are_named() -> None:
    strict = pytest.importorskip("array_api_strict")
    first, second = strict.__array_namespace_info__().devices()[:2]
    x, y = strict.ones(2, device=first), strict.ones(2, device=second)
    assert array_namespace(y, y, 2.0, None) is strict
    with pytest.raises(DeviceError, match=r"CPU_DEVICE.* and .*device1.*to_device"):
        array_namespace(x, None, y)


def test_recording_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace that records another wins over it, and over no third one."""
    monkeypatch.setattr(namespace, "_namespaces", dict(namespace._namespaces))
    monkeypatch.setattr(namespace, "_recording", {})
    monkeypatch.setattr(namespace, "_tensors", set())

    class Tape:
        data = np.ones(2)

    class Recorder:
        __name__ = "recorder"

    recorder = Recorder()
    raw = array_namespace(np.ones(2))
    register_namespace(Tape, recorder, records=raw)
    assert array_namespace(Tape(), np.ones(2)) is array_namespace(np.ones(2), Tape()) is recorder
    assert is_tensor(Tape()) and is_array(Tape())
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(DeviceError, match="recorder and array_api_strict"):
        array_namespace(Tape(), strict.ones(2))


def test_threads(backend: Backend) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(array_namespace(backend.asarray([1.0])))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [backend.xp] * 8
