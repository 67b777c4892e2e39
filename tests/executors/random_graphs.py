"""Random integer graphs of several nodes, grown from the ops of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from cases import (
    CASES,
    MODES,
    Case,
    Choices,
    RandomChoices,
    Template,
    constant,
    fill,
    pick_constant,
)
from hypothesis import strategies as st

from fxp.formats import Format, IntArray, Overflow, Quantization
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent, Shape
from fxp.graph.ops import (
    Accumulator,
    Add,
    Concat,
    Conv2d,
    Flatten,
    FunctionTable,
    GlobalMaxPool,
    GraphError,
    Linear,
    Multiply,
    Op,
    Operand,
    Requantize,
    Subtract,
)

HEIGHT, WIDTH = Extent("H"), Extent("W")
MOST_ELEMENTS = 4000

FITTING = tuple(
    case
    for case in CASES
    if all(
        item.shape[1:] in ((), ("H", "W"), (1, 1)) for item in case.operands if item.role == "value"
    )
)
"""Cases whose values can be values of any graph, after an adapter where needed."""


def kind_of(case: Case) -> str:
    """Return the op of a case; the functions that become tables are one op with many names."""
    return "function" if isinstance(case.op, FunctionTable) else case.op.name


KINDS = tuple(sorted({kind_of(case) for case in FITTING}))

CALLS = (("random", "largest"), ("impulse", "random"), ("smallest", "random"))
"""Patterns of the data, by call and element of the batch."""


@dataclass
class Builder:
    """Grows a graph; every value has a symbolic and a concrete shape."""

    choices: Choices
    generator: np.random.Generator
    size: tuple[int, int]
    sources: dict[str, Value] = field(default_factory=dict)
    states: list[tuple[Value, int]] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    known: dict[str, tuple[Operand, tuple[int, ...]]] = field(default_factory=dict)
    most_nodes: int = 10

    def source(self, name: str, shape: Shape) -> Value:
        """Add an input or a state."""
        width = self.choices.integer(2, 16)
        form = Format(width, self.choices.integer(-3, width + 3), self.choices.pick((True, False)))
        value = Value(name, shape, form)
        self.known[name] = (Operand(shape, (form,)), self.concrete(shape))
        return value

    def concrete(self, shape: Shape) -> tuple[int, ...]:
        """Shape at the builder's size."""
        sizes = {"H": self.size[0], "W": self.size[1]}
        return tuple(item.evaluate(sizes) if isinstance(item, Extent) else item for item in shape)

    def add(self, op: Op, inputs: Sequence[str], target: Format | None = None) -> str:
        """Add a node; raises GraphError where it does not fit."""
        if len(self.nodes) >= self.most_nodes:
            raise GraphError("enough nodes")
        operands = [self.known[name][0] for name in inputs]
        shape = op.shape(*(operand.shape for operand in operands))
        concrete = op.shape(*(self.known[name][1] for name in inputs))
        if np.prod(concrete) > MOST_ELEMENTS or min(concrete) < 1:
            raise GraphError("too large or empty")
        accumulator = op.accumulator(*operands)
        accumulator.check()
        quantization = self.quantization(accumulator, target)
        name = f"node{len(self.nodes)}"
        self.nodes.append(Node(name, op, tuple(inputs), quantization))
        self.known[name] = (Operand(shape, (quantization.format,)), concrete)
        return name

    def quantization(self, accumulator: Accumulator, target: Format | None) -> Quantization:
        """Keep the top bits of the accumulator, or a few more or less."""
        rounding, overflow = self.choices.pick(MODES)
        if target is None:
            width = self.choices.integer(3, 20)
            shift = accumulator.bits - width + self.choices.integer(-3, 1)
            frac = min(max(accumulator.frac - shift, -20), 40)
            target = Format(width, frac, self.choices.integer(0, 3) > 0)
        if overflow is Overflow.WRAP_SIGN_MAGNITUDE and not target.signed:
            overflow = Overflow.WRAP
        return Quantization(target, rounding, overflow)

    def constant(self, op: Op, template: Template, before: Sequence[Operand]) -> str:
        """Add a constant."""
        name = f"constant{len(self.constants)}"
        item = pick_constant(name, op, template, before, self.choices, self.generator, "random")
        self.constants.append(item)
        self.known[name] = (Operand(item.data.shape, item.formats, item.data), item.data.shape)
        return name

    def values(self) -> list[str]:
        """Names of all values so far."""
        return [name for name, (operand, _) in self.known.items() if operand.constant is None]

    def fit(self, template: Template, spatial: Shape | None) -> str:
        """Choose a value and adapt it to a template; `spatial` is the wanted height and width."""
        wanted = len(template.shape)
        names = self.values()
        if wanted == 1:
            vectors = [name for name in names if len(self.known[name][0].shape) == 1]
            if vectors and self.choices.integer(0, 3):
                name = self.choices.pick(vectors)
            else:
                name = self.add(Flatten(), [self.pixel(self.image(names))])
        elif template.shape[1:] == (1, 1):
            name = self.pixel(self.image(names))
        else:
            name = self.image(
                [n for n in names if spatial is None or self.known[n][0].shape[1:] == spatial]
            )
        channels = int(template.shape[0])
        if self.known[name][0].channels != channels:
            name = self.mix(name, channels)
        form = self.known[name][0].format
        fewest, most = template.widths
        low, high = template.fracs or (-20, 40)
        if fewest <= form.width <= most and low <= form.frac <= high:
            return name
        target = Format(self.choices.integer(fewest, most), self.choices.integer(low, high))
        return self.add(Requantize(), [name], target)

    def image(self, names: Sequence[str]) -> str:
        """Choose an image, rather a recent one."""
        images = [name for name in names if len(self.known[name][0].shape) == 3]
        return images[-1 - min(self.choices.integer(0, 5), self.choices.integer(0, len(images) - 1))
                      % len(images)]  # fmt: skip

    def pixel(self, name: str) -> str:
        """Reduce an image to one pixel."""
        if self.known[name][0].shape[1:] == (1, 1):
            return name
        return self.add(GlobalMaxPool(), [name])

    def mix(self, name: str, channels: int) -> str:
        """Change the number of channels by a linear map."""
        operand = self.known[name][0]
        image = len(operand.shape) == 3
        op = Conv2d() if image else Linear()
        shape = (channels, operand.channels, *((1, 1) if image else ()))
        weight = constant("weight", *shape, per_channel=True)
        return self.add(op, [name, self.constant(op, weight, [operand])])

    def apply(self, case: Case) -> None:
        """Apply a case to values of the graph."""
        spatial: Shape | None = None
        names: list[str] = []
        for template in case.operands:
            before = [self.known[name][0] for name in names]
            if template.role == "value":
                name = self.fit(template, spatial)
                if template.shape[1:] == ("H", "W"):
                    spatial = self.known[name][0].shape[1:]
            else:
                name = self.constant(case.op, template, before)
            names.append(name)
        self.add(case.op, names)

    def join(self) -> None:
        """Join two values, as residual connections do."""
        left = self.choices.pick(self.values())
        shape = self.known[left][0].shape
        same = [n for n in self.values() if self.known[n][0].shape[1:] == shape[1:]
                and len(self.known[n][0].shape) == len(shape)]  # fmt: skip
        right = self.choices.pick(same)
        op = self.choices.pick((Add(), Add(), Subtract(), Multiply(), Concat()))
        if not isinstance(op, Concat) and self.known[right][0].channels != shape[0]:
            right = self.mix(right, int(shape[0]))  # type: ignore[arg-type]
        self.add(op, [left, right])

    def attempt(self, step) -> bool:
        """Take a step, or none of it where something does not fit."""
        nodes, constants, known = [*self.nodes], [*self.constants], dict(self.known)
        try:
            step()
        except GraphError:
            self.nodes, self.constants, self.known = nodes, constants, known
            return False
        return True

    def finish(self) -> Graph:
        """Feed the states back, and return the graph with everything unread as output."""
        self.most_nodes += 2 * len(self.states)
        states = []
        for value, reset in self.states:
            images = [n for n in self.values() if self.known[n][0].shape[1:] == value.shape[1:]]
            name = self.choices.pick([n for n in images if n.startswith("node")] or images)
            channels = int(value.shape[0])  # type: ignore[arg-type]
            if self.known[name][0].channels != channels:
                name = self.mix(name, channels)
            states.append(State(value, self.add(Requantize(), [name], value.format), reset))
        read = {name for node in self.nodes for name in node.inputs}
        outputs = [node.name for node in self.nodes if node.name not in read]
        extra = self.choices.integer(0, 7)
        if extra < 3:
            # A value that is read, an input, or an output once more.
            outputs.append(self.choices.pick([self.nodes[0].name, "input0", outputs[0]]))
        return Graph(
            "random",
            tuple(self.sources.values()),
            tuple(self.nodes),
            tuple(outputs),
            tuple(c for c in self.constants if c.name in read),
            tuple(states),
        )


@dataclass(frozen=True)
class GraphExample:
    """A graph, and data for several calls of a batch of two: ``calls[call][element][input]``."""

    graph: Graph
    calls: tuple[tuple[tuple[IntArray, ...], ...], ...]


@st.composite
def graphs(
    draw: st.DrawFn, tall: bool = False, builder_class: type[Builder] = Builder
) -> GraphExample:
    """Hypothesis strategy of random graphs of 3 to 10 nodes, besides those that feed states."""
    # All else follows from the seed: hypothesis repeats its choices too often to meet every op.
    # It is made of bits, as integers are drawn from the constants of all modules that happen to be
    # loaded too, so that the graphs would depend on which other tests run.
    bits = draw(st.lists(st.booleans(), min_size=32, max_size=32))
    generator = np.random.default_rng(bits)
    choices = RandomChoices(generator)
    size = (choices.integer(20, 30), 3) if tall else (choices.integer(4, 9), choices.integer(4, 9))
    builder = builder_class(choices, generator, size)
    for position in range(choices.integer(1, 3)):
        shape = (choices.integer(1, 4), HEIGHT, WIDTH)
        builder.sources[f"input{position}"] = builder.source(f"input{position}", shape)
    if choices.integer(0, 3) == 0:
        builder.sources["vector"] = builder.source("vector", (choices.integer(1, 5),))
    for position in range(choices.pick((0, 0, 1, 2))):
        value = builder.source(f"state{position}", (choices.integer(1, 3), HEIGHT, WIDTH))
        assert value.format is not None
        reset = choices.integer(value.format.min_raw, value.format.max_raw)
        builder.states.append((value, reset))
        template = Template((choices.integer(1, 3), "H", "W"))

        def read(name: str = value.name, template: Template = template) -> None:
            left = builder.fit(template, (HEIGHT, WIDTH))
            builder.add(Concat(), [left, name])

        builder.attempt(read)
    for _ in range(choices.integer(2, 8)):
        if choices.integer(0, 3) == 0:
            builder.attempt(builder.join)
            continue
        kind = choices.pick(KINDS)
        case = choices.pick([case for case in FITTING if kind_of(case) == kind])
        builder.attempt(lambda case=case: builder.apply(case))
    while len(builder.nodes) < 3:
        builder.add(Requantize(), [choices.pick(builder.values())])
    graph = builder.finish()
    sizes = [size, size, size]
    if not graph.states:
        sizes[2] = another_size(graph, size)
    calls = tuple(
        tuple(random_inputs(graph, item, generator, pattern) for pattern in patterns)
        for item, patterns in zip(sizes, CALLS, strict=True)
    )
    return GraphExample(graph, calls)


def another_size(graph: Graph, size: tuple[int, int]) -> tuple[int, int]:
    """Return a size that differs from the one the graph was grown for, where one fits."""
    for other in ((size[0] + 3, size[1] + 2), (size[0] + 12, size[1] + 6), (12, 18)):
        try:
            graph.concrete_shapes({"H": other[0], "W": other[1]})
        except GraphError:
            continue
        return other
    return size


def random_inputs(
    graph: Graph, size: tuple[int, int], generator: np.random.Generator, pattern: str
) -> tuple[IntArray, ...]:
    """Raw integers of every input."""
    sizes = {"H": size[0], "W": size[1]}
    arrays = []
    for value in graph.inputs:
        shape = tuple(s.evaluate(sizes) if isinstance(s, Extent) else s for s in value.shape)
        assert value.format is not None
        arrays.append(fill(shape, value.format, pattern, generator))  # type: ignore[arg-type]
    return tuple(arrays)
