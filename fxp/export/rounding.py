"""What the writers of floating-point files need to know of a node's rounding."""

from __future__ import annotations

import numpy as np

from fxp.formats import (
    Format,
    Overflow,
    Quantization,
    Rounding,
    requantize,
    saturation_limits,
)
from fxp.graph import Node


def saturation_of(node: Node) -> tuple[int, int]:
    """Smallest and largest raw integer of a node's result."""
    assert node.quantization is not None
    return saturation_limits(node.quantization.format, node.quantization.overflow)


def largest(form: Format) -> int:
    """Largest magnitude of a format's raw integers."""
    return max(-form.min_raw, form.max_raw)


def bound_of(node: Node) -> int:
    """Largest magnitude of a node's exact result."""
    assert node.accumulator is not None
    return max(-min(node.accumulator.low), max(node.accumulator.high))


def saturates(target: Quantization) -> bool:
    """Whether values outside the format become its limits."""
    return target.overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)


def half_of(rounding: Rounding) -> float:
    """Return what is added before a floor or a ceiling makes a rounding of it."""
    return {Rounding.HALF_UP: 0.5, Rounding.HALF_DOWN: -0.5}.get(rounding, 0.0)


def rounded(raw: int, shift: int, target: Quantization) -> int:
    """Round an integer without overflow.

    Parameters
    ----------
    raw, shift
        The integer, and how many of its bits are dropped.
    target
        Its rounding counts.
    """
    return int(requantize(np.array([raw]), shift, Format(62, 0), target.rounding)[0])
