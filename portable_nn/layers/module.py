"""`Module`: the base of every layer and model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from portable_nn.autodiff import Tensor, is_recording
from portable_nn.autodiff.frame import Frame, current_frame, reset_frame, set_frame
from portable_nn.autodiff.tree import leaves, map_leaves
from portable_nn.backend.devices import device_name, namespace_of_device
from portable_nn.backend.errors import ArgumentError, PortableNNError
from portable_nn.backend.random import Stream
from portable_nn.layers.parameter import Buffer, Initializer, Parameter, Storage

Self = TypeVar("Self", bound="Module")
#: Counts changes to the structure of any module; a root's list of paths is made again when it has moved on.
_structure = 0


class Module:
    """A piece of a model: it owns parameters, buffers and other modules, and computes with them in `forward`.

    Subclasses set attributes and write `forward` in Array API code; inside it `self.weight` is the array itself.
    Called with raw arrays a module returns raw arrays and records nothing, in training mode too; called with Tensors
    (nested ones included) it returns Tensors, and outside `no_grad()` the call is on the tape.

    Attributes
    ----------
    training : bool
        Whether dropout and its like are at work; set by `train()` and `eval()`.
    """

    training: bool

    def __new__(cls, *args: Any, **options: Any) -> Any:
        self = super().__new__(cls)
        self.__dict__.update(_parameters={}, _buffers={}, training=True, _seed=0, _step=0, _located=(-1, {}))
        return self

    def forward(self, *args: Any, **options: Any) -> Any:
        """Compute the result; written by subclasses, called through the module itself."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method; write one in your subclass")

    def __call__(self, *args: Any, **options: Any) -> Any:
        frame = current_frame()
        try:
            if frame is None:
                return self._call_as_root(args, options)
            out = self.forward(*args, **options)
        except PortableNNError as error:
            error.add_note(f"in {type(self).__name__}({self.extra_repr()})")
            raise
        if frame.observer is not None:
            frame.observer(self, out)
        return out

    def _call_as_root(self, args: tuple, options: dict, *, views: dict | None = None, observer: Any = None) -> Any:
        """Open a frame, run forward in it, and write the buffers it updated."""
        tensors = any(isinstance(x, Tensor) for x in leaves((args, options, list((views or {}).values()))))
        recording = tensors and is_recording()
        if tensors and not recording:
            args, options = map_leaves(_raw, args), map_leaves(_raw, options)
        if not self.is_initialized:
            self._fill(self._seed, only_missing=True)
        frame = Frame(recording=recording, paths=self._paths, seed=self._seed, step=self._step, observer=observer)
        for handle, value in (views or {}).items():
            frame.views[handle] = Tensor(value) if recording and not isinstance(value, Tensor) else value
        token = set_frame(frame)
        try:
            out = self.forward(*args, **options)
        finally:
            reset_frame(token)
        if self.training:
            self.__dict__["_step"] += 1
        if views is not None:
            return out, {handle.name: _raw(value) for handle, value in frame.buffers.items()}
        if observer is not None:
            observer(self, out)
        for handle, value in frame.buffers.items():
            handle._replace(_raw(value))
        return map_leaves(Tensor, out) if tensors and not recording else out

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Parameter, Buffer)):
            self.__dict__.pop(name, None)
            self.__dict__["_parameters" if isinstance(value, Parameter) else "_buffers"][name] = value
        elif name in self._parameters or name in self._buffers:
            raise ArgumentError(f"a Parameter or Buffer for {name!r}", type(value).__name__,
                                f"assign to .{name}.data outside forward, or use update_buffer inside it")
        else:
            self.__dict__[name] = value
        if isinstance(value, (Storage, Module)):
            global _structure
            _structure += 1
            self.__dict__["_ready"] = -1

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        handle = own["_parameters"].get(name)
        if handle is not None:
            frame = current_frame()
            return handle if frame is None else frame.parameter(handle)
        handle = own["_buffers"].get(name)
        if handle is not None:
            frame = current_frame()
            return handle if frame is None else frame.buffer(handle)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        global _structure
        _structure += 1
        for owner in (self._parameters, self._buffers, self.__dict__):
            if name in owner:
                del owner[name]
                return
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    # Structure

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, in order."""
        return ((name, value) for name, value in self.__dict__.items() if isinstance(value, Module))

    def named_modules(self, prefix: str = "", _seen: set[int] | None = None) -> Iterator[tuple[str, Module]]:
        """This module and all below it, once each, with dotted paths; this one's is the prefix."""
        seen = set() if _seen is None else _seen
        if id(self) in seen:
            return
        seen.add(id(self))
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name, seen)

    def modules(self) -> Iterator[Module]:
        """This module and all below it, once each."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name; one that two modules share goes by its first name."""
        return self._named("_parameters", once=True)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Every buffer once, with its dotted name."""
        return self._named("_buffers", once=True)

    def parameters(self) -> list[Parameter]:
        """Every parameter once."""
        return [parameter for _, parameter in self.named_parameters()]

    def _named(self, kind: str, *, once: bool) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, handle in getattr(module, kind).items():
                if not (once and id(handle) in seen):
                    seen.add(id(handle))
                    full = f"{path}.{name}" if path else name
                    yield full, handle

    def _paths(self) -> dict[int, str]:
        """Module identity -> dotted path, made again only when some structure has changed."""
        version, paths = self._located
        if version != _structure:
            paths = {id(module): path for path, module in self.named_modules()}
            self.__dict__["_located"] = (_structure, paths)
        return paths

    # State

    @property
    def is_initialized(self) -> bool:
        """Whether every parameter and buffer has values."""
        if self.__dict__.get("_ready") != _structure:
            if not all(handle.is_initialized for kind in ("_parameters", "_buffers") for _, handle in self._named(kind, once=True)):
                return False
            self.__dict__["_ready"] = _structure
        return True

    def initialize(self: Self, seed: int = 0) -> Self:
        """Draw all parameters anew from (seed, dotted name), and set the seed of dropout and its like; returns self."""
        self._fill(seed, only_missing=False)
        self.__dict__.update(_seed=seed, _step=0)
        return self

    def _fill(self, seed: int, *, only_missing: bool) -> None:
        for kind in ("_parameters", "_buffers"):
            for name, handle in self._named(kind, once=True):
                handle.name = name
                if kind == "_parameters":
                    handle.slot.name = name
                if not (only_missing and handle.is_initialized):
                    handle.fill(Stream(seed, name))

    def register_buffer(self, name: str, shape: tuple[int, ...], initializer: Initializer, dtype: str = "float32") -> None:
        """Own an array that is saved with the state and not trained; inside forward `self.<name>` is its value."""
        setattr(self, name, Buffer(shape, initializer, dtype))

    def update_buffer(self, name: str, value: Any) -> None:
        """Give a buffer a new value, written when the outermost call ends. Called inside `forward`."""
        frame = current_frame()
        if frame is None:
            raise ArgumentError("a call from inside forward", "one from outside", f"assign to .{name}.data instead")
        frame.buffers[self._buffers[name]] = value

    def next_stream(self) -> Stream:
        """The random stream for a draw in `forward`: a function of (seed, dotted path, training call, draw)."""
        frame = current_frame()
        if frame is None:
            raise ArgumentError("a call from inside forward", "one from outside", "call the module, not its forward")
        return frame.next_stream(self)

    def train(self: Self, mode: bool = True) -> Self:
        """Put this module and all below it in training mode; returns self."""
        for module in self.modules():
            module.__dict__["training"] = mode
        return self

    def eval(self: Self) -> Self:
        """Put this module and all below it in evaluation mode; returns self."""
        return self.train(False)

    def freeze(self: Self) -> Self:
        """Make all parameters constants: they get no gradient and optimisers pass them over; returns self."""
        for parameter in self.parameters():
            parameter.trainable = False
        return self

    def unfreeze(self: Self) -> Self:
        """Undo `freeze`; returns self."""
        for parameter in self.parameters():
            parameter.trainable = True
        return self

    def to(self: Self, device: str | None = None, *, dtype: str | None = None, xp: Any = None) -> Self:
        """Move parameters and buffers, and cast the floating ones; handles stay the same. Returns self.

        Parameters
        ----------
        device : str, optional
            "cpu", "cuda", "cuda:1" or "auto"; beside `xp`, a device of that namespace.
        dtype : str, optional
            "float32" or "float64", or another floating dtype of the library.
        xp : namespace, optional
            Any Array API namespace to move to.
        """
        native: Any = device
        if xp is None and device is not None:
            xp, native = namespace_of_device(device)
        name = None if dtype is None else str(getattr(dtype, "__name__", dtype)).rpartition(".")[2]
        if name is not None and not name.startswith(("float", "bfloat")):
            raise ArgumentError('a floating dtype such as "float32"', f"{dtype}", "integer buffers keep their dtype")
        for kind in ("_parameters", "_buffers"):
            for _, handle in self._named(kind, once=True):
                handle.to(xp=xp, device=native, dtype=name)
        return self

    @property
    def device(self) -> str:
        """The device of the first parameter; "cpu" where there is none."""
        for _, handle in self.named_parameters():
            return device_name(handle.data) if handle.is_initialized else _planned_device(handle)
        return "cpu"

    def state_dict(self) -> dict[str, Any]:
        """Copies of all parameters and buffers, by dotted name."""
        from portable_nn.layers.state import state_dict

        return state_dict(self)

    def load_state_dict(self, state: dict[str, Any], *, strict: bool = True) -> None:
        """Copy values in, onto this module's device and dtype; see `layers.state.load_state_dict`."""
        from portable_nn.layers.state import load_state_dict

        load_state_dict(self, state, strict=strict)

    def extra_repr(self) -> str:
        """The arguments that `repr` shows; written by subclasses."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        inner = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({inner})"
        return f"{type(self).__name__}({inner}\n  " + "\n  ".join(lines) + "\n)"


def _raw(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def _planned_device(handle: Storage) -> str:
    """Where values not drawn yet will be."""
    if handle.xp is None:
        return "cpu"
    return device_name(handle.xp.empty((0,), dtype=getattr(handle.xp, handle.dtype_name), device=handle.device))


def functional_call(model: Module, parameters: dict[str, Any], buffers: dict[str, Any], *args: Any, **options: Any) -> Any:
    """Run a model with other parameter and buffer values, given by dotted name; its own stay as they are.

    Returns
    -------
    (output, buffers)
        The output and the new values of the buffers that the call would have written. The call records if an
        argument or a value is a Tensor.
    """
    handles: dict[str, Any] = dict(model._named("_parameters", once=False))
    handles.update(model._named("_buffers", once=False))
    given = {**parameters, **buffers}
    unknown = sorted(set(given) - set(handles))
    if unknown:
        raise ArgumentError(f"names among {sorted(handles)}", f"{unknown}", "use the names of model.state_dict()")
    views = {handles[name]: value for name, value in given.items()}
    out, written = model._call_as_root(args, options, views=views)
    return out, {**buffers, **written}
