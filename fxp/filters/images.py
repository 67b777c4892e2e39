"""Integer images into and out of small graphs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.engine import Engine
from fxp.formats import MAX_WIDTH, Format, Rounding, check_raw, requantize
from fxp.graph import Graph, Value
from fxp.graph.extents import Extent
from fxp.graph.ops.base import Accumulator
from fxp.support.errors import ArgumentError, ArgumentTypeError

BYTE = Format(8, 0, signed=False)
"""Format of 8-bit images."""


def image_array(
    image: ArrayLike, image_format: Format | None, channels: int | None = None
) -> tuple[NDArray, Format]:
    """Check an image of raw integers.

    Parameters
    ----------
    image
        ``(H, W)`` or ``(C, H, W)``.
    image_format
        Format of its values; None for that of an array of 8, 16 or 32 bits without fraction bits.
    channels
        How many channels it must have; None for any, and for ``(H, W)``.

    Returns
    -------
    tuple
        The image as ``(C, H, W)``, and its format.

    Raises
    ------
    TypeError
        If it does not hold integers.
    ValueError
        If its shape does not fit, or a value lies outside the format.
    """
    array = np.asarray(image)
    if array.dtype.kind not in "iu":
        raise ArgumentTypeError(
            f"the image must hold integers, got {array.dtype}; fxp.formats.quantize makes integers "
            "of real numbers"
        )
    if array.ndim not in (2, 3) or array.size == 0:
        raise ArgumentError(
            f"the image must be (H, W) or (C, H, W) and not empty, got {array.shape}"
        )
    if channels is not None and (array.ndim != 3 or array.shape[0] != channels):
        raise ArgumentError(f"the image must be ({channels}, H, W), got {array.shape}")
    if image_format is None:
        bits = 8 * array.dtype.itemsize
        if bits == 64:
            raise ArgumentError(
                f"say which bits of the {array.dtype} image count, for example "
                "image_format=Format(12, 0, signed=False), or give an array of 8, 16 or 32 bits"
            )
        image_format = Format(bits, 0, array.dtype.kind == "i")
    raw = check_raw(array, image_format)
    return raw.reshape((-1, *array.shape[-2:])), image_format


def image_input(channels: int, image_format: Format) -> Value:
    """Input of a graph for images of any size."""
    return Value("image", (channels, Extent("H"), Extent("W")), image_format)


def run(graph: Graph, image: NDArray, rank: int, threads: int | None) -> tuple[NDArray, ...]:
    """Run a graph on one image ``(C, H, W)``; a rank of 2 asks for results ``(H, W)``.

    Parameters
    ----------
    graph
        An integer graph of one input.
    image
        Raw integers ``(C, H, W)``.
    rank
        Number of axes of the results: 2 or 3.
    threads
        Number of threads; None for all processors.

    Returns
    -------
    tuple of numpy.ndarray
        Raw integers of every output, in the narrowest dtype of its format.
    """
    outputs = Engine(graph).run([image], threads=threads).outputs
    results = []
    for name, output in zip(graph.outputs, outputs, strict=True):
        form = graph.values[name].format
        assert form is not None
        result = output.astype(array_dtype(form))
        results.append(result[0] if rank == 2 else result)
    return tuple(results)


def array_dtype(form: Format) -> np.dtype:
    """Narrowest NumPy integer type, signed or unsigned as the format; int64 beyond 32 bits."""
    bits = next(bits for bits in (8, 16, 32, 64) if form.width <= bits)
    return np.dtype(f"{'int' if form.signed or bits == 64 else 'uint'}{bits}")


def rounded_format(accumulator: Accumulator, frac: int, rounding: Rounding) -> Format:
    """Narrowest format that holds every result rounded to `frac` fraction bits.

    Parameters
    ----------
    accumulator
        Proved range of the exact results.
    frac
        Fraction bits of the rounded ones.
    rounding
        Mode of the rounding.
    """
    limits = [min(accumulator.low), max(accumulator.high)]
    low, high = requantize(limits, accumulator.frac, Format(MAX_WIDTH, frac), rounding).tolist()
    return Format.for_range(low, high, frac)
