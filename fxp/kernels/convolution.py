"""Convolution over ``(H, W, C)`` images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fxp.kernels.compiler import njit


@njit(cache=True, nogil=True)
def convolve(
    band: NDArray,
    image: NDArray,
    weight: NDArray,
    bias: NDArray,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    groups: int,
) -> None:
    """Accumulate a region of a grouped convolution into `band`: any dtypes, any geometry.

    Weight and bias have the accumulator's dtype; overflow of partial sums wraps, which is exact
    because the final sum is proved to fit.

    Parameters
    ----------
    band
        Result, ``(rows, columns, C_out)``.
    image
        ``(H, W, C_in)``.
    weight
        ``(k_h, k_w, C_in / groups, C_out)``.
    bias
        ``(C_out,)``.
    rows, columns
        Row or column of `image` read by each output and tap, ``(rows, k_h)`` and
        ``(columns, k_w)``.
    groups
        Number of groups.
    """
    kernel_height, kernel_width, group_in, channels = weight.shape
    group_out = channels // groups
    depthwise = group_in == 1 and group_out == 1
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            total = band[y, x]
            for channel in range(channels):
                total[channel] = bias[channel]
            for tap_y in range(kernel_height):
                for tap_x in range(kernel_width):
                    pixel = image[rows[y, tap_y], columns[x, tap_x]]
                    if depthwise:
                        taps = weight[tap_y, tap_x, 0]
                        for channel in range(channels):
                            total[channel] += pixel[channel] * taps[channel]
                        continue
                    for group in range(groups):
                        part = total[group * group_out : (group + 1) * group_out]
                        for channel_in in range(group_in):
                            value = pixel[group * group_in + channel_in]
                            taps = weight[tap_y, tap_x, channel_in, group * group_out :]
                            for channel in range(part.size):
                                part[channel] += value * taps[channel]
