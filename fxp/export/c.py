"""An integer graph as one file of C99, for firmware: integers, loops, and a test of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fxp.executors import oracle
from fxp.export.c_loops import Loop, largest_partial_sum, lines_of
from fxp.formats import Format, Overflow, Rounding, saturation_limits
from fxp.graph import Graph, Node
from fxp.graph.limits import node_text
from fxp.graph.ops.base import GraphError

_ROUNDINGS = {
    Rounding.FLOOR: "0",
    Rounding.TO_ZERO: "value < 0 ? ONE(shift) - 1 : 0",
    Rounding.HALF_UP: "ONE(shift - 1)",
    Rounding.HALF_DOWN: "ONE(shift - 1) - 1",
    Rounding.HALF_AWAY: "ONE(shift - 1) - (value < 0)",
    Rounding.HALF_TO_ZERO: "ONE(shift - 1) - (value >= 0)",
    Rounding.HALF_EVEN: "ONE(shift - 1) - 1 + (down(value, shift) & 1)",
}
"""What is added before a shift to the right, as in the page on number semantics."""
_RESERVED = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef union
    unsigned void volatile while main down fit wrap zeroed sum""".split()  # noqa: SIM905
)


def to_c(
    graph: Graph,
    inputs: Sequence[ArrayLike] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    name: str | None = None,
) -> str:
    """Return a C99 program text that computes an integer graph for images of one size.

    The function ``NAME_run`` takes pointers to the raw integers of the inputs and of the outputs,
    as ``[channel][row][column]``. It allocates nothing, needs no library, and behaves alike on
    every machine. Compiled with ``-DNAME_TEST``, the file has a ``main`` that runs a test vector,
    whose results the oracle computed, and returns 0 if all integers are equal.

    Parameters
    ----------
    graph
        An integer graph without states.
    inputs
        Raw integers of the test vector; random ones by default.
    sizes
        Numbers of rows and columns by the name of a free size.
    name
        Begins all names; by default that of the graph.

    Raises
    ------
    GraphError
        If a size is missing, or a node has no C code; the message names it.
    """  # fmt: skip
    if not graph.is_integer:
        raise GraphError(f"graph {graph.name!r} is a float graph; quantize it first")
    if graph.states:
        raise GraphError(f"graph {graph.name!r} has states, which the C code does not keep")
    shapes = _shapes(graph, sizes or {}, inputs)
    return _Writer(graph, shapes, _c_name(name or graph.name)).text(inputs)


def _shapes(
    graph: Graph, sizes: Mapping[str, int], inputs: Sequence[ArrayLike] | None
) -> Mapping[str, tuple[int, ...]]:
    free = {
        size.symbol for value in graph.inputs for size in value.shape if not isinstance(size, int)
    }
    if inputs is not None:
        return graph.concrete_shapes(graph.bind([np.shape(array) for array in inputs]))
    if missing := sorted(free - {*sizes}):
        raise GraphError(
            f"graph {graph.name!r} takes images of any size, and C code is for one; give the sizes "
            f"{', '.join(missing)}"
        )
    return graph.concrete_shapes(dict(sizes))


def _c_name(name: str) -> str:
    text = re.sub(r"\W", "_", name)
    return f"{text}_" if text in _RESERVED or text[:1].isdigit() else text


def _type(form: Format) -> str:
    """C type that holds all raw integers of a format."""
    bits = next(bits for bits in (8, 16, 32, 64) if form.max_raw < 1 << (bits - 1))
    return f"int{bits}_t"


def _type_of(array: NDArray[np.int64]) -> str:
    most = max(int(array.max()), -int(array.min()) - 1, 0)
    bits = next(bits for bits in (8, 16, 32, 64) if most < 1 << (bits - 1))
    return f"int{bits}_t"


class _Writer:
    """One run of the export."""

    def __init__(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]], name: str) -> None:
        self._graph = graph
        self._shapes = shapes
        self._name = name
        self._taken: set[str] = set(_RESERVED)
        self._names: dict[str, str] = {}
        self._tables: list[str] = []
        self._buffers: dict[str, tuple[str, int]] = {}
        self._free: list[str] = []

    def text(self, inputs: Sequence[ArrayLike] | None) -> str:
        graph = self._graph
        for name, constant in graph.constants_by_name.items():
            self._names[name] = self._table(name, constant.data)
        arguments = []
        for value in graph.inputs:
            self._names[value.name] = self._unique(value.name)
            assert value.format is not None
            arguments.append(f"const {_type(value.format)} *{self._names[value.name]}")
        results = []
        for name in dict.fromkeys(graph.outputs):
            if name not in graph.nodes_by_name:
                raise GraphError(f"output {name!r} is an input; leave it out of the network")
            self._names[name] = self._unique(name)
            form = graph.values[name].format
            assert form is not None
            results.append(f"{_type(form)} *{self._names[name]}")
        body = [line for place, node in enumerate(graph.nodes) for line in self._node(node, place)]
        buffers = [f"static {kind} {name}[{size}];" for name, (kind, size) in self._buffers.items()]
        run = f"void {self._name}_run({', '.join([*arguments, *results])})"
        return "\n".join(
            [
                *self._head(), "", "#include <stdint.h>", "", *_HELPERS, "", *self._tables, "",
                *buffers, "", f"{run};", "", run, "{", *(f"  {line}" for line in body), "}", "",
                *self._test(inputs), "",
            ]
        )  # fmt: skip

    def _head(self) -> list[str]:
        graph = self._graph
        lines = [f"/* {self._name}: written by fxp. Raw integers, [channel][row][column]."]
        for kind, names in (("in", [v.name for v in graph.inputs]), ("out", [*graph.outputs])):
            for name in names:
                shape = " x ".join(map(str, self._shapes[name]))
                lines.append(f"   {kind}  {name}: {shape}, {graph.values[name].format}")
        lines[-1] += " */"
        return lines

    def _unique(self, wanted: str) -> str:
        base = _c_name(wanted)
        name, count = base, 1
        # Local names of the loops have one letter.
        while name in self._taken or len(name) == 1:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def _table(self, wanted: str, array: NDArray[np.int64]) -> str:
        name = self._unique(wanted)
        self._tables.append(_array(name, array))
        return name

    def _node(self, node: Node, place: int) -> list[str]:
        graph, target = self._graph, node.quantization
        assert target is not None
        assert node.accumulator is not None
        shape = self._shapes[node.name]
        kind = _type(target.format)
        if node.name not in graph.outputs:
            self._names[node.name] = self._buffer(kind, prod(shape))
        bound = largest_partial_sum(graph, node)
        shifts = np.asarray(node.accumulator.fracs) - target.format.frac
        bound = (bound << max(-int(shifts.min()), 0)) + (1 << max(int(shifts.max()), 0))
        inputs = [
            self._shapes[name] if name in self._shapes else graph.constants_by_name[name].data.shape
            for name in node.inputs
        ]
        try:
            if bound >= 1 << 63:
                raise GraphError(f"its sums need {bound.bit_length() + 1} bits, and C has 64")
            loop = Loop(
                graph, node, [self._names[name] for name in node.inputs], inputs, shape,
                "int32_t" if bound < 1 << 31 else "int64_t",
                self._stores(node, kind, shifts),
                lambda wanted, array: self._table(f"{node.name}_{wanted}", array),
            )  # fmt: skip
            lines = lines_of(loop)
        except GraphError as error:
            raise GraphError(f"{node_text(graph, node)}: {error}") from None
        self._release(node, place)
        return [f"/* {node.name}: {node.op.name} -> {target} */", *lines]

    def _stores(
        self, node: Node, kind: str, shifts: NDArray[np.int64]
    ) -> Callable[[str, str, str], str]:
        """Return the writer of a result: shift, rounding and overflow."""
        target = node.quantization
        assert target is not None
        uniform = bool((shifts == shifts[0]).all())
        table = "" if uniform else self._table(f"{node.name}_shifts", shifts)
        low, high = saturation_limits(target.format, target.overflow)
        rounding = list(_ROUNDINGS).index(target.rounding)

        def store(value: str, position: str, channel: str) -> str:
            shift = str(shifts[0]) if uniform else f"{table}[{channel}]"
            if not (uniform and shifts[0] == 0):
                value = f"move_{rounding}({value}, {shift})"
            if not node.is_exact:
                value = self._overflowed(node, value, low, high, target.overflow, target.format)
            return f"{self._names[node.name]}[{position}] = ({kind}){value};"

        return store

    def _overflowed(
        self, node: Node, value: str, low: int, high: int, overflow: Overflow, form: Format
    ) -> str:
        if overflow in (Overflow.SATURATE, Overflow.SATURATE_SYMMETRIC):
            return f"fit({value}, {_literal(low)}, {_literal(high)})"
        if overflow is Overflow.SATURATE_TO_ZERO:
            return f"zeroed({value}, {_literal(low)}, {_literal(high)})"
        if overflow is Overflow.WRAP:
            return f"wrap({value}, {form.width}, {int(form.signed)})"
        raise GraphError(f"its overflow mode is {overflow.name}")

    def _buffer(self, kind: str, size: int) -> str:
        """Return an array that holds nothing that is still read."""
        fitting = [name for name in self._free if self._buffers[name][0] == kind]
        if fitting:
            name = min(fitting, key=lambda each: abs(self._buffers[each][1] - size))
            self._free.remove(name)
            self._buffers[name] = kind, max(size, self._buffers[name][1])
            return name
        name = self._unique(f"buffer_{len(self._buffers)}")
        self._buffers[name] = kind, size
        return name

    def _release(self, node: Node, place: int) -> None:
        """Free the arrays that no later node reads."""
        later = {name for other in self._graph.nodes[place + 1 :] for name in other.inputs}
        for name in dict.fromkeys(node.inputs):
            held = self._names[name]
            if held in self._buffers and name not in later:
                self._free.append(held)

    def _test(self, inputs: Sequence[ArrayLike] | None) -> list[str]:
        graph, name = self._graph, self._name
        given = inputs if inputs is not None else self._random()
        raws = [np.asarray(array, np.int64) for array in given]
        wanted = dict(zip(graph.outputs, oracle.run(graph, raws).outputs, strict=True))
        lines = [f"#ifdef {name}_TEST", "#include <stdio.h>", ""]
        calls = []
        for value, raw in zip(graph.inputs, raws, strict=True):
            assert value.format is not None
            calls.append(f"test_{self._names[value.name]}")
            lines.append(_array(calls[-1], raw, _type(value.format)))
        for output, raw in wanted.items():
            form = graph.values[output].format
            assert form is not None
            own = self._names[output]
            lines.append(_array(f"expected_{own}", raw, _type(form)))
            lines.append(f"static {_type(form)} found_{own}[{raw.size}];")
            calls.append(f"found_{own}")
        lines += [
            "",
            "int main(void)",
            "{",
            "  long wrong = 0;",
            f"  {name}_run({', '.join(calls)});",
        ]
        for output, raw in wanted.items():
            own = self._names[output]
            lines.append(
                f"  for (int n = 0; n < {raw.size}; n++) wrong += found_{own}[n] != "
                f"expected_{own}[n];"
            )
        total = sum(raw.size for raw in wanted.values())
        lines += [
            f'  printf("%ld of {total} integers differ\\n", wrong);', "  return wrong != 0;", "}",
            "#endif",
        ]  # fmt: skip
        return lines

    def _random(self) -> list[NDArray[np.int64]]:
        generator = np.random.default_rng(0)
        found = []
        for value in self._graph.inputs:
            form = value.format
            assert form is not None
            shape = self._shapes[value.name]
            found.append(generator.integers(form.min_raw, form.max_raw + 1, shape))
        return found


def _literal(number: int) -> str:
    if number == -(1 << 63):
        return "(-INT64_C(9223372036854775807) - 1)"
    return str(number) if abs(number) < 1 << 31 else f"INT64_C({number})"


def _array(name: str, array: NDArray[np.int64], kind: str | None = None) -> str:
    """Return the definition of a constant array."""
    numbers = [_literal(int(number)) for number in array.ravel()]
    rows = [", ".join(numbers[start : start + 16]) for start in range(0, len(numbers), 16)]
    text = ",\n  ".join(rows)
    return f"static const {kind or _type_of(array)} {name}[{len(numbers)}] = {{\n  {text}\n}};"


_HELPERS = [
    "#define ONE(bits) ((int64_t)1 << (bits))",
    "#if defined(__GNUC__)",
    "#define HELPER static inline __attribute__((unused))",
    "#else",
    "#define HELPER static inline",
    "#endif",
    "",
    "/* Division by a power of two, rounded down. */",
    "HELPER int64_t down(int64_t value, int shift)",
    "{ return value < 0 ? ~(~value >> shift) : value >> shift; }",
    "",
    "/* Moves the binary point to the left, and rounds; or to the right. */",
    *(
        f"HELPER int64_t move_{place}(int64_t value, int shift)\n"
        f"{{ return shift <= 0 ? value * ONE(-shift) : down(value + ({addend}), shift); }}"
        for place, addend in enumerate(_ROUNDINGS.values())
    ),
    "",
    "HELPER int64_t fit(int64_t value, int64_t low, int64_t high)",
    "{ return value < low ? low : value > high ? high : value; }",
    "HELPER int64_t zeroed(int64_t value, int64_t low, int64_t high)",
    "{ return value < low || value > high ? 0 : value; }",
    "HELPER int64_t wrap(int64_t value, int width, int is_signed)",
    "{",
    "  const uint64_t half = is_signed ? (uint64_t)1 << (width - 1) : 0;",
    "  const uint64_t mask = ((uint64_t)1 << width) - 1;",
    "  return (int64_t)(((uint64_t)value + half) & mask) - (int64_t)half;",
    "}",
]
