"""Segments: stages that run together, line by line, whatever their pieces, bands and buffers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from cases import MODES
from engine_graphs import (
    BYTE,
    OPTIONS,
    SIGNED_PIXEL,
    Network,
    compare,
    plan_of,
    random_images,
)
from hypothesis import HealthCheck, Phase, given, settings
from random_graphs import Builder, GraphExample, graphs

from fxp.engine import Engine, Options, cutting
from fxp.engine import schedule as schedule_module
from fxp.engine.cutting import Pieces
from fxp.engine.schedule import Schedule, Segment, Span, schedule
from fxp.executors import oracle
from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Graph
from fxp.graph.ops import (
    Accumulator,
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Concat,
    ConvTranspose2d,
    GlobalMaxPool,
    GraphError,
    MaxPool,
    Multiply,
    Nearest,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Relu,
    Slice,
    Subtract,
)
from fxp.kernels.commands import FIRST_COLUMN, copy_rows

SMALL = Format(7, 3)
UNCOUNTED = ((1, False, False), (3, False, False))
STRIPS = {
    f"{rows} rows, {name}": replace(OPTIONS[name], band_rows=rows, workspace_bytes=1)
    for rows, name in (
        (1, "host"), (2, "few registers"), (3, "many narrow registers"), (1, "portable"),
        (8, "many wide registers"),
    )
}  # fmt: skip
"""Pieces as narrow as may be, of one row, a few and many."""


@pytest.fixture(autouse=True)
def narrow_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small images into many strips too."""
    monkeypatch.setattr(cutting, "MIN_COLUMNS", 3)


def check_segments(
    graph: Graph, size: tuple[int, int], generator: np.random.Generator
) -> dict[str, int]:
    """Compare under all options; returns the most stages, pieces and moves that a step has."""
    inputs = random_images(graph, size, generator)
    expected = oracle.run(graph, inputs)
    most: Counter[str] = Counter()
    for options in STRIPS.values():
        engine = Engine(graph, options)
        compare(engine, expected, inputs, UNCOUNTED)
        plan = engine.plan([a.shape for a in inputs], threads=1, count_clipped=False)
        for step in plan.steps:
            if isinstance(step, Pieces):
                commands = np.concatenate([item.commands for item in step.schedules])
                most |= Counter(
                    stages=len(step.stages),
                    pieces=len(step.schedules),
                    copies=int((commands[:, 0] == copy_rows.address).sum()),
                )
    return most


def residual(network: Network) -> str:
    """Skip connections around two convolutions each."""
    name = network.conv(network.image(3), 6)
    for _ in range(2):
        inner = network.node(Relu(), network.conv(name, 5), to=BYTE)
        name = network.node(Add(), network.conv(inner, 6), name, to=BYTE)
    return network.conv(name, 4)


def long_skip(network: Network) -> str:
    """A value that is read at once and far behind."""
    first = name = network.conv(network.image(2), 4)
    for kernel in ((5, 5), (1, 7), (3, 1)):
        name = network.conv(name, 4, kernel)
    return network.node(Subtract(), name, first, to=BYTE)


def super_resolution(network: Network) -> str:
    """Shuffle, then convolve at the higher rate, beside an upsampled skip."""
    source = network.image(1)
    name = network.conv(network.conv(source, 6, (5, 5)), 8)
    name = network.node(PixelShuffle(2), name, to=BYTE)
    name = network.conv(name, 1, (3, 5))
    return network.node(Add(), name, network.node(Nearest(2), source, to=BYTE), to=BYTE)


def down_and_up(network: Network) -> str:
    """Stride 2, upsampling, and skips at three rates."""
    first = network.conv(network.image(2, multiple=4), 4)
    second = network.conv(first, 6, stride=(2, 2), padding=(0, 1, 0, 1))
    third = network.conv(second, 8, stride=(2, 2), padding=(1, 0, 1, 0))
    up = network.node(PixelShuffle(2), network.conv(third, 24), to=BYTE)
    second = network.node(Add(), up, second, to=BYTE)
    weight = network.weight((4, 6, 4, 4))
    up = network.node(ConvTranspose2d((2, 2), (1, 1)), second, weight, to=BYTE)
    return network.conv(network.node(Concat(), up, first, to=BYTE), 3)


def pooled(network: Network) -> str:
    """Pooling and both smooth upsamplings."""
    first = network.conv(network.image(3, multiple=2), 4)
    low = network.conv(network.node(MaxPool(), first, to=BYTE), 4)
    smooth = network.node(BilinearUpsample(), low, to=BYTE)
    mean = network.node(AveragePool((2, 2), (2, 2)), first, to=BYTE)
    cubic = network.node(BicubicUpsample(), mean, to=BYTE)
    return network.conv(network.node(Multiply(), smooth, cubic, to=BYTE), 2)


def unshuffled(network: Network) -> str:
    """Work at half the rate."""
    source = network.image(2, multiple=2)
    name = network.conv(network.node(PixelUnshuffle(2), source, to=BYTE), 8)
    name = network.node(PixelShuffle(2), network.conv(name, 8), to=BYTE)
    return network.node(Add(), name, source, to=BYTE)


def cropped(network: Network) -> str:
    """Convolutions without padding, and a skip that is cropped to match."""
    source = network.conv(network.image(2), 4)
    name = network.conv(source, 4, padding=(0, 0, 0, 0))
    name = network.conv(name, 4, (5, 3), padding=(0, 0, 0, 0))
    skip = network.node(Slice("row", 3, -3), source, to=BYTE)
    skip = network.node(Slice("column", 2, -2), skip, to=BYTE)
    return network.node(Add(), name, skip, to=BYTE)


def cropped_far(network: Network) -> str:
    """The result begins far below and right of what is computed first."""
    first = network.conv(network.image(2), 4)
    second = network.conv(network.conv(first, 4), 4)
    below = network.node(Slice("row", 5, None), second, to=BYTE)
    above = network.node(Slice("row", 0, -5), first, to=BYTE)
    name = network.node(Add(), below, above, to=BYTE)
    right = network.node(Slice("column", 4, None), name, to=BYTE)
    left = network.node(Slice("column", 0, -4), name, to=BYTE)
    return network.node(Subtract(), right, left, to=BYTE)


def several_depths(network: Network) -> str:
    """Every value is read by several stages behind it."""
    names = [network.conv(network.image(2), 3)]
    for _ in range(3):
        joined = network.node(Concat(), *names, to=BYTE) if len(names) > 1 else names[0]
        names.append(network.conv(joined, 3, (3, 3)))
    return network.conv(network.node(Concat(), *names, to=BYTE), 2, (1, 1))


def mirrored(network: Network) -> str:
    """Borders that read lower rows later, in front and behind."""
    name = network.conv(network.image(3), 4, (7, 7), padding_mode="reflect")
    name = network.conv(name, 4, (7, 5), padding_mode="symmetric")
    padded = network.node(Pad((3, 3, 2, 4), "reflect"), name, to=BYTE)
    inner = network.conv(padded, 4, (7, 7), padding=(0, 0, 0, 0))
    return network.conv(inner, 4, padding_mode="replicate")


def more_padding_than_kernel(network: Network) -> str:
    """Rows and columns that see nothing but padding, beside a way that sees the image."""
    source = network.image(4)
    early = network.conv(source, 4, (1, 1), padding=(0, 5, 0, 5))
    name = source
    for _ in range(3):
        name = network.conv(name, 4)
    late = network.conv(name, 4, (1, 1), padding=(5, 0, 5, 0), bias=True)
    return network.conv(network.node(Add(), early, late, to=BYTE), 3)


def strides(network: Network) -> str:
    """Strides larger than kernels, and kernels with holes."""
    name = network.conv(network.image(2), 4, (5, 5), dilation=(2, 3))
    name = network.conv(name, 4, (2, 2), stride=(3, 2), padding=(2, 1, 0, 3))
    return network.conv(name, 4, (3, 3), dilation=(1, 2))


def depthwise(network: Network) -> str:
    """Depthwise and pointwise by turns, as small networks have them."""
    name = network.conv(network.image(3), 8)
    for _ in range(2):
        inner = network.conv(name, 8, (5, 5), groups=8)
        name = network.node(Add(), network.conv(inner, 8, (1, 1)), name, to=BYTE)
    return name


def one_pixel(network: Network) -> str:
    """Attention: a value of one pixel meets an image."""
    source = network.conv(network.image(4), 4)
    gate = network.conv(network.node(GlobalMaxPool(), source, to=BYTE), 4, (1, 1))
    name = network.conv(network.node(Multiply(), source, gate, to=BYTE), 4)
    return network.conv(name, 2)


NETWORKS: dict[str, Callable[[Network], str]] = {
    make.__name__: make
    for make in (
        residual, long_skip, super_resolution, down_and_up, pooled, unshuffled, cropped,
        cropped_far, several_depths, mirrored, more_padding_than_kernel, strides, depthwise,
        one_pixel,
    )
}  # fmt: skip


@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutting, "MIN_COLUMNS", columns)
    generator = np.random.default_rng(columns)
    network = Network(generator)
    NETWORKS[name](network)
    graph = network.graph()
    for size in ((12, 14), (9, 33), (23, 17)):
        most = check_segments(graph, size, generator)
        assert most["stages"] >= 3
        assert most["pieces"] >= 2
        assert most["copies"] >= 8


@pytest.mark.parametrize("name", NETWORKS)
def test_small_sizes(name: str) -> None:
    """All sizes from the smallest that the network takes, in either axis."""
    network = Network()
    NETWORKS[name](network)
    graph = network.graph()
    engines = [Engine(graph, options) for options in STRIPS.values()]
    runs = 0
    for size in itertools.chain(((n, 13) for n in range(1, 12)), ((12, n) for n in range(1, 12))):
        inputs = random_images(graph, size, network.generator)
        try:
            expected = oracle.run(graph, inputs)
        except GraphError:
            continue
        compare(engines[runs % len(engines)], expected, inputs, UNCOUNTED)
        runs += 1
    assert runs >= 8


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_in_the_middle(name: str) -> None:
    """Each value in turn is an output too, which cuts the segment."""
    generator = np.random.default_rng(len(name))
    network = Network(generator)
    last = NETWORKS[name](network)
    for node in network.nodes[::2]:
        graph = network.graph(last, node.name)
        inputs = random_images(graph, (12, 20), generator)
        expected = oracle.run(graph, inputs)
        compare(Engine(graph, STRIPS["1 rows, host"]), expected, inputs, UNCOUNTED)


@pytest.mark.parametrize("name", NETWORKS)
def test_moved_schedules(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strip's commands that are those of another one, moved, are what it would get itself."""
    network = Network()
    NETWORKS[name](network)
    graph = network.graph()
    right = schedule_module.schedules
    moved = 0

    def checked(
        segment: Segment, row_spans: list[Span], column_spans: list[Span], band: int
    ) -> list[Schedule]:
        nonlocal moved
        found = right(segment, row_spans, column_spans, band)
        pieces = itertools.product(row_spans, column_spans)
        for item, (rows, columns) in zip(found, pieces, strict=True):
            # Equal records of routines are one array then, at one address.
            alone = schedule(segment, rows, columns, band, item.kept)
            assert item.workspace == alone.workspace
            same = item.commands == alone.commands
            # Tiles do not look at it.
            assert (same | (np.arange(same.shape[1]) == FIRST_COLUMN)).all()
            moved += 1
        return found

    monkeypatch.setattr(cutting, "schedules", checked)
    for size in ((9, 70), (12, 36)):
        inputs = random_images(graph, size, network.generator)
        for options in STRIPS.values():
            plan_of(graph, inputs, options, threads=3, count_clipped=False)
    assert moved > 50


class NarrowBuilder(Builder):
    """Grows graphs whose values are int16, in the modes that fast kernels have, mostly."""

    def quantization(self, accumulator: Accumulator, target: Format | None) -> Quantization:
        """Keep about as many bits as the accumulator has at the top."""
        fast = self.choices.integer(0, 9) > 0
        if target is None:
            width = self.choices.integer(4, 14)
            shift = max(0, accumulator.bits - width + self.choices.integer(-2, 0))
            target = Format(width, min(max(accumulator.frac - shift, -20), 40))
        rounding, overflow = self.choices.pick(MODES)
        if overflow is Overflow.WRAP_SIGN_MAGNITUDE and not target.signed:
            overflow = Overflow.WRAP
        if fast:
            rounding = self.choices.pick((Rounding.HALF_UP, Rounding.FLOOR))
            overflow = self.choices.pick((Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC))
        return Quantization(target, rounding, overflow)


seen: Counter[int] = Counter()
next_options = itertools.cycle(STRIPS.values())


@settings(suppress_health_check=[*HealthCheck], max_examples=50, phases=[Phase.generate])
@given(example=graphs(builder_class=NarrowBuilder))
def check_random_graph(example: GraphExample) -> None:
    check_calls(example)


@settings(suppress_health_check=[*HealthCheck], max_examples=80, phases=[Phase.generate])
@given(example=graphs(builder_class=NarrowBuilder, tall=True))
def check_tall_graph(example: GraphExample) -> None:
    check_calls(example)


def check_calls(example: GraphExample) -> None:
    graph = example.graph
    for _ in range(2):
        engine = Engine(graph, next(next_options))
        states: dict = {}
        for batch in example.calls:
            expected = oracle.run(graph, batch[0], states)
            compare(engine, expected, batch[0], UNCOUNTED, states)
            compare(engine, expected, batch[0], [(3, True, False)], states)
            states = expected.states
    plan = Engine(graph).plan([array.shape for array in example.calls[0][0]], count_clipped=False)
    for step in plan.steps:
        seen[len(step.stages) if isinstance(step, Pieces) else 0] += 1


def test_random_graphs() -> None:
    seen.clear()
    check_random_graph()
    check_tall_graph()
    assert sum(count for stages, count in seen.items() if stages >= 3) >= 40
    assert sum(count for stages, count in seen.items() if stages >= 5) >= 3


def test_result_does_not_depend_on_options() -> None:
    """Every combination of the options that cut the work."""
    network = Network()
    down_and_up(network)
    graph = network.graph()
    inputs = random_images(graph, (7, 9), network.generator)
    expected = oracle.run(graph, inputs)
    shapes = set()
    for rows, workspace, fuse in itertools.product(
        (1, 2, 5, 100), (1, 3000, 1 << 20), (True, False)
    ):
        options = Options(workspace_bytes=workspace, band_rows=rows, fuse=fuse, piece_work=1)
        engine = Engine(graph, options)
        for threads in (1, 2, 5):
            compare(engine, expected, inputs, [(threads, False, False)])
            plan = engine.plan([a.shape for a in inputs], threads=threads, count_clipped=False)
            shapes |= {(step.shape, step.band) for step in plan.steps if isinstance(step, Pieces)}
    assert len(shapes) > 20


@pytest.mark.parametrize("name", ["super_resolution", "down_and_up", "mirrored", "depthwise"])
def test_strips_as_wide_as_usual(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options as they are by default, and a smaller cache."""
    monkeypatch.undo()
    network = Network()
    NETWORKS[name](network)
    graph = network.graph()
    multiple = 4 if name == "down_and_up" else 1
    inputs = random_images(graph, (40 // multiple, 700 // multiple), network.generator)
    expected = oracle.run(graph, inputs)
    for options in (Options(piece_work=1), Options(workspace_bytes=1 << 14, piece_work=1)):
        compare(Engine(graph, options), expected, inputs, [(1, False, False), (3, False, False)])


def test_chains_and_segments_of_wide_values() -> None:
    """Values of more than 16 bits live as a whole, between segments of those that do not."""
    network = Network()
    source = network.image(3, SIGNED_PIXEL)
    name = network.conv(network.conv(source, 4, to=SIGNED_PIXEL), 4, to=Format(30, 12), bits=8)
    name = network.node(Relu(), name, to=SMALL)
    network.conv(network.conv(name, 4), 4)
    check_segments(network.graph(), (14, 33), network.generator)
