"""Rules that are wrong by 0.1 % must fail the checker: every rule of the table, and fused operations' backwards."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np
import pytest

from portable_nn import functional
from portable_nn.autodiff import gradcheck
from portable_nn.autodiff.namespace import tensor_namespace
from portable_nn.autodiff.rules import RULES, Rule
from portable_nn.backend.errors import GradientError
from portable_nn.functional.fused import FusedNode
from portable_nn.kernels import registry
from tests.autodiff.case import Case
from tests.autodiff.cases import CASES, FAMILIES

TNP = tensor_namespace(array_api_compat.array_namespace(np.empty(0)))
#: Rules that are zero everywhere cannot be off by a factor; these are off by 0.1 % of the incoming gradient.
ZERO = {"sign", "floor", "ceil", "round", "trunc", "floor_divide"}
CONSTANT = {("copysign", "x2")}
TABLE = [(name, argument) for name, rules in RULES.items() for argument in rules if (name, argument) not in CONSTANT]


def corrupt(rule: Rule, name: str) -> Any:
    right = rule.function
    if name in ZERO:
        return lambda xp, g, *saved: right(xp, g, *saved) + g * 0.001
    return lambda xp, g, *saved: right(xp, g, *saved) * 1.001


@pytest.mark.parametrize(("name", "argument"), TABLE, ids=lambda part: part)
def test_every_rule(name: str, argument: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [case for case in CASES if case.name.split(":")[0] == name]
    rule = RULES[name][argument]
    monkeypatch.setattr(rule, "function", corrupt(rule, name))
    assert any(not passes(case) for case in cases)


def passes(case: Case) -> bool:
    """Whether the checker finds nothing wrong. (With the right rules it does not: tests/autodiff/test_rules.py.)"""
    try:
        return gradcheck(lambda *arrays: case.function(TNP, *arrays), case.inputs(np.random.default_rng(1)))
    except GradientError as error:
        assert "off by" in str(error)
        return False


def test_every_family_is_covered() -> None:
    assert {name for name, _ in TABLE} == set(RULES)
    for cases in FAMILIES.values():
        assert any(case.name.split(":")[0] in RULES for case in cases)


def rng(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=shape)


INDICES = np.asarray([0, 2, 2, 1])
FUSED = {
    "relu": (functional.relu, (rng(3, 4),)), "sigmoid": (functional.sigmoid, (rng(3, 4),)),
    "tanh": (functional.tanh, (rng(3, 4),)), "gelu": (lambda x: functional.gelu(x, approximate="none"), (rng(3, 4),)),
    "softmax": (lambda x: functional.softmax(x, axis=-1), (rng(3, 4),)),
    "log_softmax": (lambda x: functional.log_softmax(x, axis=-1), (rng(3, 4),)),
    "linear": (lambda x, w, b: functional.linear(x, w, b, activation="gelu"), (rng(3, 4), rng(2, 4), rng(2))),
    "layer_norm": (lambda x, w, b: functional.layer_norm(x, w, b, eps=1e-5), (rng(3, 4), rng(4), rng(4))),
    "embedding": (lambda w: functional.embedding(INDICES, w), (rng(3, 2),)),
    "embedding_bag": (
        lambda w, s: functional.embedding_bag(INDICES, np.asarray([0, 3]), w, s, mode="sum"), (rng(3, 2), rng(4))),
    "cross_entropy": (lambda x: functional.cross_entropy(x, np.asarray([0, 3, 1]), None), (rng(3, 4),)),
    "binary_cross_entropy_with_logits": (
        lambda x: functional.binary_cross_entropy_with_logits(x, np.asarray([0.0, 1.0, 0.25])), (rng(3),)),
}


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "generic"])
def test_fused_operations(name: str, kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    f, inputs = FUSED[name]
    right = FusedNode.pull

    def wrong(self: FusedNode, xp: Any, g: Any) -> Any:
        return [(parent, None if x is None else x * 1.001) for parent, x in right(self, xp, g)]

    def check() -> bool:
        if kernels:
            return gradcheck(f, inputs)
        with registry.disabled(generic=True):
            return gradcheck(f, inputs)

    assert check()
    monkeypatch.setattr(FusedNode, "pull", wrong)
    with pytest.raises(GradientError, match="off by"):
        check()
