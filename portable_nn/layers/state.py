"""State dicts: a module's parameters and buffers by dotted name, with PyTorch's names and layouts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portable_nn.backend.devices import native_device, working_on
from portable_nn.backend.errors import DataError, DTypeError, PortableNNError, ShapeError
from portable_nn.backend.namespace import array_namespace
from portable_nn.layers.calls import make_ready


def state_dict(module: Any) -> dict[str, Any]:
    """Copies of all parameters and buffers; a shared one appears under each of its names.

    What has no values yet is drawn first.
    """
    make_ready(module, {})
    values = {name: handle.data for name, handle in module._handles().items()}
    return {name: copied(x) for name, x in values.items()}


def copied(x: Any) -> Any:
    """A raw array of its own with the elements of `x`, on the same device."""
    with working_on(native_device(x)):
        return array_namespace(x).asarray(x, copy=True)


def load_state_dict(module: Any, state: Mapping[str, Any], *, strict: bool = True) -> None:
    """Copy the arrays of `state` (of any library) into the module, cast and moved to where its own are.

    Nothing is changed unless everything fits. A parameter that goes by several names may be given under one of them.

    Raises
    ------
    DataError
        Names are missing or unexpected (unless `strict=False`), or values do not fit: all of them in one message.
    """
    if not isinstance(state, Mapping):
        raise DataError("a state: arrays by dotted name", type(state).__name__, "pass what state_dict() returned")
    own = module._handles()
    given = {own[name] for name in state if name in own}
    missing = [name for name, handle in own.items() if handle not in given]
    unexpected = [name for name in state if name not in own]
    names = {"missing": missing, "unexpected": unexpected}
    problems = [f"{kind} {found}" for kind, found in names.items() if found and strict]
    copies = {}
    for name, handle in own.items():
        if name not in state:
            continue
        try:
            copies[name] = handle.copy_of(state[name])
        except ShapeError:
            problems.append(f"{name} of shape {tuple(state[name].shape)} instead of {handle.shape}")
        except DTypeError:
            what = getattr(state[name], "dtype", type(state[name]).__name__)
            problems.append(f"{name} of dtype {what} instead of {handle.dtype_name}")
        except PortableNNError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise DataError(f"the state of {type(module).__name__}", "; ".join(problems),
                        "build the model as it was when the state was saved, or pass strict=False to skip names")
    for name, value in copies.items():
        own[name].data = value
    for kind in ("_parameters", "_buffers"):
        for name, handle in module._named(kind):
            handle.name = handle.name or name
