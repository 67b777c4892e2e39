"""Convolutions by every register tile: all geometries, all sizes, all channel counts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pytest
from engine_graphs import (
    BYTE,
    FEW_RUNS,
    FULL,
    OPTIONS,
    PIXEL,
    RUNS,
    SIGNED_PIXEL,
    TILES,
    Network,
    check,
    compare,
    near,
    plan_of,
    random_images,
    same_padding,
    tiles_in_turn,
)

from fxp.engine import Engine, Options
from fxp.engine.packing import split_channels
from fxp.executors import oracle
from fxp.formats import Format
from fxp.graph import Graph
from fxp.graph.ops import Add, Conv2d, ConvTranspose2d, GraphError, Linear, PixelShuffle, Relu
from fxp.kernels.host import FEW, MANY_NARROW, MANY_WIDE, Tiles

T = TypeVar("T")

KERNELS = ((1, 1), (2, 2), (3, 3), (5, 5), (7, 7), (1, 5), (5, 1), (1, 7), (9, 9), (3, 5))
CHANNELS = (1, 2, 3, 4, 5, 8, 16, 17, 24, 31, 32, 33, 40, 48, 64, 65)
PADDINGS = ("same", "none", "uneven", "more than the kernel", "reflect", "replicate", "symmetric")
GROUPS = ("one", "one", "two", "all", "all, two outputs each")
INPUTS = (PIXEL, SIGNED_PIXEL, FULL, BYTE, Format(15, 15, signed=False), Format(1, 0))
MOST_PRODUCTS = 3_000_000
COUNT = 64


@dataclass(frozen=True)
class Geometry:
    """What a convolution is like."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    groups: str
    channels: tuple[int, int]
    padding: str
    source: Format
    weight_bits: int
    bias: bool
    per_channel: bool

    def graph(self, generator: np.random.Generator) -> Graph:
        """Graph of this convolution alone."""
        network = Network(generator)
        first, second = self.channels
        groups = {"one": 1, "two": 2}.get(self.groups, first)
        if self.groups == "two":
            first, second = first + first % 2, second + second % 2
        elif self.groups.startswith("all"):
            second = first * (2 if "two" in self.groups else 1)
        before, after, left, right = same_padding(self.kernel, self.dilation)
        padding = {
            "none": (0, 0, 0, 0),
            "uneven": (before, after + 1, 0, right),
            "more than the kernel": (self.kernel[0] + 1, 0, left, self.kernel[1] + 2),
        }.get(self.padding, (before, after, left, right))
        mode = "zero" if self.padding in PADDINGS[:4] else self.padding
        source = network.image(first, self.source)
        weight = network.weight(
            (second, first // groups, *self.kernel), self.weight_bits, self.per_channel
        )
        names = [source, weight, *([network.bias(source, weight)] if self.bias else [])]
        op = Conv2d(self.stride, padding, mode, self.dilation, groups)  # type: ignore[arg-type]
        operands = [network.known[name] for name in names]
        network.node(op, *names, to=near(op, *operands, bits=int(generator.integers(6, 17))))
        return network.graph()


def deck(generator: np.random.Generator, choices: Sequence[T]) -> Iterator[T]:
    """All choices in random order, again and again: each comes about equally often."""
    while True:
        for index in generator.permutation(len(choices)):
            yield choices[index]


def geometries() -> list[Geometry]:
    """Convolutions in which every choice of every property occurs."""
    generator = np.random.default_rng(20)
    decks = [
        deck(generator, choices)
        for choices in (
            KERNELS, ((1, 1), (1, 1), (2, 2), (3, 3), (1, 2)), ((1, 1), (1, 1), (2, 2), (2, 1)),
            GROUPS, CHANNELS, CHANNELS, PADDINGS, INPUTS, (6, 8, 16), (True, False),
            (False, True),
        )
    ]  # fmt: skip
    found = []
    for _ in range(COUNT):
        kernel, stride, dilation, groups, first, second, padding, *rest = map(next, decks)
        found.append(
            Geometry(kernel, stride, dilation, groups, (first, second), padding, *rest)  # type: ignore[arg-type]
        )
    return found


def fitting_sizes(
    graph: Graph, generator: np.random.Generator, count: int = 2
) -> list[tuple[int, int]]:
    """Random sizes of 1 to 40 that the convolution takes, small enough for the oracle."""
    found: list[tuple[int, int]] = []
    products = graph.constants[0].data[0].size
    refused = 0
    while len(found) < count:
        # Large kernels with many channels take small images only.
        most = max(40 - refused, 24)
        size = (int(generator.integers(1, most + 1)), int(generator.integers(1, most + 1)))
        try:
            shape = graph.concrete_shapes({"H": size[0], "W": size[1]})["node0"]
        except GraphError:
            continue
        if products * np.prod(shape) <= MOST_PRODUCTS or refused > 50:  # type: ignore[arg-type]
            found.append(size)
        else:
            refused += 1
    return found


@pytest.mark.parametrize("number", range(COUNT))
def test_geometry(number: int) -> None:
    generator = np.random.default_rng(number)
    graph = geometries()[number].graph(generator)
    engines = [Engine(graph, options) for options in tiles_in_turn(number).values()]
    runs = itertools.cycle(RUNS)
    for pattern, size in zip(("random", "ends"), fitting_sizes(graph, generator), strict=True):
        inputs = random_images(graph, size, generator, pattern)
        expected = oracle.run(graph, inputs)
        for engine in engines:
            compare(engine, expected, inputs, itertools.islice(runs, 3))
        next(runs)


def test_geometries_are_many() -> None:
    """Every value of every property is there, and so is every kind of kernel."""
    found = geometries()
    for name, choices in (
        ("kernel", KERNELS), ("padding", PADDINGS), ("groups", GROUPS), ("source", INPUTS),
    ):  # fmt: skip
        assert {getattr(item, name) for item in found} == {*choices}
    assert {channels for item in found for channels in item.channels} == {*CHANNELS}
    assert {item.stride for item in found} >= {(1, 1), (2, 2), (3, 3)}
    kernels = set()
    for number, item in enumerate(found):
        graph = item.graph(np.random.default_rng(number))
        inputs = random_images(graph, (20, 20), np.random.default_rng(0))
        stages = plan_of(graph, inputs, OPTIONS["few registers"]).program.stages
        kernels |= {stage.kernel.split(",")[0] for stage in stages}
    assert kernels >= {"pair tiles", "pair tiles in chunks", "depthwise tiles"}
    assert "portable" not in kernels


def typical_graphs() -> dict[str, Graph]:
    """Convolutions as networks have them, for every kernel of the engine."""
    made: dict[str, Graph] = {}

    def add(name: str, network: Network) -> None:
        made[name] = network.graph()

    def single(name: str, channels: tuple[int, int], kernel: tuple[int, int], **more) -> None:
        network = Network(np.random.default_rng(len(made)))
        source = network.image(channels[0], more.pop("source", SIGNED_PIXEL))
        network.conv(source, channels[1], kernel, bias=True, to=Format(10, 4), **more)
        add(name, network)

    single("dense", (5, 24), (3, 3))
    single("odd channels", (4, 33), (1, 1), per_channel=True)
    single("strided", (3, 20), (3, 3), stride=(2, 2), padding=(1, 1, 1, 1))
    single("dilated", (3, 16), (3, 3), dilation=(2, 2))
    single("groups", (8, 10), (3, 3), groups=2)
    single("depthwise", (17, 17), (5, 5), groups=17)
    single("to one channel", (8, 1), (5, 5))
    single("to three channels", (6, 3), (3, 3))
    single("to many sums", (16, 9), (1, 1), bits=16, source=FULL)
    single("three by three", (32, 32), (3, 3), bits=4, source=BYTE)
    single("reflected", (6, 8), (3, 3), padding_mode="reflect")
    for factor, channels in ((2, 4), (2, 12), (3, 9), (4, 16)):
        network = Network(np.random.default_rng(factor))
        conv = network.conv(network.image(6, PIXEL), channels, to=None)
        network.node(PixelShuffle(factor), conv, to=Format(9, 9))
        add(f"shuffled {channels} by {factor}", network)
    network = Network(np.random.default_rng(9))
    source = network.image(8)
    weight = network.weight((3, 8, 9, 9))
    op = ConvTranspose2d((3, 3), (4, 4), (2, 2))
    network.node(op, source, weight, to=Format(10, 4))
    add("transposed", network)
    return made


TYPICAL = typical_graphs()


@pytest.mark.parametrize(("number", "name"), enumerate(TYPICAL))
def test_every_size(number: int, name: str) -> None:
    """Each width and each height from 1 to 40."""
    graph = TYPICAL[name]
    generator = np.random.default_rng(1)
    engines = [Engine(graph, options) for options in tiles_in_turn(number).values()]
    runs = itertools.cycle(RUNS)
    widths = []
    for width in range(1, 41):
        size = (width * 7 % 41, width)
        inputs = random_images(graph, size, generator, "random" if width % 2 else "ends")
        try:
            expected = oracle.run(graph, inputs)
        except GraphError:
            continue
        widths.append(width)
        for engine in engines:
            compare(engine, expected, inputs, [next(runs)])
        next(runs)
    assert len(widths) >= 38
    assert len({width * 7 % 41 for width in range(1, 41)}) == 40


@pytest.mark.parametrize(
    ("channels", "groups", "factor"),
    [(16, 16, 2), (16, 4, 2), (24, 3, 2), (24, 6, 2), (32, 16, 2), (60, 30, 2), (36, 12, 3),
     (72, 36, 3), (36, 18, 6)],
)  # fmt: skip
def test_groups_before_a_pixel_shuffle(channels: int, groups: int, factor: int) -> None:
    """The channels of a pixel may come from one group, a few, or parts of groups."""
    network = Network(np.random.default_rng(channels * groups))
    source = network.image(groups if groups > channels // 2 else 2 * groups, SIGNED_PIXEL)
    conv = network.conv(source, channels, (3, 2), to=None, bias=True, groups=groups)
    network.node(PixelShuffle(factor), conv, to=Format(10, 4))
    graph = network.graph()
    for size in ((5, 13), (3, 34)):
        check(graph, random_images(graph, size, network.generator), TILES, FEW_RUNS)


def winograd_graph(generator: np.random.Generator) -> Graph:
    """Convolutions that Winograd may suit, alone or between small ones, with a clip or a sum."""

    def pick(*choices: T) -> T:
        return choices[generator.integers(len(choices))]

    network = Network(generator)
    first, second = pick(32, 32, 40, 48, 64), pick(32, 36, 40, 64)
    kernel = pick((3, 3), (3, 3), (5, 5), (3, 5), (5, 3))
    source = network.image(first, pick(PIXEL, SIGNED_PIXEL, BYTE, Format(10, 4, signed=False)))
    if generator.integers(3) == 0:
        source = network.conv(source, first, (1, 1), to=BYTE, bits=4)
    bits = int(generator.integers(3, 9))
    top, bottom, left, right = (int(number) for number in generator.integers(0, 4, 4))
    padding = pick(same_padding(kernel, (1, 1)), (top, bottom, left, right))
    conv = network.conv(
        source, second, kernel, bits=bits, bias=True, padding=padding, to=None,
        per_channel=generator.integers(4) == 0,
    )  # fmt: skip
    frac = network.known[conv].format.frac
    if padding == same_padding(kernel, (1, 1)) and generator.integers(2):
        other = network.conv(source, second, (1, 1), to=Format(9, frac - 3), bits=4)
        conv = network.node(Add(), conv, other)
    conv = network.node(Relu(), conv, to=Format(10, network.known[conv].format.frac - 6))
    if generator.integers(3) == 0:
        network.conv(conv, 8, (1, 3), to=Format(10, 4))
    return network.graph()


def test_winograd() -> None:
    """Fast convolutions of any size in pieces of any size."""
    kernels: Counter[str] = Counter()
    for seed in range(20):
        generator = np.random.default_rng(seed)
        graph = winograd_graph(generator)
        size = (int(generator.integers(1, 20)), int(generator.integers(1, 41)))
        try:
            graph.concrete_shapes({"H": size[0], "W": size[1]})
        except GraphError:
            continue
        inputs = random_images(graph, size, generator, "ends" if seed % 2 else "random")
        expected = oracle.run(graph, inputs)
        rows, workspace = int(generator.integers(1, 9)), int(generator.integers(1, 1 << 16))
        options = next(iter(tiles_in_turn(seed).values()))
        chosen = replace(options, band_rows=rows, workspace_bytes=workspace)
        engine = Engine(graph, chosen)
        compare(engine, expected, inputs, [(1 + 2 * (seed % 2), False, False)])
        plan = engine.plan([array.shape for array in inputs])
        kernels.update(stage.kernel for stage in plan.program.stages)
    assert sum(count for name, count in kernels.items() if "winograd" in name) >= 14
    assert len([name for name in kernels if "winograd" in name]) >= 4


@pytest.mark.parametrize(
    ("tiles", "channels", "expected"),
    [
        (MANY_WIDE, 24, [(16, 0, 1, 0), (8, 16, 1, 0)]),
        (MANY_WIDE, 58, [(32, 0, 1, 0), (32, 26, 1, 6)]),
        (FEW, 31, [(16, 0, 1, 0), (16, 15, 1, 1)]),
        (FEW, 44, [(16, 0, 2, 0), (16, 28, 1, 4)]),
        (MANY_NARROW, 26, [(16, 0, 1, 0), (8, 16, 1, 0), (4, 22, 1, 2)]),
        (MANY_NARROW, 31, [(16, 0, 1, 0), (16, 15, 1, 1)]),
    ],
)
def test_the_last_tile_overlaps(
    tiles: Tiles, channels: int, expected: list[tuple[int, int, int, int]]
) -> None:
    """Wide tiles begin again before the end, and count no overflow twice."""
    found = [
        (vectors * lanes, *others)
        for (vectors, lanes, _), *others in split_channels(channels, tiles)
    ]
    assert found == expected
    network = Network(np.random.default_rng(channels))
    source = network.image(4, FULL)
    weight = network.weight((channels, 4, 1, 1))
    op = Conv2d()
    network.node(op, source, weight, to=near(op, network.known[source], network.known[weight]))
    graph = network.graph()
    inputs = random_images(graph, (3, 15), network.generator, "ends")
    result = check(graph, inputs, {"only": Options(tiles=tiles, piece_work=1)}, FEW_RUNS)
    assert result.clipped["node0"]


@pytest.mark.parametrize(("features", "results"), [(1, 1), (3, 8), (16, 33), (65, 17), (40, 64)])
@pytest.mark.parametrize("bits", [6, 16])
def test_linear(features: int, results: int, bits: int) -> None:
    generator = np.random.default_rng(features)
    network = Network(generator)
    source = network.vector(features, FULL)
    weight = network.weight((results, features), bits, per_channel=True)
    names = (source, weight, network.bias(source, weight))
    operands = [network.known[name] for name in names]
    first = network.node(Linear(), *names, to=near(Linear(), *operands, bits=9))
    network.node(Relu(), first, to=Format(8, network.known[first].format.frac - 1))
    graph = network.graph(first, network.nodes[-1].name)
    for pattern in ("random", "ends"):
        inputs = random_images(graph, (1, 1), generator, pattern)
        expected = oracle.run(graph, inputs)
        for options in OPTIONS.values():
            compare(Engine(graph, options), expected, inputs)
