"""Running a model from outside: the outermost call opens a frame that the modules inside it share."""

from __future__ import annotations

from collections.abc import Mapping
from threading import RLock
from typing import Any

from portable_nn.autodiff import Tensor, is_recording
from portable_nn.autodiff.frame import Frame, current_frame, inside, reset_frame, set_frame
from portable_nn.autodiff.replay import root_call
from portable_nn.autodiff.tree import map_leaves
from portable_nn.backend.capturing import captured_step
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from portable_nn.backend.namespace import is_array, is_tensor
from portable_nn.backend.random import Stream
from portable_nn.layers.storage import Storage
from portable_nn.layers.structure import structure_version

#: Two threads may call a model that has no values yet: one draws them, the other waits.
_drawing = RLock()


def call_root(module: Any, args: tuple, options: dict) -> Any:
    """Call a module that no other module's call is inside of, then write the buffers it updated."""
    frame, args, options, wrap, repeated = open_frame(module, args, options)
    token = set_frame(frame)
    try:
        out = module.forward(*args, **options)
    except Exception as error:
        annotate(error, module, frame)
        raise
    finally:
        reset_frame(token)
    if not repeated:
        if module.training:
            module.__dict__["_step"] += 1
        if frame.buffers:
            write_buffers(frame.buffers)
    return map_leaves(_tensor, out) if wrap else out


def open_frame(module: Any, args: tuple, options: dict, values: dict | None = None, observer: Any = None) -> tuple:
    """Prepare a root call, which records if an argument, or one of `values`, is a Tensor and it is not in `no_grad()`.

    Returns
    -------
    (frame, args, options, wrap, repeated)
        The arguments as forward gets them; whether results become constant Tensors; whether a checkpoint runs the call
        again, and it leaves no trace.
    """
    own = module.__dict__
    wrap = False
    recording = holds_tensor(args) or (bool(options) and holds_tensor(options.values()))
    if values:
        recording = recording or holds_tensor(values.values())
    if recording and not is_recording():
        args, options, recording, wrap = map_leaves(raw, args), map_leaves(raw, options), False, True
    if own["_ready"] != structure_version():
        make_ready(module, values or {})
    frame = Frame(recording=recording, paths=module._paths, seed=own["_seed"], step=own["_step"], observer=observer)
    for handle, value in (values or {}).items():
        frame.views[handle] = value if recording and is_tensor(value) else Tensor(value) if recording else raw(value)
    return frame, args, options, wrap, root_call(frame, module)


def write_buffers(values: dict[Any, Any]) -> None:
    """Give buffers the values that a root call has computed."""
    step = captured_step()
    for handle, value in values.items():
        value = handle.checked(value)
        handle._replace(value) if step is None else step.write_buffer(handle, value)


def make_ready(module: Any, given: dict) -> None:
    """Draw what has no values yet and is not among the `given` handles."""
    with _drawing:
        version = structure_version()
        handles = module._handles().values()
        if not all(handle.is_initialized or handle in given for handle in handles):
            draw(module, module.__dict__["_seed"], only_missing=True)
        if not given or all(handle.is_initialized for handle in handles):
            module.__dict__["_ready"] = version


def draw(module: Any, seed: int, *, only_missing: bool) -> None:
    """Fill parameters and buffers from (seed, dotted name), and name them so."""
    for kind in ("_parameters", "_buffers"):
        for name, handle in module._named(kind):
            handle.name = name
            if not (only_missing and handle.is_initialized):
                handle.fill(Stream(seed, name))


def functional_call(model: Any, parameters: dict[str, Any], buffers: dict[str, Any], *args: Any, **options: Any) -> Any:
    """Run a model with other parameter and buffer values, given by dotted name; its own stay as they are.

    Parameters
    ----------
    model : Module
    parameters, buffers : dict of str to array, Tensor or Parameter
        What is left out is the model's own.
    *args, **options
        The model's arguments.

    Returns
    -------
    (output, buffers)
        The output, and `buffers` with the new values of those that the call would have written. The call records if an
        argument or a value is a Tensor.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        A name is not the model's, or a value has another shape or is no array.
    """
    handles = model._handles()
    if not isinstance(parameters, Mapping) or not isinstance(buffers, Mapping):
        raise ArgumentError("parameters and buffers as dicts by name", f"{type(parameters).__name__} and "
                            f"{type(buffers).__name__}", "pass {} for the model's own")
    given = {**parameters, **buffers}
    unknown = sorted(set(given) - set(handles))
    if unknown:
        raise ArgumentError(f"names among {sorted(handles)}", f"{unknown}", "use the names of model.state_dict()")
    values = {}
    for name, value in given.items():
        value = value.tensor if hasattr(value, "tensor") else value.data if isinstance(value, Storage) else value
        shape = handles[name].shape
        if not is_array(value):
            raise DTypeError(f"an array for {name}", type(value).__name__, "convert it first, as with numpy.asarray")
        if tuple(value.shape) != shape:
            raise ShapeError(f"values of shape {shape} for {name}", f"{tuple(value.shape)}", "reshape them")
        values[handles[name]] = value
    frame, args, options, wrap, repeated = open_frame(model, args, options, values)
    with inside(frame):
        out = model(*args, **options)
    if model.training and not repeated:
        model.__dict__["_step"] += 1
    names = {handle: name for name, handle in reversed(handles.items())}
    written = {names[handle]: raw(value) for handle, value in frame.buffers.items()}
    return map_leaves(_tensor, out) if wrap else out, {**buffers, **written}


def annotate(error: Exception, module: Any, frame: Frame) -> None:
    """Say in which module an error arose; the notes of nested ones follow each other, innermost first."""
    path = frame.paths().get(id(module), "")
    try:
        what = f"{type(module).__name__}({module.extra_repr()})"
    except Exception:  # the module may be half built: its own error is the one to show
        what = type(module).__name__
    error.add_note(f"in {path + ': ' if path else ''}{what}")


def holds_tensor(values: Any) -> bool:
    """Whether a Tensor is among `values`, or in the tuples, lists and dicts there."""
    for x in values:
        if is_tensor(x):
            return True
        if isinstance(x, (tuple, list)):
            if holds_tensor(x):
                return True
        elif isinstance(x, dict) and holds_tensor(x.values()):
            return True
    return False


def observed(module: Any, x: Any) -> Any:
    """x, which a layer has computed in the place of `module`, another one: what a summary shows as its output."""
    frame = current_frame()
    if frame is not None and frame.observer is not None:
        frame.observer(module, x)
    return x


def raw(x: Any) -> Any:
    """The raw array of a Tensor; anything else as it is."""
    return x.data if is_tensor(x) else x


def _tensor(x: Any) -> Any:
    return Tensor(x) if is_array(x) else x
