"""Distances between vectors of integers, exact, and the sequential decision between classes.

Rows of a gallery lie in blocks of 16, and components in granules: `arranged` gives
``[granule][block][pair of components][row][2]``. A vector register then holds one pair of
components of 16 rows, so that a sum needs no steps across a register, and a granule of all rows is
read in one go. Sums are int32: `fxp.models.recognition.sequential` bounds the lengths of vectors.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from fxp.kernels.compiler import (
    I16,
    I32,
    I64,
    address,
    code_generator,
    load,
    loop,
    njit,
    splat,
    store,
)
from fxp.kernels.pair_mac import add_pairs

LANES: Final = 16
"""Rows of a block."""
UNROLLED: Final = 4
"""Pairs of components in a turn of the loop, each with sums of its own."""
STEP: Final = 2 * UNROLLED
"""Components of a granule are a multiple of it."""
RATIO_BITS: Final = 16
"""Fraction bits of the ratio of distances up to which a class stays."""
CHI_BITS: Final = 14
"""Fraction bits of a term of the chi-squared distance."""
TABLE: Final = 4096
"""Entries of the table of exponentials."""
LARGEST: Final = 1 << 62
"""A sum that no distance reaches."""
CLASSES, POSTERIOR, DIFFERENCE, FACTOR = range(4)
"""Rules of `decide`: which classes stay, or when to stop."""


@code_generator
def _add_squares(typingctx, sums, rows, query, pairs):  # type: ignore[no-untyped-def]
    """Add squared differences of a block of rows and a query to 16 sums; all are addresses."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        sums_at, rows_at, query_at, count = arguments
        vector = ir.VectorType(I16, 2 * LANES)
        total = ir.VectorType(I32, LANES)
        target = address(builder, sums_at, I64(0), I32)

        def body(index: Any, totals: list[Any]) -> list[Any]:
            results = []
            for part, partial in enumerate(totals):
                pair = builder.add(builder.mul(index, I64(UNROLLED)), I64(part))
                place = address(builder, rows_at, builder.mul(pair, I64(2 * LANES)), I16)
                scalar = load(builder, address(builder, query_at, pair, I32), I32, 2)
                pixel = builder.bitcast(splat(builder, scalar, LANES), vector)
                difference = builder.sub(pixel, load(builder, place, vector, 2))
                results.append(add_pairs(builder, partial, difference, difference))
            return results

        zero = ir.Constant(total, [0] * LANES)
        begin = [load(builder, target, total, 4), *[zero] * (UNROLLED - 1)]
        turns = builder.sdiv(count, I64(UNROLLED))
        first, second, third, fourth = loop(builder, turns, begin, body)
        result = builder.add(builder.add(first, second), builder.add(third, fourth))
        store(builder, result, target, 4)
        return I64(0)

    return types.int64(sums, rows, query, pairs), codegen


def arranged(components: NDArray[np.int16], granule: int) -> NDArray[np.int16]:
    """Return components in the order in which the kernels read them.

    Parameters
    ----------
    components
        ``(rows, components)``.
    granule
        Components of a granule, a multiple of `STEP`; the last one is filled with zeros.

    Returns
    -------
    ndarray
        ``(granules, blocks, granule * 16)`` int16; rows are filled up with zeros.
    """
    rows, count = components.shape
    granules, blocks = -(-count // granule), -(-rows // LANES)
    result = np.zeros((granules, blocks, granule // 2, LANES, 2), np.int16)
    for number in range(granules):
        part = components[:, number * granule : (number + 1) * granule]
        full = np.zeros((blocks * LANES, granule), np.int16)
        full[:rows, : part.shape[1]] = part
        result[number] = full.reshape(blocks, LANES, granule // 2, 2).transpose(0, 2, 1, 3)
    return result.reshape(granules, blocks, granule * LANES)


def padded(components: NDArray[np.int16], granule: int) -> NDArray[np.int16]:
    """Return queries ``(N, components)`` filled up with zeros to whole granules."""
    rows, count = components.shape
    if count % granule == 0:
        return np.ascontiguousarray(components)
    result = np.zeros((rows, -(-count // granule) * granule), components.dtype)
    result[:, :count] = components
    return result


@njit(cache=True, nogil=True)
def _add_blocks(
    sums: NDArray[np.int32],
    rows: NDArray[np.int16],
    query: NDArray[np.int16],
    squares: bool,
    first: int,
    end: int,
) -> None:
    """Add the distances of blocks of rows in one granule."""
    length = rows.shape[1]
    for block in range(first, end):
        if squares:
            place = rows.ctypes.data + block * length * 2
            target = sums.ctypes.data + block * LANES * 4
            _add_squares(target, place, query.ctypes.data, length // (2 * LANES))
        else:
            _add_quotients(sums[block * LANES : (block + 1) * LANES], rows[block], query)


@njit(cache=True, nogil=True)
def _add_quotients(
    sums: NDArray[np.int32], rows: NDArray[np.int16], query: NDArray[np.int16]
) -> None:
    """Add the chi-squared distances of a block of rows.

    float64 divides exactly enough: a quotient that is no whole number is at least 2**-15 away from
    one, and rounding changes it, which is below 2**29, by less than 2**-24.
    """
    for index in range(len(query)):
        value = np.int32(query[index])
        begin = index // 2 * 2 * LANES + index % 2
        for row in range(LANES):
            other = np.int32(rows[begin + 2 * row])
            apart = np.float64(value - other)
            divisor = max(value + other, 1)
            dividend = apart * apart * (1 << CHI_BITS) + (divisor >> 1)
            sums[row] += np.int32(dividend / divisor)


@njit(cache=True, nogil=True)
def row_distances(
    gallery: NDArray[np.int16], queries: NDArray[np.int16], squares: bool, sums: NDArray[np.int32]
) -> None:
    """Compute the distances of queries to all rows.

    Squared Euclidean, or chi-squared of vectors that are not negative: the sum of
    ``(x - y)**2 / (x + y)``, each term with `CHI_BITS` fraction bits more than its operands,
    rounded half up, and 0 where both are 0.

    Parameters
    ----------
    gallery
        As `arranged` gives it.
    queries
        As `padded` gives them.
    squares
        Whether the distances are squared Euclidean ones.
    sums
        The results, ``(queries, blocks * 16)``.
    """
    granules, blocks, length = gallery.shape
    granule = length // LANES
    sums[:] = 0
    for first in range(0, blocks, 32):
        end = min(first + 32, blocks)
        for query in range(len(queries)):
            for number in range(granules):
                part = queries[query, number * granule : (number + 1) * granule]
                _add_blocks(sums[query], gallery[number], part, squares, first, end)


@njit(cache=True, nogil=True)
def nearest_rows(
    gallery: NDArray[np.int16],
    queries: NDArray[np.int16],
    squares: bool,
    rows: int,
    found: NDArray[np.int64],
) -> None:
    """Find the nearest row of each query by all components; of equal ones the first.

    Parameters
    ----------
    gallery, queries, squares
        As for `row_distances`.
    rows
        How many there are without those that fill the last block.
    found
        The results, ``(queries,)``.
    """
    granules, blocks, length = gallery.shape
    granule = length // LANES
    sums = np.empty(LANES * 32, np.int32)
    best = np.full(len(queries), LARGEST, np.int64)
    for first in range(0, blocks, 32):
        end = min(first + 32, blocks)
        for query in range(len(queries)):
            sums[:] = 0
            for number in range(granules):
                part = queries[query, number * granule : (number + 1) * granule]
                _add_blocks(sums, gallery[number, first:end], part, squares, 0, end - first)
            for row in range(min(end * LANES, rows) - first * LANES):
                if sums[row] < best[query]:
                    best[query] = sums[row]
                    found[query] = first * LANES + row


@njit(cache=True, nogil=True)
def decide(
    gallery: NDArray[np.int16],
    frames: NDArray[np.int16],
    squares: bool,
    starts: NDArray[np.int64],
    rule: tuple[int, int, int],
    table: NDArray[np.int64],
    sums: NDArray[np.int32],
    distances: NDArray[np.int64],
) -> tuple[int, int, int]:
    """Decide for a class by as many granules of components as it takes.

    Parameters
    ----------
    gallery
        As `arranged` gives it, in the order of the classes.
    frames
        ``(frames, components)``, as `padded` gives them; the distances of all frames are added.
    squares
        As for `row_distances`.
    starts
        The first row of every class, and the number of rows.
    rule
        Kind, threshold, and shift of a difference to an index of the table.
    table
        Exponentials, for the posteriors.
    sums
        Room for ``(frames, blocks * 16)`` sums.
    distances
        The result: distance of every class by the components that were looked at; of a class that
        was dropped at some distance, -1 less that.

    Returns
    -------
    class, granules, rows
        The answer, granules that were looked at, and by how many rows in all.
    """
    kind, threshold, shift = rule
    classes, granule = len(distances), gallery.shape[2] // LANES
    sums[:] = 0
    distances[:] = 0
    best, level, looked = 0, 0, 0
    for level in range(gallery.shape[0]):
        # Neighbouring classes are read in one go.
        first, end = 0, 0
        for number in range(classes):
            if distances[number] < 0:
                continue
            begin = starts[number] // LANES
            if begin > end:
                for frame in range(len(frames)):
                    part = frames[frame, level * granule : (level + 1) * granule]
                    _add_blocks(sums[frame], gallery[level], part, squares, first, end)
                first = begin
            end = (starts[number + 1] + LANES - 1) // LANES
            looked += (starts[number + 1] - starts[number]) * len(frames)
        for frame in range(len(frames)):
            part = frames[frame, level * granule : (level + 1) * granule]
            _add_blocks(sums[frame], gallery[level], part, squares, first, end)
        least, second = LARGEST, LARGEST
        for number in range(classes):
            if distances[number] < 0:
                continue
            total = 0
            for frame in range(len(frames)):
                nearest = sums[frame, starts[number]]
                for row in range(starts[number] + 1, starts[number + 1]):
                    nearest = min(nearest, sums[frame, row])
                total += nearest
            distances[number] = total
            if total < least:
                best, least, second = number, total, least
            elif total < second:
                second = total
        # Where the product is too large for int64, it exceeds every distance as well.
        # An infinite threshold is above all, a distance of 0 too.
        finite = threshold < LARGEST and least <= LARGEST // max(threshold, 1)
        bound = least * threshold if finite else LARGEST
        stop = False
        if kind == CLASSES:
            left = 0
            for number in range(classes):
                if distances[number] >= 0 and level + 1 < gallery.shape[0]:
                    if distances[number] << RATIO_BITS <= bound:
                        left += 1
                    else:
                        distances[number] = -1 - distances[number]
            stop = left == 1
        elif kind == POSTERIOR:
            weight = 0
            for number in range(classes):
                index = (distances[number] - least) >> shift
                weight += table[index] if index < TABLE else 0
            # The share of the best is 2**16 / weight.
            stop = threshold * weight <= (1 << 32)
        elif kind == DIFFERENCE:
            stop = second - least >= threshold
        else:
            # Equal distances decide nothing, not even where all are 0.
            stop = second > least and second << RATIO_BITS >= bound
        if stop:
            break
    return best, level + 1, looked
