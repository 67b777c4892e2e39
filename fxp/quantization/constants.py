"""The fraction bits of weights and other constants, which are known to the last bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import MAX_FRAC_MAGNITUDE, Format, IntArray, quantize
from fxp.graph import Graph, Node
from fxp.kernels.rounding_errors import squared_errors
from fxp.quantization.calibrate import EXTRA_FRACS, covering_frac
from fxp.quantization.options import Method

GUARD_BITS: Final = 4
"""The errors of a channel's weights, added up, may be this many bits below a step of the result."""
FAST_BITS: Final = 32
"""Weights of a channel have no bits that matter little if its accumulator then fits this width."""
ROWS_ELEMENTS: Final = 1 << 20
"""Elements, about, of the rows of weights that are quantized at once."""
FEW_COLUMNS: Final = 16
"""Weights of a channel that tell most layers from those of binary and ternary networks."""
BIAS_BITS: Final = 50
"""Weights get no more fraction bits than let the bias, which has those of the products, fit this
width; an almost dead layer would pass 63 bits otherwise, and the 52 bits of float64."""


def constant_fracs(rows: NDArray[np.float64], width: int, method: Method) -> NDArray[np.int64]:
    """Return the fraction bits of signed `width`-bit formats, one for each row of constants.

    Constants are known to the last bit: the errors are those of the numbers themselves, and nothing
    else will come.

    Parameters
    ----------
    rows
        ``(R, K)``, finite.
    width
        Of the formats.
    method
        As for `choose_frac`; ``percentile`` is that of values, here it is ``mse``.
    """
    lows, highs = rows.min(axis=1), rows.max(axis=1)
    smallest = np.array(
        [covering_frac(low, high, width, True) for low, high in zip(lows, highs, strict=True)]
    )
    if method == "minmax":
        return smallest
    offsets = np.array([*range(EXTRA_FRACS), -1])
    fracs = smallest + offsets[:, None]
    allowed = np.abs(fracs) <= MAX_FRAC_MAGNITUDE
    errors = np.empty(fracs.shape)
    rows = np.ascontiguousarray(rows).view()
    rows.setflags(write=False)
    squared_errors(rows, np.where(allowed, fracs, 0), 2.0 ** (width - 1), errors)
    errors = np.where(allowed, errors * 4.0 ** -offsets[:, None], np.inf)
    return smallest + offsets[errors.argmin(axis=0)]


def bias_magnitudes(graph: Graph, node: Node) -> NDArray[np.float64]:
    """Return the magnitudes of a node's biases in a float graph; one zero if it has none."""
    for position, name in enumerate(node.inputs):
        if node.op.constant_roles.get(position) == "bias":
            return np.abs(graph.constants_by_name[name].data)
    return np.zeros(1)


def most_frac(biases: NDArray[np.float64], source: Format) -> int:
    """Return the most fraction bits of weights with which biases are formats of `BIAS_BITS`.

    Parameters
    ----------
    biases
        Magnitudes.
    source
        Format of what the weights are multiplied by.
    """
    largest = float(biases.max())
    most = MAX_FRAC_MAGNITUDE - max(source.frac, 0)
    return min(most, BIAS_BITS - 1 - math.frexp(largest)[1] - source.frac) if largest else most


def bias_frac(result_frac: int, source: Format) -> int:
    """Return the fraction bits of zero weights with which a bias is as fine as the result needs.

    Parameters
    ----------
    result_frac
        Most fraction bits with which the result is rounded.
    source
        Format of what the weights are multiplied by.
    """
    return result_frac + GUARD_BITS - source.frac


def quantized_rows(values: NDArray[np.float64], formats: Sequence[Format]) -> IntArray:
    """Return the raw integers of constants in one format, or in one for each row."""
    if len(formats) == 1:
        return quantize(values, formats[0])
    raws = np.empty(values.shape, np.int64)
    for form in dict.fromkeys(formats):
        rows = [row for row, own in enumerate(formats) if own == form]
        # Some rows at once, so that copies of large weights stay small.
        step = max(1, ROWS_ELEMENTS * len(values) // values.size)
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            raws[some] = quantize(values[some], form)
    return raws


def rows_of_one_size(weight: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Output channels with several weights, all zero or of one size, in a layer of both signs.

    Those of binary and ternary networks are. Hardware and engine add and count such weights instead
    of multiplying, so quantization leaves their sizes alike.

    Parameters
    ----------
    weight
        ``(M, ...)``.

    Returns
    -------
    NDArray
        ``(M,)``.
    """
    flat = weight.reshape(len(weight), -1)
    rows = np.arange(len(flat))
    for columns in (flat[:, :FEW_COLUMNS], flat):  # a few weights of most rows settle it
        sizes = np.abs(columns[rows])
        alike = (sizes == sizes.max(axis=1, keepdims=True)) | (sizes == 0)
        rows = rows[alike.all(axis=1)]
    found = np.zeros(len(flat), np.bool_)
    if len(rows) and (weight > 0).any() and (weight < 0).any():
        found[rows] = np.count_nonzero(flat[rows], axis=1) > 1
    return found


def alike_in_size(values: NDArray[np.float64], raws: IntArray) -> IntArray:
    """Return rounded weights whose sizes are alike wherever those of the real weights are.

    Rounding alone may make ``a`` and ``-a`` differ by one: halves go up, and the most negative
    number has no counterpart. The smaller size is taken.

    Parameters
    ----------
    values
        Real weights, ``(M, ...)``.
    raws
        Those, rounded.
    """
    alike = rows_of_one_size(values)
    if not alike.any():
        return raws
    raws = raws.copy()
    signs = np.sign(values[alike]).astype(np.int64)
    sizes = np.where(signs == 0, np.iinfo(np.int64).max, np.abs(raws[alike]))
    smallest = sizes.min(axis=tuple(range(1, sizes.ndim)), keepdims=True)
    raws[alike] = signs * smallest
    return raws


def channel_fracs(
    rows: NDArray[np.float64],
    biases: NDArray[np.float64],
    width: int,
    method: Method,
    *,
    whole: int,
    source: Format,
    result_frac: int,
    aligned_bits: int | None,
) -> list[int]:
    """Return the fraction bits of the weights of every output channel.

    Each channel gets what suits its weights, but at most what makes a difference. Rounding errors
    of `K` weights add up to ``sqrt(K)`` times one of them as a rule. If together they are
    `GUARD_BITS` below a step of the result, finer weights only widen the accumulator. Between none
    and so many bits below, weights are as fine as lets the accumulator fit `FAST_BITS`, or
    `aligned_bits`. An almost dead channel, whose own weights would ask for any number of fraction
    bits, is bounded so.

    Parameters
    ----------
    rows
        Weights, ``(channels, K)``.
    biases
        Magnitudes, one for each channel, or one zero.
    width, method
        As for `constant_fracs`.
    whole
        Fraction bits that suit the whole tensor: channels may always have so many, and a channel of
        zeros has them, or more if its bias needs them.
    source
        Format of what the weights are multiplied by.
    result_frac
        Most fraction bits with which the result is rounded.
    aligned_bits
        Width that the exact results of all channels should fit once they have the same fraction
        bits; None if every channel is rounded by itself.
    """
    own = constant_fracs(rows, width, method)
    largest = math.frexp(max(abs(source.min), abs(source.max)))[1]
    terms = math.ceil(math.log2(rows.shape[1]) / 2)
    useful = result_frac + largest + terms
    # The range of every channel for any input, and a little more because weights are rounded.
    totals = np.array([np.abs(row).sum() for row in rows])
    bounds = (totals * 2.0**largest + biases) * (1 + 2.0**-8)
    bits = FAST_BITS
    if aligned_bits is not None:
        bounds, bits = np.full(len(rows), bounds.max()), aligned_bits
    fitting = bits - 1 - np.frexp(bounds)[1] - source.frac
    most = np.minimum(useful + GUARD_BITS, np.maximum(fitting, useful))
    limit = most_frac(biases, source)
    fracs = np.minimum(own, np.maximum(np.minimum(most, limit), whole))
    dead = max(whole, min(bias_frac(result_frac, source), limit))
    return np.where(rows.any(axis=1), fracs, dead).tolist()
