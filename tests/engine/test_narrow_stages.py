"""Convolutions of 8-bit numbers and of signs: every size, and their proofs to the last unit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from cases import assert_same
from engine_graphs import (
    BYTE,
    RUNS,
    TILES,
    Network,
    check,
    compare,
    plan_of,
    random_images,
    rounded,
    same_padding,
    tiles_in_turn,
)
from numba import cfunc

from fxp.engine import Engine, Options
from fxp.executors import oracle
from fxp.formats import Format, IntArray, Overflow, Quantization, Rounding
from fxp.graph import Graph
from fxp.graph.ops import Add, Clamp, Conv2d, GraphError, Linear, Relu, Requantize
from fxp.kernels import commands, quad_mac, quad_tiles
from fxp.kernels.host import FEW, MANY_NARROW, MANY_WIDE, Tiles, host_tiles

UNSIGNED_BYTE = Format(8, 6, signed=False)
SIGN = rounded(Format(2, 0), overflow=Overflow.SATURATE_SYMMETRIC)
PAIRS = {
    "pairs of many": Options(tiles=replace(MANY_WIDE, quads=False, bits=False)),
    "pairs of few": Options(tiles=replace(FEW, quads=False, bits=False)),
}
LAST = 2**31 - 1


def kernels(graph: Graph, options: Options | None = None) -> list[str]:
    """Names of the kernels at a size."""
    plan = plan_of(graph, random_images(graph, (12, 12), np.random.default_rng(0)), options)
    return [stage.kernel for stage in plan.program.stages]


def forced(tiles: Tiles = MANY_WIDE, kernel: str = "fast") -> Options:
    """Return options under which narrow kernels run whatever the processor has."""
    return Options(kernel, tiles=tiles)  # type: ignore[arg-type]


def byte_graph(
    channels: tuple[int, int],
    kernel: tuple[int, int],
    source: Format = BYTE,
    **attributes,
) -> Graph:
    """Convolution with 8-bit weights, of which some are -128 and 127, and a bias."""
    network = Network(np.random.default_rng(sum(channels)))
    network.conv(
        network.image(channels[0], source),
        channels[1],
        kernel,
        bits=8,
        bias=True,
        to=Format(9, 0),
        per_channel=True,
        **attributes,
    )
    return network.graph()


BYTES: Mapping[str, Callable[[], Graph]] = {
    "dense": lambda: byte_graph((12, 24), (3, 3)),
    "unsigned": lambda: byte_graph((8, 33), (3, 3), UNSIGNED_BYTE),
    "odd runs": lambda: byte_graph((3, 17), (3, 5), UNSIGNED_BYTE),
    "one by one": lambda: byte_graph((33, 20), (1, 1)),
    "few bits": lambda: byte_graph((5, 8), (2, 2), Format(3, 1)),
    "strided": lambda: byte_graph((7, 16), (3, 3), stride=(2, 3), padding=(1, 1, 1, 1)),
    "dilated": lambda: byte_graph((6, 12), (3, 3), dilation=(2, 2)),
    "groups": lambda: byte_graph((10, 18), (3, 3), groups=2),
    "uneven padding": lambda: byte_graph((4, 8), (3, 3), padding=(4, 0, 0, 5)),
}


def every_size(graph: Graph, options: Mapping[str, Options], widths: range) -> None:
    """Compare at every width, with all kinds of runs in turn."""
    generator = np.random.default_rng(1)
    engines = [Engine(graph, chosen) for chosen in options.values()]
    runs = itertools.cycle(RUNS)
    compared = 0
    for width in widths:
        size = (width * 7 % 23 + 1, width)
        inputs = random_images(graph, size, generator, "random" if width % 2 else "ends")
        try:
            expected = oracle.run(graph, inputs)
        except GraphError:
            continue
        compared += 1
        for engine in engines:
            compare(engine, expected, inputs, [next(runs)])
        next(runs)
    assert compared > len(widths) // 2


@pytest.mark.parametrize(("number", "name"), enumerate(BYTES))
def test_bytes_of_every_width(number: int, name: str) -> None:
    graph = BYTES[name]()
    assert kernels(graph, forced()) == ["quad tiles"]
    assert kernels(graph, PAIRS["pairs of many"]) == ["pair tiles"]
    every_size(graph, tiles_in_turn(number), range(1, 34))


def test_bytes_between_other_stages() -> None:
    """A value that is added, a wide result, and neighbours in the same segment."""
    network = Network()
    source = network.image(8, UNSIGNED_BYTE)
    first = network.conv(source, 8, (3, 3), bits=8, to=BYTE)
    second = network.conv(first, 8, (1, 1), bits=8, to=None)
    added = network.node(Add(), second, network.conv(source, 8, (1, 1), bits=8, to=None))
    network.node(Relu(), added, to=Format(12, 6))
    graph = network.graph()
    assert kernels(graph, forced()).count("quad tiles") == 3
    inputs = random_images(graph, (9, 41), np.random.default_rng(0), "ends")
    check(graph, inputs, {**TILES, **PAIRS, "small": replace(forced(), workspace_bytes=1)})


@pytest.mark.parametrize("tiles", [MANY_WIDE, FEW, MANY_NARROW], ids=lambda tiles: tiles.name)
def test_quads_do_not_saturate(tiles: Tiles) -> None:
    """Four products of 255 * 127 exceed int16, and their sums grow in both directions."""
    network = Network()
    source = network.image(64, UNSIGNED_BYTE)
    weight = np.array([127, -128, 127, -128] * 4)[:, None, None, None] * np.ones((1, 64, 1, 1), int)
    network.node(Conv2d(), source, network.constant(weight, Format(8, 0)))
    graph = network.graph()
    assert kernels(graph, forced(tiles)) == ["quad tiles"]
    image = np.full((64, 3, 20), 255)
    result = Engine(graph, forced(tiles)).run([image]).outputs[0]
    expected = np.empty((16, 3, 20), np.int64)
    expected[::2], expected[1::2] = 64 * 255 * 127, -64 * 255 * 128
    assert_same("engine", "node0", expected, result)


def clamped(bounds: tuple[int, int], weight: IntArray, **attributes) -> Graph:
    """Convolution of inputs that are clipped to some integers."""
    network = Network()
    source = network.image(weight.shape[1], Format(16, 0))
    clip = network.node(Clamp(*map(float, bounds)), source, to=Format(16, 0))
    constant = network.constant(weight, Format(16, 0))
    network.node(Conv2d(**attributes), clip, constant, to=Format(16, -16))
    return network.graph()


@pytest.mark.parametrize(
    ("bounds", "weights", "narrow"),
    [
        ((-128, 127), (-128, 127), True),
        ((0, 255), (-128, 127), True),
        ((-200, 55), (-128, 127), True),
        ((-255, 0), (-1, 1), True),
        ((0, 256), (-128, 127), False),
        ((-129, 127), (-128, 127), False),
        ((1, 256), (-1, 1), False),
        ((0, 255), (-129, 0), False),
        ((0, 255), (0, 128), False),
    ],
)
def test_what_fits_bytes(bounds: tuple[int, int], weights: tuple[int, int], narrow: bool) -> None:
    """Inputs that take 256 values, of which zero is one, and weights of int8."""
    generator = np.random.default_rng(0)
    weight = generator.choice(weights, (8, 6, 3, 3))
    graph = clamped(bounds, weight, padding=(1, 1, 1, 1))
    assert kernels(graph, forced())[-1] == ("quad tiles" if narrow else "pair tiles")
    inputs = random_images(graph, (7, 19), generator, "ends")
    check(graph, inputs, {**TILES, **PAIRS}, RUNS[::3])


@pytest.mark.parametrize(("end", "beyond"), itertools.product((LAST, -LAST - 1), (0, 1)))
def test_sum_of_bytes_at_the_end_of_int32(end: int, beyond: int) -> None:
    """Sums that end exactly there are quads; one unit further they are summed in int64."""
    network = Network()
    source = network.image(8, UNSIGNED_BYTE)
    sign = 1 if end > 0 else -1
    weight = np.full((8, 8, 1, 1), 127 * sign)
    bias = np.full(8, end + sign * beyond - sign * 127 * 255 * 8)
    names = (network.constant(weight, Format(8, 0)), network.constant(bias, Format(40, 6)))
    to = Quantization(Format(16, -10), Rounding.FLOOR)
    network.node(Conv2d(), source, *names, to=to)
    graph = network.graph()
    assert kernels(graph, forced()) == ["pair tiles" if beyond else "quad tiles"]
    image = np.full((8, 5, 17), 255)
    expected = check(graph, (image,), {**TILES, **PAIRS}, RUNS[::3])
    assert (expected.outputs[0] == (2**15 - 1 if end > 0 else -(2**15))).all()


@pytest.mark.parametrize(("features", "results"), [(1, 4), (16, 33), (65, 17)])
def test_linear_of_bytes(features: int, results: int) -> None:
    network = Network(np.random.default_rng(features))
    source = network.vector(features, BYTE)
    weight = network.weight((results, features), 8)
    network.node(Linear(), source, weight, network.bias(source, weight), to=Format(10, 2))
    graph = network.graph()
    assert kernels(graph, forced()) == ["quad tiles"]
    check(graph, random_images(graph, (1, 1), network.generator, "ends"), {**TILES, **PAIRS})


def test_without_a_quad_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in plain vector IR, as processors without the instruction would run it."""
    asked: list[int] = []
    monkeypatch.setattr(quad_mac, "quad_instruction", asked.append)
    # Compiled anew, and not kept.
    monkeypatch.setattr(quad_tiles, "kernel", cfunc(commands.signature, nopython=True))
    quad_tiles.dense_quad_kernel.cache_clear()
    graph = byte_graph((6, 16), (3, 3), UNSIGNED_BYTE)
    inputs = random_images(graph, (4, 13), np.random.default_rng(0), "ends")
    try:
        check(graph, inputs, {"few": forced(FEW)}, [(1, True, False)])
    finally:
        quad_tiles.dense_quad_kernel.cache_clear()
    assert asked


def test_the_processor_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an instruction for it, bytes are multiplied as pairs of int16."""
    for features, quads, bits in (
        ({"avx512bw": True}, False, True),
        ({"avx512bw": True, "avx512vnni": True}, True, False),
        ({"avx512bw": True, "avx512vnni": True, "avx512vpopcntdq": True}, True, True),
        ({"avx2": True, "avxvnni": True}, True, False),
        ({"avx2": True}, False, True),
    ):
        monkeypatch.setattr(quad_mac.llvm, "get_host_cpu_features", lambda found=features: found)
        monkeypatch.setattr(quad_mac, "_is_arm", lambda: False)
        tiles = host_tiles.__wrapped__()
        assert (tiles.quads, tiles.bits) == (quads, bits)


FOUR: Mapping[str, Callable[[], Graph]] = {
    "three by three": lambda: byte_graph((32, 32), (3, 3)),
    "unsigned": lambda: byte_graph((40, 36), (3, 3), UNSIGNED_BYTE),
    "five by five": lambda: byte_graph((32, 48), (5, 5), UNSIGNED_BYTE),
    "five by three": lambda: byte_graph((48, 64), (5, 3)),
    "no padding": lambda: byte_graph((32, 32), (3, 5), padding=(0, 0, 0, 0)),
}


@pytest.mark.parametrize(("number", "name"), enumerate(FOUR))
def test_four_outputs_of_every_width(number: int, name: str) -> None:
    graph = FOUR[name]()
    assert "four outputs" in kernels(graph, forced())[0]
    assert kernels(graph, forced(kernel="direct")) == ["quad tiles"]
    every_size(graph, {**tiles_in_turn(number), **PAIRS}, range(1, 34))


def test_four_outputs_of_wide_images() -> None:
    """Several batches of tiles in a row, the last of which overlaps; another value is added."""
    network = Network()
    source = network.image(32, UNSIGNED_BYTE)
    conv = network.conv(source, 64, (3, 3), bits=8, to=None)
    other = network.conv(source, 64, (1, 1), bits=4, to=None)
    network.node(Relu(), network.node(Add(), conv, other), to=Format(8, 2))
    graph = network.graph()
    assert any("four outputs" in name for name in kernels(graph, forced()))
    for width in (223, 224, 229):
        inputs = random_images(graph, (9, width), network.generator, "ends")
        check(graph, inputs, {"many": forced(), "pairs": PAIRS["pairs of many"]}, RUNS[1:8:5])


@pytest.mark.parametrize(("largest", "exact"), [(481, True), (482, False)])
def test_transformed_inputs_at_the_end_of_int16(largest: int, exact: bool) -> None:
    """The largest transformed input is 68 times the largest input: 68 * 481 = 32708."""
    weight = np.random.default_rng(0).integers(-128, 128, (32, 32, 3, 3))
    graph = clamped((0, largest), weight)
    assert ("four outputs" in kernels(graph, forced())[-1]) is exact
    factors = np.array(
        [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
         [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]]
    )  # fmt: skip
    for row, column, sign in itertools.product(range(6), range(6), (1, -1)):
        window = np.where(sign * np.multiply.outer(factors[row], factors[column]) > 0, largest, 0)
        image = np.broadcast_to(window, (32, 6, 6))
        check(graph, (image,), {"many": forced()}, RUNS[1:2])


@pytest.mark.parametrize(("largest", "exact"), [(668, True), (669, False)])
def test_transformed_weights_at_the_end_of_int16(largest: int, exact: bool) -> None:
    """The largest transformed weight is 49 times nine equal ones: 49 * 668 = 32732."""
    weight = np.random.default_rng(0).integers(-9, 9, (32, 32, 3, 3))
    weight[3, 5], weight[7, 1] = largest, -largest
    graph = clamped((0, 255), weight)
    assert ("four outputs" in kernels(graph, forced())[-1]) is exact
    inputs = random_images(graph, (10, 13), np.random.default_rng(1), "ends")
    check(graph, inputs, TILES, RUNS[1:3])


@pytest.mark.parametrize(("total", "exact"), [(131_586, True), (131_587, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_enlarged_sum_at_the_end_of_int32(total: int, exact: bool, sign: int) -> None:
    """64 times the sum of weights times 255 must fit: 64 * 131586 * 255 = 2**31 - 128."""
    weight = np.zeros((32, 288), np.int64)
    weight[:] = np.random.default_rng(0).integers(-9, 9, (32, 288))
    weight[4] = 456
    weight[4, 0] += total - 456 * 288
    network = Network()
    source = network.image(32, UNSIGNED_BYTE)
    constant = network.constant(sign * weight.reshape(32, 32, 3, 3), Format(16, 0))
    network.node(Conv2d(), source, constant, to=Format(16, -10))
    graph = network.graph()
    assert ("four outputs" in kernels(graph, forced())[-1]) is exact
    image = np.full((32, 9, 14), 255)
    expected = check(graph, (image,), TILES, RUNS[1:3])
    assert (expected.outputs[0][4] == sign * 512).all()


def sign_graph(
    channels: tuple[int, int],
    kernel: tuple[int, int],
    *,
    zeros: bool = False,
    to: Quantization | Format = SIGN,
    **attributes,
) -> Graph:
    """Convolution of signs with weights of a size of their own for each channel."""
    first, second = channels
    generator = np.random.default_rng(first)
    network = Network(generator)
    source = network.node(Requantize(), network.image(first, Format(3, 0)), to=to)
    weight = generator.choice([-1, 1], (second, first, *kernel))
    weight = weight * generator.integers(1, 9, (second, 1, 1, 1))
    weight[-1] = 0
    if zeros:
        weight[generator.random(weight.shape) < 0.3] = 0
    name = network.constant(weight, Format(8, 2))
    attributes.setdefault("padding", same_padding(kernel, attributes.get("dilation", (1, 1))))
    bias = network.bias(source, name)
    network.node(Conv2d(**attributes), source, name, bias, to=Format(9, 0))
    return network.graph()


SIGNS: Mapping[str, Callable[[], Graph]] = {
    "whole words": lambda: sign_graph((64, 40), (3, 3)),
    "half a word": lambda: sign_graph((16, 8), (3, 3)),
    "a word and one": lambda: sign_graph((33, 17), (1, 1)),
    "one less": lambda: sign_graph((31, 65), (2, 3)),
    "zeros": lambda: sign_graph((40, 33), (3, 3), zeros=True),
    "strided": lambda: sign_graph((32, 16), (3, 3), stride=(2, 3)),
    "dilated": lambda: sign_graph((32, 12), (3, 3), zeros=True, dilation=(2, 3)),
    "dilated, no zeros": lambda: sign_graph((20, 12), (3, 2), dilation=(1, 2), stride=(1, 2)),
    "zero and one": lambda: sign_graph((32, 16), (3, 3), to=Format(1, 0, signed=False)),
    "zero and minus one": lambda: sign_graph((32, 16), (3, 3), zeros=True, to=Format(1, 0)),
    "much padding": lambda: sign_graph((32, 8), (3, 3), padding=(5, 0, 0, 6)),
}


@pytest.mark.parametrize(("number", "name"), enumerate(SIGNS))
def test_signs_of_every_width(number: int, name: str) -> None:
    graph = SIGNS[name]()
    assert kernels(graph, forced())[-1] == "bit counts"
    assert "bit counts" not in kernels(graph, PAIRS["pairs of many"])
    every_size(graph, tiles_in_turn(number), range(1, 34))


def test_padding_of_signs_counts_nothing() -> None:
    """All inputs and weights are 1: a sum is the number of taps inside the image."""
    network = Network()
    source = network.node(Requantize(), network.image(32, Format(3, 0)), to=SIGN)
    weight = network.constant(np.ones((8, 32, 3, 3)), Format(2, 0))
    network.node(Conv2d(padding=(1, 1, 1, 1)), source, weight)
    graph = network.graph()
    assert kernels(graph, forced())[-1] == "bit counts"
    image = np.ones((32, 3, 4), int)
    result = Engine(graph, forced()).run([image]).outputs[0]
    expected = 32 * np.array([[4, 6, 6, 4], [6, 9, 9, 6], [4, 6, 6, 4]])
    assert_same("engine", "node1", np.broadcast_to(expected, (8, 3, 4)), result)


def test_what_are_signs() -> None:
    """Inputs from -1 to 1 and weights of one size; nothing else."""
    weight = np.random.default_rng(0).choice([-3, 3], (8, 32, 3, 3))
    assert kernels(clamped((-1, 1), weight), forced())[-1] == "bit counts"
    assert kernels(clamped((-2, 1), weight), forced())[-1] != "bit counts"
    assert kernels(clamped((-1, 2), weight), forced())[-1] != "bit counts"
    weight[2, 1, 1, 1] = 2
    assert kernels(clamped((-1, 1), weight), forced())[-1] != "bit counts"
    # Two bits that wrap or saturate without symmetry reach -2.
    for overflow in (Overflow.SATURATE, Overflow.WRAP):
        graph = sign_graph((32, 8), (3, 3), to=rounded(Format(2, 0), overflow=overflow))
        assert kernels(graph, forced())[-1] != "bit counts"
        inputs = random_images(graph, (5, 9), np.random.default_rng(0), "ends")
        check(graph, inputs, TILES, RUNS[::3])


def test_largest_weights_of_signs() -> None:
    """Sums of weights of 16 bits are multiplied by their size at the end, and still exact."""
    network = Network()
    source = network.node(Requantize(), network.image(1000, Format(3, 0)), to=SIGN)
    weight = np.full((8, 1000, 3, 3), 2**15 - 1)
    weight[1::2] = -(2**15) + 1
    network.node(Conv2d(), source, network.constant(weight, Format(16, 0)), to=Format(16, -15))
    graph = network.graph()
    assert kernels(graph, forced())[-1] == "bit counts"
    image = np.ones((1000, 4, 13), int)
    expected = check(graph, (image,), TILES, RUNS[::3])
    # 9000 * 32767 / 2**15 = 8999.7
    assert (np.abs(expected.outputs[0]) == 9000).all()
