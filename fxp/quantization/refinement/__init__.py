"""Refinements after training: equalized channels, corrected biases, learned rounding."""

from fxp.quantization.refinement.equalization import equalize
from fxp.quantization.refinement.refine import refine

__all__ = ["equalize", "refine"]
