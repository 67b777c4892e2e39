"""What the quantizing operations of QONNX and of the ONNX standard say: scale, width and rounding.

Umuroglu et al., "QONNX: Representing Arbitrary-Precision Quantized Neural Networks", 2022.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.formats import (
    Format,
    FormatError,
    Overflow,
    Quantization,
    Rounding,
    quantize,
    saturation_limits,
)
from fxp.frontend.onnx.call import NodeInfo, refused
from fxp.frontend.quantizer_marks import quantizer_mark

ROUNDINGS: Final = {
    "ROUND": Rounding.HALF_EVEN,
    "HALF_EVEN": Rounding.HALF_EVEN,
    "FLOOR": Rounding.FLOOR,
    "DOWN": Rounding.TO_ZERO,
    "HALF_UP": Rounding.HALF_AWAY,
    "HALF_DOWN": Rounding.HALF_TO_ZERO,
}
"""Names of QONNX; its HALF_UP and HALF_DOWN round the magnitude, away from zero and toward it."""
ROUNDINGS_ABOVE: Final = {
    Rounding.TO_ZERO: Rounding.FLOOR,
    Rounding.HALF_AWAY: Rounding.HALF_UP,
    Rounding.HALF_TO_ZERO: Rounding.HALF_DOWN,
}
"""What those that go by the sign do to values that a zero point has made positive."""
MAX_BITS: Final = 62
MAX_ADDED: Final = 0.25
"""Mean square that rounding a scale may add to the error of constants, in units of that error.

The error is that of the file's own rounding, a twelfth of the square of its scale; a quarter is
1 dB.
"""


@dataclass(frozen=True)
class Quantizer:
    """Rounding of values to ``scale`` times an integer of some width.

    Attributes
    ----------
    scale
        Step, a positive number; a power of two unless the network is only read for comparison.
    width, signed
        Of the integers.
    narrow
        Whether the smallest integer of a signed width is left out.
    rounding
        How values between two steps are rounded.
    saturates
        Whether integers beyond the width are clipped; if not, the width does not count.
    """

    scale: float
    width: int
    signed: bool
    narrow: bool = False
    rounding: Rounding = Rounding.HALF_EVEN
    saturates: bool = True

    @property
    def overflow(self) -> Overflow:
        """Saturation, symmetric where the range is narrow."""
        return Overflow.SATURATE_SYMMETRIC if self.narrow else Overflow.SATURATE

    @property
    def quantization(self) -> Quantization:
        """Format and modes; the scale must be a power of two."""
        form = Format(self.width, frac_of(self.scale), self.signed)
        return Quantization(form, self.rounding, self.overflow)

    def integers(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the integers of real values."""
        form = Format(self.width, 0, self.signed)
        return quantize(values / self.scale, form, self.rounding, self.overflow)


class QuantizerModule(torch.nn.Module):
    """A quantizer of a computed value.

    Attributes
    ----------
    quantizer
        What it does.
    rounds
        Whether `forward` rounds. It does not while the network is converted: then it marks where
        the format is given.
    """

    def __init__(self, node: NodeInfo, quantizer: Quantizer) -> None:
        super().__init__()
        self.node = node
        self.quantizer = quantizer
        self.rounds = False

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return the value, rounded if `rounds`."""
        if not self.rounds:
            return quantizer_mark(value)
        integers = self.quantizer.integers(value.detach().numpy())
        return torch.from_numpy(integers * self.quantizer.scale)


class ScaleAndShift(torch.nn.Module):
    """A product and a sum for each channel."""

    def __init__(self, node: NodeInfo, scale: NDArray[Any], shift: NDArray[Any]) -> None:
        super().__init__()
        self.node = node
        self.scale = torch.nn.Parameter(torch.from_numpy(scale), requires_grad=False)
        self.shift = torch.nn.Parameter(torch.from_numpy(shift), requires_grad=False)

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return the products, shifted."""
        shape = (-1, *(1,) * (value.ndim - 2))
        return value * self.scale.reshape(shape) + self.shift.reshape(shape)


class Bipolar(torch.nn.Module):
    """Plus or minus a number, by the sign of a value."""

    def __init__(self, node: NodeInfo, scale: float) -> None:
        super().__init__()
        self.node = node
        self.above = torch.nn.Buffer(torch.tensor(scale, dtype=torch.float64))
        self.below = torch.nn.Buffer(torch.tensor(-scale, dtype=torch.float64))

    def forward(self, value: torch.Tensor) -> torch.Tensor:
        """Return the number, with the sign."""
        return torch.where(value >= 0, self.above, self.below)


@dataclass(frozen=True)
class Declared:
    """Formats that a file gives for a constant.

    Attributes
    ----------
    tensor
        Name of the tensor in the file.
    fracs
        Fraction bits of every element.
    width, signed
        Of its integers.
    several
        Whether the file gives more than one scale, which may be equal.
    """

    tensor: str
    fracs: NDArray[np.int64]
    width: int
    signed: bool
    several: bool = False


@dataclass
class Scales:
    """Scales of a file, and what is done with those that are no powers of two.

    Attributes
    ----------
    policy
        ``exact``: they are refused. ``snap``: they are rounded to the nearest power of two, those
        of constants to one that is fine enough. ``keep``: they stay, for comparison.
    snapped
        For every node that had one its name, the scale, and the power of two; a number stands
        behind the name where a node had several.
    """

    policy: str = "exact"
    snapped: dict[str, tuple[float, float]] = field(default_factory=dict)

    def read(
        self, node: NodeInfo, scales: NDArray[Any], integers: NDArray[Any] | None = None
    ) -> NDArray[np.float64]:
        """Return scales as they are to be used.

        Parameters
        ----------
        node
            The node that has them, for messages.
        scales
            One or several.
        integers
            Constant integers that they belong to, in a shape that broadcasts. A rounded scale is
            fine enough for them.
        """
        scales = np.asarray(scales, np.float64)
        if scales.size == 0 or not (np.isfinite(scales) & (scales > 0)).all():
            raise refused(node, "its scale is not a positive number", "repair the model")
        powers = np.exp2(np.round(np.log2(scales)))
        other = powers != scales
        if self.policy == "keep" or not other.any():
            return scales
        first = float(scales[other].ravel()[0])
        nearest = float(powers[other].ravel()[0])
        if self.policy == "exact":
            raise refused(
                node,
                f"its scale {first:.6g} is not a power of two; the nearest is "
                f"{nearest:g} = 2^{-frac_of(nearest)}",
                "train with power-of-two scales, or round the scales with --snap-scales",
            )
        if integers is not None and integers.size:
            powers = _fine_enough(powers, scales, integers)
            nearest = float(powers[other].ravel()[0])
        self._note(node.name, (first, nearest))
        return powers

    def _note(self, node: str, pair: tuple[float, float]) -> None:
        """Enter a scale, of which a node may have several."""
        name, number = node, 1
        while self.snapped.get(name, pair) != pair:
            number += 1
            name = f"{node} ({number})"
        self.snapped[name] = pair


def _fine_enough(
    powers: NDArray[np.float64], scales: NDArray[np.float64], integers: NDArray[Any]
) -> NDArray[np.float64]:
    """Return powers of two in whose steps constants lose little, at most an eighth of those given.

    Parameters
    ----------
    powers, scales
        Powers of two near the scales, and the scales.
    integers
        The constants, in units of the scales.
    """
    single = [axis for axis, size in enumerate(scales.shape) if size == 1]
    axes = tuple(single) if scales.ndim == integers.ndim else None
    for _ in range(3):
        steps = integers * (scales / powers)
        error = np.mean(((np.round(steps) - steps) * (powers / scales)) ** 2, axes, keepdims=True)
        powers = np.where(error.reshape(scales.shape) > MAX_ADDED / 12, powers / 2, powers)
    return powers


def frac_of(scale: float) -> int:
    """Return the fraction bits of integers whose step is a power of two."""
    return 1 - int(np.frexp(scale)[1])


def is_center(width: int, signed: bool, zero: Any) -> bool:
    """Whether a zero point makes unsigned integers signed ones of the same width.

    Parameters
    ----------
    width, signed
        Of the integers.
    zero
        One zero point, or several.
    """
    return not signed and width > 1 and bool(np.all(np.equal(zero, 1 << (width - 1))))


def centered(width: int, signed: bool, zero: Any) -> tuple[int, bool]:
    """Return width and sign of integers less their zero points.

    Parameters
    ----------
    width, signed
        Of the integers.
    zero
        One zero point, or several.
    """
    if not np.any(zero):
        return width, signed
    return (width, True) if is_center(width, signed, zero) else (width + 1, True)


def quantizer_of(
    node: NodeInfo, scale: NDArray[np.float64], width: Any, *, rounding: str = "ROUND",
    signed: bool = True, narrow: bool = False,
) -> Quantizer:  # fmt: skip
    """Return the quantizer of a computed value.

    Parameters
    ----------
    node
        The node, for messages.
    scale
        One number, or equal ones.
    width
        Bits.
    rounding
        Name in QONNX.
    signed, narrow
        As in QONNX.

    Raises
    ------
    FrontendError
        If no format of fixed point has these values.
    """
    if (scale != scale.ravel()[0]).any():
        raise refused(
            node, "its scales differ between channels, and it quantizes a computed value",
            "give values one scale; weights may have one per channel",
        )  # fmt: skip
    bits = checked_width(node, width)
    mode = ROUNDINGS.get(rounding.upper())
    if mode is None:
        raise refused(
            node, f"its rounding mode is {rounding!r}", f"use one of {', '.join(ROUNDINGS)}"
        )
    made = Quantizer(float(scale.ravel()[0]), bits, signed, narrow and signed, mode)
    try:
        made.quantization  # noqa: B018
    except FormatError as error:
        raise refused(node, str(error), "give it another scale") from error
    return made


def checked_width(node: NodeInfo, width: Any) -> int:
    """Return a bit width that is a whole number in range.

    Parameters
    ----------
    node
        The node, for messages.
    width
        Array of one number.
    """
    array = np.asarray(width, np.float64)
    if array.size != 1 or not 1 <= array.item() <= MAX_BITS or not array.item().is_integer():
        raise refused(
            node, f"its bit width is {array.ravel()[:4].tolist()}",
            f"give one whole number from 1 to {MAX_BITS}",
        )  # fmt: skip
    return int(array.item())


def narrowest(quantizer: Quantizer, low: int, high: int) -> Quantizer:
    """Return a quantizer of the smallest width that has two integers, and all between them.

    Parameters
    ----------
    quantizer
        Gives scale and rounding.
    low, high
        The integers.
    """
    signed = low < 0
    width = max(max(high, 0).bit_length(), (~low).bit_length() if signed else 1) + signed
    return replace(quantizer, width=width, signed=signed, narrow=signed and low == -high)


def narrowed(quantizer: Quantizer, low: int | None, high: int | None) -> Quantizer | None:
    """Return a quantizer with further bounds of its integers, None where no width has them.

    Parameters
    ----------
    quantizer
        Gives all but the bounds.
    low, high
        The bounds, None where there is none.
    """
    form = Format(quantizer.width, 0, quantizer.signed)
    low = max(form.min_raw if low is None else low, form.min_raw)
    high = min(form.max_raw if high is None else high, form.max_raw)
    made = narrowest(quantizer, low, high)
    limits = saturation_limits(Format(made.width, 0, made.signed), made.overflow)
    return made if limits == (low, high) and made.width <= quantizer.width else None


def wide(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array, of float64 if it has floats; NumPy makes numbers of arrays without axes."""
    return np.asarray(array, np.float64 if array.dtype.kind == "f" else None)
