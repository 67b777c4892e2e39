"""One-node graphs, with data, from the templates of a case."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

from cases.templates import Case, Template
from fxp.formats import Format, IntArray, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.extents import Extent, Shape
from fxp.graph.ops import FunctionTable
from fxp.graph.ops.base import Accumulator, Op, Operand
from fxp.graph.ops.normalization import ChannelNormalization

Pattern = Literal["random", "largest", "smallest", "zero", "impulse"]
PATTERNS: Final[tuple[Pattern, ...]] = ("random", "largest", "smallest", "zero", "impulse")
MODES: Final = tuple(itertools.product(Rounding, Overflow))

T = TypeVar("T")


class Choices(Protocol):
    """Where `build` takes its decisions from."""

    def integer(self, low: int, high: int) -> int:
        """Return an integer from `low` to `high`, both included."""
        ...

    def pick(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        ...


@dataclass(frozen=True)
class RandomChoices:
    """Choices from a NumPy generator."""

    generator: np.random.Generator

    def integer(self, low: int, high: int) -> int:
        return int(self.generator.integers(low, high + 1))

    def pick(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]


@dataclass(frozen=True)
class DrawnChoices:
    """Choices from hypothesis, which shrinks them."""

    draw: st.DrawFn

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))


@dataclass(frozen=True)
class Example:
    """A one-node graph with data for it.

    Attributes
    ----------
    graph
        The graph; its node is called ``result``.
    inputs
        Raw integers of every input, for each element of a batch of two.
    patterns
        Pattern of the first batch element, and of the constants.
    size
        Height and width.
    """

    graph: Graph
    inputs: tuple[tuple[IntArray, ...], tuple[IntArray, ...]]
    patterns: tuple[Pattern, Pattern]
    size: tuple[int, int]

    @property
    def node(self) -> Node:
        """The node."""
        return self.graph.nodes[0]

    @property
    def accumulator(self) -> Accumulator:
        """The proved range of the node."""
        assert self.node.accumulator is not None
        return self.node.accumulator

    @property
    def quantization(self) -> Quantization:
        """Format and modes of the node."""
        assert self.node.quantization is not None
        return self.node.quantization


def build(
    case: Case,
    choices: Choices,
    *,
    modes: tuple[Rounding, Overflow] | None = None,
    pattern: Pattern | None = None,
    constant_pattern: Pattern | None = None,
    size: tuple[int, int] | None = None,
) -> Example:
    """Fill the templates of a case; what is not given is chosen."""
    size = size or (pick_size(case, choices, 0), pick_size(case, choices, 1))
    pattern = pattern or choices.pick(PATTERNS)
    constant_pattern = constant_pattern or choices.pick(PATTERNS)
    generator = np.random.default_rng(choices.integer(0, (1 << 32) - 1))
    values, constants, operands = [], [], []
    for position, template in enumerate(case.operands):
        if template.role == "value":
            value = Value(
                f"input{position}", symbolic_shape(template), pick_format(template, choices)
            )
            values.append(value)
            operands.append(Operand(value.shape, (value.format,)))
        else:
            constants.append(
                pick_constant(f"constant{position}", case.op, template, operands, choices,
                              generator, constant_pattern)
            )  # fmt: skip
            operands.append(Operand(template.shape, constants[-1].formats, constants[-1].data))
    result = pick_result(case.op.accumulator(*operands), choices, modes)
    names = [
        f"{'input' if template.role == 'value' else 'constant'}{position}"
        for position, template in enumerate(case.operands)
    ]
    graph = Graph(
        case.name,
        tuple(values),
        (Node("result", case.op, tuple(names), result),),
        ("result",),
        tuple(constants),
    )
    first, second = (
        tuple(fill(concrete_shape(value.shape, size), value.format, chosen, generator)
              for value in values)
        for chosen in (pattern, "random")
    )  # fmt: skip
    return Example(graph, (first, second), (pattern, constant_pattern), size)


def enumerated(case: Case) -> Iterator[Example]:
    """One example per pair of modes: all patterns and the smallest size among them."""
    choices = RandomChoices(np.random.default_rng(zlib.crc32(case.name.encode())))
    count = len(PATTERNS)
    for index, modes in enumerate(MODES):
        rounding, overflow = divmod(index, len(Overflow))
        yield build(
            case,
            choices,
            modes=modes,
            pattern=PATTERNS[(rounding + overflow) % count],
            constant_pattern=PATTERNS[0] if index % 2 else PATTERNS[index // 2 % count],
            size=case.smallest if index % 4 == 0 else None,
        )


def examples(case: Case) -> st.SearchStrategy[Example]:
    """Hypothesis strategy of examples of one case."""

    @st.composite
    def strategy(draw: st.DrawFn) -> Example:
        return build(case, DrawnChoices(draw))

    return strategy()


def symbolic_shape(template: Template) -> Shape:
    """Shape of a template with extents for the free sizes."""
    return tuple(Extent(size) if isinstance(size, str) else size for size in template.shape)


def concrete_shape(shape: Shape, size: tuple[int, int]) -> tuple[int, ...]:
    """Shape at a height and width."""
    sizes = {"H": size[0], "W": size[1]}
    return tuple(item.evaluate(sizes) if isinstance(item, Extent) else item for item in shape)


def pick_size(case: Case, choices: Choices, axis: int) -> int:
    """Choose a height or width, from the smallest legal one to about nine."""
    smallest, multiple = case.smallest[axis], case.multiple
    return (
        choices.integer(smallest // multiple, max(9, smallest) // multiple) * multiple or multiple
    )


def pick_format(template: Template, choices: Choices, frac: int | None = None) -> Format:
    """Choose a format within the bounds of a template."""
    width = choices.integer(*template.widths)
    if frac is None:
        frac = choices.integer(*(template.fracs or (-6, width + 6)))
    signed = choices.pick((True, False)) if template.signed is None else template.signed
    return Format(width, frac, signed)


def pick_constant(
    name: str,
    op: Op,
    template: Template,
    before: Sequence[Operand],
    choices: Choices,
    generator: np.random.Generator,
    pattern: Pattern,
) -> Constant:
    """Choose formats and data of a constant; `before` are the operands that come before it."""
    shape = tuple(int(size) for size in template.shape)
    if template.role == "bias":
        fracs = np.broadcast_to(before[1].fracs + before[0].format.frac, shape)
        if len(set(fracs.tolist())) == 1:
            fracs = fracs[:1]
        formats = [pick_format(template, choices, int(frac)) for frac in fracs]
    elif template.per_channel:
        base = pick_format(template, choices)
        formats = [
            replace(pick_format(template, choices, base.frac + choices.integer(-3, 3)),
                    signed=base.signed)
            for _ in range(shape[0])
        ]  # fmt: skip
    else:
        formats = [pick_format(template, choices)]
    if isinstance(op, FunctionTable) and choices.pick((True, False)):
        return Constant(name, op.tabulate(before[0].format, formats[0]), tuple(formats))
    if len(formats) == 1:
        data = fill(shape, formats[0], pattern, generator)
        if isinstance(op, ChannelNormalization):
            data[0] = max(data[0], 1)  # a sum of entries must not be zero
    else:
        data = np.stack([fill(shape[1:], form, pattern, generator) for form in formats])
    return Constant(name, data, tuple(formats))


def pick_result(
    accumulator: Accumulator, choices: Choices, modes: tuple[Rounding, Overflow] | None = None
) -> Quantization:
    """Choose a result format near the accumulator's, so that rounding and overflow both matter."""
    rounding, overflow = modes or choices.pick(MODES)
    shift = choices.integer(-4, accumulator.bits + 2)
    kind = choices.integer(0, 7)
    if kind <= 4:
        width = min(max(accumulator.bits - shift - choices.integer(-1, 3), 1), 63)
    elif kind <= 6:
        width = choices.integer(1, 24)
    else:
        width = choices.integer(25, 63)
    signed = overflow is Overflow.WRAP_SIGN_MAGNITUDE or choices.integer(0, 3) > 0
    return Quantization(Format(width, accumulator.frac - shift, signed), rounding, overflow)


def fill(
    shape: tuple[int, ...], form: Format, pattern: Pattern, generator: np.random.Generator
) -> IntArray:
    """Raw integers of a format in a pattern."""
    if pattern == "random":
        return generator.integers(form.min_raw, form.max_raw, shape, np.int64, endpoint=True)
    level = {"largest": form.max_raw, "smallest": form.min_raw}.get(pattern, 0)
    data = np.full(shape, level, np.int64)
    if pattern == "impulse":
        where = int(generator.integers(data.size))
        data.reshape(-1)[where] = form.min_raw if generator.integers(2) else form.max_raw
    return data
