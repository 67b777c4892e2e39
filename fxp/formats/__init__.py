"""Number formats: what raw integers stand for, and the one definition of rounding."""

from fxp.formats.conversion import (
    EXACT_FLOAT32,
    EXACT_FLOAT64,
    check_raw,
    dequantize,
    overflow_mask,
    quantize,
    requantize,
)
from fxp.formats.format import (
    MAX_FRAC_MAGNITUDE,
    MAX_WIDTH,
    Format,
    FormatError,
    IntArray,
    Overflow,
    Quantization,
    Rounding,
    check_modes,
    saturation_limits,
)
from fxp.formats.roots import MAX_SQUARE_BITS, floor_sqrt

__all__ = [
    "EXACT_FLOAT32",
    "EXACT_FLOAT64",
    "MAX_FRAC_MAGNITUDE",
    "MAX_SQUARE_BITS",
    "MAX_WIDTH",
    "Format",
    "FormatError",
    "IntArray",
    "Overflow",
    "Quantization",
    "Rounding",
    "check_modes",
    "check_raw",
    "dequantize",
    "floor_sqrt",
    "overflow_mask",
    "quantize",
    "requantize",
    "saturation_limits",
]
