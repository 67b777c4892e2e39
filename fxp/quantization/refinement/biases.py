"""Bias correction: what a layer's outputs are off by on average is taken off its bias.

After M. Nagel, M. van Baalen, T. Blankevoort and M. Welling, "Data-Free Quantization Through
Weight Equalization and Bias Correction", ICCV 2019, arXiv:1906.04721; the empirical variant, which
measures the error on calibration data.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fxp.graph import Constant, Graph, Node
from fxp.quantization.refinement.layers import Calls, channel_means, fixed_values


def mean_error(
    lowered: Graph, node: str, mean: NDArray[np.float64], calls: Calls
) -> NDArray[np.float64]:
    """How far the mean of each channel of a node lies above that of the float network.

    Parameters
    ----------
    lowered
        An integer graph.
    node
        Name of the node.
    mean
        What its channels should be on average.
    calls
        Calibration data.
    """
    means = [channel_means(values[node]) for values in fixed_values(lowered, calls, [node])]
    return np.mean(means, axis=0) - mean


def with_bias_less(graph: Graph, node: Node, error: NDArray[np.float64]) -> Graph:
    """Return a float graph whose layer has its own bias, lower by the error.

    A bias that the layer lacks is added; of one that others share it gets a copy.

    Parameters
    ----------
    graph
        A float graph.
    node
        Its `Conv2d`, `ConvTranspose2d` or `Linear`.
    error
        Real numbers ``(channels,)`` to take off the bias.
    """
    names = {*graph.values, *graph.constants_by_name}
    bias = graph.constants_by_name.get(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None and len(graph.consumers[bias.name]) == 1:
        changed = replace(bias, data=bias.data - error, derivation=None)
        constants = [changed if item is bias else item for item in graph.constants]
        return graph.with_nodes(graph.nodes, constants)
    name = f"{node.name}.bias"
    while name in names:
        name += "_"
    data = (0.0 if bias is None else bias.data) - error
    inputs = (*node.inputs[:2], name)
    nodes = (replace(item, inputs=inputs) if item is node else item for item in graph.nodes)
    return graph.with_nodes(nodes, [*graph.constants, Constant(name, data)])
