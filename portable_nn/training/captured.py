"""`capture`: a whole training step recorded once on the device, and replayed without Python."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from portable_nn.autodiff import is_recording
from portable_nn.autodiff.replay import watched
from portable_nn.autodiff.tree import leaves, map_leaves
from portable_nn.backend.capturing import captured_step, reset_captured_step, set_captured_step
from portable_nn.backend.errors import ArgumentError, CaptureError
from portable_nn.backend.namespace import array_namespace, is_tensor
from portable_nn.backend.notices import notice
from portable_nn.backend.precision import compute_precision
from portable_nn.kernels import registry
from portable_nn.layers.structure import structure_version
from portable_nn.training.arguments import brought, is_input, take_apart
from portable_nn.training.recorded import Step, results

#: Steps of new shapes that are run as they are before one is recorded: by then all memory and kernels are there.
WARM_UPS = 2
#: How many parts of a key are not of the arguments: what `_state` gives.
_STATES = 4
_NOWHERE = object()
#: Not a line of the user's, when one is looked for in a traceback.
_OURS = {"portable_nn", "cupy", "cupyx", "cupy_backends", "numpy", "array_api_compat", "contextlib"}


def capture(step: Callable[..., Any], *, shapes: int = 8) -> Captured:
    """A training step that, on a GPU, is recorded as one CUDA graph and replayed without Python.

    Parameters
    ----------
    step : callable
        The whole step: forward, loss, backward, update and `zero_grad`, of any models and optimisers. It takes arrays
        or Tensors on the GPU (trees of them, and constants), and returns arrays, Tensors or None. NumPy's arrays among
        the arguments of a step on a GPU are copied there first, and it is given the copies. Everything that changes
        from step to step must be an argument, or come from an optimiser (learning rate, step count), a module's random
        draws or its buffers. A number, a string or any other constant is recorded: another one is another graph.
    shapes : int
        How many graphs to keep, one for each set of shapes, dtypes, constants and training modes met; the one used
        least recently goes first.

    Returns
    -------
    callable
        Called as `step` is; returns raw arrays for the Tensors. The first two calls for new shapes run as they are, the
        third is recorded: all of them are steps, with the results that they would have without capture, bit for bit.
        On NumPy, and wherever nothing can be recorded, every call runs as it is.

    Raises
    ------
    ArgumentError
        When called: an argument is an array on another device or of another library.
    CaptureError
        When called: the step reads a value back (the message names its line), adds to gradients of an earlier step,
        draws random numbers on the host, or does something else that a replay could not repeat.

    Example
    -------
    >>> import numpy as np
    >>> from portable_nn import Tensor, layers, optim
    >>> model = layers.Linear(2, 1)
    >>> optimizer = optim.SGD(model.parameters(), lr=0.1)
    >>> @capture
    ... def step(x, y):
    ...     loss = layers.MSELoss()(model(x), y)
    ...     loss.backward()
    ...     optimizer.step()
    ...     optimizer.zero_grad()
    ...     return loss
    >>> x, y = (Tensor(np.ones(shape, dtype=np.float32)) for shape in ((3, 2), (3, 1)))
    >>> float(step(x, y)) > float(step(x, y))
    True
    """
    if not callable(step) or isinstance(step, type):
        raise ArgumentError("a function to capture", f"{step!r:.60}", "pass the function that makes one training step")
    if not isinstance(shapes, int) or shapes < 1:
        raise ArgumentError("shapes of 1 or more", repr(shapes), "pass how many graphs to keep")
    return Captured(step, shapes)


class Captured:
    """What `capture` returns.

    Attributes
    ----------
    recorded : int
        How many graphs have been recorded so far.
    """

    def __init__(self, function: Callable[..., Any], limit: int) -> None:
        functools.update_wrapper(self, function)
        self._function, self._limit = function, limit
        self._entries: OrderedDict[Any, _Entry] = OrderedDict()
        self._latest: Any = None
        self._graphs: dict[Any, Any] = {}  # after what they were recorded as, so that they go last
        self._kinds: dict[type, Any] = {type(_NOWHERE): None}
        self._roots: list[Any] = []
        self._modules: tuple[int, list[Any], list[Any]] = (-1, [], [])
        self._home: Any = None  # an array of the device that steps without arrays of one use
        self._lock = threading.RLock()
        self.recorded = self._dropped = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        if captured_step() is not None:  # a part of another captured step
            return map_leaves(_raw, self._function(*args, **options))
        arrays: list[Any] = []
        key: list[Any] = []
        take_apart(args, arrays, key)
        if options:
            take_apart((..., options), arrays, key)  # the dots tell it from a dict among `args`
        with self._lock:
            graphs = self._graphs_for(arrays)
            if graphs is None:
                return self._plainly((args, options))
            with graphs.active():
                return self._on_device(graphs, (args, options), arrays, key)

    def _on_device(self, graphs: Any, given: Any, arrays: list[Any], shapes: list[Any]) -> Any:
        key = (*shapes, *self._state())
        try:
            entry = self._entries.get(key) or self._add(key)
        except TypeError as error:
            raise ArgumentError("arguments of a captured step that are arrays, trees of them or constants", str(error),
                                "let the step take other objects from around it") from error
        if entry is not self._latest:
            self._entries.move_to_end(key)
            self._latest = entry
        if not graphs.owns(arrays):
            given, arrays = self._bring(graphs, given)
        if entry.step is not None:
            if entry.step.is_current():
                return entry.step.replay(arrays)
            entry.step, entry.runs = None, 0
        step = Step(graphs)
        try:
            if entry.runs < WARM_UPS or entry.thread is not threading.current_thread():
                return self._warm_up(entry, key, step, given)
            return self._record(entry, step, given, arrays)
        except Exception as error:
            explained = _explained(error)
            if explained is error:
                raise
            raise explained from error

    def _bring(self, graphs: Any, given: Any) -> tuple[Any, list[Any]]:
        """The arguments with those of NumPy's as arrays on the device, and all of their arrays."""
        moved = brought(given, graphs)
        arrays: list[Any] = []
        take_apart(moved, arrays, [])
        return moved, arrays

    def _graphs_for(self, arrays: list[Any]) -> Any:
        """How the device of these arrays records, or None where it does not."""
        if registry.forced() is not None:
            return None
        for x in (*arrays, self._home):
            kind = type(x)
            if kind not in self._kinds:
                self._kinds[kind] = None if x is None else registry.find("graphs", array_namespace(x), (x,), {})
            if self._kinds[kind] is not None:
                place = x.data.device_id
                if place not in self._graphs:
                    self._graphs[place] = _unless_hindered(self._kinds[kind].forward(x))
                return self._graphs[place]
        return None

    def _plainly(self, given: Any) -> Any:
        """Call the function as it is; one without arrays of a device tells by its modules where it runs."""
        args, options = given
        if self._home is not None:
            return map_leaves(_raw, self._function(*args, **options))
        step = Step(None)
        with watched(step):
            out = self._function(*args, **options)
        data = [handle._data for root in step.roots for handle in root._handles().values()]
        self._home = next((x for x in data if x is not None), _NOWHERE)
        return map_leaves(_raw, out)

    def _state(self) -> tuple[Any, ...]:
        """What else decides which launches a step makes."""
        if self._modules[0] != structure_version():
            modules = [module.__dict__ for root in self._roots for module in root.modules()]
            handles = [handle for root in self._roots for handle in root._handles().values()]
            self._modules = (structure_version(), modules, list(dict.fromkeys(handles)))
        modes = tuple([of["training"] for of in self._modules[1]])
        return modes, is_recording(), registry.forced(), compute_precision()

    def _add(self, key: Any) -> _Entry:
        if len(self._entries) >= self._limit:
            self._entries.popitem(last=False)
            self._dropped += 1
            if self._dropped == 4 * self._limit:
                notice(f"a captured step has met over {5 * self._limit} sets of shapes, so mostly it is run as it is: "
                        "pad batches to a few lengths, or leave capture out")
        entry = self._entries[key] = _Entry()
        return entry

    def _warm_up(self, entry: _Entry, key: Any, step: Step, given: Any) -> Any:
        if entry.thread is not threading.current_thread():  # which makes its own handles and plans before it records
            entry.thread, entry.runs = threading.current_thread(), 0
        out = step.graphs.run(lambda: self._run(step, given), first=entry.runs == 0)
        entry.runs += 1
        entry.optimizers = [update.optimizer for update in step.updates]
        new = [root for root in step.roots if not any(root is known for known in self._roots)]
        entry.outputs = len(list(leaves(out)))
        if new:  # their modes are part of the key from now on
            self._roots.extend(new)
            self._modules = (-1, [], [])
            del self._entries[key]
            self._entries[(*key[:-_STATES], *self._state())] = entry
        return map_leaves(step.graphs.copy, results(out))  # its memory may be used again by what is recorded

    def _record(self, entry: _Entry, step: Step, given: Any, arrays: list[Any]) -> Any:
        exchange = step.graphs.exchange(arrays, entry.outputs)
        statics = iter(exchange.statics)

        def static(x: Any) -> Any:
            if not is_input(x):
                return x
            return type(x)(next(statics)) if is_tensor(x) else next(statics)

        again = map_leaves(static, given)
        known = dict.fromkeys([*self._modules[2], *(p for other in entry.optimizers for p in other.parameters)])
        for other in entry.optimizers:
            other._settle()  # nothing can be waited for while a step is recorded
        step.record(lambda: self._run(step, again), list(known), exchange, entry.outputs)
        entry.step = step
        self.recorded += 1
        return step.launch(arrays)

    def _run(self, step: Step, given: Any) -> Any:
        token = set_captured_step(step)
        try:
            with watched(step):
                return self._function(*given[0], **given[1])
        finally:
            reset_captured_step(token)


class _Entry:
    """What is known of one set of shapes: how often it has run, and what was recorded."""

    def __init__(self) -> None:
        self.runs = 0
        self.thread: Any = None
        self.step: Step | None = None
        self.outputs = 0
        self.optimizers: list[Any] = []


def _raw(x: Any) -> Any:
    return x.data if is_tensor(x) else x


def _unless_hindered(graphs: Any) -> Any:
    """The graphs, or None after saying why there can be none."""
    obstacle = graphs.obstacle()
    if obstacle is not None:
        notice(f"steps run uncaptured, several times slower where a step is small: {obstacle}")
    return graphs if obstacle is None else None


def _explained(error: Exception) -> Exception:
    """An error of a step, as a CaptureError that names the user's line where capturing is what was wrong."""
    line = _line_of(error)
    if isinstance(error, CaptureError):
        expected, received, fix = error.args
        return CaptureError(expected, f"{received}, {line}", fix)
    if isinstance(error, NotImplementedError) and "capture" in str(error):
        return CaptureError("products that can be recorded", f"one through CuPy's own cuBLAS, {line}",
                            "use layers or functional.linear, whose products can be, or train without capture")
    if "H2D" in str(error):  # CuPy's own words, here and below
        return CaptureError("a captured step whose data is on the device", f"{error}, {line}",
                            "pass it to the step as an argument, or move it before the first step")
    if "StreamCapture" in str(error) or "stream is capturing" in str(error):
        return CaptureError("a captured step that nothing waits for", f"{error}, {line}",
                            "take float(), .item(), bool() and printing of arrays out of the step: return the array, "
                            "and read it afterwards")
    return error


def _line_of(error: Exception) -> str:
    """Where in the user's code an error arose."""
    found, trace = None, error.__traceback__
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).split(".")[0] not in _OURS:
            found = trace
        trace = trace.tb_next
    if found is None:
        return "in the library"
    import linecache

    file = found.tb_frame.f_code.co_filename
    return f"in line {found.tb_lineno} of {file}: {linecache.getline(file, found.tb_lineno).strip()}"
