"""Refinements after training: equalized channels, corrected biases, learned rounding."""

from fxp.quantization.refinement.choose import Chosen, Trial, choose
from fxp.quantization.refinement.equalization import equalize, scaled_like
from fxp.quantization.refinement.refine import Refinement, refine

__all__ = ["Chosen", "Refinement", "Trial", "choose", "equalize", "refine", "scaled_like"]
