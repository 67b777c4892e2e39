"""Element-wise ops, moves, pooling and upsampling as command stages, alone and in segments."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from cases import CASES, Case, Example, RandomChoices, Template, build

from fxp.engine import Engine, Options
from fxp.engine.cutting import Pieces
from fxp.engine.routine_stages import RoutineStage
from fxp.engine.stages import CommandStage
from fxp.executors import oracle
from fxp.executors.execution import Result
from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.ops import (
    Accumulator,
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    GraphError,
    MaxPool,
    Multiply,
    Nearest,
    Op,
    Operand,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    Relu,
    Requantize,
    Sigmoid,
    Slice,
    Subtract,
    Tanh,
)

FAST_OPS = (
    "add", "subtract", "multiply", "relu", "clamp", "requantize", "prelu", "sigmoid", "tanh",
    "table", "concat", "slice", "pad", "nearest", "pixel_shuffle", "pixel_unshuffle", "max_pool",
    "average_pool", "bilinear_upsample", "bicubic_upsample",
)  # fmt: skip
SLOW_CASES = (
    "channel_broadcast", "row_broadcast", "attention_left", "not_counted", "average_pool_2x5",
    "average_pool_ceil",
)  # fmt: skip
"""Parts of the names of cases that have no command stage."""
FAST_CASES = tuple(
    case
    for case in CASES
    if case.op.name in FAST_OPS and not any(part in case.name for part in SLOW_CASES)
)
FAST_MODES = tuple(
    itertools.product(
        (Rounding.HALF_UP, Rounding.FLOOR), (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC)
    )
)
OPTIONS = (
    Options(piece_work=1),
    Options(workspace_bytes=1, band_rows=1, piece_work=1),
    Options(workspace_bytes=1 << 11, band_rows=3, piece_work=1),
    Options(workspace_bytes=1, band_rows=2, fuse=False, piece_work=1),
)


@pytest.fixture(autouse=True)
def narrow_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small images into strips."""
    monkeypatch.setattr("fxp.engine.cutting.MIN_COLUMNS", 5)


def check(graph: Graph, inputs: tuple, options: tuple[Options, ...] = OPTIONS) -> Result:
    """Compare everything that a run may give with the oracle, whose result is returned."""
    expected = oracle.run(graph, inputs)
    for option in options:
        engine = Engine(graph, option)
        for threads, counted in itertools.product((1, 3), (True, False)):
            result = engine.run(inputs, threads=threads, count_clipped=counted)
            for got, want in zip(result.outputs, expected.outputs, strict=True):
                assert np.array_equal(got, want)
            assert result.clipped == (expected.clipped if counted else {})
        result = engine.run(inputs, threads=3, keep_values=True)
        assert result.clipped == expected.clipped
        assert result.values.keys() == expected.values.keys()
        for name, value in expected.values.items():
            assert np.array_equal(result.values[name], value)
    return expected


def is_fast(graph: Graph) -> bool:
    """Whether everything runs in command stages."""
    shapes = [tuple(int(size) for size in value.shape) for value in graph.inputs]
    plan = Engine(graph).plan(shapes, threads=1, count_clipped=False)
    return all(isinstance(stage, CommandStage) for stage in plan.program.stages)


def usual_result(accumulator: Accumulator, choices: RandomChoices) -> Quantization:
    """Choose an int16 result that drops bits rather than adding some."""
    shift = choices.integer(max(0, accumulator.bits - 18), max(0, accumulator.bits - 4))
    needed = accumulator.bits - shift
    width = min(max(needed + choices.integer(-3, 1), 2), 16)
    return Quantization(Format(width, accumulator.frac - shift), *choices.pick(FAST_MODES))


def usual_case(case: Case) -> Case:
    """The case with formats as networks have them."""

    def narrow(template: Template) -> Template:
        if template.role == "table" or case.op.name in ("sigmoid", "tanh", "table"):
            return replace(template, signed=True)
        if template.role == "value":
            # The reciprocal of a window's size has about 20 bits.
            widths = (4, 10 if case.op.name == "average_pool" else 12)
            return replace(template, widths=widths, fracs=(4, 10), signed=None)
        return replace(template, widths=(3, 8), fracs=(3, 8), signed=True)

    return replace(case, operands=tuple(narrow(template) for template in case.operands))


def example_of(case: Case, number: int, *, usual: bool) -> Example:
    """One example of a case, in formats that have a command stage or in any."""
    choices = RandomChoices(np.random.default_rng(zlib.crc32(f"{case.name} {number}".encode())))
    size = tuple(
        max(choices.integer(1, most) // case.multiple * case.multiple, smallest)
        for most, smallest in zip((9, 40), case.smallest, strict=True)
    )
    if not usual:
        return build(case, choices, size=size)
    pattern = "random" if number % 2 else None
    example = build(usual_case(case), choices, size=size, pattern=pattern)
    result = usual_result(example.accumulator, choices)
    node = replace(example.node, quantization=result)
    graph = example.graph
    graph = Graph(graph.name, graph.inputs, (node,), graph.outputs, graph.constants)
    return replace(example, graph=graph)


@pytest.mark.parametrize("case", FAST_CASES, ids=lambda case: case.name)
def test_usual_formats(case: Case) -> None:
    clipped = 0
    for number in range(8):
        example = example_of(case, number, usual=True)
        program = Engine(example.graph)._program(False)
        assert all(isinstance(stage, CommandStage) for stage in program.stages), example.graph
        expected = check(example.graph, example.inputs[0], OPTIONS[number % 4 :][:1])
        clipped += expected.clipped["result"]
    assert clipped


@pytest.mark.parametrize("case", [c for c in CASES if c.op.name in FAST_OPS], ids=lambda c: c.name)
def test_any_formats(case: Case) -> None:
    for number in range(4):
        example = example_of(case, number, usual=False)
        check(example.graph, example.inputs[0], OPTIONS[number:][:1])


UNARY = (
    Relu(), Clamp(-0.4, 0.7), Requantize(), Nearest(2), Nearest(3), PixelShuffle(2),
    PixelUnshuffle(2), Slice("row", 1, -1), Slice("row", 1, None, 2), Slice("column", 0, None, 3),
    Slice("column", 2, None), Slice("channel", 1, None, 2), Slice("channel", 0, 2),
    Pad((1, 2, 3, 1)), Pad((2, 1, 1, 3), "reflect"), MaxPool(), AveragePool(),
    MaxPool((3, 3), (2, 2), (1, 1, 1, 1)), AveragePool((3, 2), (1, 1), (1, 1, 1, 0)),
    BilinearUpsample(), BicubicUpsample(), BicubicUpsample(-0.75, "replicate"),
)  # fmt: skip
BINARY = (Add(), Subtract(), Multiply(), Concat())
VALUE_BITS = 10
MOST_ELEMENTS = 6000


@dataclass
class Network:
    """A chain of ops of fixed size in usual formats, with skip connections."""

    choices: RandomChoices
    generator: np.random.Generator
    nodes: list[Node] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    values: dict[str, Operand] = field(default_factory=dict)

    def constant(self, shape: tuple[int, ...], form: Format) -> str:
        """Add a constant."""
        data = self.generator.integers(form.min_raw, form.max_raw, shape, endpoint=True)
        self.constants.append(Constant(f"c{len(self.constants)}", data, (form,)))
        return self.constants[-1].name

    def add(self, op: Op, *names: str) -> None:
        """Add a node whose values are about as wide as the others."""
        data = {constant.name: constant for constant in self.constants}
        operands = [
            self.values[name]
            if name in self.values
            else Operand(data[name].data.shape, data[name].formats, data[name].data)
            for name in names
        ]
        shape = op.shape(*(operand.shape for operand in operands))
        if np.prod([int(size) for size in shape]) > MOST_ELEMENTS:
            raise GraphError("too large")
        accumulator = op.accumulator(*operands)
        shift = max(accumulator.bits - VALUE_BITS - self.choices.integer(0, 1), 0)
        width = min(accumulator.bits - shift, VALUE_BITS)
        result = Quantization(
            Format(width, accumulator.frac - shift), *self.choices.pick(FAST_MODES)
        )
        node = Node(f"n{len(self.nodes)}", op, names, result)
        self.nodes.append(node)
        self.values[node.name] = Operand(shape, (result.format,))

    def step(self) -> None:
        """Continue from the last value."""
        last = list(self.values)[-1]
        channels, *size = (int(extent) for extent in self.values[last].shape)
        kind = self.choices.integer(0, 9)
        if kind < 5:
            self.add(self.choices.pick(UNARY), last)
        elif kind == 5:
            self.add(Prelu(), last, self.constant((channels,), Format(8, 6)))
        elif kind == 6:
            op = self.choices.pick((Tanh(), Sigmoid()))
            form = self.values[last].format
            data = op.tabulate(form, Format(9, 8))
            self.constants.append(Constant(f"c{len(self.constants)}", data, (Format(9, 8),)))
            self.add(op, last, self.constants[-1].name)
        elif kind == 7:
            op = self.choices.pick(BINARY[:3])
            names = [last, self.constant((channels, 1, 1), Format(8, 6))]
            self.add(op, *names[:: self.choices.pick((1, -1))])
        elif kind == 8:
            op = self.choices.pick(BINARY)
            same = [n for n, v in self.values.items() if v.shape[1:] == (*size,)]
            same = same if isinstance(op, Concat) else [
                name for name in same if self.values[name].channels == channels
            ]  # fmt: skip
            names = [last, self.choices.pick(same)]
            self.add(op, *names[:: self.choices.pick((1, -1))])
        else:
            count = self.choices.integer(1, 9)
            weight = self.constant((count, channels, 3, 3), Format(6, 5))
            self.add(Conv2d(padding=(1, 1, 1, 1)), last, weight)

    def grow(self, count: int) -> None:
        """Add so many nodes; steps that do not fit are skipped."""
        for _ in range(20 * count):
            if len(self.nodes) == count:
                return
            before = [*self.constants]
            try:
                self.step()
            except GraphError:
                self.constants = before


def random_network(seed: int) -> tuple[Graph, tuple]:
    """A random network with data for it."""
    generator = np.random.default_rng(seed)
    choices = RandomChoices(generator)
    shape = (choices.integer(1, 5), choices.integer(2, 12), choices.integer(2, 40))
    form = Format(VALUE_BITS, 8, choices.pick((True, False)))
    network = Network(choices, generator)
    network.values["x"] = Operand(shape, (form,))
    network.grow(7)
    used = {name for node in network.nodes for name in node.inputs}
    constants = tuple(item for item in network.constants if item.name in used)
    graph = Graph("network", (Value("x", shape, form),), tuple(network.nodes),
                  (network.nodes[-1].name,), constants)  # fmt: skip
    return graph, (generator.integers(form.min_raw, form.max_raw, shape, endpoint=True),)


@pytest.mark.parametrize("block", range(3))
def test_networks(block: int) -> None:
    seen: set[str] = set()
    together = 0
    for seed in range(8 * block, 8 * block + 8):
        graph, inputs = random_network(seed)
        seen.update(node.op.name for node in graph.nodes)
        check(graph, inputs)
        shapes = [value.shape for value in graph.inputs]
        plan = Engine(graph, OPTIONS[1]).plan(shapes, threads=1, count_clipped=False)
        together += sum(
            len(step.stages) > 3 and len(step.schedules) > 1
            for step in plan.steps
            if isinstance(step, Pieces)
        )
    assert len(seen) > 12
    assert together > 3


@pytest.mark.parametrize("head", [Add(), Subtract(), Multiply()], ids=lambda op: op.name)
@pytest.mark.parametrize("clip", [Relu(), Clamp(-0.3, 0.6)], ids=lambda op: op.name)
def test_combination_and_clip(head: Op, clip: Op) -> None:
    """An exact combination that is clipped and rounded is one stage, also on the same value."""
    form, generator = Format(9, 7), np.random.default_rng(5)
    shape = (3, 6, 23)
    values = (Value("x", shape, form), Value("y", shape, form))
    operand = Operand(shape, (form,))
    for names in (("x", "y"), ("x", "x")):
        exact = Quantization(head.accumulator(operand, operand).exact_format)
        nodes = (
            Node("sum", head, names, exact),
            Node("clip", clip, ("sum",), Quantization(Format(6, 5))),
        )
        graph = Graph("block", values, nodes, ("clip",))
        inputs = tuple(generator.integers(form.min_raw, form.max_raw, shape) for _ in values)
        check(graph, inputs)
        assert len(Engine(graph)._program(False).stages) == 1
        assert is_fast(graph)


def test_followers_of_combinations() -> None:
    """A second addition, or a shuffle, does not join the chain of a combination."""
    form, shape = Format(8, 6), (4, 5, 9)
    generator = np.random.default_rng(2)
    values = tuple(Value(name, shape, form) for name in "xyz")
    exact = Quantization(Format(9, 6))
    for follower, names in ((Add(), ("sum", "z")), (PixelShuffle(2), ("sum",))):
        graph = Graph(
            "followers",
            values,
            (
                Node("sum", Add(), ("x", "y"), exact),
                Node("last", follower, names, Quantization(Format(8, 5))),
            ),
            ("last",),
        )
        inputs = tuple(generator.integers(form.min_raw, form.max_raw, shape) for _ in values)
        check(graph, inputs)
        assert len(Engine(graph)._program(False).stages) == 2


def test_wide_factors() -> None:
    """Constants of more than 16 bits are not narrowed; those of more than 32 take routines."""
    form, generator = Format(4, 0), np.random.default_rng(3)
    for value, width in ((40000, 18), (-32768, 18), (2**33 + 7, 40)):
        graph = Graph(
            "offset",
            (Value("x", (2, 3, 4), form),),
            (Node("result", Add(), ("x", "c"), Quantization(Format(14, 4 - width // 2))),),
            ("result",),
            (Constant("c", np.full((2, 1, 1), value), (Format(width, 0),)),),
        )
        check(graph, (generator.integers(form.min_raw, form.max_raw, (2, 3, 4)),))
        assert is_fast(graph)
        (stage,) = Engine(graph)._program(False).stages
        assert isinstance(stage, RoutineStage) == (width > 32)
