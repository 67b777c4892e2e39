"""Chains: nodes that run as one stage equal the nodes one by one, in every order and mode."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from cases import MODES
from engine_graphs import (
    BYTE,
    OPTIONS,
    PIXEL,
    RUNS,
    Network,
    check,
    compare,
    plan_of,
    random_images,
    rounded,
)

from fxp.engine import Engine
from fxp.executors import oracle
from fxp.formats import Format, FormatError, Overflow, Quantization, Rounding
from fxp.graph import Graph
from fxp.graph.ops import (
    Accumulator,
    Add,
    Clamp,
    Conv2d,
    ConvTranspose2d,
    GraphError,
    Multiply,
    PixelShuffle,
    Relu,
    Requantize,
    Subtract,
)

HEADS = ("dense", "few channels", "depthwise", "groups", "1x1", "transposed")
STEPS = ("relu", "clamp", "add", "shuffle", "requantize")
CHAINS = {name: OPTIONS[name] for name in ("host", "few registers", "portable", "not fused")}
SIZE = (7, 18)


def head(network: Network, kind: str, **more) -> str:
    """A convolution to four or sixteen channels that keeps its accumulator."""
    source = network.image(16 if kind in ("depthwise", "groups") else 5, PIXEL)
    if kind == "transposed":
        weight = network.weight((4, 5, 4, 4))
        return network.node(ConvTranspose2d((2, 2), (1, 1)), source, weight, **more)
    channels = 4 if kind == "few channels" else 16
    groups = {"depthwise": 16, "groups": 4}.get(kind, 1)
    kernel = (1, 1) if kind == "1x1" else (3, 3)
    return network.conv(source, channels, kernel, groups=groups, bias=True, **{"to": None, **more})


def other_value(network: Network, like: str, width: int = 9, coarser: int = 3) -> str:
    """A value of a shape that a preceding node has, with fewer fraction bits."""
    operand = network.known[like]
    form = Format(width, operand.format.frac - coarser)
    # From an input of its own, by the way that the size takes.
    factor = operand.shape[1].evaluate({"H": 1, "W": 1})  # type: ignore[union-attr]
    source = network.image(operand.channels * factor**2, form)
    if factor > 1:
        return network.node(PixelShuffle(factor), source, to=form)
    return source


def append(network: Network, step: str, name: str, to: Quantization | None = None) -> str:
    """Add a step behind a value; exact unless told otherwise."""
    operand = network.known[name]
    if step == "relu":
        return network.node(Relu(), name, to=to)
    if step == "clamp":
        scale = 2.0**-operand.format.frac
        return network.node(Clamp(-700.4 * scale, 900.5 * scale), name, to=to)
    if step == "add":
        coarser = int(network.generator.integers(-1, 4))
        other = other_value(network, name, coarser=coarser)
        names = (name, other) if network.generator.integers(2) else (other, name)
        op = Subtract() if network.generator.integers(3) == 0 else Add()
        return network.node(op, *names, to=to)
    if step == "shuffle":
        return network.node(PixelShuffle(2), name, to=to)
    exact = Format(operand.format.width + 3, operand.format.frac + 2, operand.format.signed)
    return network.node(Requantize(), name, to=to or rounded(exact))


def final(
    network: Network,
    name: str,
    rounding: Rounding,
    overflow: Overflow,
    clipped_bits: tuple[int, int] = (1, 3),
) -> Quantization:
    """Quantization that rounds some bits and cuts so many off the top."""
    form = network.known[name].format
    signed = bool(network.generator.integers(4)) or overflow is Overflow.WRAP_SIGN_MAGNITUDE
    width = int(network.generator.integers(5, 10))
    drop = form.width - width - int(network.generator.integers(*clipped_bits, endpoint=True))
    return Quantization(Format(width, form.frac - max(drop, 0), signed), rounding, overflow)


def stage_count(graph: Graph, inputs: tuple) -> int:
    return len(plan_of(graph, inputs).program.stages)


ORDERS = [order for count in range(1, 4) for order in itertools.permutations(STEPS, count)]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_every_order(order: tuple[str, ...]) -> None:
    """All orders of one to three steps; the last one rounds."""
    generator = np.random.default_rng(ORDERS.index(order))
    kinds = itertools.cycle(HEADS)
    for _ in range(1 + ORDERS.index(order) % len(HEADS)):
        kind = next(kinds)
    network = Network(generator)
    name = head(network, kind)
    for step in order[:-1]:
        name = append(network, step, name)
    target = final(network, name, Rounding.HALF_UP, Overflow.SATURATE)
    append(network, order[-1], name, target)
    graph = network.graph()
    runs = RUNS[ORDERS.index(order) % 2 :: 2]
    inputs = random_images(graph, SIZE, generator)
    expected = check(graph, inputs, CHAINS, runs)
    assert expected.clipped.keys() == {node.name for node in graph.nodes}
    inputs = random_images(graph, SIZE, generator, "ends")
    check(graph, inputs, CHAINS, runs)


@pytest.mark.parametrize(
    ("kind", "order", "stages"),
    [
        ("dense", ("relu",), 1),
        ("dense", ("add", "relu"), 1),
        ("few channels", ("shuffle", "clamp"), 1),
        ("few channels", ("shuffle", "add", "requantize"), 2),  # the shuffle of what is added
        ("depthwise", ("clamp", "relu", "requantize"), 1),
        ("dense", ("add", "requantize", "relu", "requantize", "requantize"), 1),
    ],
)
def test_long_chains_are_one_stage(kind: str, order: tuple[str, ...], stages: int) -> None:
    """What networks have is fused, else the tests of fused chains would test nothing."""
    network = Network()
    name = head(network, kind)
    for step in order[:-1]:
        name = append(network, step, name)
    append(network, order[-1], name, final(network, name, Rounding.FLOOR, Overflow.SATURATE))
    graph = network.graph()
    inputs = random_images(graph, SIZE, network.generator)
    check(graph, inputs)
    plan = plan_of(graph, inputs)
    assert len(plan.program.stages) == stages
    assert [node.name for node in plan.program.stages[-1].chain.nodes][-1] == graph.outputs[0]


@pytest.mark.parametrize("modes", MODES, ids=lambda modes: f"{modes[0].name}-{modes[1].name}")
def test_every_mode(modes: tuple[Rounding, Overflow]) -> None:
    """The modes that tiles do not have fall back; those they have are fused."""
    generator = np.random.default_rng(MODES.index(modes))
    for kind, steps in (
        ("dense", ("add", "relu")),
        ("few channels", ("shuffle",)),
        ("depthwise", ("clamp",)),
        ("transposed", ("requantize",)),
    ):
        network = Network(generator)
        name = head(network, kind)
        for step in steps[:-1]:
            name = append(network, step, name)
        # One bit may be more than the sum can fill, and then the mode does not matter.
        append(network, steps[-1], name, final(network, name, *modes, clipped_bits=(2, 3)))
        graph = network.graph()
        inputs = random_images(graph, SIZE, generator)
        check(graph, inputs, CHAINS, RUNS[1::2])
        fused = modes[0] in (Rounding.HALF_UP, Rounding.FLOOR) and modes[1] in (
            Overflow.SATURATE,
            Overflow.SATURATE_SYMMETRIC,
        )
        assert (stage_count(graph, inputs) == 1) == fused


def test_rounding_inside_a_chain_ends_it() -> None:
    """A node that rounds, or clips, keeps what it does."""
    for target in (Format(8, 4), Format(30, 12), Format(12, 25)):
        network = Network()
        name = head(network, "dense", to=target)
        network.node(Relu(), name, to=Format(7, 2))
        graph = network.graph()
        inputs = random_images(graph, SIZE, network.generator, "ends")
        check(graph, inputs)
        assert stage_count(graph, inputs) == 2


@pytest.mark.parametrize("bits", [6, 12])
def test_fractions_per_channel(bits: int) -> None:
    """Every channel has its own shift, and the bounds of a clamp hold for all."""
    for seed, (step, kind) in enumerate(itertools.product((*STEPS, None), HEADS[:5])):
        network = Network(np.random.default_rng(seed))
        network_head = head(
            network,
            kind,
            per_channel=True,
            bits=bits,
            to=None if step else rounded(Format(9, 7), Rounding.FLOOR),
        )
        if step:
            append(network, step, network_head, rounded(Format(9, 7)))
        graph = network.graph()
        inputs = random_images(graph, SIZE, network.generator, "ends" if seed % 2 else "random")
        check(graph, inputs, CHAINS, RUNS[seed % 2 :: 2])


def test_counts_inside_chains() -> None:
    """A clip hides the overflows beyond it, and only those."""
    network = Network()
    conv = head(network, "dense")
    frac = network.known[conv].format.frac
    cases = {
        # bounds of the clamp, result: 6 bits from -32 to 31 in steps of 2**-(frac - 4)
        "inside both": (-20, 20), "beyond both": (-40, 40), "low inside": (-20, 50),
        "at both": (-32, 31), "one beyond": (-33, 32), "high below zero": (-60, -10),
        "high at the lowest": (-60, -32),
    }  # fmt: skip
    target = rounded(Format(6, frac - 8))
    clipped = []
    for low, high in cases.values():
        scale = 2.0 ** -(frac - 8)
        network.node(Clamp(low * scale, high * scale), conv, to=target)
    for number in range(len(cases)):
        # The convolution must be read once only, to be fused.
        chosen = Network(np.random.default_rng(0))
        name = head(chosen, "dense")
        chosen.node(network.nodes[1 + number].op, name, to=target)
        graph = chosen.graph()
        inputs = random_images(graph, SIZE, np.random.default_rng(1), "ends")
        clipped.append(check(graph, inputs).clipped["node1"])
        assert stage_count(graph, inputs) == 1
    assert clipped[0] == clipped[3] == 0
    assert clipped[1] > clipped[2] > 0
    assert clipped[4] > 0
    assert clipped[5] == clipped[6] > 0


def test_several_clips() -> None:
    """Clips one after the other, also with nothing between their bounds."""
    for first, second in itertools.product(((-9, 9), (2, 20), (-20, -2), (-1, 0)), repeat=2):
        network = Network()
        name = head(network, "dense")
        scale = 2.0 ** -(network.known[name].format.frac - 8)
        for low, high in (first, second):
            name = network.node(Clamp(low * scale, high * scale), name)
        frac = network.known[name].format.frac
        network.node(Requantize(), name, to=rounded(Format(4, frac - 8)))
        graph = network.graph()
        inputs = random_images(graph, SIZE, network.generator, "ends")
        check(graph, inputs, CHAINS)


def random_chain(generator: np.random.Generator) -> Graph:
    """A convolution and up to five steps behind it, mostly exact, of any formats and modes."""
    network = Network(generator)
    kind = HEADS[generator.integers(len(HEADS))]
    name = head(network, kind, **({} if kind == "transposed" else {"per_channel": bool(
        generator.integers(4) == 0)}))  # fmt: skip
    for _ in range(generator.integers(1, 6)):
        step = STEPS[generator.integers(len(STEPS))]
        if step == "shuffle" and network.known[name].channels % 4:
            continue
        to = None
        if generator.integers(4) == 0:
            to = final(network, name, *MODES[generator.integers(len(MODES))])
        elif generator.integers(6) == 0:
            # Exact, but by the skin of its teeth or not quite.
            form = network.known[name].format
            width = form.width + int(generator.integers(-1, 2))
            to = rounded(Format(width, form.frac, form.signed))
        name = append(network, step, name, to)
    network.node(Requantize(), name, to=final(network, name, Rounding.HALF_UP, Overflow.SATURATE))
    outputs = [name] if generator.integers(4) == 0 else []
    return network.graph(*outputs, network.nodes[-1].name)


def test_random_chains() -> None:
    seen: Counter[int] = Counter()
    for seed in range(100):
        generator = np.random.default_rng(seed)
        try:
            graph = random_chain(generator)
        except (GraphError, FormatError):
            seen[0] += 1  # more bits than there are
            continue
        inputs = random_images(graph, SIZE, generator, "ends" if seed % 2 else "random")
        expected = oracle.run(graph, inputs)
        for number, options in enumerate(CHAINS.values()):
            engine = Engine(graph, options)
            compare(engine, expected, inputs, RUNS[(seed + number) % 3 :: 3])
            if number == 0:
                stages = engine.plan([array.shape for array in inputs]).program.stages
                seen.update(len(stage.chain.nodes) for stage in stages)
    assert seen[0] < 30
    assert all(seen[count] >= 5 for count in range(1, 5))


def test_elementwise_heads() -> None:
    """Sums and products that are clipped and rounded later, without a convolution."""
    for op, step, modes in itertools.product((Add(), Subtract(), Multiply()), STEPS, MODES[:2]):
        network = Network()
        left, right = network.image(4, BYTE), network.image(4, Format(10, 6))
        name = network.node(op, left, right)
        append(network, step, name, final(network, name, *modes))
        graph = network.graph()
        inputs = random_images(graph, SIZE, network.generator, "ends")
        check(graph, inputs, CHAINS, RUNS[::2])


def test_value_that_is_read_again_is_not_lost() -> None:
    """A value inside what could be a chain is an output, a state's source, or read twice."""
    network = Network()
    conv = head(network, "dense", to=Format(16, 4))
    first = network.node(Relu(), conv, to=Format(16, 4))
    second = network.node(Add(), conv, first, to=Format(14, 3))
    for outputs in ((second,), (conv, second), (first, second), (second, second)):
        graph = network.graph(*outputs)
        inputs = random_images(graph, SIZE, network.generator)
        check(graph, inputs)


def test_adding_a_value_to_itself() -> None:
    network = Network()
    conv = head(network, "dense")
    network.node(Add(), conv, conv, to=Format(9, 4))
    graph = network.graph()
    check(graph, random_images(graph, SIZE, network.generator))


def test_other_value_of_another_chain() -> None:
    """Two convolutions that are added: one is in the chain, the other is rounded first."""
    for forms in ((None, Format(14, 9)), (Format(14, 9), None), (None, None)):
        network = Network()
        names = [network.conv(network.image(4, PIXEL), 8, to=form, bias=True) for form in forms]
        total = network.node(Add(), *names)
        network.node(Relu(), total, to=Format(9, 6))
        graph = network.graph()
        check(graph, random_images(graph, SIZE, network.generator, "ends"))


def test_accumulator_of_the_first_node_is_what_counts() -> None:
    """A chain is as exact as its format says, not as its weights happen to be."""
    network = Network()
    source = network.image(4, PIXEL)
    weight = network.weight((4, 4, 3, 3))
    op = Conv2d(padding=(1, 1, 1, 1))
    operands = [network.known[name] for name in (source, weight)]
    accumulator = op.accumulator(*operands)
    assert isinstance(accumulator, Accumulator)
    exact = accumulator.exact_format
    for width in (exact.width - 1, exact.width):
        chosen = Network(np.random.default_rng(0))
        source = chosen.image(4, PIXEL)
        conv = chosen.node(op, source, chosen.weight((4, 4, 3, 3)), to=Format(width, exact.frac))
        chosen.node(Relu(), conv, to=Format(10, exact.frac - 8))
        graph = chosen.graph()
        inputs = random_images(graph, SIZE, chosen.generator, "ends")
        check(graph, inputs)
        assert stage_count(graph, inputs) == (1 if width == exact.width else 2)
