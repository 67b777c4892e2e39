"""Ops whose result depends on a whole frame, which gives one beat then; and sums over channels."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from fxp.graph import ops
from fxp.graph.ops.pooling import GLOBAL_FRAC, reciprocal
from fxp.graph.ops.reduction import Reduction
from fxp.hls.rtl.literals import packed, verilog_bit
from fxp.hls.rtl.planning import RESET, CorePlan
from fxp.hls.rtl.stages.arithmetic import scaled
from fxp.hls.rtl.stages.pooling import maximum
from fxp.hls.rtl.stages.registry import Stage, streams
from fxp.hls.rtl.streams import WHOLE_FRAME, Cost, Lag, Path, StreamingError, ValueBus
from fxp.hls.rtl.sums import check_multiplier, signed_bits, weighted_sums
from fxp.hls.rtl.tables import table_module

LINEAR_CLOCKS: Final = 5
ONE_BEAT: Final = ("16'd0", "16'd0")
"""Size of a raster of one beat, less one."""


@streams(ops.GlobalAveragePool, ops.GlobalMaxPool, ops.ReduceMean, ops.ReduceSum, ops.ReduceMax)
def reduction(stage: Stage) -> ValueBus:
    """Reduce rows and columns together, or channels alone."""
    op = stage.node.op
    assert isinstance(op, Reduction)
    source = stage.one_pixel("reduction")
    vector = len(stage.infos[0].shape) == 1
    largest = isinstance(op, ops.GlobalMaxPool | ops.ReduceMax)
    channels, rows, columns = (True, False, False) if vector else (
        op.channels, op.rows, op.columns)  # fmt: skip
    if rows != columns or (channels and rows):
        raise StreamingError(
            "rows and columns can only be reduced together and channels by themselves; use two "
            "operations, or leave it to the processor behind the hardware"
        )
    if channels:
        whole = replace(source, channels=1)
        if largest:
            return maximum(stage.plan, source, whole)
        count = source.channels
    else:
        height, width = fixed_size(stage)
        count = height * width
        whole = _total(stage, source, count, largest=largest)
        if largest:
            return whole
    if channels:
        form = stage.infos[0].format
        bits = signed_bits([count * form.min_raw, count * form.max_raw])
        ones = np.ones((1, count), np.int64)
        whole = weighted_sums(
            stage.plan, stage.node, source, source, ones, 1, None, bits, adders=True
        )
    if isinstance(op, ops.ReduceSum):
        return stage.plan.aligned(whole, stage.exact.bits, (0,), signed=True)
    return scaled(stage, whole, [int(reciprocal(count, GLOBAL_FRAC))] * whole.channels)


def fixed_size(stage: Stage) -> tuple[int, ...]:
    """Return the size of the first input, and let the core take frames of one size alone.

    Raises
    ------
    StreamingError
        If the plan is made for no size, or for one that does not suit the graph.
    """
    plan, graph = stage.plan, stage.graph
    if plan.size is None:
        raise StreamingError("its result depends on a whole image, whose size must be known")
    channels = graph.inputs[0].shape[0]
    assert isinstance(channels, int)
    try:
        shapes = graph.concrete_shapes(graph.bind([(channels, *plan.size)]))
    except ValueError as error:
        rows, columns = plan.size
        raise StreamingError(
            f"frames of {columns}x{rows} do not suit: {error}; choose another initial_size"
        ) from None
    plan.one_size = True
    return shapes[stage.node.inputs[0]][1:]


def _total(stage: Stage, source: ValueBus, count: int, *, largest: bool) -> ValueBus:
    plan, form = stage.plan, stage.infos[0].format
    ends = [form.min_raw, form.max_raw]
    bits = signed_bits(ends if largest else [count * end for end in ends])
    wire, tags = plan.wire("totals", source.channels * bits), plan.wire("totals_tags", 6)
    plan.instance(
        "fxp_frame_total",
        wire,
        {
            "Channels": source.channels,
            "Width": source.width,
            "Signed": verilog_bit(source.signed),
            "TotalWidth": bits,
            "Largest": verilog_bit(largest),
        },
        {
            "clk_i": "aclk",
            "rst_ni": RESET,
            "tags_i": plan.tags(source.path, source.latency),
            "data_i": source.wire,
            "tags_o": tags,
            "totals_o": wire,
        },
        Cost(adders=source.channels, registers=source.channels * bits + 6),
    )
    latency = source.latency + 1
    path = whole_frame_path(plan, source.path, latency, tags)
    return replace(source, wire=wire, width=bits, signed=True, path=path, latency=latency)


def whole_frame_path(plan: CorePlan, path: Path, latency: int, tags: str) -> Path:
    """Begin a path with one beat for each frame.

    Parameters
    ----------
    plan
        The plan.
    path
        Path of the frame's beats.
    latency
        Clocks behind the input.
    tags
        Wire of the tags.
    """
    raster = path.raster.reached((WHOLE_FRAME, WHOLE_FRAME))
    return plan.new_path((*path.lags, Lag()), latency, tags, raster=raster, size=ONE_BEAT)


@streams(ops.Flatten, ops.Unflatten)
def flatten(stage: Stage) -> ValueBus:
    """Leave the beats as they are; what reads a vector knows which pixels it consists of."""
    op, source = stage.node.op, stage.one_pixel("flatten")
    if isinstance(op, ops.Unflatten) and (op.height, op.width) != (1, 1):
        raise StreamingError("a vector becomes an image of one pixel only")
    return source


@streams(ops.Linear)
def linear(stage: Stage) -> ValueBus:
    """Weighted sums of one beat, or of all beats of a frame."""
    plan, source, weight = stage.plan, stage.image(), stage.constant(1)
    outputs, features = weight.shape
    positions = features // source.channels
    bias, bits = stage.bias(outputs)
    if positions == 1:
        # A frame takes a row at least, of which a multiplier can use every clock.
        last = plan.fold * (1 if plan.size is None else plan.size[1])
        fold = min(features, last) if source.path.raster.one_beat else None
        return weighted_sums(plan, stage.node, source, source, weight, 1, bias, bits, fold=fold)
    fixed_size(stage)
    # From (output, channel, position) to a word of all weights for each position.
    words = weight.reshape(outputs, source.channels, positions).transpose(2, 0, 1)
    width = signed_bits([int(weight.min()), int(weight.max())])
    check_multiplier(plan, source.width + (not source.signed), width)
    count = outputs * source.channels
    address_bits = max((positions - 1).bit_length(), 1)
    mask = (1 << width) - 1
    entries = [
        sum((int(item) & mask) << (width * place) for place, item in enumerate(word.reshape(-1)))
        for word in words
    ]
    entries += [0] * ((1 << address_bits) - positions)
    name = plan.module_name("weights")
    plan.modules[name] = table_module(name, entries, 1, address_bits, count * width)
    address, read = plan.wire("position", address_bits), plan.wire("weights", count * width)
    plan.instance(
        name,
        read,
        {},
        {"clk_i": "aclk", "codes_i": address, "entries_o": read},
        Cost(registers=2 * count * width, memory_bits=count * width << address_bits),
    )
    wire, tags = plan.wire("sums", outputs * bits), plan.wire("sums_tags", 6)
    levels = (source.channels - 1).bit_length()
    plan.instance(
        "fxp_linear",
        wire,
        {
            "Inputs": source.channels,
            "Outputs": outputs,
            "AddressBits": address_bits,
            "DataWidth": source.width,
            "DataSigned": verilog_bit(source.signed),
            "WeightWidth": width,
            "SumWidth": bits,
            "Biases": packed([0] * outputs if bias is None else bias.tolist(), bits),
        },
        {
            "clk_i": "aclk",
            "rst_ni": RESET,
            "tags_i": plan.tags(source.path, source.latency),
            "data_i": source.wire,
            "address_o": address,
            "weights_i": read,
            "tags_o": tags,
            "sums_o": wire,
        },
        Cost(
            multipliers=count,
            adders=count,
            registers=count * (source.width + width + 2 * bits) + outputs * bits,
        ),
    )
    latency = source.latency + LINEAR_CLOCKS + levels
    path = whole_frame_path(plan, source.path, latency, tags)
    return ValueBus(wire, outputs, bits, True, 1, path, latency)
