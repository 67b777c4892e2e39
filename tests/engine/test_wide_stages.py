"""Convolutions for which nothing is too wide, too few or too odd: no kernel is portable."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from engine_graphs import BYTE, FULL, OPTIONS, PIXEL, Network, check, near, plan_of, random_images

from fxp.engine import Options, wide_stages
from fxp.engine.convolution_stages import ConvolutionStage
from fxp.engine.geometry import input_limits
from fxp.engine.packing import Term, chunk_ends, chunks
from fxp.engine.wide_stages import InputParts, weight_parts
from fxp.formats import Format
from fxp.graph.ops import Concat, Conv2d, ConvTranspose2d, Linear, PixelShuffle, Relu, Subtract
from fxp.graph.ops.padding import PaddingMode
from fxp.kernels.host import MANY_WIDE

KERNELS = {
    name: OPTIONS[name] for name in ("host", "few registers", "many narrow registers", "direct")
}
RUNS = ((1, True, False), (3, False, False))
INT16 = Format(16, 0)
WIDE = {
    "16 bit unsigned": Format(16, 8, signed=False),
    "17 bit": Format(17, 8),
    "24 bit": Format(24, 8),
    "32 bit": Format(32, 8),
    "31 bit unsigned": Format(31, 8, signed=False),
}


@pytest.fixture
def whole_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few products, as if their ends took no time."""
    monkeypatch.setattr(wide_stages, "CHUNK_COST", 0.0)


def checked(network: Network, size: tuple[int, int] = (6, 17)) -> str:
    """Compare with the oracle at ends and at random; returns the kernel of the last stage."""
    graph = network.graph()
    for pattern in ("ends", "random"):
        inputs = random_images(graph, size, network.generator, pattern)
        check(graph, inputs, KERNELS, RUNS)
    stages = plan_of(graph, inputs).program.stages
    assert "portable" not in [stage.kernel for stage in stages]
    return stages[-1].kernel


def convolve(network: Network, source: str, weight: str, op: Conv2d | ConvTranspose2d) -> None:
    """Add a convolution with a bias, and a format that clips a little."""
    names = (source, weight, network.bias(source, weight))
    network.node(op, *names, to=near(op, *[network.known[name] for name in names], bits=12))


@pytest.mark.usefixtures("whole_weights")
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 16, 33])
@pytest.mark.parametrize("per_channel", [False, True])
def test_wide_sums(channels: int, per_channel: bool) -> None:
    network = Network(np.random.default_rng(channels))
    source = network.image(6, FULL)
    weight = network.weight((channels, 6, 3, 3), 16, per_channel)
    convolve(network, source, weight, Conv2d(padding=(1, 1, 1, 1)))
    few = {1: ", blocks of 4x4", 2: ", sums", 3: ", sums"}
    assert checked(network) == "pair tiles in chunks" + few.get(channels, "")
    if channels == 1:
        # Whole blocks only, and none at all.
        for size in ((4, 16), (3, 3), (13, 30)):
            checked(network, size)


@pytest.mark.usefixtures("whole_weights")
@pytest.mark.parametrize(
    ("groups", "inputs", "channels", "kernel"), [(2, 8, 32, (1, 5)), (1, 4, 16, (2, 2))]
)
def test_an_input_is_loaded_once_for_a_row_of_taps(
    groups: int, inputs: int, channels: int, kernel: tuple[int, int]
) -> None:
    network = Network(np.random.default_rng(channels))
    source = network.image(inputs, FULL)
    weight = network.weight((channels, inputs // groups, *kernel), 16)
    convolve(network, source, weight, Conv2d(padding=(1, 1, 1, 1), groups=groups))
    graph = network.graph()
    chosen = {name: KERNELS[name] for name in ("host", "many narrow registers")}
    for size in ((4, 14), (3, 17), (2, 3)):
        check(graph, random_images(graph, size, network.generator, "ends"), chosen, RUNS)


@pytest.mark.usefixtures("whole_weights")
def test_one_channel_that_is_subtracted_from_another_value() -> None:
    network = Network(np.random.default_rng(16))
    source, other = network.image(6, FULL), network.image(1, FULL)
    weight = network.weight((1, 6, 3, 3), 16)
    bias = network.bias(source, weight)
    sums = network.node(Conv2d(padding=(1, 1, 1, 1)), source, weight, bias)
    ends = [network.known[name] for name in (other, sums)]
    network.node(Subtract(), other, sums, to=near(Subtract(), *ends, bits=12))
    graph = network.graph()
    for size in ((5, 17), (3, 3)):
        inputs = random_images(graph, size, network.generator, "ends")
        check(graph, inputs, {"host": KERNELS["host"]}, RUNS)
    (stage,) = plan_of(graph, inputs).program.stages
    assert stage.kernel == "pair tiles in chunks, blocks of 4x4"


def test_chunks_of_neighbouring_pixels() -> None:
    """Pairs of both pixels of a run come together, and chunks end between such groups."""
    weights = np.arange(1, 9, dtype=np.int16).reshape(1, 8, 1)
    term = Term(np.array([[0, 0]]), weights, (-(2**15), 2**15 - 1), together=2)
    assert term.pairs[0, :, :, 0].tolist() == [[1, 2, 5, 6], [3, 4, 7, 8]]
    found = chunks([replace(term, weights=weights * 2**11)])
    assert found is not None
    # 14 * 2**11 * 2**15 fits int32, 36 times as much does not.
    assert found.table.tolist() == [[1, 0], [1, 0]]
    assert (found.taps.tolist(), found.lengths.tolist()) == ([[0, 0], [0, 2]], [1, 1])
    assert found.weights[:, :, 0].tolist() == [
        [n * 2**11 for n in pair] for pair in ([1, 2], [5, 6], [3, 4], [7, 8])
    ]


@pytest.mark.usefixtures("whole_weights")
@pytest.mark.parametrize("low", [0, 1])
def test_a_sum_whose_low_part_decides(low: int) -> None:
    """The last bit of a bias carries through the low parts of sums and of the start."""
    network = Network()
    source = network.image(64, INT16)
    weight = network.constant(np.full((16, 64, 1, 1), 2**15 - 1), INT16)
    # 64 * 32767 * 32767 = 68,715,282,496 = 4,095 * 2**24 + 12,582,976; half a step is 2**23.
    missing = 2**24 - 2**23 - 12_582_976 + 2**24
    bias = network.constant(np.full(16, missing - 1 + low), Format(32, 0))
    network.node(Conv2d(), source, weight, bias, to=Format(16, -24))
    graph = network.graph()
    inputs = (np.full((64, 3, 15), 2**15 - 1, np.int64),)
    found = check(graph, inputs, KERNELS, RUNS)
    assert np.unique(found.outputs[0]).tolist() == [4096 + low]


@pytest.mark.parametrize("channels", [3, 8, 40])
def test_weights_of_16_bits_in_two_parts(channels: int) -> None:
    """Two long chunks take less time than many of one or two products of 2**30."""
    network = Network(np.random.default_rng(channels))
    source = network.image(8, INT16)
    raw = network.generator.choice([-(2**15), -(2**15) + 127, 2**15 - 1], (channels, 8, 3, 3))
    convolve(network, source, network.constant(raw, INT16), Conv2d(padding=(1, 1, 1, 1)))
    graph = network.graph()
    for size in ((3, 14), (4, 17)):
        inputs = random_images(graph, size, network.generator, "ends")
        check(graph, inputs, {"host": KERNELS["host"]}, RUNS)
    (stage,) = plan_of(graph, inputs).program.stages
    assert isinstance(stage, ConvolutionStage)
    assert {int(part.record["chunks"][0]) for part in stage.parts} == {2}


def test_weights_in_one_part_where_chunks_are_long() -> None:
    """71 * 2**9 + 2**15 - 1 is more than the 2**16 of one chunk, but two chunks are few."""
    network = Network()
    source = network.image(8, INT16)
    raw = np.full((16, 8, 3, 3), 2**9)
    raw[:, 0, 0, 0] = 2**15 - 1
    convolve(network, source, network.constant(raw, INT16), Conv2d(padding=(1, 1, 1, 1)))
    inputs = random_images(network.graph(), (6, 17), network.generator, "ends")
    options = Options(tiles=MANY_WIDE)
    (stage,) = plan_of(network.graph(), inputs, options).program.stages
    assert isinstance(stage, ConvolutionStage)
    (part,) = stage.parts
    assert (int(part.record["chunks"][0]), int(part.record["pairs"][0])) == (2, 36)
    # The taps of a row share each input that is loaded, as chunks that long are cut between them.
    assert isinstance(part.kernel, partial)
    assert part.kernel.args[-1] == 3


@pytest.mark.parametrize("source", WIDE)
@pytest.mark.parametrize(
    ("groups", "channels"), [(1, 1), (1, 17), (2, 6), (8, 8), (8, 16), (4, 4), (3, 9)]
)
def test_inputs_of_more_than_16_bits(source: str, groups: int, channels: int) -> None:
    network = Network(np.random.default_rng(channels))
    image = network.image(groups * (2 if groups < 4 else 1), WIDE[source])
    inputs = network.known[image].channels // groups
    weight = network.weight((channels, inputs, 3, 2), 8, per_channel=groups == 2)
    op = Conv2d((2, 1), (1, 0, 1, 1), dilation=(1, 2), groups=groups)
    convolve(network, image, weight, op)
    assert checked(network).endswith("inputs split")


@pytest.mark.parametrize("bits", [17, 24, 31])
@pytest.mark.parametrize("groups", [1, 8])
def test_weights_of_more_than_16_bits(bits: int, groups: int) -> None:
    network = Network(np.random.default_rng(bits))
    for form in (BYTE, Format(24, 4)):
        network = Network(np.random.default_rng(bits))
        source = network.image(8, form)
        weight = network.weight((8, 8 // groups, 3, 3), bits)
        convolve(network, source, weight, Conv2d(padding=(1, 1, 1, 1), groups=groups))
        assert "chunks" in checked(network)


@pytest.mark.parametrize("channels", [8, 9, 16, 40])
@pytest.mark.parametrize("kernel", [(3, 3), (1, 4), (5, 5)])
def test_depthwise_with_wide_sums(channels: int, kernel: tuple[int, int]) -> None:
    network = Network(np.random.default_rng(channels))
    source = network.image(channels, FULL)
    weight = network.weight((channels, 1, *kernel), 16, per_channel=True)
    convolve(network, source, weight, Conv2d((1, 2), groups=channels))
    assert checked(network, (9, 21)) == "depthwise tiles in chunks"


def test_depthwise_pairs_that_do_not_fit() -> None:
    """Two products of -2**15 are 2**31, one more than int32 has."""
    network = Network()
    source = network.image(8, INT16)
    weight = network.constant(np.full((8, 1, 1, 2), -(2**15)), INT16)
    network.node(Conv2d(groups=8), source, weight, to=Format(16, -16))
    assert checked(network) == "pair tiles in chunks"


@pytest.mark.usefixtures("whole_weights")
@pytest.mark.parametrize(
    ("inputs", "channels", "groups"),
    [(4, 8, 4), (6, 6, 3), (9, 3, 3), (3, 3, 3), (17, 34, 17), (24, 24, 8), (32, 96, 32)],
)
@pytest.mark.parametrize("bits", [6, 16])
def test_groups_of_few_channels(inputs: int, channels: int, groups: int, bits: int) -> None:
    network = Network(np.random.default_rng(groups))
    source = network.image(inputs, FULL)
    weight = network.weight((channels, inputs // groups, 3, 3), bits, per_channel=bits == 6)
    convolve(network, source, weight, Conv2d((1, 1), (1, 1, 1, 1), groups=groups))
    checked(network)


@pytest.mark.usefixtures("whole_weights")
@pytest.mark.parametrize(
    "op",
    [
        ConvTranspose2d((2, 2)),
        ConvTranspose2d((2, 2), (1, 1), (1, 1)),
        ConvTranspose2d((1, 3), (0, 1)),
        ConvTranspose2d((3, 2), (1, 0), (2, 1)),
        ConvTranspose2d((4, 4)),
        ConvTranspose2d((2, 2), (1, 1), dilation=(3, 2)),
        ConvTranspose2d((2, 2), (1, 1), (1, 0), groups=2),
        ConvTranspose2d((2, 1), groups=8),
    ],
    ids=str,
)
@pytest.mark.parametrize(("channels", "bits"), [(2, 6), (40, 16)])
def test_transposed(op: ConvTranspose2d, channels: int, bits: int) -> None:
    """Every stride, dilation and group; results that no tap reaches."""
    network = Network(np.random.default_rng(channels))
    inputs, channels = 8, max(channels, op.groups)
    source = network.image(inputs, FULL)
    weight = network.weight((channels, inputs // op.groups, 3, 3), bits, per_channel=bits == 6)
    convolve(network, source, weight, op)
    checked(network, (5, 11))


@pytest.mark.usefixtures("whole_weights")
@pytest.mark.parametrize("channels", [4, 12, 16, 36, 64])
@pytest.mark.parametrize("bits", [6, 16])
def test_pixel_shuffle_of_wide_sums(channels: int, bits: int) -> None:
    network = Network(np.random.default_rng(channels))
    source = network.image(5, FULL)
    conv = network.conv(source, channels, (3, 3), bits=bits, to=None, per_channel=True)
    network.node(PixelShuffle(2), conv, to=Format(12, network.known[conv].format.frac - 14))
    checked(network)


@pytest.mark.usefixtures("whole_weights")
def test_linear_layers_in_many_chunks() -> None:
    """Sums of 36 bits, of products as large as int16 has."""
    network = Network(np.random.default_rng(3))
    source = network.vector(3000, INT16)
    weight = network.weight((20, 3000), 16)
    network.node(Linear(), source, weight, to=Format(16, 5 - 25))
    assert checked(network, (1, 1)) == "pair tiles in chunks"


@pytest.mark.parametrize(("kernel", "uniform"), [(3, False), (3, True), (5, False), (5, True)])
def test_winograd_with_exact_products(kernel: int, uniform: bool) -> None:
    """Enlarged sums do not fit int32; each product does, or its chunks do."""
    network = Network(np.random.default_rng(kernel))
    source = network.image(64, PIXEL)
    shape = (32, 64, kernel, kernel)
    if uniform:
        raw = network.generator.choice([-700, 700], shape)
    else:
        raw = network.generator.integers(-300, 300, shape) // (1 + (kernel > 3) * 2)
    half = kernel // 2
    op = Conv2d(padding=(half, half, half, half))
    network.node(op, source, network.constant(raw, Format(12, 8)), to=Format(14, -2))
    for size in ((3, 5), (9, 37)):
        name = checked(network, size)
        assert name.startswith("winograd")
        assert ("chunks" if uniform else "exact") in name


def test_chunks_end_at_the_bound() -> None:
    """A sum of 2**31 - 1 is one chunk, one more is two."""
    weights = np.zeros((3, 2, 1), np.int16)
    weights[:, 0, 0] = 2**14, 2**14, 1
    # 2**14 * x + 2**14 * x + x with x = 65534 is 2**31 - 2; the limits are those of a transform.
    assert chunk_ends(weights[:2], (0, 2**16 - 1)) == [2]
    assert chunk_ends(weights, (0, 2**16 - 2)) == [3]
    assert chunk_ends(weights, (0, 2**16 - 1)) == [2, 3]
    assert chunk_ends(-weights[:2], (0, 2**16)) == [2]
    assert chunk_ends(weights[:1], (0, 2**17)) is None
    assert chunk_ends(-weights[:1], (0, 2**17)) == [1]


def test_chunks_of_inputs_with_bounds_of_their_own() -> None:
    """2**14 * (2**17 - 1) + 2**14 - 1 is 2**31 - 1, which fits int32; one more does not."""
    weights = np.array([[[2**14], [1]]], np.int16)
    limits = np.array([[[0, 2**17 - 1], [0, 2**14 - 1]]])
    assert chunk_ends(weights, limits) == [1]
    assert chunk_ends(weights, limits + np.array([[0, 0], [0, 1]])) is None
    # Limits are paired as weights are.
    own = np.array([[-n, n] for n in range(1, 9)])
    term = Term(np.array([[0, 0]]), np.ones((1, 8, 1), np.int16), own, together=2)
    assert term.pair_limits[..., 1].tolist() == [[1, 2, 5, 6], [3, 4, 7, 8]]


@pytest.mark.parametrize(
    ("mode", "kernel", "name"),
    [("zero", 1, "pair tiles"), ("reflect", 3, "pair tiles in chunks")],
)
def test_joined_values_have_limits_of_their_own(mode: PaddingMode, kernel: int, name: str) -> None:
    """Values of other sizes and a clipped one meet in one format; each keeps its own range."""
    network = Network(np.random.default_rng(0))
    fine, small = network.image(2, Format(16, 12)), network.image(17, Format(8, 7))
    clipped = network.node(Relu(), network.image(13, FULL), to=Format(15, 12, signed=False))
    joined = network.node(Concat(), fine, small, clipped, to=Format(16, 10))
    weight = network.constant(
        network.generator.choice([-8191, 8191], (18, 32, kernel, kernel)), Format(14, 10)
    )
    half = kernel // 2
    op = Conv2d(padding=(half, half, half, half), padding_mode=mode)
    network.node(op, joined, weight, network.bias(joined, weight), to=Format(16, -3))
    graph = network.graph()
    for pattern in ("ends", "random"):
        inputs = random_images(graph, (5, 17), network.generator, pattern)
        check(graph, inputs, {"host": KERNELS["host"]}, RUNS)
    program = plan_of(graph, inputs).program
    # 8191 * (2 * 8192 + 17 * 1024 + 13 * 8192) fits int32, nine times as much does not.
    assert program.stages[-1].kernel == name
    limits = input_limits(program.graph, program.stages[-1].chain)
    # (2**15 - 1 + 2) >> 2, 127 * 8 and (2**15 - 1 + 2) >> 2 at the binary point of the result.
    assert limits.high.tolist() == [8192] * 2 + [1016] * 17 + [8192] * 13
    assert limits.low.tolist() == [-8192] * 2 + [-1024] * 17 + [0] * 13


def test_parts_of_operands() -> None:
    """Parts add up, and fit int16."""
    for value in (2**31 - 1, -(2**31), 12345678, -1, 2**15, -(2**15) - 1):
        parts = weight_parts(np.array([value]), 16)
        assert sum(int(part[0]) << shift for part, shift in parts) == value
        assert all(-(2**15) <= part[0] < 2**15 for part, _ in parts)
        few = weight_parts(np.array([value]), 9)
        assert sum(int(part[0]) << shift for part, shift in few) == value
        assert all(-(2**8) <= part[0] < 2**8 for part, _ in few)
    assert weight_parts(np.array([5]), 16) == [(np.array([5]), 0)]
    # 2**15 - 1 = 128 * 2**8 - 1.
    assert weight_parts(np.array([2**15 - 1]), 9) == [(np.array([-1]), 0), (np.array([128]), 8)]
    parts = InputParts((0, 2**16 - 1))
    assert (parts.limits, parts.constant) == ([(-(2**15), 2**15 - 1)], 2**15)
    parts = InputParts((-(2**23), 2**23 - 1))
    assert parts.limits == [(-(2**15), 2**15 - 1), (-128, 127)]
    assert parts.constant == -(2**23) + 2**15 + (128 << 16)
