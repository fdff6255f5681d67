"""Windows along the time axis of (B, C, T), which convolution and pooling share."""

from __future__ import annotations

from typing import Any, NamedTuple

from portable_nn.autodiff.primitive import place
from portable_nn.backend.errors import ArgumentError, ShapeError


class Grid(NamedTuple):
    """Where windows lie: each has `kernel` steps, `dilation` apart, and begins `stride` steps after the last one."""

    kernel: int
    stride: int
    dilation: int
    padding: tuple[int, int]

    def count(self, steps: int) -> int:
        """The number of windows over `steps` steps, padding included: 0 or less where none fits."""
        return (steps + sum(self.padding) - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def keys(self, steps: int) -> list[tuple[slice, ...]]:
        """For each step of a window, the places of that step in all windows of padded (B, C, T)."""
        span = self.stride * (self.count(steps) - 1) + 1
        starts = [k * self.dilation for k in range(self.kernel)]
        return [(slice(None), slice(None), slice(start, start + span, self.stride)) for start in starts]


def check_grid(operation: str, grid: Grid) -> None:
    """Raise where a number is out of range."""
    kernel, stride, dilation, (left, right) = grid
    if not all(isinstance(n, int) for n in (*grid[:3], left, right)) or min(kernel, stride, dilation) < 1 or min(
            left, right) < 0:
        raise ArgumentError("kernel size, stride and dilation of 1 or more and padding of 0 or more, as integers",
                            f"{kernel!r}, {stride!r}, {dilation!r} and {(left, right)!r}",
                            f"check the arguments of {operation}")


def check_steps(operation: str, x: Any, grid: Grid) -> None:
    """Raise where x is not (B, C, T), or too short for one window."""
    if x.ndim != 3:
        raise ShapeError("x of shape (B, C, T)", f"{x.shape}",
                         "give it axes of batch, channels and time; for (B, T, C) swap the last two")
    if grid.count(x.shape[2]) < 1:
        need = grid.dilation * (grid.kernel - 1) + 1 - sum(grid.padding)
        raise ShapeError(f"at least {need} steps for {operation}", f"{x.shape[2]}", "pad the sequences")


def padded(xp: Any, x: Any, padding: tuple[int, int], value: float) -> Any:
    """x (B, C, T) with `value` before and behind its steps."""
    if padding == (0, 0):
        return x
    ends = [xp.full((*x.shape[:2], count), value, dtype=x.dtype, device=x.device) for count in padding]
    return xp.concat([ends[0], x, ends[1]], axis=2)


def put_back(parts: list[Any], grid: Grid, shape: tuple[int, ...]) -> Any:
    """The gradient of x (B, C, T) from those of each step of its windows: what overlaps adds up, padding goes."""
    left, right = grid.padding
    whole = (*shape[:2], left + shape[2] + right)
    total = None
    for part, key in zip(parts, grid.keys(shape[2]), strict=True):
        placed = place(part, key=key, shape=whole)
        total = placed if total is None else total + placed
    return total[:, :, left:left + shape[2]]  # type: ignore[index]
