"""Ops whose own kernels run as commands: alone, in segments, in strips, by parts."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from cases import CASES, WIDE_CASES, Case, RandomChoices, build
from engine_graphs import FULL, PIXEL, Network, check, plan_of, random_images, rounded

from fxp.engine import Engine, Options
from fxp.engine.program import Program
from fxp.engine.stages import BandStage
from fxp.executors import oracle
from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph.ops import (
    AdaptiveAveragePool,
    Add,
    AveragePool,
    Clamp,
    Concat,
    ConstantPad,
    Conv2d,
    ConvTranspose2d,
    DilatedMaxPool,
    Flip,
    GatherChannels,
    GlobalAveragePool,
    GroupNorm,
    Interpolate,
    L2Norm,
    Linear,
    MaxPool,
    MaxPoolIndices,
    MaxUnpool,
    Multiply,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Relu,
    Requantize,
    SpatialConcat,
    StandardDeviation,
    Subtract,
    SumPool,
    Transpose,
)
from fxp.kernels.routines import Part, Recorder, routine, row_vectors

SMALL = Options(workspace_bytes=1 << 11, band_rows=2)
"""Cuts images into many strips and bands."""
RUNS = ((1, False, False), (3, False, False), (2, True, False), (1, True, True))
EVERY = (*CASES, *itertools.chain.from_iterable(WIDE_CASES.values()))


@pytest.mark.parametrize("case", EVERY, ids=lambda case: case.name)
def test_only_convolutions_may_be_portable(case: Case) -> None:
    """In all formats and modes; the values are compared in tests/executors/test_engine.py."""
    choices = RandomChoices(np.random.default_rng(1))
    for _ in range(5):
        graph = build(case, choices).graph
        stages = Program(graph, Options()).stages
        convolves = isinstance(case.op, Conv2d | ConvTranspose2d | Linear)
        assert convolves or not any(isinstance(stage, BandStage) for stage in stages)


def local_network() -> Network:
    """Ops that segments fuse, none of which has a kernel of its own."""
    network = Network()
    image = network.image(6, PIXEL)
    node = network.node(ConstantPad((1, 2, 0, 3), 0.25), image, to=PIXEL)
    node = network.node(DilatedMaxPool((3, 2), (1, 1), (2, 1, 1, 1), (2, 1)), node, to=PIXEL)
    node = network.node(GatherChannels((5, -1, 0, 0, 3)), node, to=rounded(Format(12, 13)))
    node = network.node(Interpolate("bilinear", (3, 5), (2, 4)), node, to=rounded(FULL))
    node = network.node(AveragePool((3, 3), (1, 2), (1, 1, 1, 1), False), node, to=rounded(FULL))
    node = network.node(ReduceMean(True, False, False), node, to=rounded(Format(20, 16)))
    node = network.node(SumPool((2, 3), (1, 1), (1, 0, 1, 1), 3), node, to=rounded(Format(24, 14)))
    network.node(Interpolate("bicubic", (2, 1), (1, 1)), node, to=rounded(Format(14, 8)))
    return network


@pytest.mark.parametrize("size", [(5, 9), (23, 70)])
@pytest.mark.parametrize("options", [Options(), SMALL], ids=["one piece", "strips"])
def test_fused_with_their_neighbours(size: tuple[int, int], options: Options) -> None:
    network = local_network()
    graph = network.graph()
    inputs = random_images(graph, size, network.generator, "ends")
    plan = plan_of(graph, inputs, options, threads=1, count_clipped=False)
    assert len(plan.steps) == 1
    check(graph, inputs, {"this": options}, RUNS)


def test_whole_images_are_read_once() -> None:
    """What reads far more than it computes is not computed again in every piece."""
    network = Network()
    image = network.image(3, PIXEL)
    mean = network.node(GlobalAveragePool(), image, to=rounded(FULL))
    scaled = network.node(Multiply(), image, mean, to=rounded(FULL))
    flipped = network.node(Flip(), scaled, to=FULL)
    turned = network.node(Transpose(), flipped, to=FULL)
    network.node(Relu(), turned, to=FULL)
    graph = network.graph()
    inputs = random_images(graph, (33, 40), network.generator)
    plan = plan_of(graph, inputs, SMALL, threads=2, count_clipped=False)
    assert [[stage.result for stage in step.stages] for step in plan.steps] == [
        [mean],
        [scaled],
        [flipped],
        [turned],
        ["node4"],
    ]
    check(graph, inputs, {"strips": SMALL}, RUNS)


@pytest.mark.parametrize(
    "op",
    [
        GroupNorm(2),
        GroupNorm(4, divisor="root_mean_square"),
        StandardDeviation(4),
        L2Norm(1, "image"),
    ],
    ids=lambda op: op.name,
)
@pytest.mark.parametrize("size", [(1, 1), (3, 8), (45, 7)])
@pytest.mark.parametrize("width", [4, 14, 17])
def test_images_are_summarized_by_parts(op, size: tuple[int, int], width: int) -> None:
    """Squares of 4 bits are summed in int32, those of 17 in int64."""
    network = Network()
    source = network.image(4, Format(width, width - 2))
    network.node(op, source, to=rounded(Format(16, 10)))
    graph = network.graph()
    for pattern in ("ends", "random"):
        inputs = random_images(graph, size, network.generator, pattern)
        check(graph, inputs, {"host": Options(), "portable": Options("portable")}, RUNS)


@pytest.mark.parametrize("op", [Add(), Subtract(), Multiply()], ids=lambda op: op.name)
@pytest.mark.parametrize("first", ["image", "row", "column", "plane", "channel"])
@pytest.mark.parametrize("second", ["image", "row", "column", "plane", "channel"])
def test_broadcast_operands(op, first: str, second: str) -> None:
    network = Network()
    image = network.image(5, PIXEL)
    kinds = {
        "row": ReduceMax(False, True, False),
        "column": ReduceMax(False, False, True),
        "plane": ReduceMax(True, False, False),
        "channel": ReduceMax(False, True, True),
    }
    names = [
        image if kind == "image" else network.node(kinds[kind], image, to=form)
        for kind, form in ((first, PIXEL), (second, Format(18, 15)))
    ]
    result = network.node(op, *names, to=rounded(Format(15, 9)))
    network.node(Clamp(-3.0, 5.0), result, to=rounded(Format(15, 9)))
    graph = network.graph()
    inputs = random_images(graph, (4, 11), network.generator)
    check(
        graph, inputs, {"host": Options(), "strips": SMALL}, ((2, True, False), (1, False, False))
    )


@pytest.mark.parametrize("rounding", [Rounding.HALF_UP, Rounding.HALF_EVEN], ids=lambda m: m.name)
@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.WRAP], ids=lambda m: m.name)
@pytest.mark.parametrize("form", [Format(7, 3), Format(20, 17), Format(40, 30)], ids=str)
def test_formats_of_all_sizes_and_modes(
    rounding: Rounding, overflow: Overflow, form: Format
) -> None:
    network = Network()
    narrow, wide = network.image(3, FULL), network.image(2, Format(26, 19))
    joined = network.node(Concat(), narrow, wide, to=Quantization(form, rounding, overflow))
    below = network.node(SpatialConcat(), joined, joined, to=form)
    network.node(MaxPool((2, 2), (1, 1)), below, to=Quantization(Format(9, 5), rounding, overflow))
    graph = network.graph()
    for pattern in ("ends", "random"):
        inputs = random_images(graph, (3, 10), network.generator, pattern)
        check(graph, inputs, {"host": Options(), "strips": SMALL}, RUNS)


def test_unpooling() -> None:
    network = Network()
    image = network.image(4, PIXEL)
    pooled = network.node(MaxPool(), image, to=PIXEL)
    places = network.node(MaxPoolIndices(), image)
    network.node(MaxUnpool(), pooled, places, to=PIXEL)
    graph = network.graph()
    inputs = random_images(graph, (12, 26), network.generator)
    check(graph, inputs, {"host": Options(), "strips": SMALL}, RUNS)


def test_sums_at_the_bound_of_int32() -> None:
    """Rows of 2**16 smallest int16 values sum to -2**31, which int32 just holds; columns do not."""
    network = Network()
    image = network.image(1, Format(16, 0))
    network.node(ReduceSum(), image, to=Format(40, 0))
    network.node(AdaptiveAveragePool((1, 1)), image, to=Format(16, 0))
    graph = network.graph("node0", "node1")
    image = np.full((1, 3, 1 << 16), -(1 << 15))
    sums, mean = Engine(graph).run([image], threads=1).outputs
    assert sums.tolist() == [[[-3 * 2**31]]]
    assert mean.tolist() == [[[-(2**15)]]]


def test_portable_stages_are_marked_with_a_reason() -> None:
    network = Network()
    image = network.image(2, Format(30, 20))
    network.conv(image, 2, to=rounded(FULL))
    graph = network.graph()
    inputs = random_images(graph, (5, 6), network.generator)
    plan = plan_of(graph, inputs, Options("portable"))
    assert plan.portable == ("node0",)
    text = plan.describe()
    assert "PORTABLE: asked for" in text
    assert text.endswith("; 1 of 1 stages portable, which is slow")
    network = Network()
    network.node(Requantize(), network.image(2), to=rounded(FULL))
    graph = network.graph()
    plan = plan_of(graph, random_images(graph, (5, 6), network.generator))
    assert plan.portable == ()
    assert "portable" not in plan.describe().lower()


def test_a_plan_keeps_what_its_commands_point_to() -> None:
    network = local_network()
    graph = network.graph()
    engine = Engine(graph, SMALL)
    images = [random_images(graph, size, network.generator) for size in ((9, 31), (14, 22))]
    expected = [oracle.run(graph, inputs).outputs[0] for inputs in images]
    for inputs, output in (*zip(images, expected, strict=True),) * 2:
        assert np.array_equal(engine.run(inputs, threads=1).outputs[0], output)


@routine
def halve(band, image, limits: tuple[int, int], table, flag: bool) -> None:
    """Take the half of pixels, within limits, plus the first entry of a table."""
    for y in range(band.shape[0]):
        for x in range(band.shape[1]):
            for c in range(band.shape[2]):
                value = min(max(image[y, x, c] // 2, limits[0]), limits[1])
                band[y, x, c] = value + table[0] if flag else value


def test_a_routine_runs_at_once_or_notes_its_call() -> None:
    band, image = np.zeros((1, 2, 1), np.int32), np.array([[[9], [-40]]], np.int16)
    halve(band, image, (-8, 8), np.array([100]), True)
    assert band.ravel().tolist() == [104, 92]
    part = Part(0, (3, 7, 2), np.dtype(np.int16), 4)
    recorder = Recorder((3, 7, 2), np.dtype(np.int32))
    halve(row_vectors(recorder[1:3, 2:6]), part[0:2, 1:5], (-8, 8), np.array([100]), False)
    (call,) = recorder.calls
    assert (call.band, call.row, call.column) == ((2, 1, 8), 1, 2)
    taken = call.arguments[0]
    assert (taken.shape, taken.row, taken.column) == ((2, 4, 2), 0, 1)


def test_the_form_of_a_routine_tells_its_version() -> None:
    assert re.fullmatch(r"halve:[0-9a-f]+", halve.version)


@pytest.mark.parametrize("lengthen", [0, 20], ids=["int32", "int64"])
def test_joined_values_are_converted_one_by_one(lengthen: int) -> None:
    """Values of other sizes and binary points are rounded and clipped, equal ones are copied."""
    network = Network()
    unsigned = network.image(1, Format(16, 3, signed=False))
    finer = network.image(2, Format(12, 5))
    same = network.image(1, Format(14, 4))
    longer = network.image(1, Format(12, 4 + lengthen))
    network.node(Concat(), unsigned, finer, same, longer, to=Format(14, 4))
    graph = network.graph()
    inputs = [
        np.array([[[65535, 4095, 4096, 3, 0]]]),
        np.array([[[5, -5, 2047, -2048, 6]], [[1, -1, 0, 3, -3]]]),
        np.array([[[8191, -8192, 7, -7, 0]]]),
        np.array([[[2047, -2048, 0, 5, -5]]]),
    ]
    moved = [2047, -2048, 0, 5, -5] if lengthen == 0 else [0, 0, 0, 0, 0]
    expected = [
        [[8191, 8190, 8191, 6, 0]],
        [[3, -2, 1024, -1024, 3]],
        [[1, 0, 0, 2, -1]],
        [[8191, -8192, 7, -7, 0]],
        [moved],
    ]
    program = Engine(graph)._program(False)
    assert [stage.kernel for stage in program.stages] == ["move, clip"]
    result = Engine(graph).run(inputs)
    assert result.outputs[0].tolist() == expected
    # 65535 and 4096 exceed 8191 / 2.
    assert result.clipped["node0"] == 2
    check(graph, inputs)


@pytest.mark.parametrize("length", [1, 2, 15, 33])
@pytest.mark.parametrize("rounds", [False, True])
def test_two_runs_of_channels_in_turns(length: int, rounds: bool) -> None:
    """A channel shuffle of two groups, or a half of one, has a kernel of its own."""
    form = Format(16, 5)
    network = Network()
    image = network.image(2 * length + 3, form)
    order = [channel for i in range(length) for channel in (i + 2, length + i + 1)]
    network.node(GatherChannels(tuple(order)), image, to=Format(7, 4) if rounds else form)
    graph = network.graph()
    assert [stage.kernel for stage in Engine(graph)._program(False).stages] == [
        "move, clip" if rounds else "move"
    ]
    values = np.arange((2 * length + 3) * 12).reshape(-1, 3, 4) * 97 % 65536 - 32768
    result = check(graph, [values])
    if not rounds:
        assert np.array_equal(result.outputs[0][0::2], values[2 : length + 2])
        assert np.array_equal(result.outputs[0][1::2], values[length + 1 : 2 * length + 1])


@pytest.mark.parametrize("order", [(0, 2, 1, 4), (0, 3, 1, -1), (2, 1, 0), (4, 0, 3, 1)])
def test_other_orders_of_channels_have_a_routine(order: tuple[int, ...]) -> None:
    network = Network()
    network.node(GatherChannels(order), network.image(5, Format(9, 5)), to=Format(9, 5))
    graph = network.graph()
    assert [stage.kernel for stage in Engine(graph)._program(False).stages] == ["gather channels"]
    check(graph, [np.arange(60).reshape(5, 3, 4)])
