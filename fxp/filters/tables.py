"""Any function of one value as a stored table, such as gamma correction."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.filters.images import BYTE, image_array, image_input, run
from fxp.formats import Format, IntArray, Quantization, check_raw
from fxp.graph import Constant, Graph, Node
from fxp.graph.ops.tables import MAX_TABLE_BITS, StoredTable
from fxp.support.errors import ArgumentError

MAX_TERM: Final = 10_000
MAX_RESULT_BITS: Final = 24


def gamma_table(
    gamma: Fraction | float | str, source: Format = BYTE, result: Format = BYTE
) -> IntArray:
    """Table of the power law ``y = x**gamma``, every entry rounded exactly.

    Entry ``c`` is ``floor(M * (c / N)**gamma + 1/2)``, where ``N`` and ``M`` are the largest raw
    integers of `source` and `result`: zero gives zero and full scale gives full scale. The fraction
    bits of the formats do not matter.

    Parameters
    ----------
    gamma
        From 0.01 to 100, a fraction of integers up to 10,000. A float is read as its shortest
        decimal, so that 2.2 is 11/5; for the inverse give ``Fraction(5, 11)`` or ``"5/11"``.
    source, result
        Unsigned formats of what goes in, of at most 16 bits, and of what comes out, at most 24.

    Returns
    -------
    numpy.ndarray
        Raw integers of `result`, int64, ``(2**source.width,)``.

    Raises
    ------
    ValueError
        If an argument is not as described.
    """
    exponent = _exponent(gamma)
    if source.signed or source.width > MAX_TABLE_BITS:
        raise ArgumentError(f"source must be unsigned, of 1 to {MAX_TABLE_BITS} bits, got {source}")
    if result.signed or result.width > MAX_RESULT_BITS:
        raise ArgumentError(
            f"result must be unsigned, of 1 to {MAX_RESULT_BITS} bits, got {result}"
        )
    codes, full = np.arange(1 << source.width), result.max_raw
    values = full * (codes / source.max_raw) ** float(exponent) + 0.5
    entries = np.floor(values).astype(np.int64)
    # float64 is wrong by less than 1e-5, so it decides but close to a tie; integers decide there.
    for code in np.flatnonzero(np.abs(values - np.rint(values)) < 1e-4).tolist():
        upper = round(float(values[code]))
        entries[code] = upper if _reaches(upper, code, exponent, source, full) else upper - 1
    return entries


def table_graph(
    table: ArrayLike, source: Format = BYTE, result: Format = BYTE, *, channels: int = 1
) -> Graph:
    """Return an integer graph that looks every value up in a table, for images of any size.

    Parameters
    ----------
    table
        One raw integer of `result` for each code of `source`, from the smallest to the largest.
    source
        Format of the image, of at most 16 bits.
    result
        Format of the entries and of the result.
    channels
        Channels of the image.

    Raises
    ------
    ValueError
        If the table has another number of entries, or one outside `result`.
    """
    constant = Constant("table", check_raw(table, result), (result,))
    node = Node("mapped", StoredTable(), ("image", "table"), Quantization(result))
    return Graph("table", (image_input(channels, source),), (node,), ("mapped",), (constant,))


def apply_table(
    image: ArrayLike,
    table: ArrayLike,
    source: Format = BYTE,
    result: Format = BYTE,
    *,
    threads: int | None = None,
) -> NDArray:
    """Look every value of an image up in a table.

    Parameters
    ----------
    image
        Raw integers of `source`, ``(H, W)`` or ``(C, H, W)``.
    table, source, result
        As in `table_graph`.
    threads
        Number of threads, all processors by default.

    Returns
    -------
    numpy.ndarray
        Raw integers of `result`, of the image's shape, in the narrowest dtype.
    """
    raw, _ = image_array(image, source)
    graph = table_graph(table, source, result, channels=len(raw))
    return run(graph, raw, np.ndim(image), threads)[0]


def _exponent(gamma: Fraction | float | str) -> Fraction:
    try:
        exponent = Fraction(gamma if isinstance(gamma, Fraction | str) else str(gamma))
    except (ValueError, ZeroDivisionError):
        raise ArgumentError(f"gamma must be a number or a fraction, got {gamma!r}") from None
    terms = exponent.numerator, exponent.denominator
    if not Fraction(1, 100) <= exponent <= 100 or max(terms) > MAX_TERM:
        raise ArgumentError(
            f"gamma must be 0.01 to 100 and a fraction of integers up to {MAX_TERM}, got "
            f"{gamma!r}; for 1/2.2 give Fraction(5, 11) or '5/11'"
        )
    return exponent


def _reaches(entry: int, code: int, exponent: Fraction, source: Format, full: int) -> bool:
    """Whether ``full * (code / max_raw)**exponent >= entry - 1/2``, in integers."""
    top, bottom = exponent.numerator, exponent.denominator
    return (2 * full) ** bottom * code**top >= (2 * entry - 1) ** bottom * source.max_raw**top
