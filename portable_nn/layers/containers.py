"""Modules that hold modules: Sequential, ModuleList, ModuleDict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

from portable_nn.autodiff.frame import current_frame
from portable_nn.backend.errors import ArgumentError
from portable_nn.layers import dense
from portable_nn.layers.module import Module
from portable_nn.layers.structure import structure_version


class _Numbered(Module):
    """Modules in order, by the names "0", "1", …"""

    def append(self, module: Module) -> Any:
        """Add a module at the end; returns self."""
        setattr(self, str(len(self)), _checked(module))
        return self

    def extend(self, modules: Iterable[Module]) -> Any:
        """Add modules at the end; returns self."""
        if not isinstance(modules, Iterable):
            raise ArgumentError("modules in a list", f"{modules!r:.60}", "pass for example [Linear(3, 4), ReLU()]")
        for module in modules:
            self.append(module)
        return self

    def _name(self, index: int) -> str:
        names = list(self._modules)
        if not -len(names) <= index < len(names):
            raise IndexError(f"index {index} in a {type(self).__name__} of {len(names)} modules")
        return names[index]

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Any: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return self._of(dict(list(self._modules.items())[index]))
        return self._modules[self._name(index)]

    def _of(self, modules: dict[str, Module]) -> Any:
        """One of the same kind with these modules, which stay shared."""
        raise NotImplementedError

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name(index), _checked(module))

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self._modules.values()))


class Sequential(_Numbered):
    """Modules one after the other: y = f_n(… f_2(f_1(x))).

    Shape
    -----
    what the first takes -> what the last gives

    Parameters
    ----------
    *modules : Module
        Named "0", "1", …; or one dict of names and modules. Indexing gives a module; slicing gives a Sequential of the
        same modules under their old names, as in PyTorch.

    Raises
    ------
    ArgumentError
        Something is no module.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_nn.layers import Linear, ReLU
    >>> model = Sequential(Linear(4, 8), ReLU(), Linear(8, 2))
    >>> model(np.ones((5, 4), dtype=np.float32)).shape
    (5, 2)
    >>> model[0]
    Linear(in_features=4, out_features=8, bias=True)
    """

    def __init__(self, *modules: Any) -> None:
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], Mapping) else None
        for name, module in named.items() if named is not None else enumerate(modules):
            setattr(self, str(name), _checked(module))

    def forward(self, x: Any) -> Any:
        frame: Any = current_frame()
        steps = self._steps() if frame is not None and frame.observer is None else self._modules.values()
        for module in steps:
            x = module(x)
        return x

    def _steps(self) -> list[Any]:
        """The modules, with runs of dense layers and their activations as one; made again when a structure changed."""
        version, steps = self.__dict__.get("_plan", (None, []))
        if version != structure_version():
            steps = dense.merged(self)
            self.__dict__["_plan"] = structure_version(), steps
        return steps

    def _of(self, modules: dict[str, Module]) -> Any:
        return Sequential(modules)


class ModuleList(_Numbered):
    """A list of modules whose parameters are found; its owner's forward says what to do with them.

    Parameters
    ----------
    modules : iterable of Module

    Raises
    ------
    ArgumentError
        Something is no module.

    Examples
    --------
    >>> from portable_nn.layers import Linear
    >>> len(ModuleList(Linear(3, 3) for _ in range(4)))
    4
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.extend(modules)

    def _of(self, modules: dict[str, Module]) -> Any:
        return ModuleList(modules.values())


class ModuleDict(Module):
    """Modules by name, whose parameters are found; its owner's forward says what to do with them.

    Parameters
    ----------
    modules : mapping of str to Module
        A name must not be that of an attribute that modules have anyway, such as "train".

    Raises
    ------
    ArgumentError
        Something is no module, or a name is taken.

    Examples
    --------
    >>> from portable_nn.layers import Linear
    >>> heads = ModuleDict({"mean": Linear(3, 1), "spread": Linear(3, 1)})
    >>> list(heads)
    ['mean', 'spread']
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        if modules is not None and not isinstance(modules, Mapping):
            raise ArgumentError("modules in a dict", f"{modules!r:.60}", 'pass for example {"mean": Linear(3, 1)}')
        for name, module in (modules or {}).items():
            self[name] = module

    def __getitem__(self, name: str) -> Any:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(name, str) or hasattr(ModuleDict, name):
            raise ArgumentError("a str that ModuleDict does not use itself", repr(name), "choose another name")
        setattr(self, name, _checked(module))

    def __delitem__(self, name: str) -> None:
        del self._modules[name]
        delattr(self, name)

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._modules))

    def keys(self) -> Iterable[str]:
        """The names, in order."""
        return self._modules.keys()

    def values(self) -> Iterable[Any]:
        """The modules, in order."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Names and modules, in order."""
        return self._modules.items()


def _checked(module: Any) -> Module:
    if not isinstance(module, Module):
        fix = "make an object of the class first, as in ReLU()" if isinstance(module, type) else \
            "pass the modules themselves; Sequential takes them one by one, as Sequential(*modules)"
        raise ArgumentError("a Module", f"{module!r:.60}", fix)
    return module
