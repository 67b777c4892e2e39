"""The entry point of mixed precision: the cheapest widths that keep a quality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf, isnan
from numbers import Real
from typing import Any, Final, Literal, Unpack, get_args

import torch

from fxp.executors.calls import Calls, calibration_calls, one_by_one
from fxp.frontend.model_import import TRACING
from fxp.graph import Graph
from fxp.model import FixedModel
from fxp.quantization.exposure import exposed
from fxp.quantization.lowering import lower
from fxp.quantization.mixed.costs import Cost, MultiplierBits, PackedSize
from fxp.quantization.mixed.greedy import descend
from fxp.quantization.mixed.program import cost_tables, solve
from fxp.quantization.mixed.quality import AgainstReferences, Measure, Quality
from fxp.quantization.mixed.result import MixedPrecision, options_with
from fxp.quantization.mixed.sensitivity import curvature_noise, measured_noise
from fxp.quantization.mixed.trials import LimitReachedError, Point, Trials, choices
from fxp.quantization.options import (
    QuantizeKeywords,
    QuantizeOptions,
    check_width,
    merged,
    whole_number,
)
from fxp.quantization.quantize import calibrated, choose_settings, float_graph
from fxp.quantization.refinement import choose, equalize
from fxp.quantization.refinement.judgement import references_of
from fxp.quantization.search import Arrays
from fxp.support.errors import ArgumentError, ArgumentTypeError, warn_of_precision
from fxp.support.progress import Progress

CostName = Literal["multiplier_bits", "packed_size"]
SearchStrategy = Literal["integer_program", "greedy"]
Sensitivity = Literal["measured", "curvature"]

WEIGHT_WIDTHS: Final = tuple(range(4, 11))
ACTIVATION_WIDTHS: Final = tuple(range(6, 15))
MAX_TRIALS: Final = 600
BUDGETS: Final = 12
"""Noise budgets for which the program is solved to draw the front."""
HALVINGS: Final = 7
"""How often the interval around the budget that just reaches the floor is halved."""


def quantize_mixed(
    model: torch.nn.Module | Graph,
    calibration: Iterable[Any],
    options: QuantizeOptions | None = None,
    *,
    floor: float,
    cost: CostName | Cost = "multiplier_bits",
    quality: Quality = "sqnr",
    peak: float = 1.0,
    weight_widths: Iterable[int] = WEIGHT_WIDTHS,
    activation_widths: Iterable[int] = ACTIVATION_WIDTHS,
    strategy: SearchStrategy = "integer_program",
    sensitivity: Sensitivity = "measured",
    max_trials: int = MAX_TRIALS,
    progress: Progress | None = None,
    **keywords: Unpack[QuantizeKeywords],
) -> MixedPrecision:
    """Quantize a network with widths of its own for every weight and value: the cheapest that do.

    The integer program takes the noise at the output for the sum of what each width adds, and
    solves for the least cost within a noise budget; the budget that just reaches the floor is found
    by measuring whole models. A greedy descent then takes off what the prediction left over. The
    result is always a model that was measured, and two runs give the same one.

    Threads may call this as they may call `fxp.quantize`.

    Parameters
    ----------
    model, calibration
        As for `fxp.quantize`.
    options, keywords
        How to quantize, except for the widths. The names in `bits` keep their widths. Refinements
        are made on the model found, and kept if they make it better.
    floor
        Least quality of the model.
    cost
        What to save: ``multiplier_bits`` for the first calibration input, ``packed_size``, or an
        object with the methods of `fxp.quantization.mixed.Cost`, such as
        ``fxp.hls.ShiftAddCost()`` and ``fxp.hls.LineMemoryCost(width)``.
    quality
        What to keep: ``sqnr`` or ``psnr`` of the outputs against the float network on the
        calibration data, in dB, or a function of a `FixedModel`, such as an accuracy or a PSNR
        against the truth. More is better.
    peak
        Largest output value, for ``psnr``.
    weight_widths, activation_widths
        Widths to choose from.
    strategy
        ``integer_program``, or ``greedy``, the descent alone from the widest widths.
    sensitivity
        What each width adds to the noise, for the integer program: ``measured``, model by model, or
        predicted from the ``curvature`` of the error, which is faster for deep networks.
    max_trials
        Whole models to measure at most; a search that needs more ends with the best so far.
    progress
        ``progress(done, total, text)``.

    Returns
    -------
    MixedPrecision

    Raises
    ------
    ArgumentError
        A `ValueError`: the floor is out of reach, an option is unknown, or there are no widths. The
        message of the first names the quality of the widest model.
    ArgumentTypeError
        A `TypeError`: the cost or the quality is none.
    fxp.frontend.FrontendError, GraphError
        As `fxp.quantize` does.

    Examples
    --------
    >>> found = fxp.quantize_mixed(network, images, floor=40)         # doctest: +SKIP
    >>> print(found); found.save_picture("front.svg")                 # doctest: +SKIP
    """
    if not isinstance(model, torch.nn.Module | Graph):
        raise ArgumentTypeError(
            "fxp.quantize_mixed takes a torch.nn.Module or a float Graph, got "
            f"{type(model).__name__}"
        )
    weights = _widths("weight_widths", weight_widths)
    values = _widths("activation_widths", activation_widths)
    _check("strategy", strategy, get_args(SearchStrategy))
    _check("sensitivity", sensitivity, get_args(Sensitivity))
    if isinstance(floor, bool) or not isinstance(floor, Real) or isnan(floor):
        raise ArgumentTypeError(f"floor must be a number, got {floor!r}")
    if max_trials < 1:
        raise ArgumentError(f"max_trials must be at least 1, got {max_trials}")
    options = merged(options, keywords, "fxp.quantize_mixed")
    for name, widths in (
        ("weight_bits", "weight_widths"),
        ("activation_bits", "activation_widths"),
    ):
        if getattr(options, name) != getattr(QuantizeOptions(), name) or name in keywords:
            raise ArgumentTypeError(
                f"fxp.quantize_mixed chooses {name} itself; say by {widths} which it may choose "
                "from, and by `bits` what single names must have"
            )
    options = options_with(options, (weights[-1], values[-1]), {})
    with TRACING:
        calls = calibration_calls(calibration, model, options.states)
        graph = model if isinstance(model, Graph) else float_graph(model, calls[0], options)
        if graph.states:
            calls = one_by_one(calls)
        if options.equalization:
            graph = equalize(graph)
        shown, texts = exposed(graph, calls, options)
        warn_of_precision(texts)
        statistics, settings = choose_settings(graph, shown, options, progress)
        inputs, references = references_of(graph, calls)
        trials = Trials(
            graph,
            statistics,
            settings,
            choices(graph, lower(graph, statistics, settings), settings, weights, values),
            _cost(cost, calls),
            _quality(quality, inputs, references, peak),
            max_trials,
            progress,
        )
        widest = trials.point(trials.widest)
        if not widest.quality >= floor:
            raise ArgumentError(
                f"the floor of {floor:g} is out of reach: with the widest widths, {weights[-1]} "
                f"bits for weights and {values[-1]} for values, the quality is "
                f"{widest.quality:.4g}; give wider ones, or a lower floor"
            )
        best, uniform = widest, None
        try:
            uniform = best = _uniform(trials, floor, weights, values) or widest
            if strategy == "greedy":
                best = descend(trials, widest, floor)
            else:
                best = _by_program(trials, floor, inputs, references, calls, sensitivity)
        except LimitReachedError:
            pass
        best = min(
            (point for point in trials.points if point.quality >= floor),
            key=lambda point: (point.cost, -point.quality),
            default=best,
        )
        return _finished(trials, best, uniform, floor, options, calls, quality)


def _by_program(
    trials: Trials,
    floor: float,
    inputs: Sequence[Arrays],
    references: Sequence[Arrays],
    calls: Calls,
    sensitivity: Sensitivity,
) -> Point:
    """Solve for several noise budgets, close in on the floor, and use up what is left over."""
    if sensitivity == "measured":
        base, noise = measured_noise(trials, inputs, references)
    else:
        base, noise = curvature_noise(trials, calls)
    tables = cost_tables(trials)
    most = sum(max(added.values()) for added in noise.values())
    least = max(base, most * 1e-9) / 4

    def best_within(budget: float) -> Point | None:
        bits = solve(trials.choices, tables, noise, budget)
        return None if bits is None else trials.point(bits)

    # The budgets rise by one factor from a quarter of the widest model's noise to all that the
    # narrowest add.
    factor = (max(most, least) / least) ** (1 / (BUDGETS - 1))
    reached, missed = 0.0, inf
    best = trials.point(trials.widest)
    for step in range(BUDGETS):
        budget = least * factor**step
        point = best_within(budget)
        if point is None or point.quality < floor:
            missed = min(missed, budget)
        elif budget < missed:
            reached = budget
            best = min(best, point, key=lambda item: item.cost)
    if missed < inf:
        reached = reached or missed / factor
        for _ in range(HALVINGS):
            budget = (reached * missed) ** 0.5
            point = best_within(budget)
            if point is None or point.quality < floor:
                missed = budget
            else:
                reached = budget
                best = min(best, point, key=lambda item: item.cost)
    return _exchanged(trials, descend(trials, best, floor), floor)


def _exchanged(trials: Trials, best: Point, floor: float) -> Point:
    """Widen one weight or value by one step, and use up what this gains, as long as it helps."""
    for choice in trials.choices:
        place = choice.widths.index(best.bits[choice.name])
        if place + 1 < len(choice.widths):
            bits = {**best.bits, choice.name: choice.widths[place + 1]}
            point = trials.point(bits)
            if point.quality >= floor:
                best = min(best, descend(trials, point, floor), key=lambda item: item.cost)
    return best


def _uniform(
    trials: Trials, floor: float, weights: Sequence[int], values: Sequence[int]
) -> Point | None:
    """Return the cheapest model of uniform widths that reaches the floor.

    For each width of the weights the fewest bits of values are found by halving.
    """
    found: list[Point] = []
    for width in weights:
        low, high = 0, len(values)
        while low < high:
            middle = (low + high) // 2
            point = trials.point(trials.uniform(width, values[middle]))
            if point.quality >= floor:
                found.append(point)
                high = middle
            else:
                low = middle + 1
    return min(found, key=lambda point: point.cost, default=None)


def _finished(
    trials: Trials,
    best: Point,
    uniform: Point | None,
    floor: float,
    options: QuantizeOptions,
    calls: Calls,
    quality: Quality,
) -> MixedPrecision:
    """Refine the best model if that helps, and return it."""
    settings = trials.using(best.bits)
    graph, reached = trials.lowered(best.bits), best.quality
    # Only what is asked for: the model is judged here, by its quality and its cost.
    options = replace(options, effort="fast")
    refined = choose(
        trials.graph,
        trials.statistics,
        settings,
        calls,
        options,
        lambda _: trials.statistics,
        trials.progress,
    ).lowered
    if refined != graph:
        better = float(trials.quality(FixedModel(refined)))
        if better >= reached and sum(trials.cost.parts(refined).values()) <= best.cost:
            graph, reached = refined, better
    return MixedPrecision(
        model=calibrated(graph, calls),
        options=replace(options, bits={**(options.bits or {}), **best.bits}),
        bits=best.bits,
        cost=sum(trials.cost.parts(graph).values()),
        cost_name=trials.cost.name,
        quality=reached,
        quality_name=f"dB {quality.upper()}" if isinstance(quality, str) else "quality",
        floor=floor,
        uniform=uniform,
        points=trials.points,
        complete=not trials.stopped,
    )


def _cost(cost: Any, calls: Calls) -> Cost:
    if isinstance(cost, str):
        _check("cost", cost, get_args(CostName))
        if cost == "packed_size":
            return PackedSize()
        return MultiplierBits([tuple(tensor.shape[1:]) for tensor in calls[0]])
    if not isinstance(cost, Cost) or isinstance(cost, type):
        raise ArgumentTypeError(
            f"cost must be one of {', '.join(get_args(CostName))}, or an object with a name and a "
            f"method parts(graph); got {cost!r}"
        )
    return cost


def _quality(
    quality: Any, inputs: Sequence[Arrays], references: Sequence[Arrays], peak: float
) -> Any:
    if isinstance(quality, str):
        _check("quality", quality, get_args(Measure))
        return AgainstReferences(quality, inputs, references, peak)  # type: ignore[arg-type]
    if not callable(quality):
        raise ArgumentTypeError(
            f"quality must be one of {', '.join(get_args(Measure))}, or a function of a "
            f"FixedModel; got {quality!r}"
        )
    return quality


def _widths(name: str, given: Iterable[int]) -> tuple[int, ...]:
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise ArgumentTypeError(
            f"{name} must be several widths, such as range(4, 11); got {given!r}"
        )
    widths = sorted({check_width(name, whole_number(name, width)) for width in given})
    if not widths:
        raise ArgumentError(f"{name} has no width to choose from")
    return tuple(widths)


def _check(name: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise ArgumentError(f"unknown {name} {given!r}; choose one of {', '.join(known)}")
