"""How the errors of a recurrent network grow from step to step, in fixed point and in float32."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.engine import Engine
from fxp.executors.calls import (
    Sequences,
    calibration_calls,
    float_results,
    in_sequences,
    one_by_one,
)
from fxp.executors.torch_forward import evaluate
from fxp.formats import dequantize, quantize
from fxp.graph import Graph
from fxp.graph.ops.base import GraphError
from fxp.imaging.metrics import sqnr
from fxp.model import FixedModel
from fxp.support.errors import ArgumentError

ALLOWED_LOSS = 6.0
"""Fixed point may lose so many decibels more over a sequence than float32 does."""


@dataclass(frozen=True)
class ErrorGrowth:
    """SQNR in dB of outputs and states after every step, against the float64 network.

    Attributes
    ----------
    fixed
        Of the fixed-point model: one number per step, by name of the output or state. Infinite
        where nothing differs.
    float32
        Of the same network in float32.
    outputs
        Which of the names are outputs; the others are states.
    """

    fixed: Mapping[str, tuple[float, ...]]
    float32: Mapping[str, tuple[float, ...]]
    outputs: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.fixed[self.outputs[0]])

    def losses(self, name: str) -> tuple[float, float]:
        """Return how many dB fixed point and float32 lose from the first step to the last.

        Parameters
        ----------
        name
            Of an output or state.

        Raises
        ------
        ArgumentError
            A `ValueError`: nothing has that name.
        """
        if name not in self.fixed:
            raise ArgumentError(f"no output or state is called {name!r}, only {list(self.fixed)}")
        return _loss(self.fixed[name]), _loss(self.float32[name])

    @property
    def holds(self) -> bool:
        """Whether no output loses over `ALLOWED_LOSS` more than in float32."""
        return all(
            fixed <= max(real, 0.0) + ALLOWED_LOSS
            for fixed, real in (self.losses(name) for name in self.outputs)
        )

    def to_json(self) -> dict[str, Any]:
        """Return all of it as data that `json.dumps` takes; infinity is None."""

        def rows(curves: Mapping[str, tuple[float, ...]]) -> dict[str, list[float | None]]:
            return {
                name: [level if math.isfinite(level) else None for level in levels]
                for name, levels in curves.items()
            }

        return {
            "outputs": list(self.outputs),
            "fixed": rows(self.fixed),
            "float32": rows(self.float32),
        }

    def __str__(self) -> str:
        shown = sorted({0, 9, 49, 199, self.steps - 1} & set(range(self.steps)))
        head = "".join(f"{f'step {step + 1}':>10}" for step in shown)
        width = max(len(name) for name in self.fixed)
        lines = [f"{'SQNR in dB':{width + 9}}{head}{'lost':>8}"]
        for name in self.fixed:
            for kind, curves in (("fixed", self.fixed), ("float32", self.float32)):
                levels = "".join(f"{curves[name][step]:10.1f}" for step in shown)
                lost = _loss(curves[name])
                lines.append(f"{name:{width}}  {kind:7}{levels}{lost:8.1f}")
        return "\n".join(lines)


def _loss(levels: Sequence[float]) -> float:
    first, last = levels[0], levels[-1]
    return 0.0 if first == last else first - last


def error_growth(
    model: FixedModel | Graph, reference: Graph, sequence: Iterable[Any] | Sequences
) -> ErrorGrowth:
    """Measure how the error grows over the steps of a sequence, from the reset state.

    Parameters
    ----------
    model
        A quantized model, or its integer graph.
    reference
        The float graph that it was made from, as `fxp.quantization.quantize.float_graph` gives it;
        it runs in float64, which is the reference, and in float32.
    sequence
        One sequence, as calibration data: the batch axis is time.

    Raises
    ------
    GraphError
        If a graph has no states, or not those of the other.
    ArgumentError
        If the data cannot be understood, or holds several sequences.
    """
    graph = model.graph if isinstance(model, FixedModel) else model
    names = [state.value.name for state in reference.states]
    if not names or names != [state.value.name for state in graph.states]:
        raise GraphError(
            f"the float graph has states {names}, the integer graph "
            f"{[state.value.name for state in graph.states]}; they must be the same, one at least"
        )
    calls = one_by_one(calibration_calls(sequence, reference))
    if len(in_sequences(calls)) > 1:
        raise ArgumentError("error_growth takes one sequence; call it for each of several")
    outputs = reference.outputs
    fixed: dict[str, list[float]] = {name: [] for name in (*outputs, *names)}
    single: dict[str, list[float]] = {name: [] for name in fixed}
    for result, real, raw in zip(
        float_results(reference, calls),
        _float32_steps(reference, calls),
        _fixed_steps(graph, calls),
        strict=True,
    ):
        exact = [*result.outputs, *(result.states[name] for name in names)]
        for name, wanted, narrow, rounded in zip(fixed, exact, real, raw, strict=True):
            array = wanted[0].cpu().numpy()
            fixed[name].append(sqnr(array, rounded))
            single[name].append(sqnr(array, narrow))
    return ErrorGrowth(
        {name: tuple(levels) for name, levels in fixed.items()},
        {name: tuple(levels) for name, levels in single.items()},
        outputs,
    )


@torch.no_grad()
def _float32_steps(
    graph: Graph, calls: Sequence[Sequence[torch.Tensor]]
) -> Iterator[list[NDArray]]:
    """Give outputs and states of every step in float32."""
    shapes = graph.concrete_shapes(graph.bind([tuple(x.shape[1:]) for x in calls[0]]))
    constants = {
        name: torch.tensor(constant.values, dtype=torch.float32)
        for name, constant in graph.constants_by_name.items()
    }
    states = {
        state.value.name: torch.full((1, *shapes[state.value.name]), float(state.reset))
        for state in graph.states
    }
    for call in calls:
        values = {
            value.name: tensor.float() for value, tensor in zip(graph.inputs, call, strict=True)
        }
        values.update({name: tensor.float() for name, tensor in states.items()})
        evaluate(graph, values, constants)
        states = {state.value.name: values[state.source] for state in graph.states}
        found = [*(values[name] for name in graph.outputs), *states.values()]
        yield [tensor[0].double().cpu().numpy() for tensor in found]


def _fixed_steps(graph: Graph, calls: Sequence[Sequence[torch.Tensor]]) -> Iterator[list[NDArray]]:
    """Give real values of outputs and states of every step in fixed point."""
    engine = Engine(graph)
    formats: Any = {name: value.format for name, value in graph.values.items()}
    states: Mapping[str, NDArray] = {}
    for call in calls:
        raws = [
            quantize(tensor[0].double().cpu().numpy(), formats[value.name])
            for value, tensor in zip(graph.inputs, call, strict=True)
        ]
        result = engine.run(raws, states, count_clipped=False)
        states = result.states
        outputs = zip(graph.outputs, result.outputs, strict=True)
        found = [*outputs, *((name, states[name]) for name in states)]
        yield [np.asarray(dequantize(raw, formats[name])) for name, raw in found]
