"""`Optimizer`: what SGD, Adam and the others share: groups, the flat arena, gradients given or accumulated, state."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import Any

from portable_nn.backend.errors import ArgumentError
from portable_nn.backend.namespace import array_namespace
from portable_nn.kernels import registry
from portable_nn.layers.parameter import Parameter
from portable_nn.optim import state as states
from portable_nn.optim.arena import Run
from portable_nn.optim.clipping import check_norm, clip_factor
from portable_nn.optim.device import DeviceLatch, DeviceUpdate, can_update
from portable_nn.optim.gradients import in_order, refuse_non_finite
from portable_nn.optim.groups import check_number, make_groups
from portable_nn.optim.latch import Latch
from portable_nn.optim.rows import make_runs


class Optimizer:
    """Base of the optimisers: changes parameters in place, from their accumulated gradients or from given ones.

    Parameters
    ----------
    parameters : iterable of Parameter, or of dicts
        `model.parameters()`, or groups `{"params": [...], "lr": …}` with hyper-parameters of their own.
    defaults : dict
        Hyper-parameters of groups that do not set them. `lr` is a number or a schedule from `optim.schedules`.
    clip_norm : float, optional
        Scale all gradients together so that their global norm is at most this.

    Attributes
    ----------
    groups : list of dict
        The parameter groups; change `optimizer.groups[0]["lr"]` at will.
    steps : int
        How many updates have been made; what a schedule is a function of. Those that a loss scaler has passed over do
        not count, so with one, asking waits for the last step.
    total_steps : int or None
        How many are planned: set by `fit`, for schedules that run over the whole training.
    """

    #: The name under which kernels of the update are registered, and what it means.
    operation = ""
    definition: Callable[..., Any]

    def __init__(self, parameters: Iterable[Any], defaults: dict[str, Any], *, clip_norm: float | None = None) -> None:
        self.groups = make_groups(parameters, defaults)
        for group in self.groups:
            self.check_options(group)
        if clip_norm is not None:
            check_norm("clip_norm", clip_norm)
        self.clip_norm = clip_norm
        self._steps = 0
        self.total_steps: int | None = None
        self._members = [parameter for group in self.groups for parameter in group["params"]]
        self.loss_scaler: Any = None
        self._runs: list[tuple[Run, dict[str, Any], list[int]]] | None = None  # with their group and parameter numbers
        self._device: DeviceUpdate | None = None  # where all runs are on one device with kernels
        self._waiting: dict[int, dict[str, Any]] = {}  # state for the runs that are still to be built

    def check_options(self, group: dict[str, Any]) -> None:
        """Raise if a group's hyper-parameters are out of range."""
        if not callable(group["lr"]):
            check_number(group, "lr", "a number of 0 or more or a schedule, for example lr=1e-3")
        check_number(group, "weight_decay", "0 for none")

    def moments(self, group: dict[str, Any]) -> tuple[str, ...]:
        """Names of the arrays kept per parameter of a group, as PyTorch's state dict has them."""
        return ()

    def takes_rows(self, group: dict[str, Any]) -> bool:
        """Whether a step leaves rows without a gradient as they are, so that row-sparse gradients will do."""
        return False

    def options(self, group: dict[str, Any], lr: float, step: int) -> dict[str, Any]:
        """The arguments of `definition` for a parameter's step number `step`, from 1; written by subclasses."""
        raise NotImplementedError

    @property
    def steps(self) -> int:
        self._settle()
        return self._steps

    @steps.setter
    def steps(self, count: int) -> None:
        self._settle()
        self._steps = count

    def _settle(self) -> None:
        """Count back if the last update was passed over, which is only known once it was made."""
        if self.loss_scaler is not None:
            self.loss_scaler.settle(self)

    @property
    def parameters(self) -> list[Parameter]:
        """All parameters, group after group."""
        return list(self._members)

    def lr(self, group: int = 0) -> float:
        """The learning rate of a group's next step."""
        self._settle()
        return self._lr(self.groups[group])

    def _lr(self, group: dict[str, Any]) -> float:
        lr = group["lr"]
        if not callable(lr):
            return lr
        try:
            return float(lr(self._steps, self.total_steps))
        except TypeError as error:
            raise ArgumentError("a schedule: a function of the step and the planned steps that returns a number",
                                f"{lr!r:.60} ({error})", "pass for example optim.Cosine(1e-3)") from error

    def step(self, gradients: Any = None, *, check_finite: bool = False,
             latch: Latch | None = None) -> None:
        """Make one update. Parameters that are frozen or have no gradient are passed over.

        Parameters
        ----------
        gradients : optional
            What `value_and_grad` gave: a dict by parameter name, or a sequence or tree in the order of the parameters,
            None where there is none. Left out, the gradients that `backward` has accumulated are used.
        check_finite : bool
            Raise NonFiniteError, naming the first parameter, before anything changes if a gradient is not finite.
            Waits for the device.
        latch : optional
            What `make_latch` gave: does the same on the device without a wait, and freezes this and all later updates
            at a bad gradient.

        Raises
        ------
        ArgumentError
            Gradients do not match the parameters, or a parameter belongs to another optimiser that is still there.
        ShapeError, DTypeError, DeviceError
            A gradient is not of its parameter's shape, dtype or device.
        """
        self._settle()
        runs = self._prepare()
        if gradients is None:
            found = [p.slot.gradient if p.trainable else None for p in self._members]
        else:
            found = in_order(gradients, self._members)
        for run, _, numbers in runs:
            own = found if len(numbers) == len(found) else [found[number] for number in numbers]  # of one run, in order
            run.load(run.checked(own), copy=self.clip_norm is not None)
        if self._device is not None:
            self._update_on_device(found, check_finite, latch)
            return
        if check_finite or self.clip_norm is not None:
            self._inspect(runs, found, check_finite)
        if latch is not None:
            latch.see_gradients(runs)
        for run, group, _ in runs:
            lr = self._lr(group)
            run.update(self.operation, type(self).definition, partial(self.options, group, lr),
                       None if latch is None else latch.frozen)
        self._steps += 1

    def zero_grad(self) -> None:
        """Forget the accumulated gradients."""
        for parameter in self._members:
            parameter.slot.gradient = None

    def make_latch(self) -> Any:
        """A new latch for `step`: it watches losses and gradients on the device; see `optim.latch`."""
        self._prepare()
        return Latch(self._members[0].data) if self._device is None else DeviceLatch(self, self._device)

    def _update_on_device(self, found: list[Any], check_finite: bool, latch: Any) -> None:
        update: Any = self._device
        record = update.make(self, latch, check_finite)
        if check_finite and not math.isfinite(update.numbers.total(record)):
            refuse_non_finite(self._members, found)
        update.apply(self, latch, record)

    def _inspect(self, runs: list[Any], found: list[Any], check_finite: bool) -> None:
        """Check and clip this step's gradients, by one sum of squares over all of them."""
        squares = list(chain.from_iterable(run.squares() for run, _, _ in runs))
        if not squares:
            return
        total = squares[0]
        for square in squares[1:]:
            total = total + square
        if check_finite and not math.isfinite(float(total)):  # or it has overflowed; then no gradient is found at fault
            refuse_non_finite(self._members, found)
        if self.clip_norm is not None:
            factor = clip_factor(array_namespace(total).sqrt(total), self.clip_norm)
            for run, _, _ in runs:
                run.scale(factor)

    def _prepare(self) -> list[tuple[Run, dict[str, Any], list[int]]]:
        """The runs, built at the first step, and built again where the model has been moved or cast."""
        if self._runs is not None and (self._device is None or registry.forced() is None):
            for run, group, _ in self._runs:
                if run.moment_names != self.moments(group) or not (run.is_current() or run.adopt()):
                    break
                if run.takes_rows and not self.takes_rows(group):
                    break
            else:
                return self._runs
        if self._runs is not None:
            self._waiting = states.per_parameter(self)
        for parameter in self._members:
            owner = parameter.slot.owner() if parameter.slot.owner is not None else None
            if owner is not None and owner is not self:
                raise ArgumentError("a parameter in one optimiser", f"{parameter} in two",
                                    "give each optimiser its own parameters, or drop the other one with its release()")
        numbers = {id(p): i for i, p in enumerate(self._members)}
        on_device = can_update([p.data for p in self._members], self.operation)
        built = [(run, group, [numbers[id(p)] for p in run.parameters])
                 for group in self.groups for run in make_runs(
                     group["params"], self.moments(group), self.operation, takes_rows=self.takes_rows(group),
                     on_device=on_device)]
        for run, _, members in built:
            for i, number in enumerate(members):
                if number in self._waiting:
                    run.restore(i, self._waiting[number])
        for run, _, _ in built:  # nothing has been changed so far
            run.adopt()
        for parameter in self._members:
            parameter.slot.owner = weakref.ref(self)
        self._runs, self._waiting = built, {}
        self._device = DeviceUpdate(built) if on_device else None
        return built

    def release(self) -> None:
        """Let go of the parameters, so that another optimiser can take them; this one starts afresh if used again."""
        for parameter in self._members:
            if parameter.slot.owner is not None and parameter.slot.owner() is self:
                parameter.slot.owner = None
        self._runs, self._waiting = None, {}

    def state_dict(self) -> dict[str, Any]:
        """Copies of all that is needed to go on: updates and moments by parameter number, the groups' options."""
        return states.state_dict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict()` of an optimiser over the same parameters.

        Raises
        ------
        DataError
            The groups have other numbers of parameters, or a moment is missing or of another shape.
        """
        states.load_state_dict(self, state)

    def __getstate__(self) -> dict[str, Any]:
        waiting = states.per_parameter(self)  # before all else: it may count back
        return {**self.__dict__, "_runs": None, "_device": None, "loss_scaler": None, "_waiting": waiting}

    def __repr__(self) -> str:
        options = [{k: v for k, v in g.items() if k != "params"} for g in self.groups]
        return f"{type(self).__name__}({len(self._members)} parameters, {', '.join(map(str, options))})"
