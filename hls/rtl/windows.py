"""Windows over a stream of pixels, and the codec that halves what their line memories store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from fxp.graph.ops.line_codec import GROUP, SHIFT_BITS, CodeLayout
from fxp.hls.rtl.literals import verilog_bit
from fxp.hls.rtl.planning import Codes, CorePlan, Cost, Lag, ValueBus

CODEC_CLOCKS: Final = 12
CODEC_QUEUE: Final = 16
"""Pixels, and headers, that wait in a codec."""
DECODE_CLOCKS: Final = 2


def window(
    plan: CorePlan,
    source: ValueBus,
    kernel: Sequence[int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
) -> ValueBus:
    """Add a window; returns the taps of a kernel, ``channels`` fields of each tap, tap by tap.

    Parameters
    ----------
    plan
        The plan.
    source
        Pixels, one for each beat.
    kernel
        Rows and columns of the kernel.
    dilation
        Distance of taps in rows and in columns.
    padding
        Rows above and columns to the left of the image that are zero.
    """
    if tuple(kernel) == (1, 1):
        return source
    key = (source.wire, source.width, tuple(kernel), dilation, padding)
    if key in plan.windows:
        return plan.windows[key]
    lines, columns = (step * (size - 1) for step, size in zip(dilation, kernel, strict=True))
    taps = kernel[0] * kernel[1]
    wire, tags = plan.wire("taps", taps * source.bits), plan.wire("taps_tags", 6)
    clocks, stored = max(2 * lines, 1), source.bits * plan.max_width
    codes = plan.codes.get(source.wire) if lines else None
    coding: dict[str, int | str] = {}
    if codes is not None:
        clocks += DECODE_CLOCKS
        coding = {
            "DeltaBits": codes.delta_bits,
            "HeaderBits": codes.header_bits,
            "Signed": verilog_bit(source.signed),
        }
        groups = -(-plan.max_width // codes.group)
        stored = source.channels * (codes.delta_bits * plan.max_width + codes.header_bits * groups)
    latency = source.latency + clocks + 1
    plan.instance(
        "fxp_window",
        wire,
        {
            "Channels": source.channels,
            "Width": source.width,
            "KernelRows": kernel[0],
            "KernelColumns": kernel[1],
            "DilationRows": dilation[0],
            "DilationColumns": dilation[1],
            "PadTop": padding[0],
            "PadLeft": padding[1],
            "MaxWidth": plan.max_width,
            **coding,
        },
        {
            "clk_i": "aclk",
            "rst_ni": "core_rst_n",
            "tags_i": plan.tags(source.path, source.latency),
            "data_i": source.wire if codes is None else codes.wire,
            "tags_o": tags,
            "taps_o": wire,
        },
        Cost(
            registers=source.bits
            * (
                taps
                + kernel[0] * columns
                + 2 * lines
                + sum(clocks - 2 * dilation[0] * row for row in range(kernel[0]))
            ),
            adders=0 if codes is None else (kernel[0] - 1) * source.channels,
            memory_bits=lines * stored,
        ),
    )
    lag = source.path.lag + Lag(lines - padding[0], columns - padding[1])
    path = plan.new_path(lag, latency, tags)
    result = replace(source, wire=wire, channels=taps * source.channels, path=path, latency=latency)
    plan.windows[key] = result
    return result


def line_codec(plan: CorePlan, source: ValueBus, layout: CodeLayout) -> ValueBus:
    """Add a line codec; returns pixels as they come back, and keeps their codes for windows.

    Parameters
    ----------
    plan
        The plan.
    source
        Pixels, one for each beat.
    layout
        Bits of the codes.
    """
    header_bits = layout.base_bits + SHIFT_BITS
    deltas, headers = source.channels * layout.delta_bits, source.channels * header_bits
    coded = plan.wire("coded", source.bits + deltas + headers)
    wire, tags = plan.wire("decoded", source.bits), plan.wire("decoded_tags", 6)
    plan.instance(
        "fxp_line_codec",
        wire,
        {
            "Channels": source.channels,
            "Width": source.width,
            "BaseBits": layout.base_bits,
            "DeltaBits": layout.delta_bits,
            "Signed": verilog_bit(source.signed),
        },
        {
            "clk_i": "aclk",
            "rst_ni": "core_rst_n",
            "tags_i": plan.tags(source.path, source.latency),
            "data_i": source.wire,
            "tags_o": tags,
            "data_o": wire,
            "delta_o": f"{coded}[{source.bits}+:{deltas}]",
            "header_o": f"{coded}[{source.bits + deltas}+:{headers}]",
        },
        Cost(
            adders=6 * source.channels,
            registers=9 * source.bits + 5 * deltas + 10 * headers,
            memory_bits=CODEC_QUEUE * (source.bits + headers),
        ),
    )
    plan.assign(f"{coded}[{source.bits - 1}:0]", wire)
    latency = source.latency + CODEC_CLOCKS
    path = plan.new_path(source.path.lag + Lag(0, GROUP - 1), latency, tags)
    plan.codes[wire] = Codes(coded, layout.delta_bits, header_bits, GROUP)
    return replace(source, wire=wire, path=path, latency=latency)
