"""Which stage runs a convolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import DenseStage, DepthwiseStage
from fxp.engine.depthwise_stages import DepthwiseRowsStage
from fxp.engine.few_channels import BlockedStage, ShuffledStage, SumsStage
from fxp.engine.geometry import (
    MAX_LANES,
    best_block,
    fits_pairs,
    geometry,
    merge_groups,
    sums_fit,
)
from fxp.engine.stages import CommandStage
from fxp.engine.wide_stages import wide_stage
from fxp.graph import Graph
from fxp.kernels.commands import INTEGERS
from fxp.kernels.host import Tiles


def direct_stage(graph: Graph, chain: Chain, tiles: Tiles) -> CommandStage | None:
    """Make the stage that runs a convolution directly, if its channels suit some tile.

    Parameters
    ----------
    graph
        The graph.
    chain
        The nodes to compute.
    tiles
        Register tiles of the processor.
    """
    shape = geometry(graph, chain)
    source = graph.operands[chain.head.name][0]
    if shape is None or chain.finish is None or source.format.dtype.itemsize not in INTEGERS:
        return None
    channels = len(shape.weight)
    if shape.factor > chain.factor:
        # Every channel of the chain stands for all its phases.
        order = np.arange(channels) // shape.factor**2
        chain = replace(chain, finish=chain.finish.taken(order))
    finish = chain.finish
    assert finish is not None
    if not fits_pairs(graph, chain) or (finish.wide and not sums_fit(shape, source.limits)):
        return wide_stage(graph, chain, shape, tiles, source.limits)
    few = tiles.dense[-1][1]
    if shape.factor == 1 and shape.is_depthwise and channels >= tiles.depthwise[-1][0]:
        rows = not finish.wide and DepthwiseRowsStage.takes(shape)
        return (DepthwiseRowsStage if rows else DepthwiseStage)(graph, chain, shape, tiles)
    if shape.factor == 1:
        shape = merge_groups(shape, few)
        if channels // shape.groups >= few:
            return DenseStage(graph, chain, shape, tiles)
    shape = merge_groups(shape, channels)
    single = channels == shape.factor**2 and channels <= MAX_LANES
    if finish.wide and not (single and shape.factor > 1):
        return wide_stage(graph, chain, shape, tiles, source.limits)
    if not single:
        return SumsStage(graph, chain, shape, tiles)
    plain = (ShuffledStage if shape.factor > 1 else SumsStage)(graph, chain, shape, tiles)
    block = best_block(shape)
    if block == 1 or (shape.stride, shape.dilation) != ((1, 1), (1, 1)):
        return plain
    return BlockedStage(graph, chain, shape, tiles, block, plain)
