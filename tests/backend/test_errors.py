"""Every error is one of ours, one of Python's, and three phrases that make a sentence."""

from __future__ import annotations

import pickle

import pytest

from portable_nn.backend import errors
from portable_nn.backend.errors import PortableNNError

KINDS = {"ShapeError": ValueError, "DTypeError": TypeError, "DeviceError": ValueError, "DataError": ValueError,
         "ArgumentError": ValueError, "FileError": ValueError, "GradientError": RuntimeError,
         "NonFiniteError": ArithmeticError, "CaptureError": RuntimeError, "MissingDependencyError": ImportError}


@pytest.mark.parametrize(("name", "builtin"), KINDS.items())
def test_kinds(name: str, builtin: type) -> None:
    error = getattr(errors, name)("x of shape (B, 64)", "(32, 63)", "build the layer with in_features=63")
    assert isinstance(error, PortableNNError) and isinstance(error, builtin)
    assert str(error) == "expected x of shape (B, 64); got (32, 63). Build the layer with in_features=63."
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error)


def test_every_error_is_listed() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined == {*KINDS, "PortableNNError"}


def test_keywords() -> None:
    error = errors.ShapeError(expected="a", received="b", fix="do c.")
    assert str(error) == "expected a; got b. Do c."
