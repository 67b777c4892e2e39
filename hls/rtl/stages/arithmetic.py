"""Sums, differences and products of values, and of values with constants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fxp.formats import Format
from fxp.graph import ops
from fxp.hls.rtl.blocks import alike
from fxp.hls.rtl.literals import packed, verilog_bit
from fxp.hls.rtl.planning import CorePlan
from fxp.hls.rtl.requantization import sum_bits
from fxp.hls.rtl.stages.registry import Operand, Stage, streams
from fxp.hls.rtl.streams import Cost, StreamingError, ValueBus, per_field
from fxp.hls.rtl.sums import DSP_BITS, signed_bits, weighted_sums

ADD_CLOCKS: Final = 1
MULTIPLY_CLOCKS: Final = 3
LOW_BITS: Final = 16
"""Bits that are split off a factor too large for a multiplier."""
LOW_MASK: Final = (1 << LOW_BITS) - 1


@streams(ops.Add, ops.Subtract)
def add(stage: Stage) -> ValueBus:
    """Add or subtract, field by field."""
    plan, bits = stage.plan, sum_bits(stage.plan, stage.node)
    buses = [operand for operand in stage.operands if isinstance(operand, ValueBus)]
    ready = alike(plan, buses)
    channels = max(info.channels for info in stage.infos)
    known = iter(ready)
    aligned = []
    for operand, info in zip(stage.operands, stage.infos, strict=True):
        shift = stage.exact.frac - info.format.frac
        if isinstance(operand, ValueBus):
            stream = plan.aligned(next(known), bits, (shift,), signed=True)
            aligned.append(_repeated(plan, stream, channels))
        else:
            mask = (1 << bits) - 1
            constants = [(c << shift) & mask for c in _per_channel(operand, channels)]
            like = replace(ready[0], channels=channels)
            wire = plan.wire("constant", like.fields * bits)
            plan.assign(wire, packed(per_field(like, constants), bits))
            aligned.append(replace(like, wire=wire, width=bits, signed=True))
    left, right = aligned
    return _added(plan, left, right, subtract=isinstance(stage.node.op, ops.Subtract))


def _added(plan: CorePlan, left: ValueBus, right: ValueBus, *, subtract: bool) -> ValueBus:
    wire = plan.wire("sum", left.bits)
    plan.instance(
        "fxp_add",
        wire,
        {"Fields": left.fields, "Width": left.width, "Subtract": verilog_bit(subtract)},
        {"clk_i": "aclk", "left_i": left.wire, "right_i": right.wire, "data_o": wire},
        Cost(adders=left.fields, registers=left.bits),
    )
    return replace(left, wire=wire, latency=left.latency + ADD_CLOCKS)


@streams(ops.Multiply)
def multiply(stage: Stage) -> ValueBus:
    """Multiply by a constant, which weighted sums of one term do, or two values."""
    plan = stage.plan
    buses = [operand for operand in stage.operands if isinstance(operand, ValueBus)]
    channels = max(info.channels for info in stage.infos)
    ready = [_repeated(plan, bus, channels) for bus in alike(plan, buses)]
    if len(ready) == 1:
        constant = next(item for item in stage.operands if not isinstance(item, ValueBus))
        return scaled(stage, ready[0], _per_channel(constant, channels))
    left, right = (plan.as_signed(bus) for bus in ready)
    if left.wire == right.wire:
        right = left
    _check_product(left, right)
    bits = stage.exact.bits
    wire = plan.wire("product", left.fields * bits)
    plan.instance(
        "fxp_multiply",
        wire,
        {
            "Fields": left.fields,
            "LeftWidth": left.width,
            "RightWidth": right.width,
            "OutWidth": bits,
        },
        {"clk_i": "aclk", "left_i": left.wire, "right_i": right.wire, "data_o": wire},
        Cost(
            multipliers=left.fields,
            registers=left.bits + right.bits + left.fields * (left.width + right.width + bits),
        ),
    )
    return replace(left, wire=wire, width=bits, signed=True, latency=left.latency + MULTIPLY_CLOCKS)


def scaled(stage: Stage, source: ValueBus, factors: Sequence[int]) -> ValueBus:
    """Multiply by a number for each channel; the product is as wide as the results of the node.

    Parameters
    ----------
    stage
        The node.
    source
        What is multiplied.
    factors
        One for each channel.
    """
    plan, bits = stage.plan, stage.exact.bits
    zeros = min(((factor & -factor).bit_length() - 1 for factor in factors if factor), default=0)
    odd = [factor >> zeros for factor in factors]
    if signed_bits(odd) <= DSP_BITS[0]:
        result = _products(stage, source, odd, bits - zeros)
    else:
        # Twice as many products of factors that a multiplier takes, and their sum.
        low, high = (
            _products(stage, source, [part(factor) for factor in odd], bits - zeros)
            for part in (lambda factor: factor & LOW_MASK, lambda factor: factor >> LOW_BITS)
        )
        left, right = plan.joined([plan.aligned(high, bits - zeros, (LOW_BITS,), signed=True), low])
        result = _added(plan, left, right, subtract=False)
    return plan.aligned(result, bits, (zeros,), signed=True)


def _products(stage: Stage, source: ValueBus, factors: Sequence[int], bits: int) -> ValueBus:
    flat = replace(source, channels=source.fields, scale=1)
    matrix = np.array(per_field(source, factors), np.int64)[:, None]
    # By the bits of the source alone, a product may be larger than it is proved to be.
    form = Format(source.width, 0, source.signed)
    ends = [factor * end for factor in factors for end in (form.min_raw, form.max_raw)]
    wide = max(bits, signed_bits(ends), 2)
    # A shift needs no multiplier, and a change of the sign only an adder.
    simple = all(abs(factor) & (abs(factor) - 1) == 0 for factor in factors)
    result = weighted_sums(
        stage.plan, stage.node, flat, flat, matrix, source.fields, None, wide, adders=simple
    )
    result = replace(result, channels=source.channels, scale=source.scale)
    return stage.plan.aligned(result, bits, (0,), signed=True)


def _check_product(left: ValueBus, right: ValueBus) -> None:
    small, large = sorted((left.width, right.width))
    if small > DSP_BITS[0] or large > DSP_BITS[1]:
        raise StreamingError(
            f"needs multipliers of {small} x {large} bits; those of the devices have "
            f"{DSP_BITS[0]} x {DSP_BITS[1]}: use narrower formats"
        )


def _repeated(plan: CorePlan, stream: ValueBus, channels: int) -> ValueBus:
    """Return the stream with its only channel repeated, if there are to be more."""
    if stream.channels == channels:
        return stream
    indices = [pixel for pixel in range(stream.scale**2) for _ in range(channels)]
    return plan.picked(stream, indices, channels, stream.scale)


def _per_channel(constant: Operand, channels: int) -> list[int]:
    """Return a constant as one number for each channel."""
    data = np.asarray(constant)
    if data.size not in (1, channels) or data.shape[1:] not in ((), (1, 1)):
        raise StreamingError(
            f"a constant of shape {data.shape} cannot stream; use a number, or one for each channel"
        )
    return [int(number) for number in np.broadcast_to(data.reshape(-1), channels)]


@streams(ops.Requantize)
def requantize(stage: Stage) -> ValueBus:
    """Change the format, which follows for every node."""
    return stage.image()
