"""Borders: the padding modes and the index arithmetic that every windowed op shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.graph.extents import Dimension, Shape
from fxp.graph.ops.base import GraphError, require
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as torch_functional

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")
    torch_functional = lazy_import("torch.nn.functional", "torch")

PaddingMode = Literal["zero", "reflect", "replicate", "symmetric"]
"""``reflect`` mirrors without repeating the edge; ``symmetric`` repeats it, however far it goes."""
Sides = tuple[int, int, int, int]
"""Rows or columns at the top, bottom, left and right."""

NUMPY_MODES: Final[dict[str, str]] = {
    "zero": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "symmetric": "symmetric",
}
TORCH_MODES: Final[dict[str, str]] = {
    "zero": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
}


def check_sides(sides: Sequence[int], mode: str) -> None:
    """Raise `GraphError` unless `sides` are four counts and `mode` is a padding mode."""
    require(
        len(sides) == 4 and all(isinstance(side, int) and 0 <= side < 1 << 20 for side in sides),
        f"padding must be four counts below {1 << 20} (top, bottom, left, right), got {sides}",
    )
    require(mode in get_args(PaddingMode), f"unknown padding mode {mode!r}")


def padded_shape(shape: Shape, sides: Sides, mode: str) -> Shape:
    """Shape after padding; reflection needs each side smaller than the image.

    Parameters
    ----------
    shape
        ``(C, H, W)``.
    sides
        Rows or columns at the top, bottom, left and right.
    mode
        ``zero``, ``reflect``, ``replicate`` or ``symmetric``.
    """
    channels, height, width = shape
    top, bottom, left, right = sides
    if mode == "reflect":
        for size, side in ((height, max(top, bottom)), (width, max(left, right))):
            if isinstance(size, int) and side >= size:
                raise GraphError(f"reflect padding by {side} needs a size above {side}, got {size}")
    return channels, height + top + bottom, width + left + right


def pad_oracle(array: IntArray, sides: Sides, mode: str) -> IntArray:
    """Pad a ``(C, H, W)`` array with NumPy.

    Parameters
    ----------
    array
        The image.
    sides
        Rows or columns at the top, bottom, left and right.
    mode
        ``zero``, ``reflect``, ``replicate`` or ``symmetric``.
    """
    top, bottom, left, right = sides
    widths = ((0, 0), (top, bottom), (left, right))
    return np.pad(array, widths, mode=NUMPY_MODES[mode])  # type: ignore[call-overload]


def pad_torch(tensor: torch.Tensor, sides: Sides, mode: str) -> torch.Tensor:
    """Pad an ``(N, C, H, W)`` tensor.

    Parameters
    ----------
    tensor
        The images.
    sides
        Rows or columns at the top, bottom, left and right.
    mode
        ``zero``, ``reflect``, ``replicate`` or ``symmetric``.
    """
    top, bottom, left, right = sides
    if not any(sides):
        return tensor
    if mode == "symmetric":
        for axis, before, after in ((2, top, bottom), (3, left, right)):
            size = tensor.shape[axis]
            positions = symmetric_sources(np.arange(-before, size + after), size)
            tensor = tensor.index_select(axis, torch.as_tensor(positions, device=tensor.device))
        return tensor
    return torch_functional.pad(tensor, (left, right, top, bottom), mode=TORCH_MODES[mode])


def pad_onnx(emit: Emitter, name: str, sides: Sides, mode: str) -> str:
    """Emit padding of an ``(N, C, H, W)`` tensor.

    Parameters
    ----------
    emit
        The nodes are added to it.
    name
        Name of the tensor.
    sides
        Rows or columns at the top, bottom, left and right.
    mode
        ``zero``, ``reflect``, ``replicate`` or ``symmetric``.
    """
    top, bottom, left, right = sides
    if not any(sides):
        return name
    if mode == "symmetric":
        for axis, before, after in ((2, top, bottom), (3, left, right)):
            name = _symmetric_onnx(emit, name, axis, before, after)
        return name
    pads = emit.constant([0, 0, top, left, 0, 0, bottom, right])
    return emit("Pad", name, pads, mode=NUMPY_MODES[mode])


@dataclass(frozen=True, slots=True)
class TapPositions:
    """Input positions that the outputs along one axis read.

    Output ``o`` reads ``stride * o + dilation * t - before`` for every tap ``t``.
    """

    count: int
    stride: int
    dilation: int
    before: int
    mode: PaddingMode

    def positions(self, first: int, last: int) -> NDArray[np.int64]:
        """Position read by every tap of outputs first…last-1, ``(outputs, taps)``."""
        outputs = self.stride * np.arange(first, last, dtype=np.int64) - self.before
        return outputs[:, None] + self.dilation * np.arange(self.count)

    def sources(self, first: int, last: int, size: int) -> NDArray[np.int64]:
        """Return `positions` with those beyond the borders moved to the pixel they repeat.

        Zero padding leaves them where they are, as a window holds zeros there.

        Parameters
        ----------
        first, last
            Outputs ``first…last-1``.
        size
            Size of the input along the axis.

        Returns
        -------
        NDArray[np.int64]
            Positions ``(outputs, taps)``.
        """
        positions = self.positions(first, last)
        if self.mode == "replicate":
            return np.clip(positions, 0, size - 1)
        if self.mode == "reflect":
            return (size - 1) - np.abs((size - 1) - np.abs(positions))
        if self.mode == "symmetric":
            return symmetric_sources(positions, size)
        return positions

    def reach(self, first: int, last: int, size: int) -> tuple[int, int]:
        """Range that covers `sources`.

        Parameters
        ----------
        first, last
            Outputs ``first…last-1``, at least one.
        size
            Size of the input along the axis.

        Returns
        -------
        tuple
            First and last position, the last one excluded.
        """
        low = self.stride * first - self.before
        high = self.stride * (last - 1) + self.dilation * (self.count - 1) - self.before + 1
        if self.mode == "zero" or (low >= 0 and high <= size):
            return low, high
        if self.mode == "replicate":
            return min(max(low, 0), size - 1), min(max(high, 1), size)
        sources = self.sources(first, last, size)
        return int(sources.min()), int(sources.max()) + 1


def symmetric_sources(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Pixels that positions anywhere repeat when the edge is mirrored with its own pixel."""
    folded = positions % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def _symmetric_onnx(emit: Emitter, name: str, axis: int, before: int, after: int) -> str:
    """Gather along one axis: stock Pad has no such mode."""
    if not (before or after):
        return name
    size = emit("Gather", emit("Shape", name), emit.constant(axis))
    end = emit("Add", size, emit.constant(after))
    positions = emit("Range", emit.constant(-before), end, emit.constant(1))
    period = emit("Mul", size, emit.constant(2))
    folded = emit("Mod", positions, period)
    mirrored = emit("Sub", emit("Sub", period, folded), emit.constant(1))
    return emit("Gather", name, emit.minimum(folded, mirrored), axis=axis)


@overload
def window_count(padded: int, kernel: int, stride: int, dilation: int) -> int: ...
@overload
def window_count(padded: Dimension, kernel: int, stride: int, dilation: int) -> Dimension: ...
def window_count(padded: Dimension, kernel: int, stride: int, dilation: int) -> Dimension:
    """Return how many windows fit along one axis.

    Parameters
    ----------
    padded
        Size along the axis, padding included; a number or a formula.
    kernel
        Taps of a window.
    stride
        Positions from one window to the next.
    dilation
        Positions from one tap to the next.

    Raises
    ------
    GraphError
        If not even one window fits.
    """
    span = dilation * (kernel - 1) + 1
    if isinstance(padded, int):
        require(padded >= span, f"a kernel spanning {span} does not fit a padded size of {padded}")
    return (padded - span) // stride + 1
