"""Run a float graph beside its integer graph, and every value quantized by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm, prod
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.diagnosis.costs import multiplications
from fxp.diagnosis.pair import FixedStep, Pair
from fxp.diagnosis.sums import ValueSums, decibels
from fxp.executors.calls import Calls, FirstStep, one_by_one
from fxp.executors.torch_forward import constant_values, evaluate, start_values
from fxp.graph import Graph
from fxp.graph.extents import Extent
from fxp.graph.ops.base import GraphError
from fxp.support.errors import ArgumentError
from fxp.support.progress import Progress

MAX_STEPS: Final = 64
"""Steps of a sequence that are measured, at most, unless more are asked for."""
SIDE: Final = 256
"""Height and width of what is measured of larger images; a multiple of what networks halve."""
WORK: Final = 6e10
"""Multiplications that may be spent on quantizing every value by itself: some ten seconds."""
LARGE: Final = 3e7
"""Multiplications per image from which on values are quantized by themselves in float32: it is
several times as fast, and losses below 110 dB or so are all that is asked for."""
CROP: Final = 48
"""Side of the crop that is shown, pixels."""


@dataclass
class Crop:
    """The part of an output image where the error is largest, ``(C, h, w)`` each."""

    output: str
    image: int
    row: int
    column: int
    wanted: NDArray[np.float64]
    found: NDArray[np.float64]
    error: float


@dataclass
class Votes:
    """Top-1 of an output vector: of the float network and of the fixed-point model, by sample."""

    output: str
    wanted: list[int] = field(default_factory=list)
    found: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)


@dataclass
class Measured:
    """Everything that was seen.

    Attributes
    ----------
    pair
        The two graphs.
    values
        Sums of every value by name.
    shapes
        Concrete shapes of every value for the first call.
    images
        Elements of the batches, or steps, that were measured.
    whole
        Elements of the calibration data.
    power, noise
        Sums of squares of every output: of the float network, and of the model's error.
    alone
        For every value that can be quantized by itself, the sums of squares of every output's
        error if it is; beside `alone_power` on the same data.
    steps
        Output SQNR of every step of a recurrent network, in dB.
    crop, votes
        What is shown of an output image, and of an output vector.
    """

    pair: Pair
    values: dict[str, ValueSums]
    shapes: dict[str, tuple[int, ...]]
    images: int = 0
    whole: int = 0
    power: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    noise: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    alone: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    alone_power: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    alone_images: int = 0
    steps: list[float] = field(default_factory=list)
    crop: Crop | None = None
    votes: Votes | None = None

    @property
    def output_noise(self) -> float:
        """Noise of the outputs in parts of their power, the mean over the outputs."""
        return _relative(self.noise, self.power)

    @property
    def output_sqnr(self) -> float:
        """SQNR in dB of the outputs."""
        return decibels(1.0, self.output_noise)

    def loss(self, name: str) -> float:
        """Noise of the outputs, in parts of their power, if one value alone is quantized."""
        return _relative(self.alone[name], self.alone_power) if name in self.alone else 0.0


def _relative(noise: NDArray[np.float64], power: NDArray[np.float64]) -> float:
    parts = [n / p if p > 0 else float(n > 0) for n, p in zip(noise, power, strict=True)]
    return float(np.mean(parts))


def bounded(calls: Calls, graph: Graph, images: int, side: int = SIDE) -> list[list[torch.Tensor]]:
    """Return a bounded part of calibration data, each with a batch of one.

    Parameters
    ----------
    calls
        Calibration data.
    graph
        What will run; a sequence of a recurrent graph keeps its beginning, other data is taken
        evenly.
    images
        Most images or steps.
    side
        Height and width of the middle that is taken of larger images, where any size will do.
    """
    sizes = [len(call[0]) for call in calls]
    total = sum(sizes)
    count = min(images, total)
    chosen = range(count) if graph.states else np.linspace(0, total - 1, count).round().astype(int)
    starts = np.cumsum([0, *sizes])
    found = []
    for index in chosen:
        call = int(np.searchsorted(starts, index, side="right")) - 1
        place = int(index) - int(starts[call])
        whole = [tensor[place : place + 1].to(torch.float64) for tensor in calls[call]]
        first = isinstance(calls[call], FirstStep) and place == 0
        found.append((FirstStep if first else list)(_cropped(whole, graph, side)))
    return found


def _cropped(call: Sequence[torch.Tensor], graph: Graph, side: int) -> list[torch.Tensor]:
    """Cut the middle out of images that are larger than needed, if the graph takes that."""
    free = all(
        len(value.shape) == 3 and all(isinstance(size, Extent) for size in value.shape[1:])
        for value in graph.inputs
    )
    if not free or len(call) != len(graph.inputs):
        return list(call)
    largest = max((tuple(tensor.shape[2:]) for tensor in call), key=prod)
    if max(largest) <= side:
        return list(call)
    cut = list(call)
    for axis, length in enumerate(largest, 2):
        # Smaller inputs, such as those of a pyramid, keep the same part.
        factors = [length // tensor.shape[axis] for tensor in call]
        if any(factor * tensor.shape[axis] != length
               for factor, tensor in zip(factors, call, strict=True)):  # fmt: skip
            return list(call)
        step = lcm(*factors)
        kept = min(length, side) // step * step
        if not kept:
            return list(call)
        start = (length - kept) // 2 // step * step
        cut = [
            tensor.narrow(axis, start // factor, kept // factor)
            for factor, tensor in zip(factors, cut, strict=True)
        ]
    cut = [tensor.contiguous() for tensor in cut]
    try:
        graph.concrete_shapes(graph.bind([tuple(tensor.shape[1:]) for tensor in cut]))
    except GraphError:
        return list(call)
    return cut


def checked(calls: Calls, graph: Graph) -> None:
    """Refuse data that a graph does not take, or that holds NaN; the message says which."""
    for position, call in enumerate(calls):
        for tensor, value in zip(call, graph.inputs, strict=False):
            if not torch.isfinite(tensor).all():
                raise ArgumentError(
                    f"calibration item {position}: input {value.name!r} holds NaN or infinity"
                )
        try:
            graph.concrete_shapes(graph.bind([tuple(tensor.shape[1:]) for tensor in call]))
        except GraphError as error:
            raise ArgumentError(f"calibration item {position}: {error}") from None


def compare_values(
    pair: Pair, calls: Calls, dtype: torch.dtype = torch.float64
) -> dict[str, ValueSums]:
    """Run both graphs and compare all values; nothing is quantized by itself.

    Parameters
    ----------
    pair
        The two graphs.
    calls
        Real values, with a batch axis; states go on from call to call, except to a `FirstStep`.
    dtype
        Type that the float graph runs in; the integer graph runs in float64.
    """
    values = {name: ValueSums(with_histogram=False) for name in pair.names}
    float_states: dict[str, torch.Tensor] = {}
    fixed_states: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for call in calls:
            if isinstance(call, FirstStep):
                float_states, fixed_states = {}, {}
            wanted = pair.run_float(call, float_states, dtype)
            step = pair.run_fixed(call, fixed_states)
            float_states = pair.next_states(pair.network, wanted)
            fixed_states = pair.next_states(pair.fixed, step.values)
            _add_values(pair, values, wanted, step)
    return values


def _add_values(
    pair: Pair, values: Mapping[str, ValueSums], wanted: Mapping[str, torch.Tensor], step: FixedStep
) -> None:
    for name, sums in values.items():
        try:
            sums.add(wanted[pair.source[name]], step.values[name], step.kept.get(name))
        except ValueError as error:
            raise ArgumentError(f"value {name!r} of the float network holds {error}") from None
        if name in step.low:
            sums.add_accumulator(step.low[name], step.high[name])


def measure(pair: Pair, calls: Calls, *, whole: int, progress: Progress | None = None) -> Measured:
    """Run both graphs, and the float graph with every value quantized by itself.

    Parameters
    ----------
    pair
        The two graphs.
    calls
        Real values, each with a batch of one; states go on from call to call, except to a
        `FirstStep`.
    whole
        Size of the data that the calls are a part of.
    progress
        Called before every value.
    """
    shapes = pair.fixed.concrete_shapes(
        pair.fixed.bind([tuple(tensor.shape[1:]) for tensor in calls[0]])
    )
    found = Measured(pair, {name: ValueSums() for name in pair.names}, shapes, whole=whole)
    found.images = len(calls)
    alone = _affordable(pair, shapes, len(calls))
    found.alone_images = alone
    outputs = len(pair.fixed.outputs)
    found.power, found.noise = np.zeros(outputs), np.zeros(outputs)
    found.alone_power = np.zeros(outputs)
    float_states: dict[str, torch.Tensor] = {}
    fixed_states: dict[str, torch.Tensor] = {}
    changed: dict[str, dict[str, torch.Tensor]] = {}
    total = alone * len(pair.roundable)
    large = work_of(pair.fixed, shapes) > LARGE
    with torch.no_grad():
        for index, call in enumerate(calls):
            if isinstance(call, FirstStep):
                float_states, fixed_states, changed = {}, {}, {}
            wanted = pair.run_float(call, float_states)
            step = pair.run_fixed(call, fixed_states)
            float_states = pair.next_states(pair.network, wanted)
            fixed_states = pair.next_states(pair.fixed, step.values)
            _add_values(pair, found.values, wanted, step)
            _add_outputs(found, index, wanted, step)
            del step
            if index >= alone:
                continue
            if large:
                wanted = {name: tensor.to(torch.float32) for name, tensor in wanted.items()}
            for place, name in enumerate(pair.roundable):
                if progress is not None:
                    progress(index * len(pair.roundable) + place, total, name)
                local = pair.local(name, wanted)
                found.values[name].add_local(local)
                states = changed.get(name, {})
                if states or not torch.equal(local.found, local.wanted):
                    value = None if states else local.found
                    changed[name] = _add_alone(found, name, wanted, states, value)
            found.alone_power += [
                float((wanted[name].double() ** 2).sum()) for name in pair.network.outputs
            ]
    return found


def work_of(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Multiplications of one image."""
    return sum(multiplications(graph, node, shapes) for node in graph.nodes)


def _affordable(pair: Pair, shapes: Mapping[str, tuple[int, ...]], calls: int) -> int:
    """Return for how many calls every value can be quantized by itself within `WORK`."""
    after = 0
    work = 0
    for node in reversed(pair.fixed.nodes):
        after += multiplications(pair.fixed, node, shapes) + 4 * prod(shapes[node.name])
        work += after
    return int(min(max(WORK // max(work, 1), 1), calls))


def _add_alone(
    found: Measured,
    name: str,
    wanted: Mapping[str, torch.Tensor],
    states: Mapping[str, torch.Tensor],
    value: torch.Tensor | None,
) -> dict[str, torch.Tensor]:
    """Quantize one value by itself and return the states it leaves."""
    result = found.pair.outputs_with(name, wanted, states, value)
    assert result is not None
    outputs, following = result
    errors = [
        float(((output - wanted[given]).double() ** 2).sum())
        for output, given in zip(outputs, found.pair.network.outputs, strict=True)
    ]
    found.alone[name] = found.alone.get(name, np.zeros(len(errors))) + errors
    return following


def _add_outputs(
    found: Measured, index: int, wanted: Mapping[str, torch.Tensor], step: FixedStep
) -> None:
    pair = found.pair
    power, noise = np.zeros(len(found.power)), np.zeros(len(found.power))
    for place, (given, name) in enumerate(
        zip(pair.network.outputs, pair.fixed.outputs, strict=True)
    ):
        reference, result = wanted[given], step.values[name]
        power[place] = float((reference**2).sum())
        noise[place] = float(((result - reference) ** 2).sum())
        vector = all(size == 1 for size in reference.shape[2:])
        if vector and reference.shape[1] > 1 and found.votes is None and not pair.fixed.states:
            found.votes = Votes(name)
        if vector and found.votes is not None and found.votes.output == name:
            found.votes.wanted += reference.flatten(1).argmax(1).tolist()
            found.votes.found += result.flatten(1).argmax(1).tolist()
            found.votes.errors.append(float(((result - reference) ** 2).mean()))
        if not vector and (found.crop is None or found.crop.output == name):
            _take_crop(found, index, name, reference[0], result[0])
    found.power += power
    found.noise += noise
    if pair.fixed.states:
        found.steps.append(decibels(1.0, _relative(noise, power)))


def _take_crop(
    found: Measured, index: int, name: str, wanted: torch.Tensor, result: torch.Tensor
) -> None:
    """Keep the crop with the largest error."""
    error = ((result - wanted) ** 2).sum(0)
    sides = [min(CROP, size) for size in error.shape]
    means = torch.nn.functional.avg_pool2d(error[None, None], sides, stride=max(CROP // 6, 1))[0, 0]
    best = int(means.argmax())
    row, column = (int(part) * max(CROP // 6, 1) for part in divmod(best, means.shape[1]))
    level = float(means.flatten()[best])
    if found.crop is None or level > found.crop.error:
        part = (slice(None), slice(row, row + sides[0]), slice(column, column + sides[1]))
        cut = [tensor[part].numpy().copy() for tensor in (wanted, result)]
        found.crop = Crop(name, index, row, column, cut[0], cut[1], level)


def output_levels(graph: Graph, network: Graph, calls: Calls) -> float:
    """SQNR in dB of the outputs of an integer graph against those of a float graph.

    Parameters
    ----------
    graph, network
        Integer and float graph with the same inputs, states and outputs in order.
    calls
        Real values with a batch axis; states go on from call to call.
    """
    power, noise = np.zeros(len(graph.outputs)), np.zeros(len(graph.outputs))
    constants = {id(each): constant_values(each) for each in (graph, network)}
    states: dict[int, dict[str, torch.Tensor]] = {id(graph): {}, id(network): {}}
    with torch.no_grad():
        for call in calls:
            outputs = []
            for each in (network, graph):
                values = start_values(each, call, states[id(each)])
                evaluate(each, values, constants[id(each)])
                states[id(each)] = {s.value.name: values[s.source] for s in each.states}
                outputs.append([values[name] for name in each.outputs])
            for place, (wanted, result) in enumerate(zip(*outputs, strict=True)):
                power[place] += float((wanted**2).sum())
                noise[place] += float(((result - wanted) ** 2).sum())
    return decibels(1.0, _relative(noise, power))


__all__ = [
    "Measured",
    "bounded",
    "checked",
    "compare_values",
    "measure",
    "one_by_one",
    "output_levels",
]
