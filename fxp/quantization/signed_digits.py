"""Signed digits of weights: what they cost in adders, and a penalty that trains them away.

A product with a constant takes one adder or subtractor less than the constant has digits in its
canonical signed form (A. Avizienis, 1961): no two neighbours are both non-zero, and no other signed
form has fewer digits.
"""

from __future__ import annotations

from typing import Final

import torch

REACH: Final = 4
"""Steps within which a weight looks for a cheaper one."""


def signed_digit_count(integers: torch.Tensor) -> torch.Tensor:
    """Return how many canonical signed digits of each integer are not zero.

    They are the places where the binary digits of ``3 n`` and ``n`` differ.

    Parameters
    ----------
    integers
        Of type int64 and at most 60 bits.
    """
    magnitude = integers.abs()
    places = (3 * magnitude) ^ magnitude
    # Neighbouring counters of 1, 2, 4, ... bits are added until one of 64 bits is left.
    places = places - ((places >> 1) & 0x5555555555555555)
    places = (places & 0x3333333333333333) + ((places >> 2) & 0x3333333333333333)
    places = (places + (places >> 4)) & 0x0F0F0F0F0F0F0F0F
    for shift in (8, 16, 32):
        places = places + (places >> shift)
    return places & 0x7F


def digit_penalty(weights: torch.Tensor, reach: int = REACH) -> torch.Tensor:
    """Return the digits of all weights as a sum with gradients towards cheaper weights.

    The digits are those of the nearest integer. The gradient of a weight leads to the integer
    within reach that saves most digits for its distance, and is as large as what it saves for each
    step; it is zero where no integer within reach is cheaper.

    Parameters
    ----------
    weights
        In units of their step, any shape.
    reach
        Farthest distance from the nearest integer to look at.
    """
    real = weights.detach()
    nearest = torch.round(real).to(torch.int64)
    digits = signed_digit_count(nearest)
    slope = torch.zeros_like(real)
    for distance in (*range(-reach, 0), *range(1, reach + 1)):
        candidate = nearest + distance
        saved = (digits - signed_digit_count(candidate)).to(real)
        found = saved / (candidate - real)
        slope = torch.where((saved > 0) & (found.abs() > slope.abs()), -found, slope)
    return (digits.to(real) + slope * (weights - real)).sum()
