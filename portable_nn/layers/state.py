"""State dicts: a module's parameters and buffers by dotted name, with PyTorch's names and layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portable_nn.backend.errors import DataError
from portable_nn.backend.namespace import array_namespace

if TYPE_CHECKING:
    from portable_nn.layers.module import Module


def state_dict(module: Module) -> dict[str, Any]:
    """Copies of all parameters and buffers; a shared parameter appears under each of its names."""
    if not module.is_initialized:
        module._fill(module._seed, only_missing=True)
    state = {}
    for name, handle in handles(module).items():
        state[name] = array_namespace(handle.data).asarray(handle.data, copy=True)
    return state


def handles(module: Module) -> dict[str, Any]:
    """Every parameter and buffer by each of its dotted names, in the order of the modules, as PyTorch lists them."""
    found = {}
    for path, owner in module.named_modules():
        for kind in ("_parameters", "_buffers"):
            for name, handle in getattr(owner, kind).items():
                found[f"{path}.{name}" if path else name] = handle
    return found


def load_state_dict(module: Module, state: dict[str, Any], *, strict: bool = True) -> None:
    """Copy the arrays of `state` (of any library) into the module, cast and moved to where its own are.

    Nothing is changed unless everything fits.

    Raises
    ------
    DataError
        Names are missing or unexpected (unless `strict=False`), or shapes differ: all of them in one message.
    """
    own = handles(module)
    problems = []
    missing, unexpected = [n for n in own if n not in state], [n for n in state if n not in own]
    if strict and missing:
        problems.append(f"missing {missing}")
    if strict and unexpected:
        problems.append(f"unexpected {unexpected}")
    for name in own:
        if name in state and tuple(state[name].shape) != own[name].shape:
            problems.append(f"{name} of shape {tuple(state[name].shape)} instead of {own[name].shape}")
    if problems:
        raise DataError(f"the state of {type(module).__name__}", "; ".join(problems),
                        "build the model as it was when the state was saved, or pass strict=False to skip names")
    copies = {name: own[name].copy_of(state[name]) for name in own if name in state}
    for name, value in copies.items():
        own[name].data = value
