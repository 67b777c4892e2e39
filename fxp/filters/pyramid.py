"""The Gaussian pyramid: blur with (1, 4, 6, 4, 1) / 16 along both axes, keep every second pixel."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.filters.filtering import Border, check_reflection, padding_mode
from fxp.filters.images import BYTE, image_array, image_input, run
from fxp.filters.taps import Taps
from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node
from fxp.graph.ops.base import Operand
from fxp.graph.ops.convolution import Conv2d
from fxp.support.errors import ArgumentError

BINOMIAL: Final = Taps(np.array([[1, 4, 6, 4, 1]]), 4)
"""The taps of either axis."""

MAX_LEVELS: Final = 30


def gaussian_pyramid(
    image: ArrayLike,
    levels: int,
    *,
    border: Border = "reflect101",
    rounding: Rounding = Rounding.HALF_UP,
    image_format: Format | None = None,
    threads: int | None = None,
) -> tuple[NDArray, ...]:
    """Blur and halve an integer image again and again, bit-accurately.

    A level is the exact sum of 5 by 5 pixels of the level before, over 256, at the even rows and
    columns, rounded once to the format of the image. For 8-bit images and the default border and
    rounding these are the integers of OpenCV's ``pyrDown``.

    Parameters
    ----------
    image
        Integers ``(H, W)`` or ``(C, H, W)``.
    levels
        How often the image is halved, 1 to 30 times.
    border
        What lies beyond each level; see `filter2d`.
    rounding
        Mode of the rounding.
    image_format
        Format of the image's integers; by default that of its dtype of 8, 16 or 32 bits.
    threads
        Number of threads, all processors by default.

    Returns
    -------
    tuple of numpy.ndarray
        The image itself, then `levels` smaller ones; a size ``n`` becomes ``(n + 1) // 2``.

    Raises
    ------
    TypeError
        If the image does not hold integers.
    ValueError
        If its shape does not fit, or a level is too small for the border.
    """
    raw, form = image_array(image, image_format)
    graph = pyramid_graph(
        levels, border=border, rounding=rounding, image_format=form, channels=len(raw)
    )
    size = raw.shape[1:]
    for _ in range(levels):
        check_reflection(size, (2, 2, 2, 2), border)
        size = tuple((length + 1) // 2 for length in size)
    return run(graph, raw, np.ndim(image), threads)


def pyramid_graph(
    levels: int,
    *,
    border: Border = "reflect101",
    rounding: Rounding = Rounding.HALF_UP,
    image_format: Format = BYTE,
    channels: int = 1,
) -> Graph:
    """Return the integer graph that `gaussian_pyramid` runs, for images of any size.

    Each level is a column pass that keeps its exact result and a row pass that rounds; together
    they are the sum over 5 by 5 pixels.

    Parameters
    ----------
    levels, border, rounding
        As for `gaussian_pyramid`.
    image_format
        Format of the image's integers and of every level.
    channels
        Number of channels.

    Returns
    -------
    Graph
        From ``image``, ``(channels, H, W)``, to itself and ``level1``, ``level2`` and so on.

    Raises
    ------
    ValueError
        If there are too few or too many levels, or a word does not name a border.
    """
    if isinstance(levels, bool) or not isinstance(levels, int) or not 1 <= levels <= MAX_LEVELS:
        raise ArgumentError(f"levels must be an integer of 1 to {MAX_LEVELS}, got {levels!r}")
    mode = padding_mode(border)
    column, row = (
        Constant(name, np.tile(data, (channels, 1, 1, 1)), (BINOMIAL.format,))
        for name, data in (("column", BINOMIAL.data.T), ("row", BINOMIAL.data))
    )
    down = Conv2d((2, 1), (2, 2, 0, 0), mode, groups=channels)
    across = Conv2d((1, 2), (0, 0, 2, 2), mode, groups=channels)
    source = image_input(channels, image_format)
    operands = (
        Operand(source.shape, (image_format,)),
        Operand(column.data.shape, column.formats, column.data),
    )
    exact = Quantization(down.accumulator(*operands).exact_format)
    # The taps are positive and add to one, so no level leaves the range of the image.
    rounded = Quantization(image_format, rounding, Overflow.SATURATE)
    nodes, names = [], ["image"]
    for level in range(1, levels + 1):
        between, name = f"level{level}.rows", f"level{level}"
        nodes += [
            Node(between, down, (names[-1], "column"), exact),
            Node(name, across, (between, "row"), rounded),
        ]
        names.append(name)
    return Graph("gaussian_pyramid", (source,), tuple(nodes), tuple(names), (column, row))
