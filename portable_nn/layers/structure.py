"""What a module owns: parameters, buffers and other modules, reached by attribute and by dotted path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from portable_nn.autodiff.frame import current_frame
from portable_nn.backend.errors import ArgumentError
from portable_nn.layers.parameter import Parameter
from portable_nn.layers.storage import Buffer, Storage

#: Counts changes to the structure of any module; what was derived from it is made again when it has moved on.
_version = 0


def structure_version() -> int:
    """The number of changes so far."""
    return _version


def _changed() -> None:
    global _version
    _version += 1


class Owned:
    """A class attribute through which instances reach their parameter or buffer of this name.

    `__getattr__` alone would do, but Python 3.11 takes 0.5 µs to find out that it has to be called.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, module: Any, kind: Any = None) -> Any:
        if module is None:
            return self
        handle = module.__dict__["_parameters"].get(self.name)
        frame = current_frame()
        if handle is not None:
            return handle if frame is None else frame.parameter(handle)
        handle = module.__dict__["_buffers"].get(self.name)
        if handle is None:
            raise AttributeError(f"{type(module).__name__} has no attribute {self.name!r}")
        return handle if frame is None else frame.buffer(handle)


class Structure:
    """The attribute protocol of `Module`.

    Modules live in `_modules` and, so that Python finds them at once, in `__dict__` too. Parameters and buffers live in
    dictionaries of their own: reading one asks the frame of the call under way what it appears as.
    """

    #: Whose names no attribute of a model may take: `Module`, once it is there.
    _base: type = object
    _parameters: dict[str, Parameter]
    _buffers: dict[str, Buffer]
    _modules: dict[str, Any]

    def __new__(cls, *args: Any, **options: Any) -> Any:
        self = super().__new__(cls)
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, _located=(-1, {}), _ready=-1)
        return self

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Storage):
            self._claim(name, type(self))  # a class attribute of that name would hide it
            self.__dict__["_parameters" if isinstance(value, Parameter) else "_buffers"][name] = value
            _provide(type(self), name)
        elif isinstance(value, Structure):
            self._claim(name, self._base)
            self._modules[name] = self.__dict__[name] = value
        elif (name in self._parameters or name in self._buffers) and value is not None:
            raise ArgumentError(f"a Parameter or Buffer for {name!r}", type(value).__name__,
                                f"assign to .{name}.data outside forward, or use update_buffer inside it")
        elif isinstance(value, (list, tuple, dict)) and _holds_owned(value):
            raise ArgumentError(f"modules for {name!r} where their parameters are found",
                                f"a plain {type(value).__name__}",
                                "use ModuleList, ModuleDict or Sequential, and an attribute of its own for a Parameter")
        else:
            if name in self._parameters or name in self._buffers or name in self._modules:
                self._drop(name)
            if name == "forward" or isinstance(getattr(type(self), name, None), Owned):  # it hides what others rely on
                _changed()
            object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name in self.__dict__["_parameters"] or name in self.__dict__["_buffers"]:
            return Owned(name).__get__(self)
        if hasattr(type(self), name):  # a property whose own code raised AttributeError: let that error through
            return object.__getattribute__(self, name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        if name not in self._parameters and name not in self._buffers and name not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        self._drop(name)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        del state["_located"], state["_ready"]  # about the identities of these very objects
        state.pop("_plan", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for kind in ("_parameters", "_buffers", "_modules"):  # so that copy.copy gives a module with lists of its own
            self.__dict__[kind] = dict(state[kind])
        for name in (*self._parameters, *self._buffers):
            _provide(type(self), name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers]

    def _claim(self, name: str, reserved: type) -> None:
        """Make `name` free for a parameter, buffer or module."""
        if not isinstance(getattr(reserved, name, None), (Owned, type(None))):
            raise ArgumentError("a name that Module does not use itself", repr(name), "choose another attribute name")
        if not name or "." in name:
            raise ArgumentError("a name without dots, as they separate the parts of a path", repr(name), "rename it")
        self._drop(name, keep_order=True)

    def _drop(self, name: str, *, keep_order: bool = False) -> None:
        """Forget whatever goes by `name`; a module that is about to be replaced keeps its place in the order."""
        for owner in (self._parameters, self._buffers, self.__dict__, *(() if keep_order else (self._modules,))):
            owner.pop(name, None)
        _changed()

    def children(self) -> Iterator[Any]:
        """The modules that are attributes of this one, in order."""
        return iter(self._modules.values())

    def named_children(self) -> Iterator[tuple[str, Any]]:
        """The modules that are attributes of this one, in order, with their names."""
        return iter(self._modules.items())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """This module and all below it, once each, with dotted paths; this one's is the prefix."""
        seen: set[int] = set()
        for path, module, _ in self._walk(prefix, ()):
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module

    def modules(self) -> Iterator[Any]:
        """This module and all below it, once each."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with its dotted name; one that two modules share goes by its first name."""
        return self._named("_parameters")

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Every buffer once, with its dotted name."""
        return self._named("_buffers")

    def parameters(self) -> list[Parameter]:
        """Every parameter once."""
        return [parameter for _, parameter in self.named_parameters()]

    def buffers(self) -> list[Buffer]:
        """Every buffer once."""
        return [buffer for _, buffer in self.named_buffers()]

    def _walk(self, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
        """Every place where a module stands, shared ones at each of theirs; a cycle is entered once."""
        if id(self) in above:
            return
        above = (*above, id(self))
        yield path, self, above
        for name, child in self._modules.items():
            yield from child._walk(f"{path}.{name}" if path else name, above)

    def _handles(self) -> dict[str, Any]:
        """Every parameter and buffer by each of its dotted names, in PyTorch's order."""
        return {f"{path}.{name}" if path else name: handle for path, module, _ in self._walk("", ())
                for owned in (module._parameters, module._buffers) for name, handle in owned.items()}

    def _named(self, kind: str) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, handle in module.__dict__[kind].items():
                if id(handle) not in seen:
                    seen.add(id(handle))
                    yield f"{path}.{name}" if path else name, handle

    def _paths(self) -> dict[int, str]:
        """Module identity -> dotted path, made again only when some structure has changed."""
        version, paths = self.__dict__["_located"]
        if version != _version:
            version, paths = _version, {id(module): path for path, module in self.named_modules()}
            self.__dict__["_located"] = (version, paths)
        return paths


def _provide(kind: type, name: str) -> None:
    """Let the class find parameters of this name."""
    if not hasattr(kind, name):
        setattr(kind, name, Owned(name))


def _holds_owned(values: Any) -> bool:
    return any(isinstance(x, (Storage, Structure)) for x in (values.values() if isinstance(values, dict) else values))
