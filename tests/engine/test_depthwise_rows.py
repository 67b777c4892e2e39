"""Depthwise convolutions by rows of taps: every kernel, with every remainder of its tiles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine_graphs import (
    FULL,
    OPTIONS,
    RUNS,
    SIGNED_PIXEL,
    Network,
    check,
    plan_of,
    random_images,
)

from fxp.formats import Format
from fxp.graph import Graph
from fxp.graph.ops import Add, Conv2d, Relu
from fxp.kernels.depthwise_rows import row_pairs

TILED = {name: OPTIONS[name] for name in OPTIONS if "registers" in name}


def depthwise(channels: int, kernel: tuple[int, int], stride: int, *, more: str = "") -> Graph:
    """One convolution, with what follows it in its chain."""
    network = Network(np.random.default_rng(channels))
    source = network.image(channels, FULL if more == "wide" else SIGNED_PIXEL)
    target = {"": Format(12, 5), "wide": Format(24, 8)}.get(more)
    conv = network.conv(
        source, channels, kernel, groups=channels, stride=(stride, stride), bias=True, to=target,
        per_channel=channels % 3 == 0,
    )  # fmt: skip
    if more == "relu":
        network.node(Relu(), conv, to=Format(11, 5))
    elif more == "add":
        network.node(Add(), conv, source, to=Format(12, 5))
    return network.graph()


@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "more"),
    [
        (24, (2, 3), 1, ""),
        (33, (3, 3), 1, "add"),
        (16, (1, 5), 1, "relu"),
        (40, (1, 7), 1, ""),
        (9, (1, 3), 4, ""),
        (32, (5, 3), 2, "relu"),
        (16, (5, 5), 2, "wide"),
    ],
)
def test_every_width(channels: int, kernel: tuple[int, int], stride: int, more: str) -> None:
    graph = depthwise(channels, kernel, stride, more=more)
    generator = np.random.default_rng(0)
    runs = itertools.cycle(RUNS)
    for width in range(1, 41):
        inputs = random_images(
            graph, (1 + width % 5, width), generator, ("random", "ends")[width % 2]
        )
        check(graph, inputs, TILED, [next(runs)])
        next(runs)
    kernels = {stage.kernel for stage in plan_of(graph, inputs).program.stages}
    assert kernels == {"depthwise rows"}


def test_what_the_kernels_are_not_made_for() -> None:
    """Even and long rows of taps, gaps between taps and long strides take taps in pairs."""
    for kernel, stride, dilation in (
        ((3, 4), 1, 1), ((1, 9), 1, 1), ((3, 3), 1, 2), ((3, 3), 3, 1), ((3, 1), 1, 1),
    ):  # fmt: skip
        network = Network()
        network.conv(
            network.image(16), 16, kernel, groups=16, stride=(stride, stride),
            dilation=(1, dilation),
        )  # fmt: skip
        graph = network.graph()
        inputs = random_images(graph, (7, 19), np.random.default_rng(0))
        check(graph, inputs, TILED, RUNS[::3])
        (stage,) = plan_of(graph, inputs).program.stages
        assert stage.kernel == "depthwise tiles"


def test_rows_apart() -> None:
    """The rows of taps, unlike the taps of a row, may be apart."""
    network = Network()
    network.conv(network.image(16, Format(10, 5)), 16, (3, 3), groups=16, dilation=(3, 1))
    graph = network.graph()
    inputs = random_images(graph, (9, 21), np.random.default_rng(0))
    check(graph, inputs, TILED, RUNS[::3])
    assert plan_of(graph, inputs).program.stages[0].kernel == "depthwise rows"


@pytest.mark.parametrize("pattern", ["smallest", "largest", "ends"])
@pytest.mark.parametrize("shift", [0, 7, 16])
def test_extremes(shift: int, pattern: str) -> None:
    """Sums close to both ends of int32, with half a step; results that saturate int16."""
    network = Network()
    data = np.full((24, 1, 1, 3), -(2**15))
    data[:, :, :, 2] = 2**15 - 1
    data[:, :, :, 1] = 1
    source = network.image(24, Format(16, 0))
    bias = network.constant(np.full(24, -5), Format(20, 0))
    op = Conv2d(padding=(0, 0, 1, 1), groups=24)
    weight = network.constant(data, Format(16, 0))
    network.node(op, source, weight, bias, to=Format(16, -shift))
    graph = network.graph()
    assert graph.nodes[0].accumulator is not None
    assert graph.nodes[0].accumulator.bits == 32
    inputs = random_images(graph, (5, 33), network.generator, pattern)
    check(graph, inputs, TILED, RUNS[::3])


def test_pairs_of_taps() -> None:
    """The last of an odd number of taps has a partner that is interleaved anyway."""
    assert row_pairs(3, 1) == [(0, True), (1, False)]
    assert row_pairs(3, 2) == [(0, True), (2, True)]
    assert row_pairs(5, 1) == [(0, True), (2, True), (3, False)]
    assert row_pairs(7, 4) == [(0, True), (2, True), (4, True), (6, True)]
