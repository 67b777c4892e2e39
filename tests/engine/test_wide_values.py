"""Values of int32 between stages, and sums whose binary points differ from channel to channel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine_graphs import (
    BYTE,
    FEW_RUNS,
    OPTIONS,
    PIXEL,
    Network,
    check,
    plan_of,
    random_images,
    rounded,
)

from fxp.engine import Engine
from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Graph
from fxp.graph.ops import (
    Add,
    Clamp,
    Conv2d,
    ConvTranspose2d,
    Linear,
    Multiply,
    Nearest,
    Op,
    Pad,
    Prelu,
    Relu,
    Requantize,
    Slice,
    SoftThreshold,
    StoredTable,
    Subtract,
)

SIZE = (7, 18)
KERNELS = {
    name: OPTIONS[name] for name in ("host", "few registers", "many narrow registers", "direct")
}
COUNTED = ((1, True, False), (3, False, False), (1, True, True))
WIDE = Format(32, 20)
EYE = np.eye(8, dtype=np.int64)[:, :, None, None]


def portable(graph: Graph, inputs: tuple) -> list[str]:
    """Values that the engine computes by portable kernels."""
    stages = plan_of(graph, inputs).program.stages
    return [stage.result for stage in stages if stage.kernel == "portable"]


def checked(graph: Graph, network: Network, pattern: str = "ends") -> None:
    """Compare with the oracle, and see that nothing is portable."""
    inputs = random_images(graph, SIZE, network.generator, pattern)
    assert portable(graph, inputs) == []
    check(graph, inputs, KERNELS, COUNTED)


@pytest.mark.parametrize(
    ("value", "other", "reverse", "expected"),
    [
        # Raw integers of 4 fraction bits; whole numbers come out, half rounded up.
        (24, 16, False, 1),  # 1.5 - 1
        (24, 16, True, 0),  # 1 - 1.5
        (24, 0, True, -1),  # 0 - 1.5
        (24, 0, False, 2),  # 1.5 - 0
        (-24, 16, False, -2),  # -1.5 - 1
        (-24, 16, True, 3),  # 1 - -1.5
    ],
)
def test_differences_round_half_up(value: int, other: int, reverse: bool, expected: int) -> None:
    """A rounded difference that is negated afterwards would round half down."""
    network = Network()
    image, beside = network.image(8, BYTE), network.image(8, BYTE)
    conv = network.node(Conv2d(), image, network.constant(EYE * 32, Format(10, 5)))
    names = (beside, conv) if reverse else (conv, beside)
    network.node(Subtract(), *names, to=rounded(Format(6, 0)))
    graph = network.graph()
    arrays = tuple(np.full((8, 2, 9), raw) for raw in (value, other))
    result = Engine(graph).run(arrays, threads=1)
    assert len(plan_of(graph, arrays).program.stages) == 1
    assert set(result.outputs[0].reshape(-1).tolist()) == {expected}


def test_channels_with_binary_points_of_their_own() -> None:
    """Weights 1, 1/2, 1/4, 1/8 are the same raw integer; a step differs from channel to channel."""
    network = Network()
    image, beside = network.image(8, Format(8, 0)), network.image(8, Format(8, 1))
    weight = network.constant(EYE, *[Format(8, frac) for frac in (0, 1, 2, 3) * 2])
    conv = network.node(Conv2d(), image, weight)
    network.node(Add(), conv, beside, to=rounded(Format(8, -1)))
    graph = network.graph()
    arrays = (np.full((8, 2, 9), 5), np.full((8, 2, 9), 1))
    result = Engine(graph).run(arrays, threads=1)
    assert len(plan_of(graph, arrays).program.stages) == 1
    # 5 + 0.5, 2.5 + 0.5, 1.25 + 0.5, 0.625 + 0.5 in steps of 2
    assert result.outputs[0][:, 0, 0].tolist() == [3, 2, 1, 1, 3, 2, 1, 1]


def sum_of_convolutions(
    network: Network, op: Op, kinds: tuple[str, str], per_channel: bool, last: str
) -> Graph:
    """Combine two exact accumulators, and round once."""
    names = []
    for kind in kinds:
        source = network.image(16 if kind == "depthwise" else 5, PIXEL)
        if kind == "transposed":
            weight = network.weight((16, 5, 4, 4), per_channel=per_channel)
            names.append(network.node(ConvTranspose2d((2, 2), (1, 1)), source, weight))
            continue
        names.append(
            network.conv(
                source,
                3 if kind == "few" else 16,
                (1, 1) if kind == "1x1" else (3, 3),
                groups=16 if kind == "depthwise" else 1,
                bias=True,
                per_channel=per_channel,
                to=None,
            )
        )
    name = network.node(op, *names)
    form = network.known[name].format
    target = Format(9, form.frac - form.width + 11)
    if last == "relu":
        network.node(Relu(), name, to=rounded(target))
    else:
        network.node(Requantize(), name, to=rounded(target, Rounding.FLOOR))
    return network.graph()


PAIRS = (
    ("dense", "1x1"),
    ("1x1", "dense"),
    ("depthwise", "1x1"),
    ("dense", "depthwise"),
    ("few", "few"),
    ("transposed", "transposed"),
)


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
@pytest.mark.parametrize("per_channel", [False, True])
def test_two_accumulators(kinds: tuple[str, str], per_channel: bool) -> None:
    """One is stored exactly and added to the other, whatever their binary points."""
    for seed, (op, last) in enumerate(itertools.product((Add(), Subtract()), ("relu", "round"))):
        network = Network(np.random.default_rng(seed))
        graph = sum_of_convolutions(network, op, kinds, per_channel, last)
        checked(graph, network, "ends" if seed % 2 else "random")


@pytest.mark.parametrize("per_channel", [False, True])
def test_winograd_stores_and_adds_exact_sums(per_channel: bool) -> None:
    network = Network()
    source = network.image(32, PIXEL)
    convs = [network.conv(source, 32, to=None, per_channel=per_channel) for _ in range(2)]
    total = network.node(Subtract(), *convs)
    form = network.known[total].format
    network.node(Relu(), total, to=rounded(Format(10, form.frac - form.width + 12)))
    graph = network.graph()
    inputs = random_images(graph, SIZE, network.generator, "ends")
    stages = plan_of(graph, inputs).program.stages
    assert [stage.kernel.split()[0] for stage in stages] == ["winograd", "winograd"]
    check(graph, inputs, KERNELS, COUNTED)


@pytest.mark.parametrize("beyond", [0, 1])
def test_sum_at_the_limit_of_int32(beyond: int) -> None:
    """The largest sum, half a step added, is the last that fits int32, or one more."""
    network = Network()
    image, beside = network.image(8, Format(2, 0, signed=False)), network.image(8, Format(15, 0))
    weight = network.constant(EYE * 2**13, Format(15, 15))
    # 3 * 2**13 from the image, 2**15 times the other value, half a step of 2**14.
    high = 2**31 - 1 - 3 * 2**13 - (2**14 - 1) * 2**15 - 2**14
    bias = network.constant(np.full(8, high + beyond), Format(40, 15))
    conv = network.node(Conv2d(), image, weight, bias)
    network.node(Add(), conv, beside, to=rounded(Format(16, 0)))
    graph = network.graph()
    arrays = (np.full((8, 3, 18), 3), np.full((8, 3, 18), 2**14 - 1))
    (stage,) = plan_of(graph, arrays).program.stages
    assert stage.chain.finish is not None
    assert stage.chain.finish.wide == bool(beyond)
    check(graph, arrays, KERNELS, COUNTED)
    result = Engine(graph).run(arrays, threads=1)
    # About 2**31 in steps of 2**15 is 2**16, beyond 16 bits.
    assert set(result.outputs[0].reshape(-1).tolist()) == {2**15 - 1}


OPS: dict[str, Op] = {
    "relu": Relu(),
    "clamp": Clamp(-300.5, 200.25),
    "requantize": Requantize(),
    "slice of channels": Slice("channel", 1, 7, 2),
    "slice of rows": Slice("row", 1, None, 2),
    "slice of columns": Slice("column", 0, None, 3),
    "zeros": Pad((1, 2, 3, 0)),
    "edge": Pad((1, 0, 2, 1), "replicate"),
    "nearest": Nearest(2),
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("form", [WIDE, Format(20, 11), Format(31, 20, signed=False)])
def test_one_wide_value(name: str, form: Format) -> None:
    """Rounded to 16 bits, to fewer bits that still need int32, and as it is."""
    for target in (rounded(Format(16, 10)), rounded(Format(24, 8), Rounding.FLOOR), None):
        network = Network()
        network.node(OPS[name], network.image(8, form), to=target)
        graph = network.graph()
        inputs = random_images(graph, SIZE, network.generator, "ends")
        assert portable(graph, inputs) == []
        check(graph, inputs, {"host": OPTIONS["host"]}, COUNTED)


@pytest.mark.parametrize("op", [Add(), Subtract(), Multiply()])
@pytest.mark.parametrize(
    "forms",
    [(WIDE, WIDE), (WIDE, Format(16, 3)), (Format(16, 22), Format(32, 17)), (BYTE, Format(20, 3))],
)
def test_two_wide_values(op: Op, forms: tuple[Format, Format]) -> None:
    """Sums of 33 bits and products of 61 are added up in int64."""
    if isinstance(op, Multiply) and sum(form.width for form in forms) > 61:
        forms = (forms[0], Format(29, 20))
    raws = (forms[1].min_raw, forms[1].max_raw, 1, 0, -1, 7, 2, 3)
    for target in (rounded(Format(14, 1)), rounded(Format(28, 3))):
        network = Network()
        network.node(op, *[network.image(8, form) for form in forms], to=target)
        checked(network.graph(), network)
        network = Network()
        constant = network.constant(np.array(raws)[:, None, None], forms[1])
        network.node(op, network.image(8, forms[0]), constant, to=target)
        checked(network.graph(), network)


@pytest.mark.parametrize("form", [WIDE, Format(31, 22), Format(18, 5), Format(16, 12)])
def test_slopes_and_thresholds(form: Format) -> None:
    """One per channel, negative ones and zero among them."""
    raws = np.array([5, -3, 0, 31, 1, -32, 12, 7])
    for target in (rounded(Format(15, form.frac - 4)), rounded(Format(26, form.frac - 1))):
        network = Network()
        slope = network.constant(raws, Format(8, 5))
        network.node(Prelu(), network.image(8, form), slope, to=target)
        checked(network.graph(), network)
        network = Network()
        threshold = network.constant(raws * 2, Format(8, form.frac + 1))
        network.node(SoftThreshold(), network.image(8, form), threshold, to=target)
        checked(network.graph(), network)


@pytest.mark.parametrize("source", [Format(9, 4), Format(16, 12, signed=False)])
@pytest.mark.parametrize("entries", [Format(14, 9), Format(20, 9)])
def test_tables(source: Format, entries: Format) -> None:
    """Codes and entries of two bytes and of four, in whole chunks and in what is left of a row."""
    network = Network()
    raws = network.generator.integers(entries.min_raw, entries.max_raw, 1 << source.width)
    raws[[0, -1]] = entries.min_raw, entries.max_raw
    table = network.constant(raws, entries)
    image = network.image(3, source)
    node = network.node(StoredTable(), image, table, to=rounded(Format(entries.width - 1, 9)))
    graph = network.graph()
    for size in ((2, 3), (5, 22)):
        inputs = random_images(graph, size, network.generator)
        (stage,) = plan_of(graph, inputs).program.stages
        assert stage.kernel == "table"
        found = check(graph, inputs, {"host": OPTIONS["host"]}, COUNTED)
        assert found.clipped[node]


def test_sum_of_linear_layers() -> None:
    network = Network()
    names = [
        network.node(
            Linear(),
            network.vector(features, PIXEL),
            network.weight((16, features), per_channel=True),
        )
        for features in (40, 24)
    ]
    total = network.node(Add(), *names)
    frac = network.known[total].format.frac
    network.node(Relu(), total, to=rounded(Format(10, frac - 8)))
    checked(network.graph(), network)


def test_modes_do_not_matter_where_nothing_is_rounded_or_clipped() -> None:
    """An exact accumulator is stored alike in every mode."""
    for rounding, overflow in itertools.product(Rounding, Overflow):
        network = Network()
        source = network.image(5, PIXEL)
        weight = network.weight((16, 5, 3, 3), per_channel=True)
        op = Conv2d(padding=(1, 1, 1, 1))
        exact = op.accumulator(network.known[source], network.known[weight]).exact_format
        network.node(op, source, weight, to=Quantization(exact, rounding, overflow))
        graph = network.graph()
        inputs = random_images(graph, SIZE, network.generator, "ends")
        assert portable(graph, inputs) == []
        check(graph, inputs, {"host": OPTIONS["host"]}, FEW_RUNS)


def test_clips_behind_the_node_that_rounds() -> None:
    """They belong to its stage, and its overflows stay its own."""
    network = Network()
    source = network.image(8, Format(8, 0))
    weight = network.constant(EYE * 3, Format(4, 1))
    conv = network.node(Conv2d(), source, weight, to=rounded(Format(8, 0)))
    clipped = network.node(Relu(), conv, to=Format(7, 0, signed=False))
    network.node(Clamp(None, 100.0), clipped, to=Format(16, 0))
    graph = network.graph()
    arrays = (np.clip(np.arange(-72, 72).reshape(8, 2, 9) * 2, -128, 127),)
    assert len(plan_of(graph, arrays).program.stages) == 1
    result = Engine(graph).run(arrays, threads=1)
    values = np.floor(arrays[0] * 1.5 + 0.5)
    assert np.array_equal(result.outputs[0], np.clip(values, 0, 100))
    assert result.clipped == {
        conv: int(((values < -128) | (values > 127)).sum()),
        clipped: 0,
        graph.outputs[0]: 0,
    }
    assert result.clipped[conv] > 0
    check(graph, arrays, KERNELS)


def random_graph(generator: np.random.Generator) -> Graph:
    """Convolutions with formats per channel, summed, clipped and rounded here or there."""
    network = Network(generator)
    values = [network.image(8, Format(int(generator.integers(4, 15)), 9))]
    while len(network.nodes) < 7:
        name, other = (values[generator.integers(len(values))] for _ in range(2))
        form, beside = network.known[name].format, network.known[other].format
        exact, kind = generator.integers(3) > 0, generator.integers(6)
        if kind <= 2 and form.width <= 16:
            values.append(
                network.conv(
                    name,
                    8,
                    ((1, 1), (3, 3))[generator.integers(2)],
                    groups=(1, 8)[generator.integers(2)],
                    bits=int(generator.integers(3, 9)),
                    per_channel=bool(generator.integers(4)),
                    bias=bool(generator.integers(2)),
                    to=None if exact else rounded(Format(10, form.frac - 1)),
                )
            )
        elif kind <= 4 and max(form.width, beside.width) + abs(form.frac - beside.frac) < 50:
            op = (Add(), Subtract())[generator.integers(2)]
            to = None if exact else rounded(Format(11, min(form.frac, beside.frac)))
            values.append(network.node(op, name, other, to=to))
        elif kind == 5:
            to = None if exact else rounded(Format(12, form.frac - 2))
            values.append(network.node(Relu(), name, to=to))
    used = {name for node in network.nodes for name in node.inputs}
    return network.graph(*[node.name for node in network.nodes if node.name not in used])


def test_random_sums() -> None:
    """Whatever is fused, stored as int32, or left to portable kernels."""
    fused = 0
    for seed in range(28):
        generator = np.random.default_rng(seed)
        graph = random_graph(generator)
        inputs = random_images(graph, SIZE, generator, "ends" if seed % 2 else "random")
        options = {name: OPTIONS[name] for name in list(KERNELS)[seed % 4 :: 4]}
        check(graph, inputs, {**options, "not fused": OPTIONS["not fused"]}, COUNTED[seed % 2 :])
        stages = plan_of(graph, inputs).program.stages
        fused += sum(len(stage.chain.nodes) > 1 for stage in stages)
    assert fused > 8
