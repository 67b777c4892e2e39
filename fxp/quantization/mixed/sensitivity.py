"""What each width adds to the error of the output: measured, or from the curvature of the error.

Rounding errors of different layers are nearly independent, so the noise power at the output is
nearly the sum of what each layer adds. The searches use that to predict, and then measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch

from fxp.executors.calls import Calls
from fxp.executors.torch_forward import evaluate
from fxp.formats import dequantize, quantize
from fxp.graph import Constant, Graph
from fxp.quantization.mixed.trials import Trials
from fxp.quantization.search import Arrays, output_error
from fxp.support.errors import ArgumentError

Noise = Mapping[str, Mapping[int, float]]
"""Noise power that a width adds at the output, by name and width; 0 for the widest."""

PROBES: Final = 4
"""Random directions in which the outputs are differentiated, for each call."""


def measured_noise(
    trials: Trials, inputs: Sequence[Arrays], references: Sequence[Arrays]
) -> tuple[float, Noise]:
    """Narrow one weight or value at a time, and measure the noise that this adds.

    Parameters
    ----------
    trials
        Makes the models.
    inputs, references
        As for `fxp.quantization.search.output_error`.

    Returns
    -------
    tuple
        Noise of the widest model, and what each width adds.
    """
    widest = trials.widest

    def noise(bits: Mapping[str, int]) -> float:
        return output_error(trials.lowered(bits), inputs, references).noise

    base = noise(widest)
    total = sum(len(choice.widths) for choice in trials.choices)
    done = 0
    added: dict[str, dict[int, float]] = {}
    for choice in trials.choices:
        added[choice.name] = {choice.widths[-1]: 0.0}
        for width in reversed(choice.widths[:-1]):
            if trials.progress is not None:
                trials.progress(done, total, f"{choice.name} with {width} bits")
            changed = noise({**widest, choice.name: width}) - base
            added[choice.name][width] = max(changed, 0.0)
            done += 1
        done += 1
    return base, added


def curvature_noise(trials: Trials, calls: Calls) -> tuple[float, Noise]:
    """Predict the noise from the Hessian of the output's squared error, without running any model.

    At the float network the Hessian is JᵀJ, of the Jacobian J of the outputs. The mean square of
    Jᵀv over random vectors v of signs is its diagonal (Hutchinson), for all weights and values at
    once. Noise is the diagonal times the squared rounding errors: HAWQ-V2 (Dong et al.,
    arXiv:1911.03852) takes the mean of the diagonal for each layer, and weights alone.

    Parameters
    ----------
    trials
        Makes the formats.
    calls
        Calibration data.

    Raises
    ------
    ArgumentError
        If the network has states, whose errors go on from step to step.
    """
    graph = trials.graph
    if graph.states:
        raise ArgumentError(
            f"{graph.name} is recurrent: its sensitivities must be measured, not predicted"
        )
    formats = _graphs_by_width(trials)
    added = {choice.name: dict.fromkeys(choice.widths, 0.0) for choice in trials.choices}
    generator = torch.Generator().manual_seed(0)
    squares: dict[str, torch.Tensor] = {}
    for number, call in enumerate(calls):
        if trials.progress is not None:
            trials.progress(number, len(calls), "curvature")
        values, gradients = _squared_gradients(trials, call, generator)
        for choice in trials.choices:
            if choice.kind == "weight":
                # The gradient for a weight sums over the batch: one Hessian for all images.
                known = squares.get(choice.name, torch.zeros(()))
                squares[choice.name] = known + gradients[choice.name]
                continue
            for width in choice.widths:
                form = formats[width].values[choice.name].format
                assert form is not None
                real = values[choice.name].numpy()
                error = dequantize(quantize(real, form), form) - real
                added[choice.name][width] += float(
                    (gradients[choice.name].numpy() * error**2).sum()
                )
    for choice in trials.choices:
        if choice.kind == "weight":
            real = graph.constants_by_name[choice.name].data
            for width in choice.widths:
                error = formats[width].constants_by_name[choice.name].values - real
                noise = float((squares[choice.name].numpy() * error**2).sum())
                added[choice.name][width] = noise
    base = 0.0
    for choice in trials.choices:
        least = added[choice.name][choice.widths[-1]]
        base += least
        for width in choice.widths:
            added[choice.name][width] = max(added[choice.name][width] - least, 0.0)
    return base, added


def _graphs_by_width(trials: Trials) -> dict[int, Graph]:
    """Return an integer graph for each width, with that width wherever it is a choice."""
    widths = sorted({width for choice in trials.choices for width in choice.widths})
    return {
        width: trials.lowered(
            {
                choice.name: width if width in choice.widths else choice.widths[-1]
                for choice in trials.choices
            }
        )
        for width in widths
    }


def _squared_gradients(
    trials: Trials, call: Sequence[torch.Tensor], generator: torch.Generator
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the values of one call, and the mean squared gradients of all choices."""
    graph = trials.graph
    names = [choice.name for choice in trials.choices]
    inputs = [tensor.to("cpu", torch.float64) for tensor in call]
    constants = {
        name: _leaf(constant, name in names) for name, constant in graph.constants_by_name.items()
    }
    values: dict[str, torch.Tensor] = {
        value.name: tensor.clone().requires_grad_()
        for value, tensor in zip(graph.inputs, inputs, strict=True)
    }
    with torch.enable_grad():
        evaluate(graph, values, constants)
        wanted = [constants[name] if name in constants else values[name] for name in names]
        squares = [torch.zeros_like(tensor) for tensor in wanted]
        for probe in range(PROBES):
            signs = [
                torch.randint(0, 2, values[name].shape, generator=generator) * 2.0 - 1
                for name in graph.outputs
            ]
            gradients = torch.autograd.grad(
                [values[name] for name in graph.outputs],
                wanted,
                signs,
                retain_graph=probe < PROBES - 1,
                allow_unused=True,
            )
            for square, gradient in zip(squares, gradients, strict=True):
                if gradient is not None:
                    square += gradient.detach() ** 2 / PROBES
    return (
        {name: tensor.detach() for name, tensor in values.items()},
        dict(zip(names, squares, strict=True)),
    )


def _leaf(constant: Constant, differentiated: bool) -> torch.Tensor:
    return torch.tensor(np.asarray(constant.values)).requires_grad_(differentiated)
