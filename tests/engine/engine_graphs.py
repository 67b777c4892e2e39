"""Integer graphs written node by node, and the engine under all options against the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from cases import assert_same, fill
from numpy.typing import ArrayLike, NDArray

from fxp.engine import Engine, Options, Plan
from fxp.engine.plan import Memory
from fxp.engine.schedule import ALIGNMENT
from fxp.executors import oracle
from fxp.executors.execution import Result
from fxp.formats import Format, IntArray, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Conv2d, Op, Operand
from fxp.kernels.host import FEW, MANY_NARROW, MANY_WIDE

BYTE = Format(8, 4)
PIXEL = Format(14, 14, signed=False)
SIGNED_PIXEL = Format(14, 10)
FULL = Format(16, 12)

OPTIONS = {
    "host": Options(piece_work=1),
    "few registers": Options(tiles=FEW, piece_work=1),
    "many wide registers": Options(tiles=MANY_WIDE, piece_work=1),
    "many narrow registers": Options(tiles=MANY_NARROW, piece_work=1),
    "direct": Options("direct", piece_work=1),
    "portable": Options("portable", band_bytes=1000),
    "not fused": Options(fuse=False, piece_work=1),
}
"""Every kernel that the engine may choose, on any machine."""

REGISTERS = tuple(name for name in OPTIONS if "registers" in name)
TILES = {name: OPTIONS[name] for name in (*REGISTERS, "portable")}


def tiles_in_turn(number: int) -> dict[str, Options]:
    """One set of registers, the next one for the next number: kernels for all take long to compile.

    The portable kernels come with it.
    """
    return {name: TILES[name] for name in (REGISTERS[number % len(REGISTERS)], "portable")}


Run = tuple[int, bool, bool]
RUNS: tuple[Run, ...] = tuple(itertools.product((1, 3), (True, False), (False, True)))
"""Threads, whether overflows are counted, whether values are kept."""
FEW_RUNS: tuple[Run, ...] = ((1, False, False), (3, True, False))
GARBAGE: Final = 0x5A
GUARD: Final = 1 << 14


@dataclass
class Network:
    """Grows an integer graph; weights and biases come from the generator unless they are given."""

    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    inputs: list[Value] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    known: dict[str, Operand] = field(default_factory=dict)

    def image(self, channels: int, form: Format = BYTE, multiple: int = 1) -> str:
        """Add an input whose size is a multiple of the free size."""
        name = f"input{len(self.inputs)}"
        value = Value(name, (channels, Extent("H") * multiple, Extent("W") * multiple), form)
        self.inputs.append(value)
        self.known[name] = Operand(value.shape, (form,))
        return name

    def vector(self, features: int, form: Format = BYTE) -> str:
        """Add an input of so many features."""
        name = f"input{len(self.inputs)}"
        self.inputs.append(Value(name, (features,), form))
        self.known[name] = Operand((features,), (form,))
        return name

    def constant(self, data: ArrayLike, *formats: Format) -> str:
        """Add a constant."""
        name = f"constant{len(self.constants)}"
        self.constants.append(Constant(name, np.asarray(data, np.int64), formats))
        self.known[name] = Operand(np.shape(data), formats, self.constants[-1].data)
        return name

    def node(self, op: Op, *sources: str, to: Quantization | Format | None = None) -> str:
        """Add a node; keeps the accumulator exactly unless told where to round to."""
        operands = [self.known[name] for name in sources]
        if to is None:
            to = op.accumulator(*operands).exact_format
        target = Quantization(to) if isinstance(to, Format) else to
        name = f"node{len(self.nodes)}"
        self.nodes.append(Node(name, op, sources, target))
        shape = op.shape(*(operand.shape for operand in operands))
        self.known[name] = Operand(shape, (target.format,))
        return name

    def weight(self, shape: Sequence[int], bits: int = 6, per_channel: bool = False) -> str:
        """Add a random weight."""
        fracs = self.generator.integers(3, 7, shape[0]) if per_channel else [5]
        formats = [Format(bits, int(frac)) for frac in fracs]
        low, high = formats[0].min_raw, formats[0].max_raw
        return self.constant(self.generator.integers(low, high, shape, endpoint=True), *formats)

    def bias(self, source: str, weight: str) -> str:
        """Add a random bias to a convolution."""
        frac, fracs = self.known[source].format.frac, self.known[weight].fracs
        data = self.generator.integers(-999, 999, self.known[weight].shape[0])
        return self.constant(data, *[Format(12, frac + int(item)) for item in fracs])

    def conv(
        self,
        source: str,
        channels: int,
        kernel: tuple[int, int] = (3, 3),
        *,
        to: Quantization | Format | None = BYTE,
        bits: int = 6,
        bias: bool = False,
        per_channel: bool = False,
        **attributes,
    ) -> str:
        """Add a convolution with random weights; its padding keeps the size unless it is given."""
        attributes.setdefault("padding", same_padding(kernel, attributes.get("dilation", (1, 1))))
        group_in = self.known[source].channels // attributes.get("groups", 1)
        weight = self.weight((channels, group_in, *kernel), bits, per_channel)
        names = [source, weight, *([self.bias(source, weight)] if bias else [])]
        return self.node(Conv2d(**attributes), *names, to=to)

    def graph(self, *outputs: str) -> Graph:
        """Return the graph; the last node is the output unless others are named."""
        return Graph(
            "network",
            tuple(self.inputs),
            tuple(self.nodes),
            outputs or (self.nodes[-1].name,),
            tuple(self.constants),
            tuple(self.states),
        )


def same_padding(kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int, int, int]:
    """Padding that keeps the size."""
    below = [(size - 1) * step // 2 for size, step in zip(kernel, dilation, strict=True)]
    above = [
        (size - 1) * step - part for size, step, part in zip(kernel, dilation, below, strict=True)
    ]
    return below[0], above[0], below[1], above[1]


def near(op: Op, *operands: Operand, bits: int = 8, clip: int = 1) -> Format:
    """Format of so many bits that cuts about `clip` bits off the top of an accumulator."""
    accumulator = op.accumulator(*operands)
    return Format(bits, accumulator.frac - max(0, accumulator.bits - clip - bits))


def rounded(
    form: Format,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
) -> Quantization:
    """Quantization with the modes that fast kernels have, unless others are given."""
    return Quantization(form, rounding, overflow)


def random_images(
    graph: Graph, size: tuple[int, int], generator: np.random.Generator, pattern: str = "random"
) -> tuple[IntArray, ...]:
    """Raw integers of every input at a size; ``"ends"`` are smallest and largest ones mixed."""
    sizes = {"H": size[0], "W": size[1]}
    arrays = []
    for value in graph.inputs:
        shape = tuple(s.evaluate(sizes) if isinstance(s, Extent) else int(s) for s in value.shape)
        form = value.format
        assert form is not None
        if pattern == "ends":
            arrays.append(generator.choice([form.min_raw, form.max_raw], shape))
        else:
            arrays.append(fill(shape, form, pattern, generator))  # type: ignore[arg-type]
    return tuple(arrays)


Guard = tuple[NDArray[np.uint8], int, int]
"""Memory, and where the part that a run may write to begins and ends."""


def guarded_memory(plan: Plan) -> list[Guard]:
    """Give a plan memory full of garbage, with more of it around, for its next run.

    Nothing that a run leaves uninitialised can then be right.
    """
    guards: list[Guard] = []

    def block(size: int) -> NDArray[np.uint8]:
        whole = np.full(size + 2 * GUARD + ALIGNMENT, GARBAGE, np.uint8)
        first = GUARD + -(whole.ctypes.data + GUARD) % ALIGNMENT
        guards.append((whole, first, first + size))
        return whole[first : first + size]

    plan.take_memory()
    slots = [block(size) for size in plan.slot_bytes]
    plan.give_back(Memory(slots, [block(plan.workspace_bytes) for _ in range(plan.threads)]))
    return guards


def check_guards(guards: Sequence[Guard]) -> None:
    """Fail if a run wrote beyond its memory."""
    for whole, first, last in guards:
        assert (whole[:first] == GARBAGE).all(), "written before the memory"
        assert (whole[last:] == GARBAGE).all(), "written behind the memory"


def compare(
    engine: Engine,
    expected: Result,
    inputs: Sequence[IntArray],
    runs: Iterable[Run] = RUNS,
    states: Mapping[str, IntArray] | None = None,
) -> None:
    """Run the engine on memory full of garbage and compare everything it returns."""
    graph = engine.graph
    for threads, counted, kept in runs:
        plan = engine.plan(
            [array.shape for array in inputs],
            threads=threads,
            keep_values=kept,
            count_clipped=counted,
        )
        guards = guarded_memory(plan)
        try:
            result = engine.run(
                inputs, states, threads=threads, keep_values=kept, count_clipped=counted
            )
            for name, want, got in zip(
                graph.outputs, expected.outputs, result.outputs, strict=True
            ):
                assert_same("engine", name, want, got)
            assert result.states.keys() == expected.states.keys()
            for name, state in expected.states.items():
                assert_same("engine", name, state, result.states[name])
            assert result.values.keys() == (expected.values.keys() if kept else set())
            for name, value in result.values.items():
                assert_same("engine", name, expected.values[name], value)
            assert result.clipped == (expected.clipped if counted else {})
            check_guards(guards)
        except AssertionError as error:
            error.add_note(f"{threads} threads, counted: {counted}, kept: {kept}")
            error.add_note(f"{engine.options}\n{graph}\n{plan.describe()}")
            raise


def check(
    graph: Graph,
    inputs: Sequence[IntArray],
    options: Mapping[str, Options] = OPTIONS,
    runs: Iterable[Run] = RUNS,
) -> Result:
    """Compare the engine with the oracle under every option; returns what the oracle gives."""
    runs = tuple(runs)
    expected = oracle.run(graph, inputs)
    for chosen in options.values():
        compare(Engine(graph, chosen), expected, inputs, runs)
    return expected


def plan_of(
    graph: Graph, inputs: Sequence[IntArray], options: Options | None = None, **run
) -> Plan:
    """Plan of a graph for the shapes of its inputs."""
    return Engine(graph, options).plan([array.shape for array in inputs], **run)
