"""Builds, for each raw Array API library, the namespace whose functions are the standard's, recorded.

`xp.zeros` must know which library it stands for, so there is one namespace and one Tensor type per library, generated
from the standard's list of signatures. Elementwise functions, of which a step runs most, get closures of their own.
"""

from __future__ import annotations

import threading
import types
from typing import Any

from portable_nn.autodiff import standard
from portable_nn.autodiff.elementwise import make_binary, make_unary
from portable_nn.autodiff.engine import Node, Output, is_recording
from portable_nn.autodiff.operators import bind_operators, make_tensor_type
from portable_nn.autodiff.rules import COMPOSED, DISCRETE, RULES, Rule, load_rules, refuse, refuse_dtype
from portable_nn.autodiff.signatures import Signature, generate, generate_direct, split
from portable_nn.autodiff.tensor import Tensor
from portable_nn.backend.errors import DTypeError
from portable_nn.backend.namespace import array_namespace, namespace_name, register_namespace

_namespaces: dict[int, TensorNamespace] = {}
_building = threading.Lock()
#: Functions with several results, and array arguments that may be left out: what `record_operation` sees to.
SEVERAL = frozenset({"eigh", "slogdet"})
OPTIONAL = frozenset({"min", "max", "sorter"})
_PYTHON_SCALARS = frozenset({bool, int, float, complex})


def tensor_namespace(raw: Any) -> TensorNamespace:
    """The namespace that records the operations of the raw namespace `raw`; built at its first use."""
    namespace = _namespaces.get(id(raw))
    return _build(raw) if namespace is None else namespace


def _build(raw: Any) -> TensorNamespace:
    with _building:  # two threads must not end up with two Tensor types
        if id(raw) not in _namespaces:
            load_rules()
            namespace = TensorNamespace(raw)
            register_namespace(namespace.Tensor, namespace, records=raw)
            _namespaces[id(raw)] = namespace
    return _namespaces[id(raw)]


class _RealFloating(dict):
    """dtype -> whether it is real and floating, as the dtypes of recorded values must be."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def __missing__(self, dtype: Any) -> bool:
        answer = self[dtype] = bool(self.raw.isdtype(dtype, "real floating"))
        return answer


class TensorNamespace(types.ModuleType):
    """An Array API namespace over Tensors of one library.

    Attributes
    ----------
    raw : namespace
        The library underneath.
    Tensor : type
        The Tensor type of this namespace.
    mixes_dtypes : bool
        Whether values of half precision stand beside others on the tape, so that gradients are cast on their way.
    """

    def __init__(self, raw: Any) -> None:
        super().__init__(f"portable_nn.autodiff.{namespace_name(raw)}")
        self.raw = raw
        self.is_real_floating = _RealFloating(raw)
        self.mixes_dtypes = hasattr(raw, "half_dtype")
        self._cast_rules: dict[str, dict[str, Rule]] = {}
        self.Tensor: Any = make_tensor_type(self)
        for name in standard.CONSTANTS + standard.DTYPES:
            if hasattr(raw, name):
                setattr(self, name, getattr(raw, name))
        self._add_functions(self, raw, standard.FUNCTIONS)
        for name in filter(lambda name: hasattr(raw, name), standard.UNARY):
            setattr(self, name, make_unary(self, name))
        for name in filter(lambda name: hasattr(raw, name), standard.BINARY):
            setattr(self, name, make_binary(self, name))
        from portable_nn.autodiff import creation, derived

        self._add_extension("linalg", standard.LINALG, standard.LINALG_SHARED)
        self._add_extension("fft", standard.FFT, ())
        creation.add_creation(self)
        derived.add_derived(self)
        bind_operators(self.Tensor, self)

    def rules(self, name: str) -> dict[str, Rule]:
        """The rules of a function by argument, {} where it has none."""
        if not self.mixes_dtypes:
            return RULES.get(name, {})
        if name not in self._cast_rules and name in RULES:
            self._cast_rules[name] = {argument: rule.in_own_dtype() for argument, rule in RULES[name].items()}
        return self._cast_rules.get(name, {})

    def lift(self, x: Any) -> Any:
        """x as a Tensor of this namespace: raw arrays of its library become constants; anything else raises."""
        if type(x) is self.Tensor:
            return x
        if not isinstance(x, Tensor) and array_namespace(x) is self.raw:
            return self.Tensor(x)
        array_namespace(self.Tensor(self.raw.empty((0,))), x)  # raises, naming both libraries
        raise DTypeError("arrays of one library", f"{type(x).__name__}", "convert it first")

    def unwrap(self, x: Any) -> Any:
        """The raw array of a Tensor; Python scalars and None as they are."""
        if type(x) is self.Tensor:
            return x._data
        if x is None or type(x) in _PYTHON_SCALARS:
            return x
        return self.lift(x)._data

    def link(self, value: Any, node: Any) -> Any:
        """A Tensor over a saved array, tied to the node that made it; a tuple of outputs one by one."""
        if node is None or value is None:
            return value
        if type(value) in _PYTHON_SCALARS:
            return value
        if isinstance(value, tuple):
            return tuple([self.Tensor(x, Output(node, i, len(value))) for i, x in enumerate(value)])
        return self.Tensor(value, node)

    def record_operation(self, name: str, function: Any, arguments: tuple, arrays: tuple, options: dict) -> Any:
        """Run `function(*raw arrays, **options)` and put it on the tape under the rules called `name`.

        Raises
        ------
        GradientError
            An argument that needs a gradient has no rule, or the result is complex or no longer floating.
        """
        data = tuple(map(self.unwrap, arrays))
        nodes = [x._node if type(x) is self.Tensor else None for x in arrays]
        if name in DISCRETE or not any(node is not None for node in nodes) or not is_recording():
            return self.wrap(function(*data, **options))
        if name in COMPOSED:
            return COMPOSED[name](self, *map(self.operand, arrays), **options)
        rules = self.rules(name)
        for argument, node in zip(arguments, nodes, strict=True):
            if node is not None and argument not in rules:
                refuse(name, argument)
        out = function(*data, **options)
        known = {**options, **dict(zip(arguments, data, strict=True)), "out": out}
        edges = []
        for argument, x, node in zip(arguments, data, nodes, strict=True):
            if node is not None:
                known["shape"], known["dtype"] = x.shape, x.dtype
                rule = rules[argument]
                edges.append((node, rule, tuple([known[key] for key in rule.names]), x.shape))
        made = Node(tuple(edges))
        if isinstance(out, tuple):
            outputs = [self.Tensor(x, Output(made, i, len(out))) for i, x in enumerate(out)]
            return type(out)(*outputs) if hasattr(out, "_fields") else tuple(outputs)
        if not self.is_real_floating[out.dtype]:
            refuse_dtype(name, out.dtype)
        return self.Tensor(out, made)

    def operand(self, x: Any) -> Any:
        """x as a Tensor; Python scalars and None as they are."""
        return x if x is None or type(x) in _PYTHON_SCALARS else self.lift(x)

    def wrap(self, out: Any) -> Any:
        """Results as constant Tensors; tuples (named ones too) element by element."""
        if isinstance(out, tuple):
            wrapped = [self.Tensor(x) for x in out]
            return type(out)(*wrapped) if hasattr(out, "_fields") else tuple(wrapped)
        return self.Tensor(out) if hasattr(out, "dtype") else out

    def _add_functions(self, target: Any, library: Any, signatures: list[str]) -> None:
        """Generate the wrapper of each signature into `target`, from the functions of `library`."""
        for text in signatures:
            name, _ = split(text)
            if hasattr(library, name):
                setattr(target, name, self._wrapper(text, getattr(library, name)))

    def _wrapper(self, text: str, function: Any) -> Any:
        """The recording function of a signature: a direct one where nothing about it is special."""
        signature = Signature(text)
        name, arrays = signature.name, signature.arrays
        special = name in COMPOSED or name in SEVERAL or set(arrays) & OPTIONAL
        if special or set(self.rules(name)) != set(arrays):
            return generate(text, function, self.record_operation)

        def check(out: Any) -> None:
            if not self.is_real_floating[out.dtype]:
                refuse_dtype(name, out.dtype)

        scope = {"T": self.Tensor, "function": function, "unwrap": self.unwrap, "is_recording": is_recording,
                 "make_node": Node, "check": check}
        return generate_direct(text, scope, self.rules(name))

    def _add_extension(self, extension: str, signatures: list[str], shared: tuple[str, ...]) -> None:
        library = getattr(self.raw, extension, None)
        if library is None:
            return
        module = types.ModuleType(f"{self.__name__}.{extension}")
        self._add_functions(module, library, signatures)
        for name in shared:
            setattr(module, name, getattr(self, name))
        setattr(self, extension, module)
