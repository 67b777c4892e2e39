"""Refinements after training: equalized channels, corrected biases, learned rounding."""

from fxp.refinement.equalization import equalize
from fxp.refinement.refine import Refinement, refine

__all__ = ["Refinement", "equalize", "refine"]
