"""Moments of groups of values, in integers alone: what group normalization and variance share.

With raw integers ``r`` of ``f`` fraction bits, over ``n`` values of a group:

* The mean is rounded half up to ``f + m`` fraction bits, and ``d = r * 2**m - mean``.
* The variance is ``v = floor(2**p * sum(d*d) / n)``, with ``2*(f + m) + p`` fraction bits.
* The standard deviation is the integer square root of ``v + epsilon``, rounded down, with
  ``f + m + p/2`` fraction bits; epsilon is rounded half up to the fraction bits of ``v``.
* The normalized value is ``d * floor(2**47 / deviation)``, with ``47 - p/2`` fraction bits. A
  deviation of 0 counts as 1, so that a constant group becomes 0.

`Precision` says how many bits ``m`` and ``p`` are; 14-bit images have ``m = 5``, ``p = 22``. With
a deviation of ``s`` steps of the operand, epsilon as it is rounded included, a normalized value
``y`` differs from that of real arithmetic by at most about
``2**-(m+1) / s + abs(y) * (2**-17 + 2**-(m + p/2 - 1) / s + 2**-(2*m + 3) / s**2)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from fxp.formats import MAX_SQUARE_BITS, IntArray
from fxp.graph.extents import Shape, shape_text
from fxp.graph.ops.base import GraphError, Op, Operand, require
from fxp.graph.ops.reduction import MAX_COUNT, check_count
from fxp.graph.ops.windows import Summary, Window
from fxp.kernels import statistics
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch

    from fxp.graph.onnx_emitter import Emitter
else:
    torch = lazy_import("torch", "torch")

Scope = Literal["image", "pixel"]
"""Values that belong together: channels of a group in the whole image, or in each pixel."""
RECIPROCAL_FRAC: Final = 47
"""Fraction bits of the reciprocal of a deviation, an integer: at least 17 significant bits."""
MEAN_FRAC: Final = 5
"""Fraction bits that a mean has more than its values, at most."""
ROOT_FRAC: Final = 24
"""Fraction bits that a variance has more than the squares, at most."""
FEWEST_SUMMED: Final = 8
"""Pixels that an int32 must be able to sum, to be used at all."""
VARIANCE_BITS: Final = 49
"""Bits of a variance that is a result: float64 holds it, and half a step."""


@dataclass(frozen=True)
class Precision:
    """Bits of the numbers that a statistic goes through.

    Attributes
    ----------
    mean
        Fraction bits that the mean has more than the values, ``m``.
    variance
        Fraction bits that the variance has more than the squares, ``p``, even; may be negative.
    epsilon
        What is added to the variance, an integer of its fraction bits.
    largest
        Bound of the magnitude of a deviation ``d``.
    variance_bits
        Bits of the largest variance.
    """

    mean: int
    variance: int
    epsilon: int
    largest: int
    variance_bits: int

    @property
    def dropped(self) -> int:
        """Bits by which a quotient is shifted right where `variance` is negative."""
        return min(max(-self.variance, 0), MAX_SQUARE_BITS)

    @property
    def added(self) -> int:
        """Fraction bits that a quotient gets where `variance` is positive."""
        return max(self.variance, 0)


def _bounded(
    source: Operand, count: int, *, centered: bool, epsilon: float, summed: bool, most: int
) -> Precision:
    """Choose the bits so that nothing passes 62.

    Parameters
    ----------
    source
        The operand.
    count
        Most values in a group.
    centered
        Whether the mean is subtracted.
    epsilon
        Real number added to the variance.
    summed
        Whether squares are summed instead of averaged.
    most
        Most bits of the variance.
    """
    low, high = source.limits
    # The variance of values within a range is at most the square of half of it (Popoviciu, 1935).
    square_bits = 2 * ((high - low).bit_length() - 1)
    if not centered:
        square_bits = 2 * max(-low, high).bit_length()
    count_bits = count.bit_length() - 1 + (count & (count - 1) > 0)
    mean = min(MEAN_FRAC, (MAX_SQUARE_BITS - square_bits - count_bits) // 2) if centered else 0
    if mean < 0 or square_bits + count_bits > MAX_SQUARE_BITS:
        raise GraphError(
            f"squares of values of {source.format.width} bits, summed over up to {count} values, "
            f"need more than {MAX_SQUARE_BITS} bits; use fewer bits for this value"
        )
    # One bit more, since the count may be less by one.
    bits = square_bits + 2 * mean + (count_bits if summed else 1)
    shift = min(ROOT_FRAC, most - bits)
    exact = Fraction(epsilon) * Fraction(4) ** (source.format.frac + mean)
    if exact:
        # Room for epsilon, which is far above the variance in a network that is almost dead.
        excess = math.floor(exact).bit_length()
        shift = min(shift, most - excess)
    shift -= shift % 2
    rounded = math.floor(exact * Fraction(2) ** shift + Fraction(1, 2))
    largest = (high - low) << mean if centered else max(-low, high)
    return Precision(mean, shift, rounded, largest, max(bits + shift, rounded.bit_length()) + 1)


class Statistic(Op):
    """An op that reads moments of groups of channels.

    A vector counts as one pixel.
    """

    groups: int
    scope: Scope

    def __post_init__(self) -> None:
        require(self.groups >= 1, f"groups must be at least 1, got {self.groups}")
        require(self.scope in ("image", "pixel"), f"scope must be image or pixel: {self.scope!r}")

    @property
    def centered(self) -> bool:
        """Whether the mean is subtracted before squaring."""
        return True

    @property
    def summed(self) -> bool:
        """Whether squares are summed instead of averaged."""
        return False

    @property
    def missing(self) -> int:
        """What is taken off the number of values before dividing by it."""
        return 0

    @property
    def offset(self) -> float:
        """What is added to the variance, a real number."""
        return 0.0

    def _check(self, shape: Shape) -> None:
        """Raise `GraphError` for shapes that do not fit."""
        channels = shape[0]
        require(
            isinstance(channels, int) and channels % self.groups == 0,
            f"{channels} channels do not form {self.groups} groups of equal size",
        )
        require(
            len(shape) == 3 or self.scope == "pixel",
            f"{shape_text(shape)} is not an image; scope must be pixel",
        )
        members = int(channels) // self.groups  # type: ignore[arg-type]
        check_count([members, *shape[1:]] if self.scope == "image" else [members])

    def precision(self, source: Operand, most: int = MAX_SQUARE_BITS - 2) -> Precision:
        """Return the bits for an operand; raises `GraphError` if it is too wide.

        Parameters
        ----------
        source
            The operand.
        most
            Most bits of the variance.
        """
        count = MAX_COUNT if self.scope == "image" else source.channels // self.groups
        return _bounded(
            source,
            count,
            centered=self.centered,
            epsilon=self.offset,
            summed=self.summed,
            most=most,
        )

    def divided_by(self, count: int) -> int:
        """Return what the sum of squares of so many values is divided by."""
        return 1 if self.summed else max(count - self.missing, 1)

    def _moments(
        self, source: Operand, values: IntArray, bits: Precision
    ) -> tuple[IntArray, IntArray]:
        """Deviations, ``(groups, members, …)``, and the variance without epsilon, for NumPy."""
        grouped = values.reshape(self.groups, -1, *values.shape[1:])
        axes = tuple(range(1, grouped.ndim)) if self.scope == "image" else (1,)
        count = math.prod(grouped.shape[axis] for axis in axes)
        mean = 0
        if self.centered:
            sums = grouped.sum(axis=axes, keepdims=True)
            mean = ((sums << (bits.mean + 1)) + count) // (2 * count)
        deviations = (grouped << bits.mean) - mean
        squares = (deviations * deviations).sum(axis=axes, keepdims=True)
        return deviations, _quotient(squares, self.divided_by(count), bits)

    def summary(self, operands: Sequence[Operand]) -> Summary | None:
        """Return sums and sums of squares of parts of the image."""
        if self.scope == "pixel":
            return None
        return Summary(
            partial(_fill_moments, operands[0].limits),
            lambda columns, channels: (2, channels),
            lambda parts: parts.sum(axis=0),
        )

    def _image_moments(
        self, operands: Sequence[Operand], inputs: Sequence[Window]
    ) -> NDArray[np.int64]:
        """Return sums and sums of squares of channels, by parts of the image, ``(parts, 2, C)``."""
        source, *summaries = inputs
        if summaries:
            return summaries[0].array
        moments = np.empty((1, 2, source.array.shape[2]), np.int64)
        image = source.view((0, source.height), (0, source.width))
        _fill_moments(operands[0].limits, moments, image)
        return moments

    def _torch_moments(
        self, source: Operand, tensor: torch.Tensor, bits: Precision
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `_moments`, for a batch ``(N, groups, members, …)``."""
        frac = torch.tensor(source.format.frac, device=tensor.device)
        values = torch.ldexp(tensor, frac).long()
        grouped, axes = self._torch_groups(values)
        count = math.prod(grouped.shape[axis] for axis in axes)
        mean = 0
        if self.centered:
            sums = grouped.sum(dim=axes, keepdim=True)
            mean = _floor_divide((sums << (bits.mean + 1)) + count, 2 * count)
        deviations = (grouped << bits.mean) - mean
        squares = (deviations * deviations).sum(dim=axes, keepdim=True)
        divisor = self.divided_by(count)
        whole = _floor_divide(squares, divisor)
        rest = _floor_divide((squares - whole * divisor) << bits.added, divisor)
        return deviations, ((whole << bits.added) + rest) >> bits.dropped

    def _torch_groups(self, tensor: torch.Tensor) -> tuple[torch.Tensor, tuple[int, ...]]:
        """Return a batch by groups, and the axes that belong together."""
        grouped = tensor.reshape(len(tensor), self.groups, -1, *tensor.shape[2:])
        return grouped, tuple(range(2, grouped.ndim)) if self.scope == "image" else (2,)

    def _torch_real(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Deviations and variance, without epsilon, of real values."""
        grouped, axes = self._torch_groups(tensor)
        if self.centered:
            grouped = grouped - grouped.mean(dim=axes, keepdim=True)
        squares = (grouped * grouped).sum(dim=axes, keepdim=True)
        count = math.prod(grouped.shape[axis] for axis in axes)
        return grouped, squares / self.divided_by(count)

    def _onnx_moments(
        self, emit: Emitter, source: Operand, name: str, bits: Precision
    ) -> tuple[str, str]:
        """As `_moments`, for a batch."""
        members = source.channels // self.groups
        pixels = len(source.shape) == 3 and self.scope == "pixel"
        grouped = emit.reshape(name, [0, self.groups, *([members] if pixels else []), -1])
        low, high = source.limits
        count = emit.count(grouped, [2])
        values = emit.scaled(grouped, 1 << bits.mean)
        if self.centered:
            most = MAX_COUNT if self.scope == "image" else members
            sums = emit.sum(grouped, [2], (max(high, -low) * most).bit_length())
            doubled = emit("Add", emit.scaled(sums, 1 << (bits.mean + 1)), count)
            twice = emit("Mul", count, emit.constant(2))
            rest = emit("Mod", doubled, twice)
            mean = emit("Div", emit("Sub", doubled, rest), twice)
            values = emit("Sub", values, mean)
        squares = emit.sum(emit("Mul", values, values), [2], MAX_SQUARE_BITS)
        divisor = emit.constant(1)
        if not self.summed:
            divisor = count
        if not self.summed and self.missing:
            fewer = emit("Sub", count, emit.constant(self.missing))
            divisor = emit.maximum(fewer, emit.constant(1))
        whole = emit("Div", squares, divisor)
        rest = emit("Sub", squares, emit("Mul", whole, divisor))
        rest = emit("Div", emit.scaled(rest, 1 << bits.added), divisor)
        quotient = emit("Add", emit.scaled(whole, 1 << bits.added), rest)
        if bits.dropped:
            quotient = emit("Div", quotient, emit.constant(1 << bits.dropped))
        return values, quotient


def _fill_moments(limits: tuple[int, int], moments: NDArray[np.int64], image: NDArray) -> None:
    """Write sums and sums of squares of the channels of an image.

    Parameters
    ----------
    limits
        Smallest and largest raw integer.
    moments
        ``(1, 2, C)``; written.
    image
        ``(H, W, C)``.
    """
    most = (2**31 - 1) // max(limits[0] ** 2, limits[1] ** 2, 1)
    narrow = most >= FEWEST_SUMMED
    dtype = np.int32 if narrow else np.int64
    most = min(most, 1 << 15) if narrow else MAX_COUNT
    statistics.channel_moments(moments, image, np.zeros(1, dtype), most)


def _quotient(totals: IntArray, divisor: int, bits: Precision) -> IntArray:
    """``floor(totals * 2**variance / divisor)`` of numbers from 0 on, without a wide product."""
    whole = totals // divisor
    rest = ((totals - whole * divisor) << bits.added) // divisor
    return ((whole << bits.added) + rest) >> bits.dropped


def _floor_divide(values: torch.Tensor, divisor: int) -> torch.Tensor:
    return torch.div(values, divisor, rounding_mode="floor")


def torch_floor_sqrt(values: torch.Tensor) -> torch.Tensor:
    """Return integer roots, as `fxp.formats.floor_sqrt`."""
    roots = values.double().sqrt().long()
    roots = roots - (roots * roots > values).long()
    return roots + ((roots + 1) * (roots + 1) <= values).long()
