"""Pipelined SystemVerilog of adder graphs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from numpy.typing import ArrayLike

from fxp.formats import Format
from fxp.hls.rtl.adder_graph import (
    LEVELS_PER_REGISTER,
    AdderGraph,
    Counts,
    adder_graph,
    range_bits,
)
from fxp.support.errors import ArgumentError


class ConstantMatrixModule(NamedTuple):
    """A generated module that multiplies by a constant matrix.

    Parameters
    ----------
    text
        SystemVerilog of the module.
    latency
        Clocks from `data_i` to `data_o`.
    counts
        Adders, register bits and estimated look-up tables.
    output_bits
        Width of one output in `data_o`.
    """

    text: str
    latency: int
    counts: Counts
    output_bits: int


def constant_matrix_module(
    matrix: ArrayLike,
    formats: Format | Sequence[Format],
    name: str,
    *,
    bias: ArrayLike | None = None,
    output_bits: int | None = None,
    extra_depth: int = 1,
    levels_per_register: int = LEVELS_PER_REGISTER,
    register_shared: bool = False,
) -> ConstantMatrixModule:
    """Write the module that computes ``matrix @ x + bias`` with shared adders, a vector per clock.

    Its ports are ``clk_i``, ``data_i`` and ``data_o``, without reset, valid or enable: what enters
    leaves `latency` clocks later. Input 0 is in the lowest bits of ``data_i``, every input as wide
    as its format; output 0 is in the lowest bits of ``data_o``. Outputs are signed, of one width.

    A depthwise or grouped layer is a matrix with zeros outside its blocks: nothing is shared
    between the blocks, and all outputs have one latency.

    Parameters
    ----------
    matrix
        Integers, (outputs, inputs), of at most 24 bits.
    formats
        Format of all inputs, or of each one.
    name
        Name of the module, and so of its file: ``<name>.sv``.
    bias
        An integer for every output, for example with the addend of a rounding in it.
    output_bits
        Width of an output; as narrow as all outputs allow if None.
    extra_depth
        Levels of adders more than the fewest that the longest row needs.
    levels_per_register
        Most adders on a way between two registers.
    register_shared
        Whether a sum with several readers is read from a register only.

    Raises
    ------
    ValueError
        If the sizes do not fit, a weight is too wide, or `output_bits` are too few.
    """
    single = isinstance(formats, Format)
    ranges = [(form.min_raw, form.max_raw) for form in ((formats,) if single else formats)]
    graph = adder_graph(
        matrix,
        ranges[0] if single else ranges,
        bias,
        extra_depth=extra_depth,
        levels_per_register=levels_per_register,
        register_shared=register_shared,
    )
    bits = graph.output_bits if output_bits is None else output_bits
    text = to_systemverilog(graph, name, output_bits=bits)
    return ConstantMatrixModule(text, graph.latency, graph.counts, bits)


def to_systemverilog(graph: AdderGraph, name: str, *, output_bits: int | None = None) -> str:
    """Return the module of a graph; inputs are as wide as their ranges need.

    Parameters
    ----------
    graph
        The adders.
    name
        Name of the module.
    output_bits
        Bits of each output, by default as many as the widest needs.

    Raises
    ------
    ValueError
        If an output does not fit `output_bits`.
    """
    bits = graph.output_bits if output_bits is None else output_bits
    if bits < graph.output_bits:
        raise ArgumentError(f"{name}: outputs need {graph.output_bits} bits, not {bits}")
    return _Writer(graph, name, bits).text()


class _Writer:
    def __init__(self, graph: AdderGraph, name: str, output_bits: int) -> None:
        self.graph = graph
        self.name = name
        self.output_bits = output_bits
        self.adders = len(graph.inputs) + len(graph.constants)

    def text(self) -> str:
        graph = self.graph
        fields = [range_bits(low, high, signed=low < 0) for low, high in graph.inputs]
        total = len(graph.outputs) * self.output_bits
        counts = graph.counts
        lines = [
            f"// {len(graph.inputs)} inputs times constants, {len(graph.outputs)} outputs: "
            f"{counts.adders} adders, {counts.registers} register bits.",
            f"// Latency: {graph.latency} clocks; at most {graph.levels_per_register} adders "
            "between registers.",
            f"module {self.name} (",
            "  input  logic clk_i,",
            f"  input  logic [{sum(fields) - 1}:0] data_i,",
            f"  output logic [{total - 1}:0] data_o",
            ");",
            "",
        ]
        declared = [
            f"  logic [{width - 1}:0] {self._name(value, delay)};"
            for value, stages in enumerate(graph.stages)
            for delay, width in enumerate(stages)
        ]
        # Kept, so that synthesis does not merge two carry chains into more logic than both.
        declared += [
            f"  (* keep *) logic [{self.graph.result_bits[value] - 1}:0] {self._name(value, -1)};"
            for value, bits in enumerate(graph.chained)
            if bits
        ]
        chains = self._chains()
        updates = self._updates()
        wiring, unused = self._wiring(fields)
        if not updates:
            unused.append("clk_i")
        lines += [*declared, "", *wiring, ""]
        if chains:
            lines += [*chains, ""]
        if updates:
            lines += ["  always_ff @(posedge clk_i) begin", *updates, "  end", ""]
        if unused:
            lines += ["  logic unused_bits;", f"  assign unused_bits = ^{{{', '.join(unused)}}};"]
        return "\n".join([*lines, "endmodule", ""])

    def _wiring(self, fields: list[int]) -> tuple[list[str], list[str]]:
        """Return the assignments of inputs and outputs, and the input bits that nobody reads."""
        graph = self.graph
        lines, unused, start = [], [], 0
        for number, width in enumerate(fields):
            used = graph.stages[number][0] if graph.stages[number] else 0
            if used:
                part = f"data_i[{start + used - 1}:{start}]"
                lines.append(f"  assign {self._name(number, 0)} = {part};")
            if used < width:
                unused.append(f"data_i[{start + width - 1}:{start + used}]")
            start += width
        for number, output in enumerate(graph.outputs):
            start = number * self.output_bits
            part = f"data_o[{start + self.output_bits - 1}:{start}]"
            value = self._shifted(output.value, graph.latency, output.shift, 0, self.output_bits)
            lines.append(f"  assign {part} = {value};")
        return lines, unused

    def _updates(self) -> list[str]:
        graph = self.graph
        lines = []
        for value, stages in enumerate(graph.stages):
            if stages and value >= self.adders and not graph.chained[value]:
                lines += self._adder(value, stages[0])
            elif stages and value >= self.adders:
                now, bits = self._name(value, -1), graph.result_bits[value]
                part = f"{now}[{stages[0] - 1}:0]" if stages[0] < bits else now
                lines.append(f"    {self._name(value, 0)} <= {part};")
            for delay, width in enumerate(stages[1:], start=1):
                before = self._name(value, delay - 1)
                part = f"{before}[{width - 1}:0]" if width < stages[delay - 1] else before
                lines.append(f"    {self._name(value, delay)} <= {part};")
        return lines

    def _chains(self) -> list[str]:
        """Return the adders that are read before a register."""
        graph = self.graph
        lines = []
        for value, bits in enumerate(graph.chained):
            if bits:
                lines += self._adder(value, graph.result_bits[value], at_once=True)
        return lines

    def _adder(self, value: int, width: int, *, at_once: bool = False) -> list[str]:
        adder = self.graph.adders[value - self.adders]
        left, right = max(-adder.shift, 0), max(adder.shift, 0)
        passed = min(adder.passed_bits, width)
        time, name = adder.time - 1, self._name(value, -1 if at_once else 0)
        start, assign = ("  assign", "=") if at_once else ("   ", "<=")
        lines = self._meaning(value, "  " if at_once else "    ")
        if passed < width:
            a = self._shifted(adder.left, time, left, passed, width - passed)
            b = self._shifted(adder.right, time, right, passed, width - passed)
            target = name if not passed else f"{name}[{width - 1}:{passed}]"
            lines.append(f"{start} {target} {assign} {a} {'-' if adder.negate else '+'} {b};")
        if passed:
            target = name if passed == width else f"{name}[{passed - 1}:0]"
            operand = adder.right if left else adder.left
            part = self._shifted(operand, time, 0, 0, passed)
            lines.append(f"{start} {target} {assign} {part};")
        return lines

    def _meaning(self, value: int, indent: str) -> list[str]:
        """Return a comment with the weights that a sum has."""
        form = self.graph.weights[value]
        terms = [f"{weight:+d}*x{number}" for number, weight in form.items() if number >= 0]
        terms += [f"{form[-1]:+d}"] if -1 in form else []
        prefix = f"{indent}// "
        return textwrap.wrap(" ".join(terms) or "0", 98, initial_indent=prefix,
                             subsequent_indent=prefix)  # fmt: skip

    def _shifted(self, value: int, time: int, shift: int, start: int, count: int) -> str:
        """Return bits `start` to ``start + count - 1`` of a value shifted to the left."""
        low = self.graph.ranges[value][0]
        if self._is_constant(value):
            return f"{count}'h{(low << shift >> start) & ((1 << count) - 1):x}"
        zeros = min(max(shift - start, 0), count)
        start, count = max(start - shift, 0), count - zeros
        delay = time - self.graph.times[value]
        if delay < 0:
            width = self.graph.result_bits[value]
        else:
            width = self.graph.stages[value][delay] if count else 0
        name = self._name(value, delay)
        parts = []
        kept = min(max(width - start, 0), count)
        if count > kept:
            filler = f"{name}[{width - 1}]" if low < 0 else "1'b0"
            parts.append(f"{{{count - kept}{{{filler}}}}}")
        if kept:
            whole = kept == width
            parts.append(name if whole else f"{name}[{start + kept - 1}:{start}]")
        if zeros:
            parts.append(f"{zeros}'h0")
        return parts[0] if len(parts) == 1 else f"{{{', '.join(parts)}}}"

    def _is_constant(self, value: int) -> bool:
        return len(self.graph.inputs) <= value < self.adders

    def _name(self, value: int, delay: int) -> str:
        name = f"x{value}" if value < len(self.graph.inputs) else f"sum{value - self.adders}"
        if delay < 0:
            return f"{name}_now"
        return f"{name}_d{delay}" if delay else name
