"""Sums, maxima, moments and normalization of ``(H, W, C)`` images, in int64.

Sums wrap on the way; what is computed from them is proved to fit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.compiler import njit
from fxp.kernels.routines import routine


@routine
def reduce_sum(results: NDArray, image: NDArray, factor: int, partial: NDArray, most: int) -> None:
    """Sum over every axis along which there is one result, times a factor.

    Parameters
    ----------
    results
        ``(H or 1, W or 1, C or 1)``; written.
    image
        ``(H, W, C)``.
    factor
        Multiplies every sum.
    partial
        Its dtype is that of sums of some pixels, which are added to the results.
    most
        How many pixels may be summed in it.
    """
    rows, columns, channels = results.shape
    if channels < image.shape[2]:
        for y in range(rows):
            for x in range(columns):
                results[y, x, 0] = 0
        for y in range(image.shape[0]):
            for x in range(image.shape[1]):
                total = partial.dtype.type(0)
                for c in range(image.shape[2]):
                    total += image[y, x, c]
                results[y if rows > 1 else 0, x if columns > 1 else 0, 0] += total
    else:
        sums = np.zeros(channels, partial.dtype)
        lines = image.shape[0] if rows == 1 else 1
        pixels = image.shape[1] if columns == 1 else 1
        for row in range(rows):
            for column in range(columns):
                out = results[row, column]
                for c in range(channels):
                    out[c] = 0
                count = 0
                for y in range(row, row + lines):
                    x = column
                    while x < column + pixels:
                        # Sums are stored and loaded again; four pixels share that.
                        if x + 4 <= column + pixels and count + 4 <= most:
                            for c in range(channels):
                                left = image[y, x, c] + image[y, x + 1, c]
                                right = image[y, x + 2, c] + image[y, x + 3, c]
                                sums[c] += left + right
                            x, count = x + 4, count + 4
                        else:
                            for c in range(channels):
                                sums[c] += image[y, x, c]
                            x, count = x + 1, count + 1
                        if count == most:
                            for c in range(channels):
                                out[c] += sums[c]
                                sums[c] = 0
                            count = 0
                for c in range(channels):
                    out[c] += sums[c]
                    sums[c] = 0
    if factor != 1:
        for y in range(rows):
            for x in range(columns):
                for c in range(channels):
                    results[y, x, c] *= factor


@routine
def reduce_maximum(results: NDArray, image: NDArray) -> None:
    """Largest value over every axis along which there is one result.

    Parameters
    ----------
    results
        ``(H or 1, W or 1, C or 1)``; written.
    image
        ``(H, W, C)``, not empty.
    """
    rows, columns, channels = results.shape
    lines = image.shape[0] if rows == 1 else 1
    pixels = image.shape[1] if columns == 1 else 1
    best = np.empty(channels, image.dtype)
    for row in range(rows):
        for column in range(columns):
            for y in range(row, row + lines):
                for x in range(column, column + pixels):
                    first = y == row and x == column
                    if channels < image.shape[2]:
                        largest = image[y, x, 0]
                        for c in range(image.shape[2]):
                            largest = max(largest, image[y, x, c])
                        best[0] = largest if first else max(best[0], largest)
                    elif first:
                        for c in range(channels):
                            best[c] = image[y, x, c]
                    else:
                        for c in range(channels):
                            best[c] = max(best[c], image[y, x, c])
            for c in range(channels):
                results[row, column, c] = best[c]


@routine
def channel_moments(
    moments: NDArray[np.int64], image: NDArray, partial: NDArray, most: int
) -> None:
    """Sum and sum of squares of each channel.

    Parameters
    ----------
    moments
        ``(1, 2, C)``; written.
    image
        ``(H, W, C)``.
    partial
        Its dtype is that of sums of some pixels, which are added to the moments.
    most
        How many pixels may be summed in it.
    """
    channels = image.shape[2]
    sums, squares = np.zeros(channels, partial.dtype), np.zeros(channels, partial.dtype)
    for c in range(channels):
        moments[0, 0, c] = 0
        moments[0, 1, c] = 0
    count = 0
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            for c in range(channels):
                value = image[y, x, c]
                sums[c] += value
                squares[c] += np.int64(value) * np.int64(value)
            count += 1
            if count == most or x == image.shape[1] - 1:
                for c in range(channels):
                    moments[0, 0, c] += sums[c]
                    moments[0, 1, c] += squares[c]
                    sums[c] = 0
                    squares[c] = 0
                count = 0


@njit(cache=True, nogil=True)
def group_moments(
    moments: NDArray[np.int64], group: int, members: int, shift: int, centered: bool, count: int
) -> tuple[np.int64, np.int64]:
    """Mean, with `shift` fraction bits more, and sum of squared deviations of a group.

    Parameters
    ----------
    moments
        Sums and sums of squares of the channels, by parts of the image, ``(parts, 2, C)``.
    group, members
        Which group, and channels of each.
    shift
        Fraction bits of the mean beyond those of the pixels.
    centered
        Whether the mean counts; else it is zero.
    count
        Values of the group.
    """
    total, squares = np.int64(0), np.int64(0)
    for part in range(moments.shape[0]):
        for c in range(group * members, (group + 1) * members):
            total += moments[part, 0, c]
            squares += moments[part, 1, c]
    mean = np.int64(0)
    if centered:
        mean = ((total << (shift + 1)) + count) // (2 * count)
    # The sum of (r * 2**shift - mean)**2, which fits although its parts may wrap.
    squares = (squares << (2 * shift)) - (total << (shift + 1)) * mean + mean * mean * count
    return mean, squares


@routine
def normalize_image(
    band: NDArray,
    image: NDArray,
    moments: NDArray[np.int64],
    groups: int,
    mean_shift: int,
    centered: bool,
    count: int,
    divisor: int,
    shift: int,
    epsilon: int,
    floor: bool,
    one: int,
) -> None:
    """Deviations from the mean of a group, times the reciprocal of their root.

    Parameters
    ----------
    band
        Results, ``(rows, W, C)``; written.
    image
        The pixels that belong to them.
    moments, mean_shift, centered, count
        As `group_moments` takes them.
    groups
        Groups of channels.
    divisor, shift, epsilon, floor
        As `spread` takes them.
    one
        What is divided by the root.
    """
    channels = image.shape[2]
    members = channels // groups
    means, factors = np.empty(channels, np.int64), np.empty(channels, np.int64)
    for g in range(groups):
        mean, squares = group_moments(moments, g, members, mean_shift, centered, count)
        root = floor_sqrt(spread(squares, divisor, shift, epsilon, floor))
        for c in range(g * members, (g + 1) * members):
            means[c], factors[c] = mean, one // max(root, 1)
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(channels):
                band[y, x, c] = ((np.int64(image[y, x, c]) << mean_shift) - means[c]) * factors[c]


@routine
def image_spread(
    band: NDArray,
    moments: NDArray[np.int64],
    mean_shift: int,
    centered: bool,
    count: int,
    divisor: int,
    shift: int,
    epsilon: int,
    root: bool,
) -> None:
    """Variance of every group of channels of an image, or its root.

    Parameters
    ----------
    band
        Results, ``(1, 1, groups)``; written.
    moments, mean_shift, centered, count
        As `group_moments` takes them.
    divisor, shift, epsilon
        As `spread` takes them.
    root
        Whether the root is wanted.
    """
    groups = band.shape[2]
    members = moments.shape[2] // groups
    for g in range(groups):
        _, squares = group_moments(moments, g, members, mean_shift, centered, count)
        value = spread(squares, divisor, shift, epsilon, False)
        band[0, 0, g] = floor_sqrt(value) if root else value


@njit(cache=True, nogil=True)
def floor_sqrt(value: int | np.int64) -> np.int64:
    """Largest integer whose square does not exceed a value below ``2**62``."""
    root = np.int64(math.sqrt(np.float64(value)))
    if root * root > value:
        root -= 1
    if (root + 1) * (root + 1) <= value:
        root += 1
    return root


@njit(cache=True, nogil=True)
def spread(total: np.int64, count: int, shift: int, epsilon: int, floor: bool) -> np.int64 | int:
    """``total / count`` with `shift` fraction bits more, plus epsilon, or at least epsilon.

    Parameters
    ----------
    total
        Sum of squares.
    count
        What it is divided by.
    shift
        Fraction bits of the quotient beyond those of the sum; may be negative.
    epsilon
        Integer of the same fraction bits.
    floor
        Whether epsilon is the least result instead of being added.
    """
    whole = total // count
    if shift >= 0:
        quotient = (whole << shift) + (((total - whole * count) << shift) // count)
    else:
        quotient = whole >> min(-shift, 62)
    return max(quotient, epsilon) if floor else quotient + epsilon


@njit(cache=True, nogil=True)
def pixel_moments(
    image: NDArray, row: int, column: int, group: int, members: int, shift: int, centered: bool
) -> tuple[np.int64, np.int64]:
    """Mean, with `shift` fraction bits more, and sum of squared deviations of a pixel's group.

    Parameters
    ----------
    image
        ``(H, W, C)``.
    row, column
        The pixel.
    group, members
        Which group, and channels of each.
    shift
        Fraction bits of the mean beyond those of the pixels.
    centered
        Whether the mean counts; else it is zero.
    """
    pixel = image[row, column]
    first = group * members
    mean = np.int64(0)
    if centered:
        total = np.int64(0)
        for c in range(first, first + members):
            total += np.int64(pixel[c])
        mean = ((total << (shift + 1)) + members) // (2 * members)
    squares = np.int64(0)
    for c in range(first, first + members):
        deviation = (np.int64(pixel[c]) << shift) - mean
        squares += deviation * deviation
    return mean, squares


@routine
def normalize_pixels(
    band: NDArray,
    image: NDArray,
    groups: int,
    mean_shift: int,
    centered: bool,
    divisor: int,
    shift: int,
    epsilon: int,
    floor: bool,
    one: int,
) -> None:
    """Deviations of every pixel's channels, times the reciprocal of their root.

    Parameters
    ----------
    band
        Results, ``(rows, W, C)``; written.
    image
        The pixels that belong to them.
    groups
        Groups of channels.
    mean_shift, centered
        As `pixel_moments` takes them.
    divisor, shift, epsilon, floor
        As `spread` takes them.
    one
        What is divided by the root.
    """
    members = image.shape[2] // groups
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for g in range(groups):
                mean, squares = pixel_moments(image, y, x, g, members, mean_shift, centered)
                root = floor_sqrt(spread(squares, divisor, shift, epsilon, floor))
                factor = one // max(root, 1)
                for c in range(g * members, (g + 1) * members):
                    band[y, x, c] = ((np.int64(image[y, x, c]) << mean_shift) - mean) * factor


@routine
def pixel_spread(
    band: NDArray,
    image: NDArray,
    mean_shift: int,
    centered: bool,
    divisor: int,
    shift: int,
    epsilon: int,
    root: bool,
) -> None:
    """Variance of every pixel's groups of channels, or its root.

    Parameters
    ----------
    band
        Results, ``(rows, W, groups)``; written.
    image
        The pixels that belong to them.
    mean_shift, centered
        As `pixel_moments` takes them.
    divisor, shift, epsilon
        As `spread` takes them.
    root
        Whether the root is wanted.
    """
    groups = band.shape[2]
    members = image.shape[2] // groups
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for g in range(groups):
                _, squares = pixel_moments(image, y, x, g, members, mean_shift, centered)
                value = spread(squares, divisor, shift, epsilon, False)
                band[y, x, g] = floor_sqrt(value) if root else value
