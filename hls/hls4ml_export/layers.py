"""Layers of hls4ml with every type set: what an integer graph becomes before hls4ml sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from fxp.formats import Format, IntArray, Overflow, Quantization, Rounding
from fxp.graph.ops.padding import NUMPY_MODES
from fxp.hls.hls4ml_export.extension import MOVE, PIXEL, REDUCTION
from fxp.support.errors import FxpError

ImageShape = tuple[int, int, int]
"""Channels, height, width."""

MAX_DOUBLE_BITS: Final = 53
"""hls4ml reads and writes values as double."""


class ExportError(FxpError, ValueError):
    """The graph cannot become an hls4ml project; the message names the node and its op."""


@dataclass(frozen=True)
class Hls4mlLayer:
    """One layer for hls4ml.

    Attributes
    ----------
    name
        C++ identifier.
    kind
        Class name in hls4ml.
    inputs
        Names of layers.
    shape
        Shape of the result, ``(C, H, W)`` or ``(F,)``.
    types
        C++ types by hls4ml's names: ``result``, ``weight``, ``bias``, ``accum``, ``constant``.
    attributes
        What else hls4ml wants to know.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    types: dict[str, str]
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def channels_last(self) -> list[int]:
        """Shape as hls4ml orders it."""
        return [*self.shape[1:], self.shape[0]]


@dataclass(frozen=True)
class Weights:
    """Raw integers with one common format."""

    raw: IntArray
    format: Format

    @classmethod
    def aligned(cls, raw: IntArray, formats: Sequence[Format]) -> Weights:
        """Shift channels of several fraction bits to the most of them; raises ExportError."""
        frac = max(item.frac for item in formats)
        shifts = np.array([frac - item.frac for item in formats])
        exact = raw.astype(object) * (
            2 ** shifts.astype(object).reshape((-1,) + (1,) * (raw.ndim - 1))
        )
        common = Format.for_range(int(exact.min()), max(int(exact.max()), 0), frac)
        if len(set(formats)) == 1:
            common = formats[0]
        if common.width > MAX_DOUBLE_BITS:
            raise ExportError(
                f"its constant needs {common.width} bits once all channels have {frac} fraction "
                f"bits; hls4ml has one type for all, of at most {MAX_DOUBLE_BITS} bits here: "
                "quantize with per_channel=False, or equalization=True"
            )
        return cls(exact.astype(np.int64), common)

    @property
    def values(self) -> np.ndarray:
        """Real values, exact."""
        return np.ldexp(self.raw.astype(np.float64), -self.format.frac)


@dataclass(frozen=True)
class Axis:
    """Rows or columns that a layer of moved values reads.

    Result position ``i`` reads ``fold((i * step + start) / factor + phase)``, where ``phase`` is a
    C++ expression of the channel ``c`` with values below `phases`. Windows follow each other: of
    `window` positions, each reads `dilation` further than the one before it, and every window
    begins `step` further than the last.
    """

    size: int
    step: int = 1
    start: int = 0
    factor: int = 1
    mode: str = "zero"
    phase: str = "0"
    phases: int = 1
    window: int = 1
    dilation: int = 1

    def cpp(self, variable: str, phase: str | None = None) -> str:
        """C++ of the position."""
        place = f"{variable} * {self.step}"
        if self.window > 1:
            place = f"{variable} / {self.window} * {self.step}"
            place += f" + {variable} % {self.window} * {self.dilation}"
        inner = f"({place} + {self.start}) / {self.factor}"
        return f"{self.mode}({inner} + {self.phase if phase is None else phase}, {self.size})"

    def lines(self, results: int) -> int:
        """Rows that must be kept at once."""
        windows, taps = np.divmod(np.arange(results), self.window)
        first = (windows * self.step + taps * self.dilation + self.start) // self.factor
        rows = np.stack([self._fold(first + phase) for phase in range(self.phases)])
        inside = rows >= 0
        latest = np.maximum.accumulate(np.where(inside, rows, -1).max(axis=0))
        unread = np.where(inside, rows, self.size).min(axis=0)
        earliest = np.minimum.accumulate(unread[::-1])[::-1]
        return max(int((latest - earliest).max()) + 1, 1)

    def _fold(self, positions: IntArray) -> IntArray:
        low, high = int(positions.min()), int(positions.max())
        before, after = max(-low, 0), max(high - self.size + 1, 0)
        if self.mode == "zero":
            return np.where((positions < 0) | (positions >= self.size), -1, positions)
        sources = np.pad(np.arange(self.size), (before, after), mode=NUMPY_MODES[self.mode])  # type: ignore[call-overload]
        return sources[positions + before]


def move(
    name: str,
    source: str,
    shapes: tuple[ImageShape, ImageShape],
    result: str,
    rows: Axis,
    columns: Axis,
    channel: str = "c",
    outside: float = 0.0,
) -> Hls4mlLayer:
    """Layer whose result values are input values of other places.

    Parameters
    ----------
    name, source
        Names of this layer and of the one it reads.
    shapes
        Shapes of input and result.
    result
        Type of the result.
    rows, columns
        Where values come from.
    channel
        C++ of the input channel, of ``c``, ``y`` and ``x``.
    outside
        Value beyond the borders in the mode ``zero``.
    """
    (in_channels, in_height, in_width), (channels, height, width) = shapes
    last = rows.cpp("y", str(rows.phases - 1))
    body = f"""    static const int in_height = {in_height}, in_width = {in_width};
    static const int in_channels = {in_channels}, out_channels = {channels};
    static const int out_height = {height}, out_width = {width};
    static const int lines = {rows.lines(height)};
    static int row(int c, int y) {{ return fxp::{rows.cpp("y")}; }}
    static int column(int c, int x) {{ return fxp::{columns.cpp("x")}; }}
    static int channel(int c, int y, int x) {{ return {channel}; }}
    static int last_row(int y) {{ return fxp::{last}; }}
    static double outside() {{ return {outside!r}; }}"""
    return Hls4mlLayer(
        name, MOVE, (source,), shapes[1], {"result": result}, {"body": body}
    )  # fmt: skip


def pixel(
    name: str,
    sources: Sequence[str],
    shape: tuple[int, ...],
    result: str,
    statements: Sequence[str],
    constants: Weights | None = None,
) -> Hls4mlLayer:
    """Layer that computes a pixel ``res`` from the pixels ``a`` and ``b`` at the same place.

    Parameters
    ----------
    name, sources
        Names of this layer and of the one or two that it reads.
    shape
        Shape of the result.
    result
        Type of the result.
    statements
        C++; ``constants`` is the array of constants.
    constants
        Constants.
    """
    operands = "ab"[: len(sources)]
    kinds = "".join(f", class {letter.upper()}" for letter in operands)
    arguments = "".join(f", {letter.upper()} &&{letter}" for letter in operands)
    pixels = int(np.prod(shape[1:]))
    lines = "\n".join(f"        {statement}" for statement in statements)
    body = f"""    static const int pixels = {pixels};
    template <class R, class K{kinds}> static void pixel(R &&res, K constants{arguments}) {{
{lines}
    }}"""
    types = {"result": result}
    attributes: dict[str, Any] = {"body": body}
    if constants is not None:
        types["constant"] = str(constants.format)
        attributes["constant_data"] = constants.values
    return Hls4mlLayer(name, PIXEL, tuple(sources), shape, types, attributes)


def reduction(
    name: str,
    source: str,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    types: dict[str, str],
    gather: str,
    constants: Weights | None = None,
) -> Hls4mlLayer:
    """Layer of windows that tile the image, each of which becomes one pixel.

    Parameters
    ----------
    name, source
        Names of this layer and of the one it reads.
    shapes
        Shapes of input and result; the result has as many channels, or one.
    types
        Types ``result`` and ``accum``.
    gather
        C++ that takes ``a`` into the accumulator ``total``, unless it is the first.
    constants
        One factor of the totals, or one for each pixel of the result.
    """
    # A vector is one pixel.
    (in_channels, height, width), (channels, runs, groups) = (
        (*shape, 1, 1)[:3] for shape in shapes
    )
    columns, every = width // groups, in_channels // channels
    factor = ""
    if constants is not None:
        factor = f" * constants[{'place' if constants.raw.size > 1 else 0}]"
    body = f"""    static const int in_channels = {in_channels}, channels = {channels};
    static const int runs = {runs}, groups = {groups}, pixels = {height // runs * width};
    static int group(int i) {{ return i / {columns} % groups; }}
    static bool first(int i) {{ return i < {width} && i % {columns} == 0; }}
    template <class T, class A> static void gather(T &totals, bool first, A &&data) {{
        for (int c = 0; c < in_channels; c++) {{
            #pragma HLS UNROLL
            accum_t &total = totals[c / {every}];
            const auto &a = data[c];
            if (first && c % {every} == 0)
                total = a;
            else
                {gather}
        }}
    }}
    template <class R, class T, class K>
    static void finish(R &&res, const T &totals, K constants, int place) {{
        for (int c = 0; c < channels; c++) {{
            #pragma HLS UNROLL
            res[c] = totals[c]{factor};
        }}
    }}"""
    attributes: dict[str, Any] = {"body": body}
    if constants is not None:
        types = types | {"constant": str(constants.format)}
        attributes["constant_data"] = constants.values
    return Hls4mlLayer(name, REDUCTION, (source,), shapes[1], types, attributes)


def each_channel(channels: int, *statements: str) -> list[str]:
    """C++ loop over the channels ``c`` of a pixel, unrolled."""
    return [
        f"for (int c = 0; c < {channels}; c++) {{",
        "    #pragma HLS UNROLL",
        *(f"    {statement}" for statement in statements),
        "}",
    ]


def convolution(
    name: str,
    source: str,
    shapes: tuple[ImageShape, ImageShape],
    types: dict[str, str],
    weights: Weights,
    bias: Weights | None,
    *,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    depthwise: bool = False,
) -> Hls4mlLayer:
    """hls4ml's own convolution with zero padding.

    Parameters
    ----------
    name, source
        Names of this layer and of the one it reads.
    shapes
        Shapes of input and result.
    types
        Types ``result`` and ``accum``.
    weights, bias
        ``(M, C, k, l)``, or ``(C, 1, k, l)`` if depthwise, and ``(M,)``.
    stride, padding
        Rows first; top, bottom, left and right.
    depthwise
        Whether every channel has a kernel of its own.
    """
    (in_channels, in_height, in_width), (channels, height, width) = shapes
    offset = bias or Weights(np.zeros(channels, np.int64), Format(2, 0))
    data = weights.values
    attributes: dict[str, Any] = {
        "data_format": "channels_last",
        "in_height": in_height,
        "in_width": in_width,
        "n_chan": in_channels,
        "n_filt": channels,
        "out_height": height,
        "out_width": width,
        "filt_height": data.shape[2],
        "filt_width": data.shape[3],
        "stride_height": stride[0],
        "stride_width": stride[1],
        "bias_data": offset.values,
    }
    sides = zip(("top", "bottom", "left", "right"), padding, strict=True)
    attributes |= {f"pad_{side}": size for side, size in sides}
    if depthwise:
        attributes |= {"depth_multiplier": 1, "depthwise_data": data.transpose(2, 3, 0, 1)}
    else:
        attributes |= {"weight_data": data.transpose(2, 3, 1, 0)}
    types = types | {"weight": str(weights.format), "bias": str(offset.format)}
    kind = "DepthwiseConv2D" if depthwise else "Conv2D"
    return Hls4mlLayer(name, kind, (source,), shapes[1], types, attributes)


def check_type(target: Quantization) -> str:
    """Return a result's C++ type; raises ExportError for one that C simulation gets wrong."""
    if target.overflow is Overflow.WRAP_SIGN_MAGNITUDE:
        # Its ap_fixed headers also take the first dropped bit before they round, not after.
        raise ExportError(f"hls4ml 1.3 has no AP_WRAP_SM, which the type {target} needs")
    form = target.format
    if target.overflow is Overflow.SATURATE_SYMMETRIC and form.signed and form.width == 1:
        # Both limits are zero; the headers set the only bit as the sign of the lower one.
        raise ExportError(f"C simulation does not saturate the type {target} to 0; use AP_SAT")
    check_width(form)
    return str(target)


def check_rounding(target: Quantization, width: int, frac: int) -> None:
    """Raise ExportError if rounding looks beyond a value of so many bits.

    Parameters
    ----------
    target
        What the value becomes.
    width, frac
        Bits of the value, and how many of them are behind the point.
    """
    dropped = frac - target.format.frac
    if target.rounding is not Rounding.FLOOR and dropped > width:
        raise ExportError(
            f"{target} drops {dropped} bits of a value of {width}; the ap_fixed headers of "
            "hls4ml abort when rounding looks at bits beyond the value"
        )


def check_width(form: Format) -> None:
    """Raise ExportError for a value that no double holds."""
    if form.width > MAX_DOUBLE_BITS:
        raise ExportError(
            f"the type {form} is wider than {MAX_DOUBLE_BITS} bits, which is what hls4ml can read "
            "and write of a value"
        )
