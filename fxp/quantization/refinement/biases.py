"""Bias correction: what a layer's outputs are off by on average is taken off its bias.

After M. Nagel, M. van Baalen, T. Blankevoort and M. Welling, "Data-Free Quantization Through
Weight Equalization and Bias Correction", ICCV 2019, arXiv:1906.04721; the empirical variant, which
measures the error on calibration data.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fxp.formats import Format
from fxp.graph import Constant, Graph, Node
from fxp.quantization.refinement.layers import channel_means
from fxp.quantization.refinement.values import LiveValues


def mean_error(values: LiveValues, node: str) -> NDArray[np.float64]:
    """How far the mean of each channel of a node lies above that of the float network.

    What the node's format clips does not count: behind a sigmoid it does no harm, and elsewhere a
    bias cannot make up for it.

    Parameters
    ----------
    values
        Those of both networks.
    node
        Name of the node, which was just computed.
    """
    errors = [
        channel_means(values.fixed(node, image)) - channel_means(values.clipped(node, image))
        for image in range(values.count)
    ]
    return np.mean(errors, axis=0)


def rounded_bias(
    name: str, real: NDArray[np.float64], weight: Constant, source: Format
) -> Constant:
    """Return a bias with the binary points of the products that it is added to.

    Parameters
    ----------
    name
        Name of the constant.
    real
        Real numbers ``(channels,)``.
    weight
        Integer weights of the layer.
    source
        Format of the layer's input.
    """
    fracs = np.array([form.frac for form in weight.formats]) + source.frac
    raws = np.rint(np.ldexp(real, fracs)).astype(np.int64)
    width = Format.for_range(min(int(raws.min()), -1), max(int(raws.max()), 0), 0).width
    return Constant(name, raws, tuple(Format(width, int(frac)) for frac in fracs))


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
