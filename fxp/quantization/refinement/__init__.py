"""Refinements after training: equalized channels, corrected biases, learned rounding."""

from fxp.quantization.refinement.equalization import equalize
from fxp.quantization.refinement.refine import Refinement, refine

__all__ = ["Refinement", "equalize", "refine"]
