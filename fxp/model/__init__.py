"""A quantized network ready to run: the object users hold, its arguments, and sequences."""

from fxp.model.fixed_model import FixedModel
from fxp.model.loading import load

__all__ = ["FixedModel", "load"]
