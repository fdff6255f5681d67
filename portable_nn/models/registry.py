"""What a saved folder may hold: a closed list of classes, taken apart into JSON and arrays, and put together again.

A class of the list is one of three kinds:

- a Module with `config()`, its constructor's arguments;
- a thing of the host with `state() -> (config, arrays)` and `from_state(config, arrays)`, such as a vectorizer;
- a composition with `parts()`, the saved things it is built from, and `config()`, its constructor's other arguments.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError, FileError
from portable_nn.layers import Module

#: Name in the file -> module that has the class. A name that is not here is not loaded, whatever a file says.
CLASSES = {
    "Climatology": "portable_nn.data",
    "ForecastPipeline": "portable_nn.models.forecast_pipeline",
    "Forecaster": "portable_nn.models.forecaster",
    "MLP": "portable_nn.models.mlp",
    "Scaler": "portable_nn.data",
    "SeriesEncoder": "portable_nn.models.forecasting",
    "SkipGram": "portable_nn.models.skipgram",
    "TextClassifier": "portable_nn.models.text_classifier",
    "TextPipeline": "portable_nn.models.text_pipeline",
    "TextVectorizer": "portable_nn.data",
    "TokenVectorizer": "portable_nn.data",
    "WordVectors": "portable_nn.models.word_vectors",
}
DAMAGED = "save the model again; this folder is damaged or not ours"
#: Dtype and shape of arrays by name.
Shapes = dict[str, tuple[str, tuple[int, ...]]]


def take_apart(thing: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What JSON holds of `thing`, and its arrays by dotted name."""
    name = type(thing).__name__
    if name not in CLASSES or type(thing) is not _class(name):
        raise ArgumentError(f"one of {sorted(CLASSES)}", type(thing).__name__,
                            "for a module of your own, write model.state_dict() with data.files.write_arrays")
    if isinstance(thing, Module):
        config = {"type": name, "arguments": thing.config(), "dtype": thing.dtype}
        return config, {key: to_numpy(x) for key, x in thing.state_dict().items()}
    if not hasattr(thing, "parts"):
        return thing.state()
    config, arrays = {"type": name, "arguments": thing.config(), "parts": {}}, {}
    for key, part in thing.parts().items():
        config["parts"][key], own = take_apart(part)
        arrays.update({f"{key}.{inner}": x for inner, x in own.items()})
    return config, arrays


class Plan:
    """What a configuration describes, checked, before any array is read.

    Attributes
    ----------
    name : str
        The class.
    parts : dict of str to Plan
        Of a composition.
    module : Module or None
        Built but without values: constructors draw nothing.

    Raises
    ------
    FileError
        The configuration names a class that is not in the list, or arguments that it does not take.
    """

    def __init__(self, config: Any, path: str = "model") -> None:
        self.name = config.get("type") if isinstance(config, dict) else None
        if not isinstance(self.name, str) or self.name not in CLASSES:
            raise FileError(f"one of {sorted(CLASSES)} as the type of {path}", f"{self.name!r:.60}", DAMAGED)
        self.config, self.path, self.kind = config, path, _class(self.name)
        self.parts: dict[str, Plan] = {}
        self.module: Any = None
        if issubclass(self.kind, Module):
            self.module = self._guarded(lambda: self.kind(**config["arguments"]).to(dtype=config["dtype"]))
        elif hasattr(self.kind, "parts"):
            parts = self._guarded(lambda: dict(config["parts"]))
            self.parts = {str(key): Plan(part, f"{path}.{key}") for key, part in parts.items()}

    def check(self, arrays: Shapes) -> None:
        """Require the arrays that this needs, of the right dtypes and shapes, and none besides; FileError otherwise."""
        if self.module is not None:
            handles = self.module._handles()
            expected: Shapes = {name: (handle.dtype_name, handle.shape) for name, handle in handles.items()}
            wrong = sorted(name for name in {*expected, *arrays} if expected.get(name) != arrays.get(name))
            if wrong:
                raise FileError(f"{_described(expected, wrong)} in {self.path}", _described(arrays, wrong), DAMAGED)
        elif self.parts:
            stray = sorted(name for name in arrays if name.split(".")[0] not in self.parts)
            if stray:
                raise FileError(f"arrays of {sorted(self.parts)} in {self.path}", f"{stray[:3]}", DAMAGED)
            for key, part in self.parts.items():
                part.check(_below(key, arrays))

    def put_together(self, arrays: dict[str, np.ndarray]) -> Any:
        """Build the thing."""
        if self.module is not None:
            self._guarded(lambda: self.module.load_state_dict(arrays))
            return self.module.eval()
        if not hasattr(self.kind, "parts"):
            return self._guarded(lambda: self.kind.from_state(self.config, arrays))
        parts = {key: part.put_together(_below(key, arrays)) for key, part in self.parts.items()}
        return self._guarded(lambda: self.kind(**parts, **self.config["arguments"]))

    def _guarded(self, build: Any) -> Any:
        try:
            return build()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise FileError(f"the arguments of a {self.name} in {self.path}", f"{error!r:.300}", DAMAGED) from error


def _class(name: str) -> Any:
    return getattr(importlib.import_module(CLASSES[name]), name)


def _below(key: str, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a part, by its own names."""
    return {name.removeprefix(f"{key}."): x for name, x in arrays.items() if name.startswith(f"{key}.")}


def _described(arrays: Shapes, names: list[str]) -> str:
    """`weight float32 (3, 2), bias missing`, for the first few names."""
    def one(name: str) -> str:
        return f"{name} {arrays[name][0]} {arrays[name][1]}" if name in arrays else f"no {name}"
    return ", ".join(map(one, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
