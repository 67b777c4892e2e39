"""Search of fraction bits by what they cost at the network's output.

The rules of `fxp.quantization.calibrate` look at one tensor at a time. The greedy search measures
the whole integer network instead: it moves one binary point by one bit, runs the engine, and keeps
the change if the output comes closer to the float network's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np
from numpy.typing import NDArray

from fxp.engine import Engine
from fxp.executors.calls import FirstStep
from fxp.formats import FormatError, dequantize, quantize
from fxp.graph import Graph
from fxp.graph.ops.base import GraphError
from fxp.quantization.calibrate import Statistics
from fxp.quantization.lowering import lower, rounded_names
from fxp.quantization.settings import LoweringSettings
from fxp.support.errors import ArgumentError
from fxp.support.progress import Progress

Arrays = Sequence[NDArray[np.float64]]


@dataclass(frozen=True)
class FractionTrial:
    """One change the search made: a name, its fraction bits, and the SQNR in dB after it."""

    name: str
    frac: int
    sqnr: float


@dataclass(frozen=True)
class OutputError:
    """How far outputs are from what they should be, over all calls.

    Attributes
    ----------
    noise, power
        Sums of the squared differences and of the squared references.
    count
        Number of values.
    """

    noise: float
    power: float
    count: int

    @property
    def sqnr(self) -> float:
        """Signal-to-quantization-noise ratio in dB."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.power / self.noise) if self.power else -math.inf

    def psnr(self, peak: float) -> float:
        """Peak signal-to-noise ratio in dB, where values reach up to `peak`."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(peak**2 * self.count / self.noise)


def output_error(
    graph: Graph, inputs: Iterable[Arrays], references: Iterable[Arrays]
) -> OutputError:
    """Run an integer graph and compare its outputs.

    Parameters
    ----------
    graph
        An integer graph.
    inputs
        Real values of each call's inputs, ``(C, H, W)`` or ``(F,)``; a
        `fxp.executors.calls.FirstStep` of them starts from the reset state.
    references
        What the outputs should be; the float network's, or the ground truth.
    """
    engine = Engine(graph)
    noise = power = 0.0
    count = 0
    states: Mapping[str, NDArray] = {}
    for arrays, wanted in zip(inputs, references, strict=True):
        raws = [
            quantize(array, value.format)  # type: ignore[arg-type]
            for array, value in zip(arrays, graph.inputs, strict=True)
        ]
        result = engine.run(raws, {} if isinstance(arrays, FirstStep) else states)
        states = result.states
        for raw, name, reference in zip(result.outputs, graph.outputs, wanted, strict=True):
            form = graph.values[name].format
            assert form is not None
            noise += float(((dequantize(raw, form) - reference) ** 2).sum())
            power += float((np.asarray(reference) ** 2).sum())
            count += raw.size
    return OutputError(noise, power, count)


def output_sqnr(graph: Graph, inputs: Iterable[Arrays], references: Iterable[Arrays]) -> float:
    """SQNR in dB of an integer graph's outputs over all calls.

    Parameters
    ----------
    graph, inputs, references
        As for `output_error`.
    """
    return output_error(graph, inputs, references).sqnr


@dataclass(frozen=True)
class WidthTrial:
    """Widths that the search tried, and the SQNR in dB they gave."""

    weight_bits: int
    activation_bits: int
    sqnr: float


def search_bits(
    graph: Graph,
    statistics: Mapping[str, Statistics],
    settings: LoweringSettings,
    inputs: Sequence[Arrays],
    references: Sequence[Arrays],
    *,
    weight_bits: Iterable[int],
    activation_bits: Iterable[int],
    min_sqnr: float,
    progress: Progress | None = None,
) -> tuple[LoweringSettings, tuple[WidthTrial, ...]]:
    """Find the smallest widths that keep the output close enough to the references.

    Widths are tried in the order of their multiplier size, ``weight_bits * activation_bits``; each
    gets integer and fraction bits by the settings' rule.

    Parameters
    ----------
    graph, statistics, settings, inputs, references
        As for `search_fracs`.
    weight_bits, activation_bits
        Widths to try.
    min_sqnr
        SQNR in dB to reach.
    progress
        Called before every pair of widths.

    Returns
    -------
    tuple
        The settings with the widths found, and all trials in order.

    Raises
    ------
    ValueError
        If no pair reaches the SQNR; the message names the best.
    """
    pairs = sorted(product(weight_bits, activation_bits), key=lambda pair: (prod(pair), pair))
    trials: list[WidthTrial] = []
    for position, (weights, activations) in enumerate(pairs):
        if progress is not None:
            progress(position, len(pairs), f"{weights} and {activations} bits")
        candidate = replace(settings, weight_bits=weights, activation_bits=activations)
        quality = output_sqnr(lower(graph, statistics, candidate), inputs, references)
        trials.append(WidthTrial(weights, activations, quality))
        if quality >= min_sqnr:
            return candidate, tuple(trials)
    if not trials:
        raise ArgumentError("there are no widths to try")
    best = max(trials, key=lambda trial: trial.sqnr)
    raise ArgumentError(
        f"no widths reach {min_sqnr} dB; the best, {best.weight_bits} bit weights and "
        f"{best.activation_bits} bit activations, give {best.sqnr:.2f} dB"
    )


def search_fracs(
    graph: Graph,
    statistics: Mapping[str, Statistics],
    settings: LoweringSettings,
    inputs: Sequence[Arrays],
    references: Sequence[Arrays],
    *,
    rounds: int = 2,
    progress: Progress | None = None,
) -> tuple[LoweringSettings, tuple[FractionTrial, ...]]:
    """Improve the fraction bits of values and weights one by one.

    Parameters
    ----------
    graph, statistics, settings
        As for `fxp.quantization.lowering.lower`; the search starts from what these give and leaves
        alone the fraction bits that the settings fix.
    inputs, references
        As for `output_sqnr`.
    rounds
        Passes over all names at most; the search ends earlier when a pass changes nothing.
    progress
        Called after every name.

    Returns
    -------
    tuple
        The settings with the fraction bits found, and the changes made, in order.
    """
    current = lower(graph, statistics, settings)
    names = rounded_names(current, settings)
    fracs = {name: current.operand(name).format.frac for name in names}
    best = output_sqnr(current, inputs, references)

    def using(candidate: Mapping[str, int]) -> LoweringSettings:
        return replace(settings, fracs={**settings.fracs, **candidate})

    def measure(candidate: Mapping[str, int]) -> float:
        try:
            return output_sqnr(lower(graph, statistics, using(candidate)), inputs, references)
        except (GraphError, FormatError):
            return -math.inf

    trials: list[FractionTrial] = []
    for turn in range(rounds):
        improved = False
        for position, name in enumerate(names):
            # Walk on in a direction as long as it helps.
            for direction in (1, -1):
                while True:
                    candidate = {**fracs, name: fracs[name] + direction}
                    quality = measure(candidate)
                    if quality <= best:
                        break
                    best, fracs, improved = quality, candidate, True
                    trials.append(FractionTrial(name, fracs[name], quality))
            if progress is not None:
                progress(turn * len(names) + position + 1, rounds * len(names), name)
        if not improved:
            break
    return using(fracs), tuple(trials)
