"""Which stage runs a convolution."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from fxp.engine.chains import Chain
from fxp.engine.convolution_stages import ConvolutionStage, DenseStage, DepthwiseStage
from fxp.engine.depthwise_stages import DepthwiseRowsStage
from fxp.engine.few_channels import BlockedStage, ShuffledStage, SumsStage
from fxp.engine.geometry import (
    MAX_LANES,
    Geometry,
    best_block,
    fits_pairs,
    geometry,
    input_limits,
    merge_groups,
    sums_fit,
)
from fxp.engine.phases import PhasesStage, shuffled_phases, transposed_phases
from fxp.engine.stages import CommandStage
from fxp.engine.wide_stages import WideSumsStage, wide_stage
from fxp.graph import Graph
from fxp.graph.ops import ConvTranspose2d
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
    source = graph.operands[chain.head.name][0]
    if chain.finish is None or source.format.dtype.itemsize not in INTEGERS:
        return None

    def plain(part: Chain, shape: Geometry) -> ConvolutionStage:
        return _plain_stage(graph, part, shape, tiles)

    shape = geometry(graph, chain)
    few = tiles.dense[-1][1]
    if isinstance(chain.head.op, ConvTranspose2d) and chain.factor == 1:
        channels = graph.operands[chain.head.name][1].channels
        if shape is None or channels // chain.head.op.groups >= few:
            return PhasesStage(graph, chain, *transposed_phases(graph, chain), plain)
    if shape is None:
        return None
    channels = len(shape.weight)
    if 1 < shape.factor == chain.factor and channels // shape.factor**2 >= few:
        factors = (shape.factor, shape.factor)
        return PhasesStage(graph, chain, factors, shuffled_phases(shape), plain)
    if shape.factor > chain.factor:
        # Every channel of the chain stands for all its phases.
        order = np.arange(channels) // shape.factor**2
        chain = replace(chain, finish=chain.finish.taken(order))
    narrow = _narrow(graph, chain, shape)
    assert chain.finish is not None
    if (
        narrow
        and not chain.finish.wide
        and shape.factor == 1
        and shape.is_depthwise
        and channels >= tiles.depthwise[-1][0]
        and DepthwiseRowsStage.takes(shape)
    ):
        return DepthwiseRowsStage(graph, chain, shape, tiles)
    single = channels == shape.factor**2 and channels <= MAX_LANES
    if not single or not fits_pairs(graph, chain):
        return plain(chain, shape)
    limits = input_limits(graph, chain)
    if not narrow or (shape.factor == 1 and chain.finish.wide):
        alone, make = plain(chain, shape), partial(WideSumsStage, graph, tiles=tiles, limits=limits)
        if not isinstance(alone, WideSumsStage):
            return alone
        shape = merge_groups(shape, channels)
    else:
        make = partial(ShuffledStage, graph, tiles=tiles)
        if shape.factor > 1:
            shape = merge_groups(shape, channels)
        alone = (ShuffledStage if shape.factor > 1 else SumsStage)(graph, chain, shape, tiles)
    block = best_block(shape)
    if block == 1 or (shape.stride, shape.dilation) != ((1, 1), (1, 1)):
        return alone
    return BlockedStage(graph, chain, shape, block, make, alone)


def _narrow(graph: Graph, chain: Chain, shape: Geometry) -> bool:
    """Whether operands fit int16, and sums of products int32."""
    assert chain.finish is not None
    if not fits_pairs(graph, chain):
        return False
    return not chain.finish.wide or sums_fit(shape, input_limits(graph, chain))


def _plain_stage(graph: Graph, chain: Chain, shape: Geometry, tiles: Tiles) -> ConvolutionStage:
    """Make the stage of any convolution, in the order of its pixels.

    Parameters
    ----------
    graph
        The graph.
    chain
        The nodes to compute, with a finish.
    shape
        The convolution.
    tiles
        Register tiles of the processor.
    """
    channels, few = len(shape.weight), tiles.dense[-1][1]
    if _narrow(graph, chain, shape):
        if shape.factor == 1 and shape.is_depthwise and channels >= tiles.depthwise[-1][0]:
            return DepthwiseStage(graph, chain, shape, tiles)
        if shape.factor == 1:
            shape = merge_groups(shape, few)
            if channels // shape.groups >= few:
                return DenseStage(graph, chain, shape, tiles)
        shape = merge_groups(shape, channels)
        assert chain.finish is not None
        if not chain.finish.wide:
            return SumsStage(graph, chain, shape, tiles)
    return wide_stage(graph, chain, shape, tiles, input_limits(graph, chain))
