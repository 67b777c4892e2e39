"""From a node of the graph to its modules: the rule of its op, then requantization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fxp.formats import (
    MAX_WIDTH,
    Format,
    Overflow,
    Quantization,
    Rounding,
    requantize,
    saturation_limits,
)
from fxp.graph import Graph, Node
from fxp.hls.refusals import ADVICE
from fxp.hls.rtl.literals import packed, verilog_bit
from fxp.hls.rtl.planning import CorePlan
from fxp.hls.rtl.stages import RULES, Operand, Stage
from fxp.hls.rtl.streams import (
    Accumulated,
    Cost,
    PlannedValue,
    StreamingError,
    ValueBus,
    per_field,
)

ROUNDINGS: Final = (
    Rounding.FLOOR,
    Rounding.TO_ZERO,
    Rounding.HALF_UP,
    Rounding.HALF_DOWN,
    Rounding.HALF_AWAY,
    Rounding.HALF_TO_ZERO,
    Rounding.HALF_EVEN,
)
"""Numbers of the roundings in ``fxp_requantize``."""

OVERFLOWS: Final = (
    Overflow.SATURATE,
    Overflow.SATURATE_SYMMETRIC,
    Overflow.SATURATE_TO_ZERO,
    Overflow.WRAP,
    Overflow.WRAP_SIGN_MAGNITUDE,
)
"""Numbers of the overflows in ``fxp_requantize``."""
NEVER: Final = len(OVERFLOWS)

REQUANTIZE_CLOCKS: Final = 2


def add_node(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> PlannedValue:
    """Add a node to the plan.

    Parameters
    ----------
    plan
        The plan.
    graph
        The graph of the node.
    node
        The node.
    operands
        Its inputs: buses of the plan, or raw integers of constants.

    Returns
    -------
    PlannedValue
        The result of the node, requantized.

    Raises
    ------
    StreamingError
        If the op cannot stream; the message names the node.
    """
    rule = RULES.get(type(node.op))
    if rule is None:
        advice = ADVICE.get(
            node.op.name, "make the hardware with fxp.hls.export, which may take it"
        )
        raise StreamingError(f"{node.op.name} cannot stream; {advice}")
    stream = rule(Stage(plan, graph, node, operands))
    assert node.accumulator is not None
    assert node.quantization is not None
    exact = node.accumulator
    result = Accumulated(stream, exact.fracs, exact.low, exact.high)
    target = node.quantization
    return PlannedValue(node.name, _requantized(plan, result, target), target.format)


def _requantized(plan: CorePlan, exact: Accumulated, target: Quantization) -> ValueBus:
    form = target.format
    # A channel that is always zero has any number of fraction bits.
    shifts = [
        0 if low == high == 0 else frac - form.frac
        for frac, low, high in zip(exact.fracs, exact.low, exact.high, strict=True)
    ]
    proved = all(
        _fits(value, frac, target)
        for frac, low, high in zip(exact.fracs, exact.low, exact.high, strict=True)
        for value in (low, high)
    )
    if proved and max(shifts) <= 0:
        lefts = [-shift for shift in shifts]
        return plan.aligned(exact.stream, form.width, lefts, signed=form.signed)
    source = plan.as_signed(exact.stream)
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
            "Rounding": ROUNDINGS.index(target.rounding),
            "Overflow": NEVER if proved else OVERFLOWS.index(target.overflow),
            "Shifts": packed(per_field(source, shifts), 8),
        },
        {"clk_i": "aclk", "data_i": source.wire, "data_o": wire},
        Cost(
            adders=source.fields * (max(shifts) > 0 and target.rounding is not Rounding.FLOOR),
            registers=source.fields * (source.width + 2 - min(*shifts, 0) + form.width),
        ),
    )
    latency = source.latency + REQUANTIZE_CLOCKS
    return replace(source, wire=wire, width=form.width, signed=form.signed, latency=latency)


def _fits(value: int, frac: int, target: Quantization) -> bool:
    """Whether a raw integer, once rounded, lies in the format."""
    low, high = saturation_limits(target.format, target.overflow)
    if frac <= target.format.frac:
        return low <= value << (target.format.frac - frac) <= high
    wide = Format(MAX_WIDTH, target.format.frac)
    rounded = int(requantize(np.int64(value), frac, wide, target.rounding))
    return low <= rounded <= high
