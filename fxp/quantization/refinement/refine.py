"""Lowering with refinements, layer by layer in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fxp.graph import Graph
from fxp.quantization.calibrate import Statistics
from fxp.quantization.lowering import lower
from fxp.quantization.options import QuantizeOptions
from fxp.quantization.refinement.biases import mean_error, with_bias_less
from fxp.quantization.refinement.layers import Calls, float_targets, linear_nodes
from fxp.quantization.refinement.rounding import learned_rounding
from fxp.quantization.settings import LoweringSettings
from fxp.support.progress import Progress


def refine(
    graph: Graph,
    statistics: Mapping[str, Statistics],
    settings: LoweringSettings,
    calls: Calls,
    options: QuantizeOptions,
    progress: Progress | None = None,
) -> Graph:
    """Turn a float graph into an integer graph with refined weights and biases.

    A refined layer is part of the network that the next ones are refined for. Every change goes
    through `fxp.quantization.lowering.lower`, which proves accumulators and exact formats again.

    Parameters
    ----------
    graph, statistics, settings
        As for `fxp.quantization.lowering.lower`.
    calls
        Calibration data.
    options
        What to refine: `weight_rounding`, `bias_correction` and `add_biases`; the defaults give
        what `fxp.quantization.lowering.lower` gives.
    progress
        Called before every layer.
    """
    lowered = lower(graph, statistics, settings)
    learns, corrects = options.weight_rounding == "learned", options.bias_correction
    if not learns and not corrects:
        return lowered
    targets = float_targets(graph, calls)
    names = [node.name for node in linear_nodes(graph)]
    done: set[str] = set()
    for position, name in enumerate(names):
        if progress is not None:
            progress(position, len(names), name)
        node = graph.node(name)
        has_bias = corrects and (len(node.inputs) > 2 or options.add_biases)
        weight = lowered.constants_by_name[lowered.node(name).inputs[1]]
        if learns and weight.name not in done:
            done.add(weight.name)
            learned = learned_rounding(graph, lowered, weight, targets, calls, free_bias=has_bias)
            if learned is not None:
                settings = replace(settings, weights={**settings.weights, weight.name: learned})
                lowered = lower(graph, statistics, settings)
        if has_bias:
            error = mean_error(lowered, name, targets[name].mean, calls)
            graph = with_bias_less(graph, node, error)
            lowered = lower(graph, statistics, settings)
    return lowered
