"""What lowering is told: widths, rules, and what overrides them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from fxp.formats import MAX_WIDTH, Format, FormatError, Overflow, Rounding
from fxp.graph import Constant
from fxp.quantization.options import Method, check_width

MAX_HEADROOM: Final = 16
"""More bits of headroom leave nothing of the values."""


@dataclass(frozen=True)
class LoweringSettings:
    """How a float graph is quantized.

    Attributes
    ----------
    weight_bits, activation_bits
        Widths of weights and of rounded values.
    bits
        Widths by value or weight name that override them. A value named here is rounded to its
        width where its exact result is wider, also where that could flow on. A state has the width
        of its own name, or else that of its source, and gives a source without one its own.
    extra_bits
        What other values and weights get beyond `weight_bits` and `activation_bits`, by name.
    method, percentile
        Rule for fraction bits, see `fxp.quantization.calibrate.choose_frac`.
    headroom
        How many bits further than on the calibration data values may reach, see `choose_frac`; None
        estimates it. Values whose range is known get none (`fxp.quantization.ranges`).
    per_channel
        Whether weights get fraction bits per output channel instead of per tensor.
    rounding, overflow
        Modes of every rounded value.
    wide_bits
        Exact accumulators up to this width flow unrounded into a ReLU, an addition and the like
        that is their only reader; what two nodes read is stored, and has `activation_bits`. An
        output that concatenates parts of very different ranges is as wide as keeps them all.
    input_formats, output_formats
        Formats by input or output name; those left out are chosen.
    fracs
        Fraction bits by value or weight name that override the rule (the format search sets them);
        weights that are named here get one format for all channels.
    weights
        Rounded weights by their name in the integer graph, which replace the nearest integers where
        the format is theirs (learned rounding sets them).
    """

    weight_bits: int = 10
    activation_bits: int = 14
    bits: Mapping[str, int] = field(default_factory=dict)
    extra_bits: Mapping[str, int] = field(default_factory=dict)
    method: Method = "mse"
    percentile: float = 99.99
    headroom: float | None = None
    per_channel: bool = True
    rounding: Rounding = Rounding.HALF_UP
    overflow: Overflow = Overflow.SATURATE
    wide_bits: int = 32
    input_formats: Mapping[str, Format] = field(default_factory=dict)
    output_formats: Mapping[str, Format] = field(default_factory=dict)
    fracs: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Constant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            check_width(name, getattr(self, name))
        for name, width in self.bits.items():
            check_width(f"bits[{name!r}]", width)
        bits = self.wide_bits
        if isinstance(bits, bool) or not isinstance(bits, int) or not 0 <= bits <= MAX_WIDTH:
            raise FormatError(f"wide_bits must be an integer from 0 to {MAX_WIDTH}, got {bits!r}")
        if not 50 < self.percentile <= 100:
            raise FormatError(f"percentile must be above 50, at most 100: {self.percentile}")
        if self.headroom is not None and not 0 <= self.headroom <= MAX_HEADROOM:
            raise FormatError(
                f"headroom must be from 0 to {MAX_HEADROOM} bits, or None for the automatic one, "
                f"got {self.headroom!r}"
            )
