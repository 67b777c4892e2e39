"""The way from exact results of a node to its format: shift, rounding, overflow."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Overflow, Quantization, Rounding
from fxp.graph import Node
from fxp.hls.rtl.literals import packed, verilog_bit
from fxp.hls.rtl.planning import CorePlan
from fxp.hls.rtl.rounding import fits
from fxp.hls.rtl.streams import Accumulated, Cost, PlannedValue, ValueBus, per_field
from fxp.hls.rtl.sums import signed_bits

ROUNDINGS: Final = {
    Rounding.FLOOR: "fxp_pkg::Floor",
    Rounding.TO_ZERO: "fxp_pkg::ToZero",
    Rounding.HALF_UP: "fxp_pkg::HalfUp",
    Rounding.HALF_DOWN: "fxp_pkg::HalfDown",
    Rounding.HALF_AWAY: "fxp_pkg::HalfAway",
    Rounding.HALF_TO_ZERO: "fxp_pkg::HalfToZero",
    Rounding.HALF_EVEN: "fxp_pkg::HalfEven",
}
"""What ``fxp_requantize`` calls the roundings."""

OVERFLOWS: Final = {
    Overflow.SATURATE: "fxp_pkg::Saturate",
    Overflow.SATURATE_SYMMETRIC: "fxp_pkg::SaturateSymmetric",
    Overflow.SATURATE_TO_ZERO: "fxp_pkg::SaturateToZero",
    Overflow.WRAP: "fxp_pkg::Wrap",
    Overflow.WRAP_SIGN_MAGNITUDE: "fxp_pkg::WrapSignMagnitude",
}
"""What ``fxp_requantize`` calls the overflows."""
NEVER: Final = "fxp_pkg::NoOverflow"

REQUANTIZE_CLOCKS: Final = 2
FLOOR_CLOCKS: Final = 1
"""Clocks of ``fxp_requantize`` where nothing is added to round."""


def requantized(plan: CorePlan, node: Node, exact: Accumulated) -> PlannedValue:
    """Bring exact results of a node to its format.

    Parameters
    ----------
    plan
        The plan.
    node
        The node.
    exact
        Its results, or values that its requantization makes the same of.
    """
    assert node.quantization is not None
    target = node.quantization
    addends = plan.folded.addends.get(node.name)
    rounded = node.name in plan.folded.rounded
    if rounded:
        target = replace(target, rounding=Rounding.FLOOR)
    proved = all(
        fits(value, frac, node.quantization)
        for frac, low, high in zip(exact.fracs, exact.low, exact.high, strict=True)
        for value in (low, high)
    )
    bus = _bus(plan, exact, target, addends, proved=proved)
    return PlannedValue(node.name, bus, target.format, exact=addends is None or rounded)


def _bus(
    plan: CorePlan,
    exact: Accumulated,
    target: Quantization,
    addends: NDArray[np.int64] | None,
    *,
    proved: bool,
) -> ValueBus:
    """Add the modules that shift, round and clip."""
    form = target.format
    # A channel that is always zero has any number of fraction bits.
    shifts = [
        0 if low == high == 0 else frac - form.frac
        for frac, low, high in zip(exact.fracs, exact.low, exact.high, strict=True)
    ]
    if proved and max(shifts) <= 0:
        lefts = [-shift for shift in shifts]
        width = form.width
        if addends is not None:
            channels = zip(lefts, exact.low, exact.high, addends.tolist(), strict=True)
            ends = [end + more << left for left, *pair, more in channels for end in pair]
            width = max(width, signed_bits(ends))
        return plan.aligned(exact.stream, width, lefts, signed=form.signed)
    source = plan.as_signed(exact.stream)
    clocks = FLOOR_CLOCKS if target.rounding is Rounding.FLOOR else REQUANTIZE_CLOCKS
    # Beyond these the result is the same.
    shifts = [min(max(shift, -form.width - 1), source.width + 1) for shift in shifts]
    wire = plan.wire("requantized", source.fields * form.width)
    plan.instance(
        "fxp_requantize",
        wire,
        {
            "Fields": source.fields,
            "InWidth": source.width,
            "OutWidth": form.width,
            "OutSigned": verilog_bit(form.signed),
            "Rounding": ROUNDINGS[target.rounding],
            "Overflow": NEVER if proved else OVERFLOWS[target.overflow],
            "Shifts": packed(per_field(source, shifts), 8),
        },
        {"clk_i": "aclk", "data_i": source.wire, "data_o": wire},
        Cost(
            adders=source.fields * (max(shifts) > 0 and target.rounding is not Rounding.FLOOR),
            registers=source.fields
            * ((clocks - 1) * (source.width + 2 - min(*shifts, 0)) + form.width),
        ),
    )
    latency = source.latency + clocks
    return replace(source, wire=wire, width=form.width, signed=form.signed, latency=latency)


def sum_bias(
    plan: CorePlan, node: Node, bias: NDArray[np.int64]
) -> tuple[NDArray[np.int64] | None, int]:
    """Return the bias of sums with what it takes over of a rounding, and the bits of the sums.

    Parameters
    ----------
    plan
        Says which roundings are taken over.
    node
        The node of the sums.
    bias
        Its own bias.
    """
    bias = bias + plan.folded.addends.get(node.name, 0)
    return bias if bias.any() else None, sum_bits(plan, node)


def sum_bits(plan: CorePlan, node: Node) -> int:
    """Bits of the exact results of a node, with what they contain of a rounding behind."""
    assert node.accumulator is not None
    exact = node.accumulator
    added = plan.folded.addends.get(node.name)
    if added is None:
        return exact.bits
    ends = [end + int(more) for low, high, more in zip(exact.low, exact.high, added, strict=True)
            for end in (low, high)]  # fmt: skip
    return max(exact.bits, signed_bits(ends))
