"""A module's weights in one safetensors file, for modules of your own and for exchange with PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from portable_nn.backend.devices import to_numpy
from portable_nn.backend.errors import ArgumentError
from portable_nn.data.files import read_arrays, write_arrays
from portable_nn.layers import Module


def save_weights(module: Module, path: str | Path) -> None:
    """Write all parameters and buffers by dotted name; the file is replaced as a whole.

    PyTorch reads it with `safetensors.torch.load_file`, and `load_state_dict` takes it where the layers are the same.
    """
    _check_module(module)
    write_arrays(path, {name: to_numpy(x) for name, x in module.state_dict().items()})


def load_weights(module: Module, path: str | Path, *, strict: bool = True) -> None:
    """Read what `save_weights`, or `safetensors.torch.save_file` of a state dict, wrote.

    The arrays are cast and moved to what and where the module's own are.

    Raises
    ------
    FileError
        The file is missing or damaged.
    DataError
        Names are missing or unexpected (unless `strict=False`), or shapes differ: all of them in one message.
    """
    _check_module(module)
    module.load_state_dict(read_arrays(path)[0], strict=strict)


def _check_module(module: Any) -> None:
    if not isinstance(module, Module):
        raise ArgumentError("a Module", f"{type(module).__name__}", "pass the model first, then the path")
