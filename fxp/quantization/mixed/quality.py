"""How good a model of certain widths is: against references, or as a function of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fxp.model import FixedModel
from fxp.quantization.search import Arrays, output_error

Measure = Literal["sqnr", "psnr"]
Quality = Measure | Callable[[FixedModel], float]
"""SQNR or PSNR in dB of the outputs against the float network, or any number to keep high."""


@dataclass(frozen=True)
class AgainstReferences:
    """Quality of a model's outputs against what they should be.

    Attributes
    ----------
    measure
        ``sqnr``, or ``psnr`` of values whose largest is `peak`; both in dB.
    inputs, references
        As for `fxp.quantization.search.output_error`.
    peak
        The largest value of the outputs.
    """

    measure: Measure
    inputs: Sequence[Arrays]
    references: Sequence[Arrays]
    peak: float = 1.0

    def __call__(self, model: FixedModel) -> float:
        """Return the quality in dB."""
        error = output_error(model.graph, self.inputs, self.references)
        return error.sqnr if self.measure == "sqnr" else error.psnr(self.peak)
