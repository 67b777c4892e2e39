"""The fraction bits that suit a network's values and weights.

Of a value, the calibration data shows some images, and the format must hold for others. Three
things are weighed against each other: rounding, clipping of what was seen, and clipping of what an
image to come holds beyond it. docs/choosing-bits.md derives the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fxp.executors.calls import FirstStep, float_results
from fxp.executors.torch_forward import TorchResult
from fxp.formats import MAX_FRAC_MAGNITUDE, Format
from fxp.graph import Graph
from fxp.graph.ops.base import UNBOUNDED, Range
from fxp.quantization.options import METHODS, Method
from fxp.quantization.statistics import Statistics
from fxp.support.errors import ArgumentError

EXTRA_FRACS: Final = 5
"""How many finer formats than the min-max one the error rules consider, that one included."""
COARSER_FRACS: Final = 4
"""How many coarser formats they consider."""
PRIOR_SPREAD: Final = 0.5
"""Spread of the extremes of images before any is seen, as a share of the largest value.

An image passes another one by 0.5 to 0.6 times its largest value on average, if it does, between
photographs in SqueezeNet, ResNet-18 and KimSR, and by 1.4 times in MobileNetV3."""
PRIOR_IMAGES: Final = 2
"""That counts as so many images: of one it makes up all, of three a half, of a hundred 2 %."""
MINMAX_RISK: Final = 0.01
"""With automatic headroom, ``minmax`` clips something in this share of the images to come."""
RARE_BITS: Final = 2
"""Fraction bits that images pay at most for pictures of rare kinds."""
RARE_SHARE: Final = 0.01
"""Weight of the error in pictures of rare kinds: one in so many of the images to come is one."""
QUANTILES: Final = 16
"""In how many equally likely ways an image to come may pass the extremes."""


def observe(
    graph: Graph,
    calibration: Iterable[Sequence[torch.Tensor]],
    results: Iterable[TorchResult] | None = None,
) -> dict[str, Statistics]:
    """Run a float graph over calibration data and gather the statistics of every value.

    Parameters
    ----------
    graph
        A float graph. If it has states, all calls are one sequence, which counts as one image.
    calibration
        For each call, one ``(N, C, H, W)`` or ``(N, F)`` tensor per input. States carry over from
        one call to the next, and are reset by a `fxp.executors.calls.FirstStep`.
    results
        What the calls give, where that is computed already or read by another as well.

    Raises
    ------
    ValueError
        If there is no data, or a value becomes NaN or infinite; the message names both.
    """
    statistics = {name: Statistics() for name in graph.values}
    calls = 0
    calibration = list(calibration)
    results = results or float_results(graph, calibration)
    for call, result in zip(calibration, results, strict=True):
        continues = bool(graph.states) and not isinstance(call, FirstStep)
        for name, tensor in result.values.items():
            try:
                statistics[name].update(tensor.cpu().numpy(), continues=continues)
            except ValueError as error:
                raise ArgumentError(
                    f"calibration item {calls}: value {name!r} holds {error}"
                ) from None
        calls += 1
    if calls == 0:
        raise ArgumentError("the calibration data is empty; give at least one input")
    return statistics


def choose_frac(
    statistics: Statistics,
    width: int,
    signed: bool,
    method: Method,
    percentile: float = 99.99,
    *,
    headroom: float | None = 0,
    known: Range = UNBOUNDED,
) -> int:
    """Return the fraction bits of a `width`-bit format for these values and those to come.

    Parameters
    ----------
    statistics
        What is known of the values, at least one. For what is `Statistics.rare` there are up to
        `RARE_BITS` fewer fraction bits: the number with the least mean squared error, if
        `RARE_SHARE` of the images to come are such pictures. They have no headroom of their own.
    width, signed
        The format's other two properties.
    method
        ``minmax``: the most fraction bits that clip nothing by more than one step.
        ``percentile``: the most that clip at most ``100 - percentile`` percent of the values by
        more than one step, where values are told apart by their binary exponents.
        ``mse``: the least mean squared error by `mean_squared_errors`, of `COARSER_FRACS` bits less
        than ``minmax`` up to `EXTRA_FRACS` - 1 more.
    percentile
        For the method of that name.
    headroom
        How many bits further than those seen the values to come may reach: 0 if no further, 1 if
        twice as far. None estimates it from the number of images seen and from the spread of their
        extremes; then ``percentile``, which clips on purpose, adds none.
    known
        Limits that no value ever passes, however much headroom.

    Raises
    ------
    ValueError
        If the method is unknown, or a format would need less than ``-MAX_FRAC_MAGNITUDE`` fraction
        bits (values near the end of float64).
    """
    if method not in METHODS:
        raise ArgumentError(f"unknown calibration method {method!r}; choose one of {METHODS}")
    frac = _frac_of_images(statistics, width, signed, method, percentile, headroom, known)
    if statistics.rare is None:
        return frac
    fracs = [
        coarser
        for coarser in range(frac, frac - RARE_BITS - 1, -1)
        if coarser >= -MAX_FRAC_MAGNITUDE
    ]
    forms = [Format(width, coarser, signed) for coarser in fracs]
    of_images = mean_squared_errors(statistics, forms, headroom=headroom, known=known)
    # What images clip is for the method to say: here they can only lose.
    of_images = np.maximum.accumulate(of_images)
    of_rare = mean_squared_errors(statistics.rare, forms)
    # The first of equal errors wins.
    return fracs[int(np.argmin((1 - RARE_SHARE) * of_images + RARE_SHARE * of_rare))]


def _frac_of_images(
    statistics: Statistics,
    width: int,
    signed: bool,
    method: Method,
    percentile: float,
    headroom: float | None,
    known: Range,
) -> int:
    """Return what `choose_frac` does, of the images alone."""
    low, high = min(statistics.lows), max(statistics.highs)
    if method == "minmax" or headroom:
        reach = _certain_reach(statistics, headroom, method)
        low, high = _within(low * reach[0], low, known[0]), _within(high * reach[1], high, known[1])
    smallest = covering_frac(low, high, width, signed)
    exponents = statistics.exponents
    if method == "minmax" or not exponents:
        return smallest
    if method == "percentile":
        allowed = statistics.count * (100 - percentile) / 100
        # Clip the largest exponents while that is allowed, but never the smallest one.
        *larger, top = sorted(exponents, reverse=True)
        clipped = 0
        for exponent in larger:
            clipped += exponents[exponent]
            if clipped > allowed:
                top = exponent
                break
        top += math.ceil(headroom or 0)
        return min(max(smallest, width - signed - top), MAX_FRAC_MAGNITUDE)
    # The first of equal errors wins.
    fracs = [
        frac
        for frac in (
            *range(smallest, smallest + EXTRA_FRACS),
            *range(smallest - 1, smallest - 1 - COARSER_FRACS, -1),
        )
        if abs(frac) <= MAX_FRAC_MAGNITUDE
    ]
    forms = [Format(width, frac, signed) for frac in fracs]
    errors = mean_squared_errors(statistics, forms, headroom=headroom, known=known)
    return fracs[int(np.argmin(errors))]


def mean_squared_errors(
    statistics: Statistics,
    formats: Sequence[Format],
    *,
    headroom: float | None = 0,
    known: Range = UNBOUNDED,
) -> NDArray[np.float64]:
    """Return the mean squared error of values in each of some formats.

    Values are taken to be spread evenly within the bins of the histogram. That is exact to the
    width of a bin, a 64th of an octave, for what is clipped and for what is smaller than 64 steps;
    what is larger has the error of evenly spread values, a twelfth of the squared step. With
    headroom 0 it is the error of what was seen. With a headroom in bits, clipping is that of the
    values seen, stretched by so much. With None the error of clipping in an image to come is added:
    it passes the largest value seen with the probability that `extremes_of_the_next` gives, and
    then it holds what the image with the largest values holds, stretched.

    Parameters
    ----------
    statistics
        Of at least one element.
    formats
        With ``HALF_UP`` and ``SATURATE``.
    headroom, known
        As for `choose_frac`.

    Returns
    -------
    NDArray
        One error for each format, in the square of the values' unit.
    """
    lower, upper, counts = statistics.histogram()
    largest = max(-statistics.low, statistics.high)
    # The largest magnitude is near one, so that no square leaves the range of float64.
    scale = math.frexp(largest)[1] if largest else 0
    lower, upper = np.ldexp(lower, -scale), np.ldexp(upper, -scale)
    shares = counts / statistics.count
    steps = np.array([math.ldexp(1.0, -form.frac - scale) for form in formats])
    tops = np.array([float(form.max_raw) for form in formats]) * steps
    bottoms = np.array([float(form.min_raw) for form in formats]) * steps
    errors = _rounding(lower, upper, shares, steps, bottoms, tops)
    sides = (
        (lower, upper, tops, math.ldexp(known[1], -scale), statistics.highs),
        (-upper, -lower, -bottoms, math.ldexp(-known[0], -scale), [-x for x in statistics.lows]),
    )
    for near, far, limits, bound, extremes in sides:
        seen = float(far.max())
        if headroom:
            stretches, weight = np.array([2.0**headroom]), 1.0
        else:
            errors += _clipping(near, far, shares, limits)
            if headroom is None:
                stretches, weight = _stretches(extremes)
            else:
                continue
        if seen <= 0:
            continue
        stretches = np.minimum(stretches, max(bound / seen, 1.0))
        passed = [_clipping(near, far, shares, limits / by) * by**2 for by in stretches]
        errors += weight * np.mean(passed, axis=0)
    return np.ldexp(errors, 2 * scale)


def tail_of_extremes(extremes: Sequence[float]) -> tuple[float, int]:
    """Scale and shape of the distribution of how far images to come pass the largest value.

    Above a high threshold, what exceeds it is distributed exponentially for all usual
    distributions (Pickands 1975, with shape 0). Of ``n`` exponential numbers of mean ``b`` the
    largest exceeds the mean by ``b * (1/2 + ... + 1/n)`` on average (Rényi 1953), which gives
    ``b``. Few images leave it uncertain: with `PRIOR_IMAGES` that had `PRIOR_SPREAD`, and a gamma
    distribution of ``1/b``, an excess ``x`` is passed with the probability
    ``(1 + x / scale) ** -shape`` (Lomax 1954), which is the exponential distribution only for many.

    Parameters
    ----------
    extremes
        The largest value of each image, at least one; the largest of all must be positive.

    Returns
    -------
    tuple
        The scale, as a share of the largest value, and the shape.
    """
    count = len(extremes)
    scale, shape = PRIOR_IMAGES * PRIOR_SPREAD, PRIOR_IMAGES + count - 1
    if count > 1:
        largest = max(extremes)
        mean = sum(max(extreme, 0.0) / largest for extreme in extremes) / count
        scale += (count - 1) * (1 - mean) / sum(1 / k for k in range(2, count + 1))
    return scale, shape


def excess_of_extremes(extremes: Sequence[float], passed: ArrayLike) -> NDArray[np.float64]:
    """Return the excesses that are passed with some probabilities, as a share of the largest value.

    Parameters
    ----------
    extremes
        As for `tail_of_extremes`.
    passed
        Probabilities, each above 0.
    """
    scale, shape = tail_of_extremes(extremes)
    return scale * np.expm1(-np.log(passed) / shape)


def covering_frac(low: float, high: float, width: int, signed: bool) -> int:
    """Return the most fraction bits with which nothing is clipped by more than one step.

    Parameters
    ----------
    low, high
        Smallest and largest value; what is negative does not count without a sign.
    width, signed
        The format's other two properties.
    """
    largest = max(high, -low if signed else 0.0)
    if largest <= 0 or width == signed:
        return width - signed

    def covers(form: Format) -> bool:
        return math.ldexp(high, form.frac) <= form.max_raw + 1 and (
            not signed or math.ldexp(low, form.frac) >= form.min_raw - 1
        )

    # Start where 2**frac * largest is surely too large, then walk down.
    frac = min(width - math.frexp(largest)[1] + 1, MAX_FRAC_MAGNITUDE)
    while not covers(Format(width, frac, signed)):
        frac -= 1
    return frac


def _stretches(extremes: Sequence[float]) -> tuple[NDArray[np.float64], float]:
    """How far an image to come reaches if it passes the others, in equally likely ways.

    Also the weight of its clipping: of the images seen and the one to come each is as likely as any
    other to have the largest value, and the tail of that image is the tail of all seen times their
    number.
    """
    count = len(extremes)
    if max(extremes) <= 0:
        return np.ones(1), 0.0
    passed = (np.arange(QUANTILES) + 0.5) / QUANTILES
    return 1 + excess_of_extremes(extremes, passed), count / (count + 1)


def _certain_reach(
    statistics: Statistics, headroom: float | None, method: Method
) -> tuple[float, float]:
    """Factors of the smallest and of the largest value that a format has to hold."""
    if headroom is not None:
        return 2.0**headroom, 2.0**headroom
    assert method == "minmax"
    sides = [-low for low in statistics.lows], statistics.highs
    passed = min((len(statistics.highs) + 1) * MINMAX_RISK, 1.0)
    low, high = (
        1 + float(excess_of_extremes(side, passed)) if max(side) > 0 else 1.0 for side in sides
    )
    return low, high


def _within(reached: float, seen: float, bound: float) -> float:
    """Return what is reached, but not beyond a bound that is not passed by what was seen."""
    return min(reached, max(bound, seen)) if reached >= seen else max(reached, min(bound, seen))


def _rounding(
    lower: NDArray,
    upper: NDArray,
    shares: NDArray,
    steps: NDArray,
    bottoms: NDArray,
    tops: NDArray,
) -> NDArray[np.float64]:
    """Mean squared error of rounding of what lies between the limits, for each step."""
    bins = np.stack((lower, upper))
    widths = upper - lower
    step = steps[:, None]
    inside = shares * _inside(lower, upper, bottoms[:, None], tops[:, None])
    # A bin that lies between two points where rounding jumps has one nearest point of the grid.
    nearest = np.floor((lower + upper) / 2 / step + 0.5) * step
    first, last = (edge - nearest for edge in bins)
    exact = (first**2 + first * last + last**2) / 3
    return np.sum(inside * np.where(widths <= step / 2, exact, step**2 / 12), axis=1)


def _inside(lower: NDArray, upper: NDArray, bottom: NDArray, top: NDArray) -> NDArray[np.float64]:
    """Share of each bin between the limits."""
    widths = upper - lower
    kept = np.minimum(upper, top) - np.maximum(lower, bottom)
    points = (lower >= bottom) & (lower <= top)
    return np.where(widths > 0, np.clip(kept, 0, None) / np.where(widths > 0, widths, 1), points)


def _clipping(near: NDArray, far: NDArray, shares: NDArray, limits: NDArray) -> NDArray[np.float64]:
    """Mean squared distance of bins from a limit, counting what lies beyond, for each limit."""
    passing = far > limits.min()
    near, far, shares = near[passing], far[passing], shares[passing]
    limit = limits[:, None]
    first, last = np.maximum(near - limit, 0), np.maximum(far - limit, 0)
    widths = far - near
    beyond = np.where(widths > 0, (last - first) / np.where(widths > 0, widths, 1), last > 0)
    return np.sum(shares * beyond * (first**2 + first * last + last**2) / 3, axis=1)
