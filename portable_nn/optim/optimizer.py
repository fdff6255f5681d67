"""`Optimizer`: what SGD, Adam and the others share: groups, the flat arena, gradients given or accumulated, state."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from itertools import chain
from typing import Any

from portable_nn.backend.errors import ArgumentError, DataError
from portable_nn.layers.parameter import Parameter
from portable_nn.optim.arena import Run, make_runs
from portable_nn.optim.clipping import clip_factor, global_norm


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
        How many updates have been made; what a schedule is a function of.
    total_steps : int or None
        How many are planned: set by `fit`, for schedules that run over the whole training.
    """

    #: Names of the arrays kept per parameter, as PyTorch's state dict has them.
    moments: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Any], defaults: dict[str, Any], *, clip_norm: float | None = None) -> None:
        given = list(parameters)
        groups = [dict(group) for group in given] if given and isinstance(given[0], dict) else [{"params": given}]
        self.groups: list[dict[str, Any]] = []
        seen: set[int] = set()
        for group in groups:
            members = list(group.pop("params", ()))
            unknown = sorted(set(group) - set(defaults))
            if unknown:
                raise ArgumentError(f"group options among {sorted(defaults)}", f"{unknown}", "check their spelling")
            self._check_members(members, seen)
            self.groups.append({"params": members, **defaults, **group})
            self.check_options(self.groups[-1])
        if not seen:
            raise ArgumentError("parameters to optimise", "none", "pass model.parameters()")
        if clip_norm is not None and not clip_norm > 0:
            raise ArgumentError("clip_norm above 0", f"{clip_norm}", "leave it out for no clipping")
        self.clip_norm = clip_norm
        self.steps = 0
        self.total_steps: int | None = None
        self._runs: list[list[Run]] | None = None
        self._waiting: dict[str, Any] | None = None

    @staticmethod
    def _check_members(members: list[Any], seen: set[int]) -> None:
        for member in members:
            if not isinstance(member, Parameter):
                raise ArgumentError("Parameters", type(member).__name__, "pass model.parameters(), or dicts with 'params'")
            if id(member) in seen:
                raise ArgumentError("each parameter once", f"{member} twice", "put it into one group")
            seen.add(id(member))

    def check_options(self, group: dict[str, Any]) -> None:
        """Raise if a group's hyper-parameters are out of range."""
        lr = group["lr"]
        if not callable(lr) and not lr >= 0:
            raise ArgumentError("a learning rate of 0 or more, or a schedule", f"lr={lr!r}", "pass for example lr=1e-3")
        if not group.get("weight_decay", 0.0) >= 0:
            raise ArgumentError("weight_decay of 0 or more", f"{group['weight_decay']}", "pass 0 for none")

    def update(self, run: Run, gradients: list[Any], group: dict[str, Any], lr: float) -> None:
        """Update one run; written by subclasses."""
        raise NotImplementedError

    @property
    def parameters(self) -> list[Parameter]:
        """All parameters, group after group."""
        return [parameter for group in self.groups for parameter in group["params"]]

    def lr(self, group: int = 0) -> float:
        """The learning rate of a group's next step."""
        lr = self.groups[group]["lr"]
        return float(lr(self.steps, self.total_steps)) if callable(lr) else float(lr)

    def step(self, gradients: Any = None, *, check_finite: bool = False) -> None:
        """Make one update. Parameters without a gradient are passed over.

        Parameters
        ----------
        gradients : optional
            What `value_and_grad` gave: a dict by parameter name or a sequence in the order of the parameters, None
            where there is none. Left out, the gradients that `backward` has accumulated are used.
        check_finite : bool
            Raise NonFiniteError, naming the first parameter, before anything changes if a gradient is not finite.
            Waits for the device.

        Raises
        ------
        ArgumentError
            Gradients do not match the parameters, or a parameter belongs to another optimiser that is still there.
        """
        runs = self._arena()
        given = self._match(gradients)
        lists = [[[given[id(p)] for p in run.parameters] for run in group] for group in runs]
        for group, wanted in zip(runs, lists, strict=True):
            for run, found in zip(group, wanted, strict=True):
                run.adopt()
                run.gather(found)
        if check_finite:
            for run, found in zip(chain(*runs), chain(*lists), strict=True):
                run.check_finite(found)
        if self.clip_norm is not None:
            self._clip(runs, lists)
        for number, (group, wanted) in enumerate(zip(runs, lists, strict=True)):
            lr = self.lr(number)
            for run, found in zip(group, wanted, strict=True):
                self.update(run, found, self.groups[number], lr)
        self.steps += 1

    def zero_grad(self) -> None:
        """Forget the accumulated gradients."""
        for group in self.groups:
            for parameter in group["params"]:
                parameter.slot.gradient = None

    def _match(self, gradients: Any) -> dict[int, Any]:
        """Each parameter's gradient, by identity, as raw arrays."""
        members = self.parameters
        if gradients is None:
            found = [p.slot.gradient for p in members]
        elif isinstance(gradients, dict):
            unknown = sorted(set(gradients) - {p.name for p in members})
            if unknown:
                raise ArgumentError(f"gradients by the names {[p.name for p in members]}", f"{unknown}",
                                    "use the names of model.named_parameters()")
            found = [gradients.get(p.name) for p in members]
        else:
            found = list(gradients)
            if len(found) != len(members):
                raise ArgumentError(f"{len(members)} gradients, one per parameter", f"{len(found)}",
                                    "differentiate by model.parameters(), in the order the optimiser has them")
        raw = {id(p): getattr(g, "_data", g) for p, g in zip(members, found, strict=True)}
        for p in members:
            g = raw[id(p)]
            if g is not None and tuple(g.shape) != p.shape:
                raise ArgumentError(f"a gradient of shape {p.shape} for {p.name or 'a parameter'}", f"{tuple(g.shape)}",
                                    "give each parameter its own gradient")
        return raw

    def _clip(self, runs: list[list[Run]], lists: list[list[list[Any]]]) -> None:
        pairs = [(run, found) for group, wanted in zip(runs, lists, strict=True) for run, found in zip(group, wanted, strict=True)]
        present = [g for _, found in pairs for g in found if g is not None]
        if present:
            factor = clip_factor(global_norm(present), self.clip_norm)
            for run, _ in pairs:
                run.scale(factor)

    def _arena(self) -> list[list[Run]]:
        """The runs of all groups, built at the first step, and built again where the model has moved or been cast."""
        if self._runs is not None and all(run.fits(p) for group in self._runs for run in group for p in run.parameters):
            return self._runs
        state = self._waiting or (self.state_dict() if self._runs is not None else None)
        for parameter in self.parameters:
            owner = parameter.slot.owner() if parameter.slot.owner is not None else None
            if owner is not None and owner is not self:
                raise ArgumentError("a parameter in one optimiser", f"{parameter} in two",
                                    "give each optimiser its own parameters, or drop the other one with its release()")
            parameter.slot.owner = weakref.ref(self)
        self._runs = [make_runs(group["params"], self.moments) for group in self.groups]
        self._waiting = None
        if state is not None:
            self._restore(state["state"])
        return self._runs

    def release(self) -> None:
        """Let go of the parameters, so that another optimiser can take them; this one's moments are dropped."""
        for parameter in self.parameters:
            if parameter.slot.owner is not None and parameter.slot.owner() is self:
                parameter.slot.owner = None
        self._runs = None

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything needed to go on: step counts and moments by parameter number, and the groups' options."""
        members = self.parameters
        number = {id(p): i for i, p in enumerate(members)}
        state: dict[int, dict[str, Any]] = {}
        for run in (run for group in self._runs or [] for run in group):
            for i, parameter in enumerate(run.parameters):
                if run.steps[i]:
                    state[number[id(parameter)]] = {
                        "step": run.steps[i], **{name: run.moment(name, i) for name in self.moments}}
        groups = [{**{k: v for k, v in group.items() if k != "params"}, "params": [number[id(p)] for p in group["params"]]}
                  for group in self.groups]
        if self._waiting is not None:
            state = self._waiting["state"]
        return {"state": state, "param_groups": groups, "steps": self.steps, "total_steps": self.total_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict()` of an optimiser over the same parameters.

        Raises
        ------
        DataError
            The groups have other numbers of parameters.
        """
        own, other = ([len(g["params"]) for g in groups] for groups in (self.groups, state["param_groups"]))
        if own != other:
            raise DataError(f"the state of groups of {own} parameters", f"groups of {other}",
                            "build the optimiser over the same model, with the same groups")
        for group, saved in zip(self.groups, state["param_groups"], strict=True):
            group.update({k: v for k, v in saved.items() if k != "params"})
        self.steps, self.total_steps = state["steps"], state.get("total_steps")
        self._runs, self._waiting = None, state

    def _restore(self, state: dict[int, dict[str, Any]]) -> None:
        members = self.parameters
        for run in (run for group in self._runs or [] for run in group):
            for i, parameter in enumerate(run.parameters):
                saved = state.get(next(n for n, p in enumerate(members) if p is parameter))
                if saved is not None:
                    run.steps[i] = int(saved["step"])
                    for name in self.moments:
                        run.set_moment(name, i, saved[name])

    def __repr__(self) -> str:
        options = [{k: v for k, v in g.items() if k != "params"} for g in self.groups]
        return f"{type(self).__name__}({len(self.parameters)} parameters, {', '.join(map(str, options))})"
