"""Mixed precision: widths of single weights and values, searched against a cost."""

from fxp.quantization.mixed.costs import Cost, MultiplierBits, PackedSize
from fxp.quantization.mixed.result import MixedPrecision
from fxp.quantization.mixed.search import quantize_mixed
from fxp.quantization.mixed.trials import Point

__all__ = ["Cost", "MixedPrecision", "MultiplierBits", "PackedSize", "Point", "quantize_mixed"]
