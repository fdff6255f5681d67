"""Small learning tasks that the tests of this folder share."""

from __future__ import annotations

from typing import Any

import numpy as np

from portable_nn import layers, optim
from tests.helpers import Backend, dtype_name, to_numpy


def classes(rows: int = 60, features: int = 4, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    """Points around three centres, in float64 and int64 as users have them."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, rows)
    return (rng.normal(size=(rows, features)) + 2 * y[:, None]).astype(dtype), y


def classifier(dropout: float = 0.0, backend: Backend | None = None, dtype: str = "float32") -> Any:
    model = layers.Sequential(layers.Linear(4, 8), layers.Tanh(), layers.Dropout(dropout), layers.Linear(8, 3))
    if backend is not None:
        return model.to(backend.device, xp=backend.xp, dtype=dtype_name(backend.float_dtype))
    return model.to(dtype=dtype)


def values(model: Any) -> np.ndarray:
    """All parameters in one host array."""
    return np.concatenate([to_numpy(x).ravel() for x in model.state_dict().values()])


def setup(dropout: float = 0.0, *, lr: Any = 0.05, dtype: str = "float32", **options: Any) -> tuple[Any, Any, Any]:
    """Model, loss and optimiser: the first arguments of fit."""
    model = classifier(dropout, dtype=dtype)
    return model, layers.CrossEntropyLoss(), optim.AdamW(model.parameters(), lr=lr, **options)
