"""Every op that can stream, and the modules it becomes.

A rule adds the modules of one node to the plan and returns its exact results; requantization is
the same for all and follows in `add_node`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.graph import Graph, Node, ops
from fxp.graph.ops.line_codec import CodeLayout
from fxp.hls.refusals import ADVICE
from fxp.hls.rtl.literals import packed, signed_literal, verilog_bit
from fxp.hls.rtl.planning import (
    Accumulated,
    CorePlan,
    Cost,
    PlannedValue,
    StreamingError,
    ValueBus,
    per_field,
)
from fxp.hls.rtl.requantization import requantized, sum_bias, sum_bits
from fxp.hls.rtl.rounding import saturation_clips
from fxp.hls.rtl.sums import check_multiplier, signed_bits, weighted_sums
from fxp.hls.rtl.transposition import phase_matrix
from fxp.hls.rtl.windows import line_codec, window

CLAMP_CLOCKS: Final = 1
ADD_CLOCKS: Final = 1
PRELU_CLOCKS: Final = 3

Operand = ValueBus | NDArray[np.int64]
Rule = Callable[[CorePlan, Graph, Node, Sequence[Operand]], ValueBus | Accumulated]
"""Gives the exact results of a node, or values that its requantization makes the same of."""


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
    stream = rule(plan, graph, node, operands)
    assert node.accumulator is not None
    exact = node.accumulator
    result = stream
    if isinstance(result, ValueBus):
        result = Accumulated(result, exact.fracs, exact.low, exact.high)
    return requantized(plan, node, result)


def _image(operand: Operand) -> ValueBus:
    assert isinstance(operand, ValueBus)
    return operand


def _convolution(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    op = node.op
    assert isinstance(op, ops.Conv2d)
    source = _one_pixel(operands[0], "convolution")
    weight = np.asarray(graph.constants_by_name[node.inputs[1]].data)
    kernel = weight.shape[2:]
    if op.stride != (1, 1):
        raise StreamingError(f"stride {op.stride} cannot stream, only 1")
    if op.padding_mode != "zero" and any(op.padding):
        raise StreamingError(f"{op.padding_mode} padding cannot stream, only zeros")
    top, bottom, left, right = op.padding
    spans = [step * (size - 1) for step, size in zip(op.dilation, kernel, strict=True)]
    if [top + bottom, left + right] != spans:
        raise StreamingError(
            f"padding {op.padding} changes the size of the image with a {kernel[0]}x{kernel[1]} "
            "kernel"
        )
    taps = window(plan, source, kernel, op.dilation, (top, left))
    matrix = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    bias, bits = sum_bias(plan, node, _bias(operands, len(weight)))
    return weighted_sums(plan, node, taps, source, matrix, op.groups, bias, bits)


def _transposed(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    """All phases at once: one window, and a weighted sum per output channel and phase."""
    op = node.op
    assert isinstance(op, ops.ConvTranspose2d)
    source = _one_pixel(operands[0], "transposed convolution")
    weight = np.asarray(graph.constants_by_name[node.inputs[1]].data)
    factor = op.stride[0]
    sizes = [
        dilation * (size - 1) + 1 - 2 * padding + added
        for dilation, size, padding, added in zip(
            op.dilation, weight.shape[2:], op.padding, op.output_padding, strict=True
        )
    ]
    if op.stride != (factor, factor) or sizes != [factor, factor]:
        raise StreamingError(
            "a transposed convolution streams if it enlarges both sides exactly by its stride"
        )
    channels, block = len(weight), factor**2
    bias, bits = sum_bias(plan, node, _bias(operands, channels))
    matrix, bias, kernel, before = phase_matrix(op, weight, bias)
    taps = window(plan, source, kernel, (1, 1), before)
    sums = weighted_sums(plan, node, taps, source, matrix, op.groups, bias, bits)
    # From (group, pixel, channel of the group) to (pixel, channel).
    order = np.arange(channels * block).reshape(op.groups, block, -1).transpose(1, 0, 2).reshape(-1)
    return plan.picked(sums, order.tolist(), channels, factor)


def _one_pixel(operand: Operand, what: str) -> ValueBus:
    source = _image(operand)
    if source.scale != 1:
        raise StreamingError(f"a {what} behind an enlargement needs {source.scale**2} times the "
                             "rate and cannot stream")  # fmt: skip
    return source


def _bias(operands: Sequence[Operand], channels: int) -> NDArray[np.int64]:
    bias = np.zeros(channels, np.int64) if len(operands) < 3 else np.asarray(operands[2])
    assert bias.shape == (channels,)
    return bias


def _clamp(
    plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]
) -> ValueBus | Accumulated:
    op = node.op
    assert isinstance(op, ops.Relu | ops.Clamp)
    assert node.accumulator is not None
    low, high = op.limits(graph.operands[node.name][0])
    if saturation_clips(graph, node, low, high):
        form = graph.operands[node.name][0].format
        lows, highs = ((end,) * len(node.accumulator.fracs) for end in (form.min_raw, form.max_raw))
        return Accumulated(_image(operands[0]), node.accumulator.fracs, lows, highs)
    clipped = _clipped(plan, plan.as_signed(_image(operands[0])), low, high)
    return plan.aligned(clipped, node.accumulator.bits, (0,), signed=True)


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


def _prelu(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    assert node.accumulator is not None
    form = graph.operands[node.name][1].format
    source = plan.as_signed(_image(operands[0]))
    slopes = [int(slope) for slope in np.broadcast_to(np.asarray(operands[1]), source.channels)]
    if plan.multipliers == "shift_add":
        return _prelu_of_sums(plan, node, source, slopes, form.frac)
    width = signed_bits(slopes)
    check_multiplier(plan, source.width, width)
    bits = node.accumulator.bits
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


def _prelu_of_sums(
    plan: CorePlan, node: Node, source: ValueBus, slopes: Sequence[int], frac: int
) -> ValueBus:
    """Add ``slope * min(x, 0)`` and ``2**frac * max(x, 0)``, which takes no multiplier."""
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
    assert node.accumulator is not None
    ends = np.stack([matrix * -limit, matrix * (limit - 1)])
    sums = [int(ends.min(axis=0).sum(axis=1).min()), int(ends.max(axis=0).sum(axis=1).max())]
    bits = max(node.accumulator.bits, signed_bits(sums))
    result = weighted_sums(plan, node, parts, flat, matrix, 1, None, bits)
    result = replace(result, channels=source.channels, scale=source.scale)
    return plan.aligned(result, node.accumulator.bits, (0,), signed=True)


def _sum(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    assert node.accumulator is not None
    bits = sum_bits(plan, node)
    streams = [operand for operand in operands if isinstance(operand, ValueBus)]
    ready = plan.joined(streams)
    scale = ready[0].scale
    if any(stream.scale != scale for stream in ready):
        raise StreamingError("its operands differ in size")
    channels = max(operand.channels for operand in graph.operands[node.name])
    known = iter(ready)
    aligned = []
    for operand, info in zip(operands, graph.operands[node.name], strict=True):
        shift = node.accumulator.frac - info.format.frac
        if isinstance(operand, ValueBus):
            stream = plan.aligned(next(known), bits, (shift,), signed=True)
            if stream.channels != channels:
                indices = [pixel for pixel in range(scale**2) for _ in range(channels)]
                stream = plan.picked(stream, indices, channels, scale)
        else:
            if operand.size not in (1, channels) or operand.shape[1:] not in ((), (1, 1)):
                raise StreamingError(f"a constant of shape {operand.shape} cannot stream")
            mask = (1 << bits) - 1
            constants = [(int(c) << shift) & mask for c in operand.reshape(-1)]
            like = replace(ready[0], channels=channels)
            wire = plan.wire("constant", channels * scale**2 * bits)
            plan.assign(wire, packed(per_field(like, constants), bits))
            stream = replace(like, wire=wire, width=bits, signed=True)
        aligned.append(stream)
    left, right = aligned
    wire = plan.wire("sum", left.bits)
    plan.instance(
        "fxp_add",
        wire,
        {
            "Fields": left.fields,
            "Width": bits,
            "Subtract": verilog_bit(isinstance(node.op, ops.Subtract)),
        },
        {"clk_i": "aclk", "left_i": left.wire, "right_i": right.wire, "data_o": wire},
        Cost(adders=left.fields, registers=left.bits),
    )
    return replace(left, wire=wire, latency=left.latency + ADD_CLOCKS)


def _concat(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    assert node.accumulator is not None
    ready = plan.joined([_image(operand) for operand in operands])
    scale = ready[0].scale
    if any(stream.scale != scale for stream in ready):
        raise StreamingError("its operands differ in size")
    aligned = [
        plan.aligned(
            stream, node.accumulator.bits, (node.accumulator.frac - info.format.frac,), signed=True
        )
        for stream, info in zip(ready, graph.operands[node.name], strict=True)
    ]
    fields = [
        stream.field(pixel * stream.channels + channel)
        for pixel in range(scale**2)
        for stream in aligned
        for channel in range(stream.channels)
    ]
    return plan.gathered(aligned[0], fields, sum(s.channels for s in aligned), scale)


def _slice(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    op = node.op
    assert isinstance(op, ops.Slice)
    source = _image(operands[0])
    if op.axis != "channel":
        raise StreamingError(f"a slice of {op.axis}s changes the size of the image")
    chosen = range(source.channels)[op.start : op.stop : op.step]
    indices = [
        pixel * source.channels + channel for pixel in range(source.scale**2) for channel in chosen
    ]
    return plan.picked(source, indices, len(chosen), source.scale)


def _gather_channels(
    plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]
) -> ValueBus:
    source, op = _image(operands[0]), node.op
    assert isinstance(op, ops.GatherChannels)
    if -1 in op.channels:
        raise StreamingError("it adds channels of zeros")
    indices = [
        pixel * source.channels + channel
        for pixel in range(source.scale**2)
        for channel in op.channels
    ]
    return plan.picked(source, indices, len(op.channels), source.scale)


def _shuffle(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    source, factor = _image(operands[0]), _factor(node.op)
    channels = source.channels // factor**2
    indices = [
        pixel * source.channels + channel * factor**2 + part
        for pixel, part in _enlarged(source.scale, factor)
        for channel in range(channels)
    ]
    return plan.picked(source, indices, channels, source.scale * factor)


def _nearest(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    source, factor = _image(operands[0]), _factor(node.op)
    indices = [
        pixel * source.channels + channel
        for pixel, _ in _enlarged(source.scale, factor)
        for channel in range(source.channels)
    ]
    return plan.picked(source, indices, source.channels, source.scale * factor)


def _factor(op: Any) -> int:
    return op.factor


def _enlarged(scale: int, factor: int) -> list[tuple[int, int]]:
    """Pixel of the block, and part of that pixel, for every pixel of the enlarged block."""
    side = scale * factor
    return [
        (
            (row // factor) * scale + column // factor,
            (row % factor) * factor + column % factor,
        )
        for row in range(side)
        for column in range(side)
    ]


def _line_codec(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    layout = CodeLayout.of(graph.operands[node.name][0].format)
    return line_codec(plan, _one_pixel(operands[0], "line codec"), layout)


def _sign(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    """Two bits of each field, which are wires: the sign, and whether the result is not zero."""
    op = node.op
    assert isinstance(op, ops.Sign)
    source = plan.as_signed(_image(operands[0]))
    fields = []
    for index in range(source.fields):
        value, last = source.field(index), (index + 1) * source.width - 1
        negative = f"{source.wire}[{last}]"
        if op.at_zero < 0:
            negative = f"{negative} | ~|{value}"
        size = "1'b1" if op.at_zero else f"|{value}"
        fields.append(f"{{{negative}, {size}}}")
    return plan.gathered(replace(source, width=2), fields, source.channels, source.scale)


def _same(plan: CorePlan, graph: Graph, node: Node, operands: Sequence[Operand]) -> ValueBus:
    return _image(operands[0])


RULES: Final[dict[type[ops.Op], Rule]] = {
    ops.Conv2d: _convolution,
    ops.ConvTranspose2d: _transposed,
    ops.Relu: _clamp,
    ops.Clamp: _clamp,
    ops.Prelu: _prelu,
    ops.Add: _sum,
    ops.Subtract: _sum,
    ops.Concat: _concat,
    ops.Slice: _slice,
    ops.GatherChannels: _gather_channels,
    ops.PixelShuffle: _shuffle,
    ops.Nearest: _nearest,
    ops.Requantize: _same,
    ops.Sign: _sign,
    ops.LineCodec: _line_codec,
}
"""Rules by op. An op without one cannot stream."""
