"""`Module`: the base of every layer and model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from portable_nn.autodiff.frame import current_frame
from portable_nn.backend.devices import namespace_of_device
from portable_nn.backend.errors import ArgumentError, DTypeError, ShapeError
from portable_nn.backend.libraries import dtype_name
from portable_nn.backend.random import Stream, key_and_counter
from portable_nn.layers import state as states
from portable_nn.layers.calls import annotate, call_root, draw, raw
from portable_nn.layers.storage import Buffer, Initializer, is_floating
from portable_nn.layers.structure import Structure

Self = TypeVar("Self", bound="Module")


class Module(Structure):
    """A piece of a model: it owns parameters, buffers and other modules, and computes with them in `forward`.

    Subclasses set attributes and write `forward` in Array API code; inside it `self.weight` is the array itself.
    Called with raw arrays a module returns raw arrays and records nothing, in training mode too; called with Tensors
    (nested ones included) it returns Tensors, and outside `no_grad()` the call is on the tape.

    Attributes
    ----------
    training : bool
        Whether dropout and its like are at work; set by `train()` and `eval()`.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_nn import layers
    >>> class Scale(layers.Module):
    ...     def __init__(self, size):
    ...         self.factor = layers.Parameter((size,), layers.initializers.ones)
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> Scale(2)(np.asarray([1.0, 2.0], dtype=np.float32))
    array([1., 2.], dtype=float32)
    """

    training: bool

    def __new__(cls, *args: Any, **options: Any) -> Any:
        self = super().__new__(cls)
        self.__dict__.update(training=True, _seed=0, _step=0)
        return self

    def __init__(self) -> None:
        """Take no arguments; subclasses may have an `__init__` of their own and need not call this one."""

    def forward(self, *args: Any, **options: Any) -> Any:
        """Compute the result; written by subclasses, called through the module itself."""
        raise NotImplementedError(f"{type(self).__name__} has no forward method; write one in your subclass")

    def __call__(self, *args: Any, **options: Any) -> Any:
        frame = current_frame()
        if frame is None:
            return call_root(self, args, options)
        try:
            out = self.forward(*args, **options)
        except Exception as error:
            annotate(error, self, frame)
            raise
        if frame.observer is not None:
            frame.observer(self, out)
        return out

    @property
    def is_initialized(self) -> bool:
        """Whether every parameter and buffer has values."""
        return all(handle.is_initialized for handle in self._handles().values())

    def initialize(self: Self, seed: int = 0, *, only_missing: bool = False) -> Self:
        """Draw all parameters from (seed, dotted name), and set the seed of dropout and its like; returns self.

        Parameters
        ----------
        seed : int
        only_missing : bool
            Leave parameters and buffers alone that have values already, drawn or loaded.
        """
        key_and_counter(Stream(seed, ""))  # refuses what is no seed before anything is drawn
        draw(self, seed, only_missing=only_missing)
        self.random_position = (seed, 0)
        return self

    @property
    def random_position(self) -> tuple[int, int]:
        """(seed, number of training calls so far): where the random draws of the next call will stand. Can be set."""
        return self.__dict__["_seed"], self.__dict__["_step"]

    @random_position.setter
    def random_position(self, value: tuple[int, int]) -> None:
        if not isinstance(value, (tuple, list)) or len(value) != 2:
            raise ArgumentError("(seed, number of training calls)", repr(value), "pass two integers")
        seed, step = value
        key_and_counter(Stream(seed, "", step=step))  # refuses what are no such integers
        self.__dict__.update(_seed=int(seed), _step=int(step))

    def register_buffer(self, name: str, shape: tuple[int, ...], initializer: Initializer,
                        dtype: str = "float32") -> None:
        """Own an array that is saved with the state and not trained; inside forward `self.<name>` is its value."""
        setattr(self, name, Buffer(shape, initializer, dtype))

    def update_buffer(self, name: str, value: Any) -> None:
        """Give a buffer a new value, written when the outermost call ends. Called inside `forward`.

        Raises
        ------
        ArgumentError, ShapeError, DTypeError
            It is called from elsewhere, there is no such buffer, or the value is not of its shape and dtype.
        """
        frame = current_frame()
        if frame is None:
            raise ArgumentError("a call from inside forward", "one from outside", f"assign to .{name}.data instead")
        handle = self._buffers.get(name)
        if handle is None:
            raise ArgumentError(f"the name of a buffer, of {sorted(self._buffers)}", repr(name),
                                "call register_buffer first")
        value = raw(value)  # a buffer is state, so no gradient flows through it
        if value.shape != handle.shape:
            raise ShapeError(f"a value of shape {handle.shape} for buffer {name!r}", f"{value.shape}", "reshape it")
        if dtype_name(value.dtype) != handle.dtype_name:
            raise DTypeError(f"a value of dtype {handle.dtype_name} for buffer {name!r}", f"{value.dtype}", "cast it")
        frame.buffers[handle] = value

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

    def to(self: Self, device: Any = None, *, dtype: Any = None, xp: Any = None) -> Self:
        """Move parameters and buffers, and cast the floating ones; handles stay the same. Returns self.

        Values not drawn yet will be drawn as they are on the CPU, and moved. Nothing is moved unless everything can be.

        Parameters
        ----------
        device : str, optional
            "cpu", "cuda", "cuda:1" or "auto"; beside `xp`, a device of that namespace.
        dtype : str or dtype, optional
            "float32" or "float64", or another floating dtype of the library.
        xp : namespace, optional
            Any Array API namespace to move to.
        """
        if xp is None and device is not None:
            xp, device = namespace_of_device(device)
        name = dtype if dtype is None or isinstance(dtype, str) else dtype_name(dtype)
        if name is not None and not is_floating(name):
            raise ArgumentError('a floating dtype such as "float32"', f"{dtype}", "integer buffers keep their dtype")
        handles = list(dict.fromkeys(self._handles().values()))
        for handle, move in zip(handles, [handle.moved(xp, device, name) for handle in handles], strict=True):
            handle.commit(move)
        return self

    @property
    def device(self) -> str:
        """The device of the first parameter, drawn or not; "cpu" where there is none."""
        return next((handle.device for _, handle in self.named_parameters()), "cpu")

    @property
    def dtype(self) -> str:
        """The name of the first floating parameter's dtype; "float32" where there is none."""
        names = (handle.dtype_name for _, handle in self.named_parameters())
        return next(filter(is_floating, names), "float32")

    def state_dict(self) -> dict[str, Any]:
        """Copies of all parameters and buffers, by dotted name."""
        return states.state_dict(self)

    def load_state_dict(self, state: Mapping[str, Any], *, strict: bool = True) -> None:
        """Copy values in, onto this module's device and dtype; see `layers.state.load_state_dict`."""
        states.load_state_dict(self, state, strict=strict)

    def extra_repr(self) -> str:
        """The arguments that `repr` shows; written by subclasses."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children()]
        inner = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({inner})"
        return f"{type(self).__name__}({inner}\n  " + "\n  ".join(lines) + "\n)"


Structure._base = Module
