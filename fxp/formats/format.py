"""Fixed-point number formats: the one definition of rounding and overflow.

A value is a raw integer ``r`` together with a `Format`; it stands for ``r * 2**-frac``.
Every other part of the package (oracle, Numba kernels, torch forward, ONNX, HLS, RTL) is tested
for equality against the functions of this module.

The rounding and overflow modes are those of the ``ap_fixed`` C++ types (AMD UG1399, "Arbitrary
Precision Fixed-Point Data Types"), which follow SystemC (IEEE 1666, section 7.10).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fxp.support.errors import FxpError

MAX_WIDTH: Final = 63
MAX_FRAC_MAGNITUDE: Final = 960

IntArray = NDArray[np.int64]


class FormatError(FxpError, ValueError):
    """A fixed-point format, or a file that should hold fixed-point data, is not valid."""


class Rounding(Enum):
    """How the bits below the last kept one are dropped; the value is the ``ap_fixed`` name.

    The ``HALF_*`` modes round to nearest, and their name says which way a tie goes.
    """

    FLOOR = "AP_TRN"
    """Toward minus infinity (truncation of two's complement)."""
    TO_ZERO = "AP_TRN_ZERO"
    """Toward zero."""
    HALF_UP = "AP_RND"
    """Nearest, ties toward plus infinity. The default: one adder in hardware."""
    HALF_DOWN = "AP_RND_MIN_INF"
    """Nearest, ties toward minus infinity."""
    HALF_AWAY = "AP_RND_INF"
    """Nearest, ties away from zero."""
    HALF_TO_ZERO = "AP_RND_ZERO"
    """Nearest, ties toward zero."""
    HALF_EVEN = "AP_RND_CONV"
    """Nearest, ties to the even neighbour (convergent)."""

    @classmethod
    def _missing_(cls, value: object) -> Rounding:
        return _mode_by_name(cls, value)


class Overflow(Enum):
    """What happens to a rounded value outside the format; the value is the ``ap_fixed`` name."""

    SATURATE = "AP_SAT"
    """Clip to ``[min_raw, max_raw]``."""
    SATURATE_SYMMETRIC = "AP_SAT_SYM"
    """Clip to ``[-max_raw, max_raw]``; the most negative code is never produced."""
    SATURATE_TO_ZERO = "AP_SAT_ZERO"
    """Replace by zero."""
    WRAP = "AP_WRAP"
    """Keep the low ``width`` bits."""
    WRAP_SIGN_MAGNITUDE = "AP_WRAP_SM"
    """Sign-magnitude wrap with zero saturated bits; signed formats only.

    The sign becomes the first dropped bit; if that changes the sign, the other bits are inverted.
    """

    @classmethod
    def _missing_(cls, value: object) -> Overflow:
        return _mode_by_name(cls, value)


Mode = TypeVar("Mode", bound=Enum)


def _mode_by_name(kind: type[Mode], value: object) -> Mode:
    """Return the mode of a Python name such as ``half_up``; the enum itself finds its values."""
    found = kind.__members__.get(str(value).upper())
    if found is None:
        names = ", ".join(f"{mode.name} ({mode.value})" for mode in kind)
        raise FormatError(f"unknown {kind.__name__.lower()} mode {value!r}; choose one of {names}")
    return found


@dataclass(frozen=True)
class Format:
    """A two's-complement fixed-point format with a power-of-two scale.

    Parameters
    ----------
    width
        Total number of bits including the sign bit, 1 to 63 (a signed format needs one bit,
        which then is the sign).
    frac
        Number of fraction bits. May be negative (the last bit is worth ``2**-frac > 1``) or larger
        than `width`.
    signed
        Two's complement if true, non-negative otherwise.

    Examples
    --------
    >>> Format(14, 8)
    Format(width=14, frac=8, signed=True)
    >>> str(Format(14, 8))
    'ap_fixed<14,6>'
    >>> Format.parse("FIXED<14,6>") == Format(14, 8)
    True
    """

    width: int
    frac: int
    signed: bool = True

    def __post_init__(self) -> None:
        for name in ("width", "frac"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise FormatError(f"{name} must be an integer, got {value!r}")
            object.__setattr__(self, name, int(value))
        if not isinstance(self.signed, bool | np.bool_):
            raise FormatError(f"signed must be a bool, got {self.signed!r}")
        object.__setattr__(self, "signed", bool(self.signed))
        if not 1 <= self.width <= MAX_WIDTH:
            raise FormatError(f"width must be 1 to {MAX_WIDTH} bits, got {self.width}")
        if abs(self.frac) > MAX_FRAC_MAGNITUDE:
            raise FormatError(f"frac must be within ±{MAX_FRAC_MAGNITUDE}, got {self.frac}")

    @property
    def integer(self) -> int:
        """Bits left of the binary point, the ``I`` of ``ap_fixed<W,I>`` (includes the sign)."""
        return self.width - self.frac

    @property
    def min_raw(self) -> int:
        """Smallest raw integer."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def max_raw(self) -> int:
        """Largest raw integer."""
        return (1 << (self.width - self.signed)) - 1

    @property
    def step(self) -> float:
        """Value of the last bit, ``2**-frac``."""
        return 2.0**-self.frac

    @property
    def min(self) -> float:
        """Smallest value."""
        return self.min_raw * self.step

    @property
    def max(self) -> float:
        """Largest value."""
        return self.max_raw * self.step

    @property
    def dtype(self) -> np.dtype:
        """Smallest of int16, int32 and int64 that holds every raw integer."""
        bits = self.width + (not self.signed)
        return np.dtype(np.int16 if bits <= 16 else np.int32 if bits <= 32 else np.int64)

    @property
    def qonnx_name(self) -> str:
        """The QONNX data type name: ``FIXED<W,I>``, or ``INT8``, ``UINT8``, … for integers.

        Raises
        ------
        FormatError
            For an unsigned format with fraction bits and for a format with negative `frac`, which
            QONNX cannot name (its ``FIXED<W,I>`` demands ``I < W``).
        """
        if self.frac == 0:
            return f"{'INT' if self.signed else 'UINT'}{self.width}"
        if self.signed and self.frac > 0:
            return f"FIXED<{self.width},{self.integer}>"
        raise FormatError(f"QONNX has no name for the format {self}")

    def __str__(self) -> str:
        return f"ap_{'' if self.signed else 'u'}fixed<{self.width},{self.integer}>"

    @classmethod
    def of(cls, given: Format | str) -> Format:
        """Return a format that may be given as text, which `parse` reads."""
        if isinstance(given, Format):
            return given
        if isinstance(given, str):
            return cls.parse(given)
        raise FormatError(
            f"a format must be a fxp.Format or a text such as 'ap_fixed<14,6>', got {given!r}"
        )

    @classmethod
    def parse(cls, text: str) -> Format:
        """Read ``ap_fixed<W,I>``, ``ap_ufixed<W,I>``, ``FIXED<W,I>``, ``INT<W>`` or ``UINT<W>``.

        A name with rounding or overflow modes is a `Quantization`; use its ``parse``.

        Raises
        ------
        FormatError
            If the text is none of these.
        """
        kind, arguments = _split_type_name(text)
        if kind in ("INT", "UINT") and len(arguments) == 1:
            return cls(_parse_integer(arguments[0], text), 0, kind == "INT")
        if kind not in ("ap_fixed", "ap_ufixed", "FIXED") or len(arguments) < 2:
            raise FormatError(
                f"cannot read {text!r} as a format; expected ap_fixed<W,I>, ap_ufixed<W,I>, "
                "FIXED<W,I>, INT<W> or UINT<W>"
            )
        if len(arguments) > 2:
            raise FormatError(
                f"{text!r} names rounding or overflow modes; read it with Quantization.parse"
            )
        width, integer = (_parse_integer(argument, text) for argument in arguments)
        return cls(width, width - integer, kind != "ap_ufixed")

    @classmethod
    def for_range(cls, low: int, high: int, frac: int) -> Format:
        """Narrowest format with `frac` fraction bits holding the raw integers `low` to `high`.

        Parameters
        ----------
        low, high
            Smallest and largest raw integer; the format is unsigned if `low` is not negative.
        frac
            Fraction bits.

        Raises
        ------
        FormatError
            If `low` exceeds `high`, or the format would have more than 63 bits.
        """
        if low > high:
            raise FormatError(f"the range {low} to {high} is empty")
        signed = low < 0
        lowest = -low - 1 if signed else 0
        width = max(max(high, 0).bit_length(), lowest.bit_length(), 1 - signed)
        return cls(width + signed, frac, signed)


@dataclass(frozen=True)
class Quantization:
    """A `Format` with the rounding and overflow that lead into it: a full ``ap_fixed`` type.

    Examples
    --------
    >>> Quantization.parse("ap_fixed<14,6,AP_RND,AP_SAT>")
    Quantization(format=Format(width=14, frac=8, signed=True), rounding=<Rounding.HALF_UP: \
'AP_RND'>, overflow=<Overflow.SATURATE: 'AP_SAT'>)
    """

    format: Format
    rounding: Rounding = Rounding.HALF_UP
    overflow: Overflow = Overflow.SATURATE

    def __post_init__(self) -> None:
        check_modes(self.format, self.rounding, self.overflow)

    def __str__(self) -> str:
        return f"{str(self.format)[:-1]},{self.rounding.value},{self.overflow.value}>"

    @classmethod
    def parse(cls, text: str) -> Quantization:
        """Read ``ap_fixed<W,I[,Q[,O[,0]]]>`` or ``ap_ufixed<…>``.

        Modes left out take the ``ap_fixed`` defaults AP_TRN and AP_WRAP, not ours.

        Raises
        ------
        FormatError
            If the text is something else, or asks for saturated wrap bits (``N > 0``).
        """
        kind, arguments = _split_type_name(text)
        if kind not in ("ap_fixed", "ap_ufixed") or not 2 <= len(arguments) <= 5:
            raise FormatError(f"cannot read {text!r}; expected ap_fixed<W,I[,Q[,O[,0]]]>")
        head = Format.parse(f"{kind}<{arguments[0]},{arguments[1]}>")
        try:
            rounding = Rounding(arguments[2]) if len(arguments) > 2 else Rounding.FLOOR
            overflow = Overflow(arguments[3]) if len(arguments) > 3 else Overflow.WRAP
        except ValueError as error:
            raise FormatError(f"unknown mode in {text!r}: {error}") from None
        if len(arguments) == 5 and _parse_integer(arguments[4], text) != 0:
            raise FormatError(f"{text!r} asks for saturated wrap bits, which are not supported")
        return cls(head, rounding, overflow)


def check_modes(target: Format, rounding: Rounding, overflow: Overflow) -> None:
    """Check that a format takes these modes.

    Parameters
    ----------
    target, rounding, overflow
        Format and modes.

    Raises
    ------
    FormatError
        For arguments of wrong types, or a mode the format does not have.
    """
    if not isinstance(target, Format):
        raise FormatError(f"format must be a fxp.Format, got {target!r}")
    if not isinstance(rounding, Rounding):
        raise FormatError(f"rounding must be a fxp.Rounding, got {rounding!r}")
    if not isinstance(overflow, Overflow):
        raise FormatError(f"overflow must be a fxp.Overflow, got {overflow!r}")
    if overflow is Overflow.WRAP_SIGN_MAGNITUDE and not target.signed:
        raise FormatError(f"WRAP_SIGN_MAGNITUDE needs a signed format, got {target}")


def saturation_limits(target: Format, overflow: Overflow) -> tuple[int, int]:
    """Raw limits outside which a rounded value counts as overflow under `overflow`."""
    symmetric = overflow is Overflow.SATURATE_SYMMETRIC and target.signed
    return (-target.max_raw if symmetric else target.min_raw), target.max_raw


def _split_type_name(text: str) -> tuple[str, list[str]]:
    match = re.fullmatch(r"\s*(\w+?)\s*(?:<([^<>]*)>|(?<=INT)(\d+))\s*", text)
    if match is None:
        raise FormatError(f"cannot read {text!r} as a fixed-point type name")
    arguments = match[2] if match[2] is not None else match[3]
    return match[1], [argument.strip() for argument in arguments.split(",")]


def _parse_integer(argument: str, text: str) -> int:
    if re.fullmatch(r"[+-]?\d{1,9}", argument) is None:
        raise FormatError(f"{argument!r} in {text!r} is not an integer")
    return int(argument)
