"""How well an integer graph does on calibration data that nothing was fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.engine import Engine
from fxp.executors.calls import Calls, FirstStep, float_results
from fxp.formats import dequantize, quantize
from fxp.graph import Graph
from fxp.quantization.integer_run import outputs_in_torch, runs_in_torch
from fxp.quantization.refinement.parts import Parts

MARGIN: Final = 0.1
"""What a refinement must gain, in dB, to be kept."""
TRIALS: Final = 8
"""About how many graphs are compared."""


@dataclass(frozen=True)
class Quality:
    """Errors of the outputs on data that was left out.

    Attributes
    ----------
    noise
        Sum of squared errors of every image and output, ``(images, outputs)``.
    power
        Sum of squares of the float network's outputs, ``(outputs,)``.
    run_in
        The same of the steps before, from the reset state on; None without states.
    rare
        The same of pictures of rare kinds; None without any.
    """

    noise: NDArray[np.float64]
    power: NDArray[np.float64]
    run_in: Quality | None = None
    rare: Quality | None = None

    @property
    def sqnr(self) -> float:
        """SQNR in dB of the worst output."""
        return float(np.min(self._levels()))

    def improves(self, other: Quality) -> bool:
        """Whether this is better than another by more than chance.

        The SQNR of the worst output must rise by `MARGIN`, and half of the images must gain at
        what is their worst output. Of a recurrent network the steps from the reset state on must
        not lose by as much: what the few steps that follow gain may be chance, where states amplify
        every difference. Pictures of rare kinds must not lose more than the images gain.
        """
        pair = self.run_in, other.run_in
        if pair[0] is not None and pair[1] is not None and pair[0].sqnr < pair[1].sqnr - MARGIN:
            return False
        if not self.sqnr >= other.sqnr + MARGIN:
            return False
        pair = self.rare, other.rare
        if pair[0] is not None and pair[1] is not None:
            lost = pair[1].sqnr - pair[0].sqnr
            if lost > self.sqnr - other.sqnr:
                return False
        gains = np.count_nonzero(self._worst_of_images() < other._worst_of_images())
        return bool(2 * gains >= len(self.noise))

    def _worst_of_images(self) -> NDArray[np.float64]:
        """Largest share of noise in an output of every image."""
        return (self.noise / np.maximum(self.power, np.finfo(float).tiny)).max(axis=1)

    def _levels(self) -> NDArray[np.float64]:
        noise = self.noise.sum(axis=0)
        return np.array(
            [
                math.inf if n == 0 else 10 * math.log10(p / n) if p > 0 else -math.inf
                for n, p in zip(noise, self.power, strict=True)
            ]
        )


class Judge:
    """Compares integer graphs with the float network on the part that was left out.

    Parameters
    ----------
    graph
        The float graph.
    parts
        Calibration data; a recurrent network runs over the fitted part first, any other over the
        pictures of rare kinds.
    """

    def __init__(self, graph: Graph, parts: Parts) -> None:
        self._before = parts.fitted if graph.states else parts.rare
        self._calls = parts.held_out
        _, self._wanted = references_of(graph, [*self._before, *self._calls])

    def quality(self, lowered: Graph) -> Quality:
        """Run an integer graph."""
        noise = np.zeros((len(self._wanted), len(lowered.outputs)))
        powers = np.zeros_like(noise)
        for number, outputs in enumerate(self._outputs(lowered)):
            for place, output in enumerate(outputs):
                wanted = self._wanted[number][place]
                noise[number, place] = np.sum((output - wanted) ** 2)
                powers[number, place] = np.sum(wanted**2)
        count = len(self._before)
        before = Quality(noise[:count], powers[:count].sum(axis=0)) if count else None
        found = Quality(noise[count:], powers[count:].sum(axis=0))
        return replace(found, **{"run_in" if lowered.states else "rare": before})

    def _outputs(self, lowered: Graph) -> Iterator[list[NDArray[np.float64]]]:
        """Give the real values of all outputs of an integer graph, call by call."""
        calls = [*self._before, *self._calls]
        if runs_in_torch(lowered, calls, TRIALS):
            for call in calls:
                yield outputs_in_torch(lowered, call)
            return
        engine = Engine(lowered)
        states: Mapping[str, NDArray] = {}
        for call in calls:
            if isinstance(call, FirstStep):
                states = {}
            result = engine.run(raw_inputs(lowered, call), states, count_clipped=False, narrow=True)
            states = result.states
            yield [
                dequantize(raw, lowered.values[name].format)  # type: ignore[arg-type]
                for name, raw in zip(lowered.outputs, result.outputs, strict=True)
            ]


def references_of(
    graph: Graph, calls: Calls
) -> tuple[list[list[NDArray[np.float64]]], list[list[NDArray[np.float64]]]]:
    """Return inputs and outputs of a float graph for every image, without batch axis.

    Parameters
    ----------
    graph
        A float graph; its states go on from call to call.
    calls
        Calibration data; `FirstStep` starts from the reset state.
    """
    inputs: list[list[NDArray[np.float64]]] = []
    outputs: list[list[NDArray[np.float64]]] = []
    for call, result in zip(calls, float_results(graph, calls), strict=True):
        for index in range(len(call[0])):
            kind = FirstStep if isinstance(call, FirstStep) and index == 0 else list
            inputs.append(kind(tensor[index].double().cpu().numpy() for tensor in call))
            outputs.append([tensor[index].cpu().numpy() for tensor in result.outputs])
    return inputs, outputs


def raw_inputs(lowered: Graph, call: Sequence[torch.Tensor]) -> list[NDArray[np.int64]]:
    """Return the raw integers of the inputs, for a call with a batch of one.

    Parameters
    ----------
    lowered
        An integer graph.
    call
        Real values of every input, with batch.
    """
    return [
        quantize(tensor[0].double().cpu().numpy(), value.format)  # type: ignore[arg-type]
        for tensor, value in zip(call, lowered.inputs, strict=True)
    ]
