"""Refinement of a network's weights and biases, layer by layer in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fxp.executors.calls import Calls
from fxp.graph import Constant, Graph, Node
from fxp.quantization.refinement.biases import mean_error, rounded_bias, with_bias_less
from fxp.quantization.refinement.layers import linear_nodes
from fxp.quantization.refinement.rounding import learned_rounding
from fxp.quantization.refinement.values import LiveValues
from fxp.quantization.settings import LoweringSettings
from fxp.support.progress import Progress


@dataclass(frozen=True)
class Refinement:
    """What to refine.

    Attributes
    ----------
    rounding
        Whether weights are rounded by what their layers give.
    biases
        Whether biases take off the mean errors of their layers.
    add_biases
        Whether layers that have no bias get one for that.
    most_columns
        Layers with more weights per output channel keep the nearest integers.
    """

    rounding: bool
    biases: bool
    add_biases: bool = False
    most_columns: int = 1 << 62


def refine(
    reference: Graph,
    graph: Graph,
    lowered: Graph,
    settings: LoweringSettings,
    calls: Calls,
    refinement: Refinement,
    progress: Progress | None = None,
) -> tuple[Graph, LoweringSettings]:
    """Refine weights and biases.

    A refined layer is part of the network that the next ones are refined for. The network runs
    once, one node after the other; `fxp.quantization.lowering.lower` makes the integer graph of the
    result, and proves accumulators and exact formats again.

    Parameters
    ----------
    reference
        The float graph that the outputs of layers should be those of.
    graph
        The same, or what an earlier refinement made of it.
    lowered, settings
        What `fxp.quantization.lowering.lower` made of `graph`, and with what settings.
    calls
        Images to fit the refinements to, as calls with a batch of one.
    refinement
        What to refine.
    progress
        Called before every layer.

    Returns
    -------
    tuple
        The float graph with its new biases, and the settings with the rounded weights.
    """
    values = LiveValues(reference, lowered, calls)
    layers = [node.name for node in linear_nodes(lowered)]
    weights = dict(settings.weights)
    errors: dict[str, NDArray[np.float64]] = {}
    for node in lowered.nodes:
        values.run_float(node.name)
        constants: dict[str, Constant] = {}
        if node.name in layers:
            if progress is not None:
                progress(layers.index(node.name), len(layers), f"refining {node.name}")
            weight = lowered.constants_by_name[node.inputs[1]]
            has_bias = refinement.biases and (len(node.inputs) > 2 or refinement.add_biases)
            if refinement.rounding and _may_learn(lowered, weight, refinement):
                learned = learned_rounding(graph, node, weight, values, free_bias=has_bias)
                if learned is not None:
                    weights[weight.name] = constants[weight.name] = weight = learned
            values.run_fixed(node, constants)
            if has_bias:
                error = errors[node.name] = _corrected(
                    graph, lowered, node, weight, values, constants
                )
                node, bias = _with_bias(graph, lowered, node, weight, error)
                constants[bias.name] = bias
                values.run_fixed(node, constants)
        else:
            values.run_fixed(node, constants)
        values.drop_after(node.name)
    for name, error in errors.items():
        graph = with_bias_less(graph, graph.node(name), error)
    return graph, replace(settings, weights=weights)


def _may_learn(lowered: Graph, weight: Constant, refinement: Refinement) -> bool:
    """Whether the weights belong to one layer alone, which is not too large."""
    readers = lowered.consumers[weight.name]
    return len(readers) == 1 and weight.data[0].size <= refinement.most_columns


def _corrected(
    graph: Graph,
    lowered: Graph,
    node: Node,
    weight: Constant,
    values: LiveValues,
    constants: Mapping[str, Constant],
) -> NDArray[np.float64]:
    """Return what to take off the bias of a layer that was just computed, ``(channels,)``.

    Where most of a channel has one value, as where nothing moves, the result is rounded anew and
    may end as far on the other side, or farther. Such channels keep their biases; the layers that
    read them make up for it.
    """
    error = mean_error(values, node.name)
    changed, bias = _with_bias(graph, lowered, node, weight, error)
    values.run_fixed(changed, {**constants, bias.name: bias})
    return np.where(np.abs(mean_error(values, node.name)) < np.abs(error), error, 0.0)


def _with_bias(
    graph: Graph, lowered: Graph, node: Node, weight: Constant, error: NDArray[np.float64]
) -> tuple[Node, Constant]:
    """Return a node of the integer graph with a bias that is lower by the error."""
    names = graph.node(node.name).inputs[2:]
    real = graph.constants_by_name[names[0]].data - error if names else -error
    source = lowered.values[node.inputs[0]].format
    assert source is not None
    bias = rounded_bias(f"{node.name}.bias.refined", real, weight, source)
    return replace(node, inputs=(*node.inputs[:2], bias.name)), bias
