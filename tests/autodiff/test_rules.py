"""Every gradient rule against differences, on every backend; second order on NumPy and on array-api-strict."""

from __future__ import annotations

import array_api_compat
import numpy as np
import pytest

from portable_nn.autodiff import gradcheck
from portable_nn.autodiff.namespace import tensor_namespace
from portable_nn.autodiff.rules import COMPOSED, RULES
from tests.autodiff.case import Case
from tests.autodiff.cases import CASES
from tests.helpers import Backend


def check(case: Case, backend: Backend, order: int) -> None:
    if not backend.has_float64:
        pytest.skip("the device has no float64")
    inputs = tuple(backend.asarray(np.asarray(x, dtype=np.float64)) for x in case.inputs(np.random.default_rng(1)))
    xp = tensor_namespace(backend.xp)
    assert gradcheck(lambda *arrays: case.function(xp, *arrays), inputs, order=order)


@pytest.mark.one_device
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_gradient(case: Case, backend: Backend) -> None:
    check(case, backend, 1)


@pytest.mark.one_device
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_second_order(case: Case, backend: Backend) -> None:
    if backend.name not in ("numpy", "strict:device1", "cupy"):
        pytest.skip("second order is checked on one device of each library")
    check(case, backend, 2)


def test_every_rule_has_a_case() -> None:
    tensor_namespace(array_api_compat.array_namespace(np.empty(0)))  # loads the rules
    covered = {case.name.split(":")[0] for case in CASES}
    assert not (set(RULES) | set(COMPOSED)) - covered
