"""What goes into recorded launches and comes out of them, whatever its size, layout and place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

import portable_nn as pnn
from portable_nn import ArgumentError, CaptureError, layers
from portable_nn.autodiff import Tensor
from tests.cuda.steps import recordable_products
from tests.helpers import to_numpy


@pytest.fixture(autouse=True)
def device(gpu: Any) -> Iterator[str]:
    with recordable_products():
        yield "cuda:0"


def shifted(x: np.ndarray, by: int) -> Any:
    """x on the GPU, `by` elements after where an array would begin."""
    import cupy

    whole = cupy.zeros((x.size + by,), dtype=x.dtype)
    whole[by:] = cupy.asarray(x.reshape(-1))
    return whole[by:].reshape(x.shape)


SHAPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "a number": ("f", ()), "nothing": ("f", (0, 3)), "one byte": ("B", (1,)), "odd": ("B", (4097,)),
    "halves": ("e", (33, 7)), "indices": ("q", (129,)), "many": ("f", (3, 5000)),
    "more": ("f", (2200, 1000)), "doubles": ("d", (2049,))}


@pytest.mark.parametrize("shift", [0, 1, 4])
@pytest.mark.parametrize("name", SHAPES)
def test_inputs_and_results(name: str, shift: int) -> None:
    (char, shape), rng = SHAPES[name], np.random.default_rng(0)
    step = pnn.capture(lambda x, y: {"first": x, "second": (y, x)})
    for _ in range(6):
        x, y = ((rng.random(shape) * 200).astype(char) for _ in range(2))
        out = step(shifted(x, shift), Tensor(shifted(y, 0)))
        np.testing.assert_array_equal(to_numpy(out["first"]), x)
        np.testing.assert_array_equal(to_numpy(out["second"][0]), y)
        np.testing.assert_array_equal(to_numpy(out["second"][1]), x)
    assert step.recorded == 1


def test_layouts(order: int) -> None:
    import cupy

    step = pnn.capture(lambda x: (x.T, x[:, ::2], x + 1))
    for number in range(6):
        x = np.arange(24.0).reshape(4, 6) + number
        for given in (cupy.asarray(x), cupy.asarray(x.T.copy()).T, cupy.asarray(np.repeat(x, 2, axis=1))[:, ::2]):
            for found, expected in zip(step(given), (x.T, x[:, ::2], x + 1), strict=True):
                np.testing.assert_array_equal(to_numpy(found), expected)
    assert step.recorded == 1


def test_more_launches_than_slots() -> None:
    """The ring comes round; results that were returned stay what they were."""
    import cupy

    model = layers.Dropout(0.5)
    step, host = pnn.capture(lambda x, y: model(x) + y), layers.Dropout(0.5)
    found, expected = [], []
    for number in range(150):
        x, y = np.full((5, 3), number + 1, dtype=np.float32), np.float32(number)
        found.append(step(cupy.asarray(x), cupy.asarray(y)))
        expected.append(host(x) + y)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(to_numpy(x), y)


def test_more_inputs_than_blocks_know(order: int) -> None:
    import cupy

    step = pnn.capture(lambda *arrays: [x * 2 for x in arrays])
    for number in range(5):
        given = [np.full((i % 3,), i + number, dtype=np.float32) for i in range(90)]
        for x, out in zip(given, step(*[cupy.asarray(x) for x in given]), strict=True):
            np.testing.assert_array_equal(to_numpy(out), 2 * x)


class Pair(NamedTuple):
    x: Any
    options: dict[str, Any]


def test_arrays_of_the_host_are_copied_in() -> None:
    """Beside arrays of the GPU, or in a step that runs there; numbers and other constants decide what is recorded."""
    import cupy

    weight = cupy.asarray(np.arange(3.0, dtype=np.float32))
    step = pnn.capture(lambda pair, name, scale=1.0: pair.x * pair.options["y"] * scale + (1 if name == "a" else 0))
    for number in range(12):
        x, name, scale = np.full((2, 3), number, dtype=np.float32), "ab"[number // 6], (1.0, 2)[number // 3 % 2]
        y = step(Pair(x, {"y": weight, "nothing": None}), name, scale=scale)
        assert type(y) is cupy.ndarray
        np.testing.assert_array_equal(to_numpy(y), x * np.arange(3.0) * scale + (name == "a"))
    assert step.recorded == 4
    model = layers.Linear(3, 2).initialize(0).to("cuda:0")
    step = pnn.capture(lambda x: model(pnn.to_device(x, "cuda:0")))
    for number in range(6):
        x = np.full((2, 3), number, dtype=np.float32)
        np.testing.assert_array_equal(to_numpy(step(x)), to_numpy(model(cupy.asarray(x))))
    assert step.recorded == 1


def test_numbers_of_other_types_are_other_constants() -> None:
    import cupy

    x, step = cupy.ones((2,), dtype=cupy.float32), pnn.capture(lambda x, n: x * type(n)(n))
    for number in (1, 1.0, True, np.float32(1), 0.0, -0.0):
        for _ in range(4):
            found = to_numpy(step(x, number))
        assert found.dtype == np.float32 and np.signbit(found[0]) == np.signbit(number)
    assert step.recorded == 6


def test_a_dict_is_not_taken_for_options() -> None:
    import cupy

    x, step = cupy.ones((2,), dtype=cupy.float32), pnn.capture(lambda a: a["a"] * 2 if isinstance(a, dict) else a * 3)
    for _ in range(4):
        np.testing.assert_array_equal(to_numpy(step({"a": x})), [2, 2])
        np.testing.assert_array_equal(to_numpy(step(a=x)), [3, 3])
    assert step.recorded == 2


def test_refused_arguments_are_named() -> None:
    import array_api_strict
    import cupy

    x = cupy.ones((2, 3), dtype=cupy.float32)
    step = pnn.capture(lambda *given, **options: x + 1)
    with pytest.raises(ArgumentError, match=r"argument 2\[0\]\['y'\].*cuda:0.*array_api_strict.*to_device"):
        step(x, ({"y": array_api_strict.ones((2,))},))
    with pytest.raises(ArgumentError, match="argument 'words'.*dtype.*<U1"):
        step(x, words=np.asarray(["a"]))
    with pytest.raises(CaptureError, match="inside the step"):
        step(Tensor(x, requires_grad=True))
    if cupy.cuda.runtime.getDeviceCount() > 1:
        with cupy.cuda.Device(1):
            other = cupy.ones((2, 3), dtype=cupy.float32)
        with pytest.raises(ArgumentError, match="argument 2.*cuda:0"):
            step(x, other)


def test_a_captured_step_inside_another() -> None:
    import cupy

    inner = pnn.capture(lambda x: x * 2)
    outer = pnn.capture(lambda x: inner(x) + 1)
    for number in range(5):
        assert to_numpy(outer(cupy.full((2,), float(number)))).tolist() == [2 * number + 1] * 2
    assert (outer.recorded, inner.recorded) == (1, 0)
