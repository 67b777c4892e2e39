"""Which stage runs a convolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import DenseStage, DepthwiseStage, WideStage
from fxp.engine.depthwise_stages import DepthwiseRowsStage
from fxp.engine.few_channels import BlockedStage, ShuffledStage, SumsStage
from fxp.engine.geometry import MAX_LANES, best_block, fits_pairs, geometry
from fxp.engine.packing import chunks
from fxp.engine.stages import CommandStage
from fxp.graph import Graph
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
    if shape is None or not fits_pairs(graph, chain):
        return None
    assert chain.finish is not None
    channels = len(shape.weight)
    per_group = channels // shape.groups
    if shape.factor > chain.factor:
        # Every channel of the chain stands for all its phases.
        order = np.arange(channels) // shape.factor**2
        chain = replace(chain, finish=chain.finish.taken(order))
    finish = chain.finish
    assert finish is not None
    if finish.wide:
        if shape.factor > 1 or per_group < tiles.dense[-1][1]:
            return None
        pieces = chunks(shape, graph.operands[chain.head.name][0].limits)
        return pieces and WideStage(graph, chain, shape, tiles, pieces)
    if shape.factor == 1 and per_group >= tiles.dense[-1][1]:
        return DenseStage(graph, chain, shape, tiles)
    if shape.factor == 1 and shape.is_depthwise and channels >= tiles.depthwise[-1][0]:
        stage = DepthwiseRowsStage if DepthwiseRowsStage.takes(shape) else DepthwiseStage
        return stage(graph, chain, shape, tiles)
    if shape.groups > 1:
        return None
    if channels != shape.factor**2 or channels > MAX_LANES:
        return SumsStage(graph, chain, shape, tiles)
    plain = (ShuffledStage if shape.factor > 1 else SumsStage)(graph, chain, shape, tiles)
    block = best_block(shape)
    if block == 1 or (shape.stride, shape.dilation) != ((1, 1), (1, 1)):
        return plain
    return BlockedStage(graph, chain, shape, tiles, block, plain)
