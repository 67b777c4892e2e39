"""A filter over an integer image, as a graph and as a function."""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.filters.images import BYTE, image_array, image_input, rounded_format, run
from fxp.filters.taps import Taps, as_taps
from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node
from fxp.graph.ops.base import Operand
from fxp.graph.ops.convolution import Conv2d, weighted_sum
from fxp.graph.ops.padding import PaddingMode, Sides
from fxp.support.errors import ArgumentError

Border = Literal["zero", "replicate", "reflect", "reflect101"]
"""OpenCV's words: ``reflect`` repeats the edge pixel, ``reflect101`` does not."""

PADDING_MODES: Final[dict[Border, PaddingMode]] = {
    "zero": "zero",
    "replicate": "replicate",
    "reflect": "symmetric",
    "reflect101": "reflect",
}


def filter2d(
    image: ArrayLike,
    taps: Taps | ArrayLike,
    frac: int | None = None,
    *,
    mode: Literal["correlation", "convolution"] = "correlation",
    border: Border = "reflect101",
    anchor: tuple[int, int] | None = None,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
    output: Format | str | int | None = None,
    image_format: Format | str | None = None,
    threads: int | None = None,
) -> NDArray:
    """Filter an integer image bit-accurately.

    Every result is one exact sum of products, rounded once.

    Parameters
    ----------
    image
        Integers ``(H, W)``, or ``(C, H, W)``, of which every channel is filtered alike.
    taps
        `Taps`, or an integer array ``(rows, columns)`` of any size, odd or even.
    frac
        Fraction bits of an array of taps, 0 by default.
    mode
        ``"correlation"``, as OpenCV's ``filter2D`` and the layers of neural networks, or
        ``"convolution"``, which turns the taps by half a turn.
    border
        What lies beyond the image, in OpenCV's words: ``"zero"``, ``"replicate"`` (aaa|abcd|ddd),
        ``"reflect"`` (cba|abcd|dcb) or ``"reflect101"`` (dcb|abcd|cba).
    anchor
        Row and column of the tap that lies on the pixel itself; ``(rows // 2, columns // 2)`` by
        default.
    rounding, overflow
        Modes of the one rounding.
    output
        Format of the result, or its name such as ``ap_fixed<14,6>``. A number asks for so many
        bits, with the fraction bits of the image, unsigned if no result can be negative. None takes
        as many bits as no overflow needs.
    image_format
        Format of the image's integers; by default that of its dtype, which then has 8, 16 or 32
        bits.
    threads
        Number of threads, all processors by default.

    Returns
    -------
    numpy.ndarray
        Raw integers of the output format, of the image's shape, in the narrowest dtype.

    Raises
    ------
    TypeError
        If the image or the taps are not integers.
    ValueError
        If a shape, an anchor or a name does not fit, the accumulator needs more than 63 bits, or
        the image is too small for ``"reflect101"``, which reaches at most one pixel less than its
        size.

    Examples
    --------
    >>> step = np.array([[0, 0, 8, 8]], np.uint8)
    >>> filter2d(step, sobel("x"), mode="convolution", border="replicate").tolist()
    [[0, 32, 32, 0]]
    """
    raw, form = image_array(image, None if image_format is None else Format.of(image_format))
    graph = filter_graph(
        taps,
        frac,
        mode=mode,
        border=border,
        anchor=anchor,
        rounding=rounding,
        overflow=overflow,
        output=output,
        image_format=form,
        channels=len(raw),
    )
    op = graph.nodes[0].op
    assert isinstance(op, Conv2d)
    check_reflection(raw.shape[1:], op.padding, border)
    return run(graph, raw, np.ndim(image), threads)[0]


def filter_graph(
    taps: Taps | ArrayLike,
    frac: int | None = None,
    *,
    mode: Literal["correlation", "convolution"] = "correlation",
    border: Border = "reflect101",
    anchor: tuple[int, int] | None = None,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
    output: Format | str | int | None = None,
    image_format: Format | str = BYTE,
    channels: int = 1,
) -> Graph:
    """Return the integer graph that `filter2d` runs, for images of any size.

    Parameters
    ----------
    taps, frac, mode, border, anchor, rounding, overflow, output
        As for `filter2d`.
    image_format
        Format of the image's integers, or its name; by default that of 8-bit images.
    channels
        Number of channels, of which every one is filtered alike.

    Returns
    -------
    Graph
        From ``image``, ``(channels, H, W)``, to ``filtered``, of the same shape.

    Raises
    ------
    ValueError
        If an anchor or a name does not fit, or the accumulator needs more than 63 bits.
    TypeError
        If the taps are not integers.

    Examples
    --------
    >>> model = fxp.FixedModel(fxp.filter_graph(fxp.filters.gaussian(1.0)))    # doctest: +SKIP
    >>> model.save("gaussian.fxp")                                             # doctest: +SKIP
    """
    image_format = Format.of(image_format)
    output = Format.of(output) if isinstance(output, str) else output
    taps = as_taps(taps, frac)
    data, sides = _placed(taps.data, mode, anchor)
    weight = Constant("taps", np.tile(data, (channels, 1, 1, 1)), (taps.format,))
    op = Conv2d(padding=sides, padding_mode=padding_mode(border), groups=channels)
    source = image_input(channels, image_format)
    if not isinstance(output, Format):
        one = data[None]
        exact = weighted_sum(
            Operand(source.shape, (image_format,)), Operand(one.shape, weight.formats, one), None
        )
        exact.check()
        form = rounded_format(exact, image_format.frac, rounding)
        output = form if output is None else Format(output, form.frac, form.signed)
    result = Node("filtered", op, ("image", "taps"), Quantization(output, rounding, overflow))
    return Graph("filter2d", (source,), (result,), ("filtered",), (weight,))


def padding_mode(border: Border) -> PaddingMode:
    """Return the padding mode of a border; raises ValueError for any other word."""
    if border not in get_args(Border):
        raise ArgumentError(f"border must be one of {', '.join(get_args(Border))}, got {border!r}")
    return PADDING_MODES[border]


def check_reflection(size: tuple[int, ...], sides: Sides, border: Border) -> None:
    """Raise ValueError if an image is too small to reflect so many rows and columns.

    Parameters
    ----------
    size
        Rows and columns of the image.
    sides
        Rows or columns that the filter reads beyond the top, bottom, left and right.
    border
        What lies beyond the image; only ``"reflect101"`` has a limit.
    """
    for axis, most in ((0, max(sides[:2])), (1, max(sides[2:]))):
        if border == "reflect101" and most >= size[axis]:
            raise ArgumentError(
                f"border 'reflect101' cannot reflect {most} {('rows', 'columns')[axis]} of "
                f"{size[axis]}; border 'reflect' can"
            )


def _placed(
    data: NDArray[np.int64], mode: str, anchor: tuple[int, int] | None
) -> tuple[NDArray[np.int64], Sides]:
    """Taps of a correlation, and the padding that lays the anchor on the pixel."""
    if mode not in ("correlation", "convolution"):
        raise ArgumentError(f"mode must be 'correlation' or 'convolution', got {mode!r}")
    rows, columns = data.shape
    if anchor is None:
        anchor = rows // 2, columns // 2
    if np.shape(anchor) != (2,) or not all(
        isinstance(place, int | np.integer) and 0 <= place < length
        for place, length in zip(anchor, data.shape, strict=True)
    ):
        raise ArgumentError(
            f"anchor must be the row and column of one of {rows} by {columns} taps, got {anchor!r}"
        )
    row, column = map(int, anchor)
    top, bottom, left, right = row, rows - 1 - row, column, columns - 1 - column
    if mode == "convolution":
        return data[::-1, ::-1], (bottom, top, right, left)
    return data, (top, bottom, left, right)
