"""Updates on a library whose kernels read what changes from step to step on the device.

An optimiser whose parameters are all there makes its whole update in three launches: one looks at the gradients, where
they are; one concludes what they are to be multiplied by and whether to apply them; one updates every parameter. The
learning rate, bias corrections and all other numbers of a step go into one small array on the device first, so that a
captured step, replayed without Python, finds new ones there. Nothing is read back.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from portable_nn.autodiff.engine import next_sequence
from portable_nn.autodiff.row_sparse import RowSparse
from portable_nn.backend.capturing import captured_step
from portable_nn.backend.devices import device_name
from portable_nn.backend.namespace import array_namespace
from portable_nn.kernels import registry
from portable_nn.optim.arena import Run
from portable_nn.optim.gradients import check_gradient
from portable_nn.optim.latch import Report


class DeviceRun(Run):
    """A `Run` whose gradients are read where the backward pass left them; row-sparse ones too.

    Parameters
    ----------
    operation : str
        The optimiser's.
    takes_rows : bool
        Whether the parameters are tables with row-sparse gradients.
    """

    def __init__(self, parameters: list[Any], moments: tuple[str, ...], operation: str, *,
                 takes_rows: bool = False) -> None:
        self.operation, self.takes_rows = operation, takes_rows
        self.present: list[int] = []      # parameters with a gradient in this step
        self.rows: list[int] = []         # which row of the step's numbers each of these takes
        self.rule = 0
        super().__init__(parameters, moments)

    def _reserve(self) -> None:
        super()._reserve()
        self.arrays[1], self._slots = self.arrays[1][:0], []  # gradients stay where they are
        values, _, *moments = self.arrays
        self.arena = _kernel("arena", self.xp, values, operation=self.operation).forward(
            values, moments, operation=self.operation)

    def checked(self, gradients: list[Any]) -> list[Any]:
        raw = super().checked([None if isinstance(g, RowSparse) else g for g in gradients])
        for i, g in enumerate(gradients):
            if isinstance(g, RowSparse):
                check_gradient(self.parameters[i], g, takes_rows=self.takes_rows)
                raw[i] = g
        return raw

    @staticmethod
    def _raw(gradient: Any) -> Any:
        return getattr(gradient, "_data", gradient)  # the kernels read unwritten ones

    def load(self, gradients: list[Any], *, copy: bool) -> None:
        self.present = [i for i, g in enumerate(gradients) if g is not None]
        counts = {step: row for row, step in enumerate(dict.fromkeys(self.steps[i] for i in self.present))}
        self.rows = [counts[self.steps[i]] for i in self.present]
        pieces: list[Any] = []
        rows: list[Any] = []
        for i, row in zip(self.present, self.rows, strict=True):
            g, begin = gradients[i], self.offsets[i]
            if isinstance(g, RowSparse):
                rows.append((g.indices, g.rows, g.shape[0], begin, row))
            else:
                pieces.append((g, begin, row))
        self.arena.load(pieces, rows)

    def numbers(self, options: Any) -> list[tuple[float, ...]]:
        """What the kernels are to know of this step's hyper-parameters, one tuple for each row."""
        if self.rows and not any(self.rows):
            only = options(self.steps[self.present[0]] + 1)
            self.rule = self.arena.rule_of(only)
            return [self.arena.numbers(**only)]
        chosen = {row: options(self.steps[i] + 1) for row, i in dict(zip(self.rows, self.present)).items()}
        if chosen:
            self.rule = self.arena.rule_of(chosen[0])
        return [self.arena.numbers(**chosen[row]) for row in range(len(chosen))]

    def count(self) -> None:
        """Note that an update has been made."""
        now, steps, parameters = next_sequence(), self.steps, self.parameters
        for i in self.present:
            steps[i] += 1
            parameters[i].slot.version = now


class DeviceUpdate:
    """The updates of one optimiser over `DeviceRun`s of one device.

    Parameters
    ----------
    runs : list of (DeviceRun, group, parameter numbers)
    """

    def __init__(self, runs: list[tuple[Any, dict[str, Any], list[int]]]) -> None:
        self.runs = runs
        first = runs[0][0]
        self.numbers = _kernel("step_numbers", first.xp, first.arrays[0]).forward(
            first.arrays[0], [(run.dtype, len(run.parameters)) for run, _, _ in runs])

    def make(self, optimizer: Any, latch: Any, look: bool) -> Any:
        """Send this step's numbers, and look at the gradients where something asks for it; returns what was found."""
        self.send(optimizer, latch)
        scaler = optimizer.loss_scaler
        if not look and latch is None and scaler is None and optimizer.clip_norm is None:
            return None
        owner = scaler if latch is None else latch
        record = self.numbers.own_record() if owner is None else owner.record
        self.numbers.begin(sum(run.arena.blocks for run, _, _ in self.runs))
        start = 0
        for run, _, _ in self.runs:
            self.numbers.inspect(run.arena, start)
            start += run.offsets[-1]
        self.numbers.conclude(record)
        return record

    def apply(self, optimizer: Any, latch: Any, record: Any) -> None:
        """Update every parameter that has a gradient, and count; a captured step under way is told."""
        step = captured_step()
        repeated = None if step is None else RepeatedUpdate(optimizer, self, latch)
        for (run, _, _), scalars in zip(self.runs, self.numbers.scalars, strict=True):
            run.arena.update(run.rule, scalars, record)
            run.count()
        optimizer._steps += 1
        if step is not None:
            step.updated(optimizer, repeated)
        if optimizer.loss_scaler is not None and (step is None or not step.recording):
            optimizer.loss_scaler.follow([(run, run.present) for run, _, _ in self.runs])

    def send(self, optimizer: Any, latch: Any) -> None:
        """Write the numbers of the step to come where the kernels read them."""
        scaler = optimizer.loss_scaler
        settings = (optimizer.clip_norm or 0.0, float(latch is not None),
                    *((0.0, 0.0, 0.0) if scaler is None else scaler.settings))
        self.numbers.send(settings, [run.numbers(partial(optimizer.options, group, optimizer._lr(group)))
                                     for run, group, _ in self.runs])

    def owner(self, element: int) -> int:
        """The number of the parameter that has this element of all runs."""
        for run, _, numbers in self.runs:
            if element < run.offsets[-1]:
                return numbers[max(i for i, offset in enumerate(run.offsets[:-1]) if offset <= element)]
            element -= run.offsets[-1]
        raise AssertionError("an element beyond the runs")


class RepeatedUpdate:
    """An update inside a captured step, as replays repeat it: all that Python does for it but the launches."""

    def __init__(self, optimizer: Any, update: DeviceUpdate, latch: Any) -> None:
        self.optimizer, self.update, self.latch = optimizer, update, latch
        self._present = [list(run.present) for run, _, _ in update.runs]
        self._rows = [list(run.rows) for run, _, _ in update.runs]
        # Runs all of whose parameters are updated by the same numbers, as they mostly are.
        self._alike = [len(present) == len(run.parameters) and not any(rows)
                       for (run, _, _), present, rows in zip(update.runs, self._present, self._rows)]
        self._clips, self._scaler = optimizer.clip_norm is not None, optimizer.loss_scaler
        self._trainable = [p.trainable for p in optimizer._members]
        self._kinds = self._static()

    def _static(self) -> list[Any]:
        """What the recorded launches have taken for granted of the options."""
        return [run.arena.rule_of(group) for run, group, _ in self.update.runs]

    def is_current(self) -> bool:
        """Whether the recorded launches still do what the optimiser would do now."""
        optimizer = self.optimizer
        optimizer._settle()
        if optimizer._prepare() is not self.update.runs or optimizer.loss_scaler is not self._scaler \
                or (optimizer.clip_norm is not None) is not self._clips:
            return False
        if [p.trainable for p in optimizer._members] != self._trainable or self._static() != self._kinds:
            return False
        for (run, _, _), present, rows, alike in zip(self.update.runs, self._present, self._rows, self._alike):
            if alike and run.steps.count(run.steps[0]) == len(run.steps):
                continue
            steps = [run.steps[i] for i in present]
            order = {step: row for row, step in enumerate(dict.fromkeys(steps))}
            if [order[step] for step in steps] != rows:
                return False
        return True

    def advance(self) -> None:
        """Before a replay: send its numbers, and count."""
        for (run, _, _), present, rows in zip(self.update.runs, self._present, self._rows, strict=True):
            run.present, run.rows = present, rows
        self.update.send(self.optimizer, self.latch)
        for run, _, _ in self.update.runs:
            run.count()
        self.optimizer._steps += 1

    def launched(self) -> None:
        """After a replay."""
        if self._scaler is not None:
            self._scaler.follow([(run, present) for (run, _, _), present in zip(self.update.runs, self._present)])

    def undo(self) -> None:
        """After a recording that failed: count back."""
        for (run, _, _), present in zip(self.update.runs, self._present, strict=True):
            for i in present:
                run.steps[i] -= 1
        self.optimizer._steps -= 1


class DeviceLatch:
    """`Latch` over a `DeviceUpdate`: the same, in the launches that the update makes anyway."""

    def __init__(self, optimizer: Any, update: DeviceUpdate) -> None:
        self._update, scaler = update, optimizer.loss_scaler
        self.record = update.numbers.new_record() if scaler is None else scaler.record

    def see_loss(self, loss: Any) -> None:
        """Look at a loss of the step under way; of several, the first that is not finite counts."""
        self._update.numbers.see_loss(loss, self.record)

    def note(self, loss: Any, mass: Any, total: Any) -> bool:
        """`see_loss`, and total += loss · mass in place, in one launch; False where that cannot be done."""
        kernel = registry.find("note_loss", array_namespace(loss), (loss, mass, total), {})
        if kernel is not None:
            kernel.forward(loss, mass, total, self.record)
        return kernel is not None

    def report(self) -> Report | None:
        """What was found, or None. Waits for the device."""
        found = self._update.numbers.fault(self.record)
        if found is None:
            return None
        step, loss, element = found
        return Report(step, loss, None if element is None else self._update.owner(element))


def can_update(arrays: list[Any], operation: str) -> bool:
    """Whether these arrays are on one device, where there are kernels for the update."""
    if len({type(x) for x in arrays}) != 1:
        return False
    xp = array_namespace(arrays[0])
    return all(registry.find("arena", xp, (x,), {"operation": operation}) for x in arrays) and (
        len({device_name(x) for x in arrays}) == 1)


def _kernel(name: str, xp: Any, values: Any, **options: Any) -> Any:
    kernel = registry.find(name, xp, (values,), options)
    if kernel is None:
        raise AssertionError(f"{name} without a kernel")
    return kernel
