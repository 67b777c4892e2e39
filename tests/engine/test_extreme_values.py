"""Inputs and weights at their limits: the sums reach their proved bounds, and no bit is lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from engine_graphs import FULL, OPTIONS, PIXEL, RUNS, Network, check, plan_of, random_images
from numba import cfunc

from fxp.formats import Format, IntArray, Overflow, Quantization, Rounding
from fxp.graph import Graph
from fxp.graph.ops import Add, Conv2d, PixelShuffle, Relu
from fxp.kernels import commands, depthwise_rows, pair_mac, tiles, wide_tiles
from fxp.kernels.host import FEW

FIRST, LAST = -(2**31), 2**31 - 1
INT16 = Format(16, 0)
SOURCES = {"int16": INT16, "unsigned 15 bit": Format(15, 0, signed=False)}
KINDS = ("dense", "depthwise", "to three channels", "shuffled")


def bounded(
    kind: str, source: Format, rounding: Rounding, end: int, beyond: int = 0
) -> tuple[Graph, tuple[IntArray, ...]]:
    """Convolution whose sums, before the shift, end exactly at an end of int32 or a bit beyond.

    Returns
    -------
    tuple
        The graph, and an image in which the windows of some pixels reach the bound.
    """
    generator = np.random.default_rng(5)
    channels, group_in = {
        "dense": (16, 8), "depthwise": (16, 1), "to three channels": (3, 8), "shuffled": (4, 8)
    }[kind]  # fmt: skip
    groups = 16 if kind == "depthwise" else 1
    shape = (channels, group_in, 3, 3)
    low, high = source.min_raw, source.max_raw
    # As large as 31 bits take, of both signs.
    most = min(2**15 - 1, LAST // (shape[1] * 9 * 2**15))
    weight = generator.integers(-most, most, shape, endpoint=True)
    weight[weight == 0] = 1
    axes = (1, 2, 3)
    positive, negative = (np.clip(weight * sign, 0, None).sum(axis=axes) * sign for sign in (1, -1))
    shift = 16
    half = 2 ** (shift - 1) if rounding is Rounding.HALF_UP else 0
    if end == LAST:
        bias = LAST - half - (high * positive + low * negative) + beyond
    else:
        bias = FIRST - (low * positive + high * negative) - beyond
    network = Network(generator)
    names = (
        network.image(group_in * groups, source),
        network.constant(weight, INT16),
        network.constant(bias, Format(40, 0)),
    )
    target = Quantization(Format(16, -shift), rounding)
    op = Conv2d(stride=(3, 3), groups=groups)
    if kind == "shuffled":
        network.node(PixelShuffle(2), network.node(op, *names), to=target)
    else:
        network.node(op, *names, to=target)
    graph = network.graph()
    # Every window is at the bound of one channel, or within the range at random.
    columns = 3 * channels + 6
    image = generator.choice([low, high], (group_in * groups, 6, columns))
    for channel in range(channels):
        top = (weight[channel] > 0) == (end == LAST)
        window = np.where(top, high, low)
        first = channel if groups > 1 else 0
        image[first : first + group_in, :3, 3 * channel : 3 * channel + 3] = window
    return graph, (image,)


@pytest.mark.parametrize("end", [FIRST, LAST])
@pytest.mark.parametrize("rounding", [Rounding.HALF_UP, Rounding.FLOOR])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", KINDS)
def test_bound_of_int32(kind: str, source: str, rounding: Rounding, end: int) -> None:
    """The sum at the bound runs in int32; one unit beyond it does not."""
    graph, inputs = bounded(kind, SOURCES[source], rounding, end)
    expected = check(graph, inputs, runs=RUNS[::3])
    reached = expected.outputs[0]
    assert (reached == (2**15 - 1 if end == LAST else -(2**15))).any()
    (stage,) = plan_of(graph, inputs).program.stages
    assert stage.kernel != "portable"
    assert stage.accumulator_dtype == np.int32
    assert "bit in int32" in plan_of(graph, inputs).describe()

    graph, inputs = bounded(kind, SOURCES[source], rounding, end, beyond=1)
    check(graph, inputs, runs=RUNS[::3])
    stages = plan_of(graph, inputs).program.stages
    # What is rounded half up may itself still fit; the sum with the half does not.
    fits = end == LAST and rounding is Rounding.HALF_UP
    # Neither portable kernels nor tiles that store exact sums add the half.
    for stage in stages[:1]:
        exact = stage.kernel == "portable" or not stage.chain.finish.shift.any()
        assert stage.accumulator_dtype == np.int64 or (fits and exact)
    assert stages[0].accumulator_bits == 33 - fits


@pytest.mark.parametrize("end", [FIRST, LAST])
def test_bound_with_another_value(end: int) -> None:
    """A value that is added inside a chain takes part in the bound."""
    for beyond in (0, 1):
        network = Network()
        generator = network.generator
        weight = generator.integers(1, 8, (8, 4, 3, 3))
        source, other = network.image(4, INT16), network.image(8, INT16)
        limits = (INT16.min_raw, INT16.max_raw)
        limit = limits[end == LAST]
        total = weight.sum(axis=(1, 2, 3)) * limit + limit
        bias = end - total + (beyond if end == LAST else -beyond)
        conv = Conv2d(padding=(1, 1, 1, 1))
        names = (source, network.constant(weight, INT16), network.constant(bias, Format(40, 0)))
        added = network.node(Add(), network.node(conv, *names), other)
        network.node(Relu(), added, to=Quantization(Format(16, -14), Rounding.FLOOR))
        graph = network.graph()
        inputs = tuple(np.full((count, 7, 19), limit) for count in (4, 8))
        expected = check(graph, inputs, runs=RUNS[::3])
        stages = plan_of(graph, inputs).program.stages
        assert len(stages) == 1
        assert stages[0].accumulator_dtype == (np.int64 if beyond else np.int32)
        assert {*expected.outputs[0].flat} >= {2**15 - 1 if end == LAST else 0}


@pytest.mark.parametrize("weight", [-(2**15), -(2**15) + 1, 2**15 - 1])
@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("pattern", ["smallest", "largest", "ends"])
def test_int16_extremes(weight: int, groups: int, pattern: str) -> None:
    """Products of 2**30, whose pairs wrap int32 on the way; sums beyond 2**32."""
    for shift in (16, 24, 31, 33):
        network = Network()
        source = network.image(16, FULL)
        data = np.full((16, 16 // groups, 5, 5), weight)
        network.generator.shuffle(signs := np.repeat([1, -1], data[0].size)[: data[0].size])
        data[1] = np.clip(data[1] * signs.reshape(data[1].shape), -(2**15), 2**15 - 1)
        op = Conv2d(padding=(2, 2, 2, 2), groups=groups)
        target = Format(16, FULL.frac - shift)
        network.node(op, source, network.constant(data, INT16), to=target)
        graph = network.graph()
        assert graph.nodes[0].accumulator is not None
        assert graph.nodes[0].accumulator.bits > 33
        inputs = random_images(graph, (9, 17), network.generator, pattern)
        check(graph, inputs, runs=RUNS[::3])


@pytest.mark.parametrize("pattern", ["smallest", "largest", "ends"])
def test_depthwise_extremes(pattern: str) -> None:
    """Final sums fit int32, pairs of products do not."""
    network = Network()
    data = np.full((24, 1, 1, 3), -(2**15))
    data[:, :, :, 2] = 2**15 - 1
    data[8:, :, :, 1] = 1
    source = network.image(24, INT16)
    bias = network.constant(np.where(np.arange(24) < 8, 0, -5), Format(20, 0))
    op = Conv2d(padding=(0, 0, 1, 1), groups=24)
    network.node(op, source, network.constant(data, INT16), bias, to=Format(16, -16))
    graph = network.graph()
    inputs = random_images(graph, (5, 33), network.generator, pattern)
    check(graph, inputs, runs=RUNS[::3])


@pytest.mark.parametrize("overflow", [Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC])
@pytest.mark.parametrize("shift", [0, 1, 8])
def test_overflows_of_wide_sums_behind_a_relu(shift: int, overflow: Overflow) -> None:
    """A clip in an int64 chain hides overflows of any size below it, and none above."""
    network = Network()
    source = network.image(8, INT16)
    weight = network.constant(np.full((8, 8, 3, 3), 2000), INT16)
    conv = network.node(Conv2d(padding=(1, 1, 1, 1)), source, weight)
    network.node(Relu(), conv, to=Quantization(Format(16, -shift), Rounding.HALF_UP, overflow))
    graph = network.graph()
    for pattern, clips in (("smallest", False), ("largest", True), ("ends", True)):
        inputs = random_images(graph, (9, 17), network.generator, pattern)
        assert (check(graph, inputs).clipped["node1"] > 0) == clips
    (stage,) = plan_of(graph, inputs).program.stages
    assert stage.accumulator_dtype == np.int64


def test_winograd_at_its_bound() -> None:
    """Weights as large as the proof admits, with inputs that enlarge the transformed most."""
    for source in (PIXEL, Format(12, 0), Format(9, 0)):
        most = 0
        for bits in range(1, 16):
            graph, inputs = extreme_convolution(source, bits)
            if "winograd" not in plan_of(graph, inputs).program.stages[0].kernel:
                break
            most = bits
        assert 1 <= most < 15, source
        for bits in (most, most + 1):
            graph, inputs = extreme_convolution(source, bits)
            for _ in range(3):
                inputs = random_images(graph, (11, 37), np.random.default_rng(bits), "ends")
                check(graph, inputs, runs=[(1, False, False), (3, False, False)])


def extreme_convolution(source: Format, bits: int) -> tuple[Graph, tuple[IntArray, ...]]:
    """Dense convolution whose weights are the ends of so many bits."""
    network = Network(np.random.default_rng(bits))
    form = Format(bits + 1, 0)
    ends = network.generator.choice([form.min_raw, form.max_raw], (32, 32, 3, 3))
    op = Conv2d(padding=(1, 1, 1, 1))
    operands = (network.image(32, source), network.constant(ends, form))
    network.node(op, *operands, to=Format(12, source.frac - bits - source.width + 4))
    graph = network.graph()
    return graph, random_images(graph, (11, 37), network.generator, "ends")


@pytest.mark.parametrize("name", ["dense", "depthwise", "depthwise rows", "sums", "wide"])
def test_without_a_dot_instruction(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The multiply-accumulate in plain vector IR, as processors without the instruction run it."""
    asked: list[int] = []
    monkeypatch.setattr(pair_mac, "_dot_instruction", asked.append)
    monkeypatch.setattr(depthwise_rows, "_pack_instruction", lambda lanes: None)
    # Compiled anew, and not kept.
    for module in (tiles, wide_tiles, depthwise_rows):
        monkeypatch.setattr(module, "kernel", cfunc(commands.signature, nopython=True))
    makers = (tiles.dense_kernel, tiles.depthwise_kernel, tiles.dense_sums_kernel,
              wide_tiles.dense_wide_kernel, depthwise_rows.depthwise_rows_kernel)  # fmt: skip
    for maker in makers:
        maker.cache_clear()
    network = Network()
    channels, bits = {"sums": (3, 6), "wide": (16, 16)}.get(name, (16, 8))
    source = network.image(16, FULL)
    groups = 16 if name.startswith("depthwise") else 1
    dilation = (2, 2) if name == "depthwise" else (1, 1)
    network.conv(source, channels, bits=bits, groups=groups, dilation=dilation, to=Format(12, 4))
    graph = network.graph()
    inputs = random_images(graph, (4, 13), network.generator, "ends")
    try:
        check(graph, inputs, {"few": replace(OPTIONS["direct"], tiles=FEW)}, [(1, True, False)])
    finally:
        for maker in makers:
            maker.cache_clear()
    assert asked
