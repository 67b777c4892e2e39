"""From a model, its float network and some data to a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch

from fxp.diagnosis.advice import Change, advise, weight_constant, with_measured
from fxp.diagnosis.costs import multiplications, value_bits, weight_bits
from fxp.diagnosis.findings import (
    AgreementReport,
    CropReport,
    OutputReport,
    ValueReport,
    WeightsReport,
    finite,
)
from fxp.diagnosis.measure import (
    MAX_STEPS,
    Measured,
    Votes,
    bounded,
    checked,
    measure,
    output_levels,
)
from fxp.diagnosis.pair import Pair, smallest_width
from fxp.diagnosis.report import Report
from fxp.diagnosis.sums import ValueSums, decibels
from fxp.executors.calls import Calls, Sequences, calibration_calls, one_by_one
from fxp.frontend import from_torch
from fxp.graph import Graph, Node
from fxp.graph.ops.base import GraphError
from fxp.support.errors import ArgumentError, ArgumentTypeError
from fxp.support.progress import Progress

MAX_IMAGES: Final = 16
"""Images or vectors that are measured, at most, unless more are asked for."""

Requantize = Callable[[Calls, Mapping[str, Any]], Graph]
"""Quantizes the network again on the calls, with some options of `fxp.quantize` changed."""


def analyse(
    fixed: Graph,
    calibration: Iterable[Any] | Sequences,
    network: torch.nn.Module | Graph | None,
    *,
    states: Sequence[tuple[int, int]] = (),
    images: int | None = None,
    requantize: Requantize | None = None,
    progress: Progress | None = None,
) -> Report:
    """Find out where a model loses precision, why, and what to change.

    Parameters
    ----------
    fixed
        The integer graph of the model.
    calibration
        Typical inputs, of any kind that `fxp.quantize` takes; one sequence for a recurrent network.
    network
        The float network that the model was made from, as a module in eval mode or a float graph.
    states
        Pairs of input and output position of a recurrent module, as for `fxp.quantize`.
    images
        Most images or steps to measure, by default 16 images or 64 steps; they are taken evenly,
        and the first steps. Of images larger than 256 pixels the middle is measured, where the
        network takes any size.
    requantize
        Quantizes again, to measure what the changes gain; nothing is measured without it.
    progress
        ``progress(done, total, text)`` for every image and value, and every change measured.

    Raises
    ------
    ArgumentError
        A `ValueError`: the network is not the one that the model was made from, or the data is
        empty, does not fit or holds NaN.
    ArgumentTypeError
        A `TypeError`: the network is neither a module nor a graph.
    """
    if images is not None and images < 1:
        raise ArgumentError(f"images={images} is no number of images to measure; give 1 or more")
    calls = calibration_calls(calibration, fixed)
    checked(calls, fixed)
    if fixed.states:
        calls = one_by_one(calls)
    graph = network_graph(network, fixed, calls[0], states)
    pair = Pair(graph, fixed)
    part = bounded(calls, fixed, images or (MAX_STEPS if fixed.states else MAX_IMAGES))
    whole = sum(len(call[0]) for call in calls)
    measured = measure(pair, part, whole=whole, progress=progress)
    changes = advise(measured, part[0])
    if requantize is not None:
        changes = _with_gains(changes, requantize, graph, calls, part, progress)
    return _report(measured, changes)


def network_graph(
    network: torch.nn.Module | Graph | None,
    fixed: Graph,
    call: Sequence[torch.Tensor],
    states: Sequence[tuple[int, int]] = (),
) -> Graph:
    """Return the float graph of a network that a model was made from.

    Parameters
    ----------
    network, fixed, states
        As for `analyse`.
    call
        One call of the data, the example that a module is traced with.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        As `analyse`.
    """
    if isinstance(network, Graph):
        return network
    if not isinstance(network, torch.nn.Module):
        raise ArgumentTypeError(
            f"network must be a torch.nn.Module or a float Graph, got {type(network).__name__}"
        )
    if len(states) != len(fixed.states):
        raise ArgumentError(
            f"the model has {len(fixed.states)} states, but states names {len(states)}; give a "
            "pair (input position, output position) for each, as to fxp.quantize"
        )
    dtype = next((weight.dtype for weight in network.parameters()), torch.get_default_dtype())
    shapes = fixed.concrete_shapes(fixed.bind([tuple(tensor.shape[1:]) for tensor in call]))
    zeros = {
        position: torch.zeros(1, *shapes[state.value.name])
        for (position, _), state in zip(states, fixed.states, strict=True)
    }
    rest = iter(tensor[:1] for tensor in call)
    try:
        example = [
            (zeros[i] if i in zeros else next(rest)).to(dtype)
            for i in range(len(call) + len(zeros))
        ]
    except StopIteration:
        raise ArgumentError(f"states={list(states)} names input positions that do not exist") from (
            None
        )
    return from_torch(network, example, name=fixed.name, states=states)


def _with_gains(
    changes: Sequence[Change],
    requantize: Requantize,
    network: Graph,
    calls: Calls,
    part: Calls,
    progress: Progress | None,
) -> list[Change]:
    """Quantize again with every change; unchanged too, as other data gives other formats."""
    found: list[Change] = []
    base: float | None = None
    for position, change in enumerate(changes):
        if progress is not None:
            progress(position, len(changes), f"trying {change.kind}")
        if not change.options:
            found.append(change)
            continue
        if base is None:
            base = output_levels(requantize(calls, {}), network, part)
        try:
            level = output_levels(requantize(calls, change.options), network, part)
        except GraphError:
            # More bits may pass what an accumulator can hold; then the change has no gain to tell.
            found.append(change)
            continue
        found.append(with_measured(change, level - base))
    return found


def _report(measured: Measured, changes: Sequence[Change]) -> Report:
    pair = measured.pair
    total = sum(measured.loss(name) for name in pair.roundable)
    crop, votes = measured.crop, measured.votes
    return Report(
        model=pair.fixed.name,
        images=measured.images,
        images_given=measured.whole,
        images_alone=measured.alone_images,
        output_sqnr_db=finite(measured.output_sqnr),
        sum_of_losses_db=finite(decibels(1.0, total)),
        outputs=tuple(_output(name, measured.values[name]) for name in pair.fixed.outputs),
        values=tuple(_value(measured, name, total) for name in pair.names),
        changes=tuple(changes),
        steps_db=tuple(map(finite, measured.steps)),
        agreement=None if votes is None else _agreement(votes),
        crop=None
        if crop is None
        else CropReport(crop.output, crop.image, crop.row, crop.column, crop.wanted, crop.found),
    )


def _output(name: str, sums: ValueSums) -> OutputReport:
    levels = sums.channel_sqnr
    worst = int(np.argmin(levels))
    return OutputReport(name, finite(sums.sqnr), worst, finite(levels[worst]))


def _agreement(votes: Votes) -> AgreementReport:
    pairs = Counter(
        (wanted, found)
        for wanted, found in zip(votes.wanted, votes.found, strict=True)
        if wanted != found
    )
    worst = int(np.argmax(votes.errors))
    return AgreementReport(
        output=votes.output,
        samples=len(votes.wanted),
        equal=len(votes.wanted) - pairs.total(),
        differences=tuple((*key, count) for key, count in pairs.most_common()),
        worst_sample=worst,
        worst_sample_error=votes.errors[worst] ** 0.5,
    )


def _value(measured: Measured, name: str, total: float) -> ValueReport:
    pair, sums = measured.pair, measured.values[name]
    graph = pair.fixed
    value, node = graph.values[name], pair.fixed_nodes.get(name)
    form = value.format
    assert form is not None
    state = {item.value.name: item.source for item in graph.states}.get(name)
    parts = (sums.by_weights, sums.by_rounding, sums.by_clipping)
    whole = sum(parts) or 1.0
    loss = measured.loss(name)
    proved = node.accumulator.bits if node is not None and node.accumulator is not None else None
    used = None
    if sums.accumulator_low is not None and sums.accumulator_high is not None:
        used = smallest_width(sums.accumulator_low, sums.accumulator_high)
    return ValueReport(
        name=name,
        op=node.op.name if node else "input" if state is None else f"state of {state}",
        shape=measured.shapes[name],
        format=str(node.quantization) if node else str(form),
        step=form.step,
        format_low=form.min,
        format_high=form.max,
        low=float(sums.low.min()),
        high=float(sums.high.max()),
        zeros=sums.zeros / sums.count,
        clipped=sums.clipped / sums.count,
        histogram=sums.histogram(),
        sqnr_db=finite(sums.sqnr),
        local_sqnr_db=finite(sums.local_sqnr),
        channel_sqnr_db=tuple(map(finite, sums.channel_sqnr)),
        alone_sqnr_db=finite(decibels(1.0, loss)),
        loss_share=loss / total if total else 0.0,
        by_weights=parts[0] / whole,
        by_rounding=parts[1] / whole,
        by_clipping=parts[2] / whole,
        accumulator_bits=proved,
        accumulator_bits_used=used,
        multiplications=multiplications(graph, node, measured.shapes) if node else 0,
        value_bits=value_bits(graph, name, measured.shapes),
        weight_bits=weight_bits(graph, node) if node else 0,
        dead_channels=tuple(sums.dead_channels),
        weights=_weights(pair, node) if node else None,
    )


def _weights(pair: Pair, node: Node) -> WeightsReport | None:
    found = weight_constant(pair, node)
    if found is None:
        return None
    own, wanted = found
    rows = wanted.data.reshape(len(wanted.data), -1)
    errors = own.values.reshape(rows.shape) - rows
    forms = own.formats if len(own.formats) > 1 else own.formats * len(rows)
    return WeightsReport(
        format=str(own).partition(") ")[2],
        low=tuple(rows.min(axis=1).tolist()),
        high=tuple(rows.max(axis=1).tolist()),
        limit=tuple(form.max for form in forms),
        step=tuple(form.step for form in forms),
        sqnr_db=tuple(
            finite(decibels(float((row**2).sum()), float((error**2).sum())))
            for row, error in zip(rows, errors, strict=True)
        ),
    )
