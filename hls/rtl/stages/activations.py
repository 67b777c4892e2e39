"""Functions of one value: clips, PReLU, signs, tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fxp.graph import ops
from fxp.graph.ops.tables import Table
from fxp.hls.rtl.literals import packed, signed_literal
from fxp.hls.rtl.planning import CorePlan
from fxp.hls.rtl.rounding import saturation_clips
from fxp.hls.rtl.stages.registry import Stage, streams
from fxp.hls.rtl.streams import Accumulated, Cost, ValueBus, per_field
from fxp.hls.rtl.sums import check_multiplier, signed_bits, weighted_sums
from fxp.hls.rtl.tables import table_module

CLAMP_CLOCKS: Final = 1
PRELU_CLOCKS: Final = 3
TABLE_CLOCKS: Final = 2


@streams(ops.Relu, ops.Clamp)
def clamp(stage: Stage) -> ValueBus | Accumulated:
    """Clip to bounds of the op, unless the saturation behind does."""
    op = stage.node.op
    assert isinstance(op, ops.Relu | ops.Clamp)
    low, high = op.limits(stage.infos[0])
    if saturation_clips(stage.graph, stage.node, low, high):
        form, fracs = stage.infos[0].format, stage.exact.fracs
        lows, highs = ((end,) * len(fracs) for end in (form.min_raw, form.max_raw))
        return Accumulated(stage.image(), fracs, lows, highs)
    clipped = _clipped(stage.plan, stage.plan.as_signed(stage.image()), low, high)
    return stage.plan.aligned(clipped, stage.exact.bits, (0,), signed=True)


def _clipped(plan: CorePlan, source: ValueBus, low: int, high: int) -> ValueBus:
    wire = plan.wire("clamped", source.bits)
    plan.instance(
        "fxp_clamp",
        wire,
        {
            "Fields": source.fields,
            "Width": source.width,
            "Low": signed_literal(low, source.width),
            "High": signed_literal(high, source.width),
        },
        {"clk_i": "aclk", "data_i": source.wire, "data_o": wire},
        Cost(registers=source.bits),
    )
    return replace(source, wire=wire, latency=source.latency + CLAMP_CLOCKS)


@streams(ops.Prelu)
def prelu(stage: Stage) -> ValueBus:
    """Multiply negative values by a slope, with a multiplier for each field or without any."""
    plan = stage.plan
    form = stage.infos[1].format
    source = plan.as_signed(stage.image())
    slopes = [int(slope) for slope in np.broadcast_to(stage.constant(1), source.channels)]
    if plan.multipliers == "shift_add":
        return _prelu_of_sums(stage, source, slopes, form.frac)
    width = signed_bits(slopes)
    check_multiplier(plan, source.width, width)
    bits = stage.exact.bits
    wire = plan.wire("prelu", source.fields * bits)
    plan.instance(
        "fxp_prelu",
        wire,
        {
            "Fields": source.fields,
            "InWidth": source.width,
            "SlopeWidth": width,
            "SlopeFrac": form.frac,
            "OutWidth": bits,
            "Slopes": packed(per_field(source, slopes), width),
        },
        {"clk_i": "aclk", "data_i": source.wire, "data_o": wire},
        Cost(
            multipliers=source.fields,
            registers=source.fields * (3 * source.width + width + bits),
        ),
    )
    return replace(
        source, wire=wire, width=bits, signed=True, latency=source.latency + PRELU_CLOCKS
    )


def _prelu_of_sums(stage: Stage, source: ValueBus, slopes: Sequence[int], frac: int) -> ValueBus:
    """Add ``slope * min(x, 0)`` and ``2**frac * max(x, 0)``, which takes no multiplier."""
    plan = stage.plan
    limit = 1 << (source.width - 1)
    negative = _clipped(plan, source, -limit, 0)
    positive = _clipped(plan, source, 0, limit - 1)
    count = source.fields
    fields = [part.field(index) for part in (negative, positive) for index in range(count)]
    parts = plan.gathered(negative, fields, 2 * count, 1)
    matrix = np.hstack(
        [np.diag(per_field(source, slopes)), np.eye(count, dtype=np.int64) << frac]
    )  # fmt: skip
    flat = replace(negative, channels=count, scale=1)
    # Taken by themselves, both parts could be large at once.
    ends = np.stack([matrix * -limit, matrix * (limit - 1)])
    sums = [int(ends.min(axis=0).sum(axis=1).min()), int(ends.max(axis=0).sum(axis=1).max())]
    bits = max(stage.exact.bits, signed_bits(sums))
    result = weighted_sums(plan, stage.node, parts, flat, matrix, 1, None, bits)
    result = replace(result, channels=source.channels, scale=source.scale)
    return plan.aligned(result, stage.exact.bits, (0,), signed=True)


@streams(ops.Sign)
def sign(stage: Stage) -> ValueBus:
    """Two bits of each field, which are wires: the sign, and whether the result is not zero."""
    op = stage.node.op
    assert isinstance(op, ops.Sign)
    source = stage.plan.as_signed(stage.image())
    fields = []
    for index in range(source.fields):
        value, last = source.field(index), (index + 1) * source.width - 1
        negative = f"{source.wire}[{last}]"
        if op.at_zero < 0:
            negative = f"{negative} | ~|{value}"
        size = "1'b1" if op.at_zero else f"|{value}"
        fields.append(f"{{{negative}, {size}}}")
    return stage.plan.gathered(replace(source, width=2), fields, source.channels, source.scale)


def table(stage: Stage) -> ValueBus:
    """Look the values of all fields up in a memory whose content is part of the core."""
    plan, source = stage.plan, stage.image()
    entries = [int(entry) for entry in stage.constant(1)]
    # Codes come from the smallest to the largest, addresses from zero up.
    if source.signed:
        half = len(entries) // 2
        entries = entries[half:] + entries[:half]
    width = stage.exact.bits
    name = plan.module_name("table")
    plan.modules[name] = table_module(name, entries, source.fields, source.width, width)
    wire = plan.wire("entries", source.fields * width)
    plan.instance(
        name,
        wire,
        {},
        {"clk_i": "aclk", "codes_i": source.wire, "entries_o": wire},
        Cost(registers=2 * source.fields * width, memory_bits=source.fields * width * len(entries)),
    )
    latency = source.latency + TABLE_CLOCKS
    return replace(source, wire=wire, width=width, signed=True, latency=latency)


streams(*(kind for kind in ops.REGISTRY.values() if issubclass(kind, Table)))(table)
