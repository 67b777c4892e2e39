"""Windows over a stream of pixels, and the codec that halves what their line memories store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from fxp.graph.ops.line_codec import GROUP, SHIFT_BITS, CodeLayout
from fxp.hls.rtl.literals import verilog_bit
from fxp.hls.rtl.planning import Codes, CorePlan, Cost, Lag, ValueBus

CODEC_CLOCKS: Final = 12
CODEC_QUEUE: Final = 16
"""Pixels, and headers, that wait in a codec."""
DECODE_CLOCKS: Final = 2
BORDERS: Final = {
    "replicate": "fxp_pkg::Replicate",
    "reflect": "fxp_pkg::Reflect",
    "symmetric": "fxp_pkg::Symmetric",
}
"""What ``fxp_window`` calls the borders; zeros are its default."""
"""Numbers of the borders in ``fxp_window``."""


def window(
    plan: CorePlan,
    source: ValueBus,
    kernel: Sequence[int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    *,
    border: str = "zero",
    after: Sequence[int] | None = None,
    fill: int = 0,
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
        Rows above and columns to the left of the image that a window may begin with.
    border
        What lies beyond the borders: ``zero``, which `fill` takes the place of, or pixels of the
        image, by ``replicate``, ``reflect`` or ``symmetric``.
    after
        Rows below and columns to the right of the image that are read; by default as many as the
        kernel reaches.
    fill
        Bits of a field beyond the borders.
    """
    if tuple(kernel) == (1, 1):
        return source
    if border != "zero":
        return _bordered(plan, source, kernel, dilation, padding, border, after)
    outside: dict[str, int | str] = {"Fill": f"{source.width}'d{fill}"} if fill else {}
    return _window(plan, source, (kernel[0], kernel[1]), dilation, padding, outside)


def _bordered(
    plan: CorePlan,
    source: ValueBus,
    kernel: Sequence[int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    border: str,
    after: Sequence[int] | None,
) -> ValueBus:
    """Taps beyond the borders repeat others, which the window must therefore have."""
    size, before = [], []
    needed = []
    for axis in range(2):
        span = dilation[axis] * (kernel[axis] - 1)
        first = padding[axis]
        rest = span - first
        end = rest if after is None else after[axis]
        mirrored = border != "replicate"
        before.append(max(first, end) if mirrored else first)
        size.append(before[axis] + (max(first, rest) if mirrored else rest) + 1)
        needed.append(max(first, end) + (border == "reflect") if mirrored else 1)
    plan.need(source.path.raster, *needed)
    taps = _window(
        plan, source, (size[0], size[1]), (1, 1), (before[0], before[1]),
        {"Border": BORDERS[border]},
    )  # fmt: skip
    rows, columns = (
        [before[axis] - padding[axis] + dilation[axis] * tap for tap in range(kernel[axis])]
        for axis in range(2)
    )
    chosen = [row * size[1] + column for row in rows for column in columns]
    if chosen == list(range(size[0] * size[1])):
        return taps
    count = source.channels
    indices = [tap * count + channel for tap in chosen for channel in range(count)]
    return plan.picked(taps, indices, len(indices), 1)


def _window(
    plan: CorePlan,
    source: ValueBus,
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int],
    outside: Mapping[str, int | str],
) -> ValueBus:
    key = (source.wire, source.width, kernel, dilation, padding, *outside.items())
    if key in plan.windows:
        return plan.windows[key]
    lines, columns = (step * (size - 1) for step, size in zip(dilation, kernel, strict=True))
    taps = kernel[0] * kernel[1]
    wire, tags = plan.wire("taps", taps * source.bits), plan.wire("taps_tags", 6)
    # The address of the memories is a register.
    waiting = 1 if lines else 0
    clocks = max(waiting + 2 * lines, 1)
    stored = source.bits * plan.width(source.path.raster)
    codes = plan.codes.get(source.wire) if lines else None
    entering = source.bits
    coding: dict[str, int | str] = {}
    clocks += "Border" in outside
    if codes is not None:
        clocks += DECODE_CLOCKS
        entering += source.channels * (codes.delta_bits + codes.header_bits)
        coding = {
            "DeltaBits": codes.delta_bits,
            "HeaderBits": codes.header_bits,
            "Signed": verilog_bit(source.signed),
        }
        groups = -(-plan.width(source.path.raster) // codes.group)
        stored = source.channels * (
            codes.delta_bits * plan.width(source.path.raster) + codes.header_bits * groups
        )
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
            "MaxWidth": plan.width(source.path.raster),
            **coding,
            **outside,
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
                + sum(clocks - waiting - 2 * dilation[0] * row for row in range(kernel[0]))
            )
            + waiting * entering,
            adders=0 if codes is None else (kernel[0] - 1) * source.channels,
            memory_bits=lines * stored,
        ),
    )
    more = Lag(lines - padding[0], columns - padding[1])
    path = plan.later(source.path, more, latency, tags)
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
    path = plan.later(source.path, Lag(0, GROUP - 1), latency, tags)
    plan.codes[wire] = Codes(coded, layout.delta_bits, header_bits, GROUP)
    return replace(source, wire=wire, path=path, latency=latency)
