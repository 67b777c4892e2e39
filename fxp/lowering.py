"""Float graph to integer graph: choose every format, then quantize every constant.

An exact accumulator is rounded only where it must be: a convolution that feeds a ReLU or an addition
keeps all its bits until the result of that op, so that each path rounds once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from fxp.calibrate import Method, Statistics, choose_frac
from fxp.formats import (
    MAX_WIDTH,
    Format,
    FormatError,
    Overflow,
    Quantization,
    Rounding,
    quantize,
)
from fxp.graph import Constant, Graph, Node, State
from fxp.ops import GraphError, Operand, Requantize
from fxp.ops.base import Accumulator, Role
from fxp.ops.elementwise import Table

CHANNEL_SPREAD: Final = 8
"""A channel's fraction bits exceed the tensor's by at most this, so that an almost dead channel
does not widen the accumulator and the bias."""


@dataclass(frozen=True)
class Settings:
    """How a float graph is quantized.

    Attributes
    ----------
    weight_bits, activation_bits
        Widths of weights and of rounded values.
    method, percentile
        Rule for fraction bits, see `fxp.calibrate.choose_frac`.
    per_channel
        Whether weights get fraction bits per output channel instead of per tensor.
    rounding, overflow
        Modes of every rounded value.
    wide_bits
        Exact accumulators up to this width may flow into ReLUs, additions and the like unrounded.
    input_formats, output_formats
        Formats by input or output name; those left out are chosen.
    fracs
        Fraction bits by value or weight name that override the rule (the format search sets them).
    """

    weight_bits: int = 10
    activation_bits: int = 14
    method: Method = "mse"
    percentile: float = 99.99
    per_channel: bool = False
    rounding: Rounding = Rounding.HALF_UP
    overflow: Overflow = Overflow.SATURATE
    wide_bits: int = 32
    input_formats: Mapping[str, Format] = field(default_factory=dict)
    output_formats: Mapping[str, Format] = field(default_factory=dict)
    fracs: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            bits = getattr(self, name)
            if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 32:
                raise FormatError(f"{name} must be an integer from 2 to 32, got {bits!r}")
        if not 0 <= self.wide_bits <= MAX_WIDTH:
            raise FormatError(f"wide_bits must be 0 to {MAX_WIDTH}, got {self.wide_bits}")
        if not 50 < self.percentile <= 100:
            raise FormatError(f"percentile must be above 50, at most 100: {self.percentile}")


def lower(graph: Graph, statistics: Mapping[str, Statistics], settings: Settings) -> Graph:
    """Turn a float graph into an integer graph.

    Parameters
    ----------
    graph
        A float graph.
    statistics
        Of every value, from `fxp.calibrate.observe`.
    settings
        Widths, rules and overrides.

    Raises
    ------
    GraphError
        If a node needs more than 63 bits, a table input is too wide, or a format is given for a
        name that is no input or output.
    """
    return _Lowering(graph, statistics, settings).result()


class _Lowering:
    """Walks the nodes in order and collects the integer graph."""

    def __init__(
        self, graph: Graph, statistics: Mapping[str, Statistics], settings: Settings
    ) -> None:
        if graph.is_integer:
            raise GraphError(f"graph {graph.name!r} is an integer graph already")
        self._graph = graph
        self._statistics = statistics
        self._settings = settings
        self._nodes: list[Node] = []
        self._constants: dict[tuple[str, tuple[Format, ...]], Constant] = {}
        self._formats: dict[str, Format] = {}
        self._check_names()
        self._forced = self._output_formats()

    def result(self) -> Graph:
        """Lower everything."""
        graph = self._graph
        inputs = tuple(
            replace(value, format=self._input_format(value.name)) for value in graph.inputs
        )
        states = tuple(self._lower_state(state) for state in graph.states)
        for value in (*inputs, *(state.value for state in states)):
            assert value.format is not None
            self._formats[value.name] = value.format
        for node in graph.nodes:
            self._lower_node(node)
        outputs = tuple(self._lower_output(name) for name in graph.outputs)
        states = tuple(replace(state, source=self._fed(state)) for state in states)
        constants = tuple(self._constants.values())
        return Graph(graph.name, inputs, tuple(self._nodes), outputs, constants, states)

    def _check_names(self) -> None:
        graph, settings = self._graph, self._settings
        for kind, given, known in (
            ("input", settings.input_formats, {value.name for value in graph.inputs}),
            ("output", settings.output_formats, set(graph.outputs)),
        ):
            for name in given:
                if name not in known:
                    raise GraphError(
                        f"a format is given for {kind} {name!r}; graph {graph.name!r} has "
                        f"{sorted(known)}"
                    )

    def _output_formats(self) -> dict[str, Format]:
        """Formats of nodes whose only reader is the outside."""
        return {
            name: form
            for name, form in self._settings.output_formats.items()
            if name not in self._graph.consumers
            and name not in {state.source for state in self._graph.states}
            and self._statistics_of_node(name)
        }

    def _statistics_of_node(self, name: str) -> bool:
        return any(node.name == name for node in self._graph.nodes)

    def _input_format(self, name: str) -> Format:
        given = self._settings.input_formats.get(name)
        return given or self._rounded_format(name, signed=self._statistics[name].low < 0)

    def _lower_state(self, state: State) -> State:
        signed = min(self._statistics[state.source].low, state.reset) < 0
        form = self._rounded_format(state.source, signed)
        raw = int(quantize(state.reset, form))
        return State(replace(state.value, format=form), state.source, raw)

    def _fed(self, state: State) -> str:
        """Name of a value that has the state's format, made by an extra node if need be."""
        form = state.value.format
        assert form is not None
        if self._formats[state.source] == form:
            return state.source
        return self._add_requantize(state.source, f"{state.value.name}.feed", form)

    def _lower_output(self, name: str) -> str:
        form = self._settings.output_formats.get(name)
        if form is None or self._formats[name] == form:
            return name
        return self._add_requantize(name, f"{name}.output", form)

    def _add_requantize(self, source: str, name: str, form: Format) -> str:
        if name not in self._formats:
            quantization = Quantization(form, self._settings.rounding, self._settings.overflow)
            self._nodes.append(Node(name, Requantize(), (source,), quantization))
            self._formats[name] = form
        return name

    def _rounded_format(self, name: str, signed: bool) -> Format:
        settings = self._settings
        width = settings.activation_bits
        frac = settings.fracs.get(name)
        if frac is None:
            frac = choose_frac(
                self._statistics[name], width, signed, settings.method, settings.percentile
            )
        return Format(width, frac, signed)

    def _lower_node(self, node: Node) -> None:
        names, operands = self._lower_operands(node)
        if isinstance(node.op, Table):
            table = self._table(node, node.op, operands[0])
            names.append(table.name)
            operands.append(Operand(table.data.shape, table.formats, table.data))
        try:
            accumulator = node.op.accumulator(*operands)
            accumulator.check()
        except GraphError as error:
            raise GraphError(
                f"node {node.name!r} ({node.op.name}, from {node.origin or 'the graph'}): {error}"
            ) from None
        quantization = self._quantization(node, accumulator)
        self._nodes.append(replace(node, inputs=tuple(names), quantization=quantization))
        self._formats[node.name] = quantization.format

    def _lower_operands(self, node: Node) -> tuple[list[str], list[Operand]]:
        names: list[str] = []
        operands: list[Operand] = []
        for position, name in enumerate(node.inputs):
            constant = self._graph.constants_by_name.get(name)
            if constant is None:
                shape = self._graph.values[name].shape
                operand = Operand(shape, (self._formats[name],))
            else:
                role = node.op.constant_roles.get(position) or node.op.other_constants
                assert role is not None
                lowered = self._lower_constant(constant, role, node, operands)
                name = lowered.name
                operand = Operand(lowered.data.shape, lowered.formats, lowered.data)
            names.append(name)
            operands.append(operand)
        return names, operands

    def _lower_constant(
        self, constant: Constant, role: Role, node: Node, operands: list[Operand]
    ) -> Constant:
        values = constant.data
        match role:
            case "bias":
                formats = self._bias_formats(values, operands)
            case "weight":
                formats = self._weight_formats(constant)
            case _:
                width = self._settings.weight_bits
                if role == "offset":
                    width = self._settings.activation_bits
                statistics = Statistics.of(values)
                frac = choose_frac(statistics, width, True, "mse")
                # A slope of PReLU multiplies by one as well, which needs frac >= 0.
                formats = (Format(width, max(frac, 0) if role == "factor" else frac),)
        key = (constant.name, formats)
        if key not in self._constants:
            taken = {existing.name for existing in self._constants.values()}
            name = constant.name if constant.name not in taken else f"{constant.name}.{node.name}"
            self._constants[key] = Constant(name, _quantized(values, formats), formats)
        return self._constants[key]

    def _weight_formats(self, constant: Constant) -> tuple[Format, ...]:
        settings = self._settings
        method = "mse" if settings.method == "percentile" else settings.method
        width = settings.weight_bits
        frac = settings.fracs.get(constant.name)
        if frac is None:
            frac = choose_frac(Statistics.of(constant.data), width, True, method)
        if not settings.per_channel:
            return (Format(width, frac),)
        return tuple(
            Format(
                width,
                min(choose_frac(Statistics.of(row), width, True, method), frac + CHANNEL_SPREAD)
                if row.any()
                else frac,
            )
            for row in constant.data
        )

    def _bias_formats(self, values: np.ndarray, operands: list[Operand]) -> tuple[Format, ...]:
        source, weight = operands
        fracs = weight.fracs + source.format.frac
        widest = [quantize(values, Format(MAX_WIDTH, int(frac))) for frac in fracs]
        raws = widest[0] if len(fracs) == 1 else np.diagonal(widest)
        width = Format.for_range(min(int(raws.min()), -1), max(int(raws.max()), 0), 0).width
        return tuple(Format(width, int(frac)) for frac in fracs)

    def _table(self, node: Node, op: Table, source: Operand) -> Constant:
        low, high = op.output_range
        bits = self._settings.activation_bits
        # The range (0, 1) needs no integer bit and (-1, 1) only the sign.
        form = self._forced.get(node.name) or Format(bits, bits - (low < 0), low < 0)
        assert high == 1.0
        name = f"{node.name}.table"
        try:
            constant = Constant(name, op.tabulate(source.format, form), (form,))
        except GraphError as error:
            raise GraphError(f"node {node.name!r} ({op.name}): {error}") from None
        self._constants[name, (form,)] = constant
        return constant

    def _quantization(self, node: Node, accumulator: Accumulator) -> Quantization:
        """Keep the exact result where it is narrow or flows on; round it otherwise."""
        settings = self._settings
        modes = (settings.rounding, settings.overflow)
        forced = self._forced.get(node.name)
        if forced is not None:
            return Quantization(forced, *modes)
        try:
            exact = accumulator.exact_format
        except FormatError:
            exact = None
        overridden = node.name in settings.fracs
        if exact is not None and not overridden:
            if exact.width <= settings.activation_bits:
                return Quantization(exact, *modes)
            if exact.width <= settings.wide_bits and self._flows_on(node.name):
                return Quantization(exact, *modes)
        signed = min(accumulator.low) < 0
        return Quantization(self._rounded_format(node.name, signed), *modes)

    def _flows_on(self, name: str) -> bool:
        """Whether every reader of a value can take an exact accumulator."""
        readers = self._graph.consumers.get(name, ())
        return (
            bool(readers)
            and name not in self._graph.outputs
            and all(state.source != name for state in self._graph.states)
            and all(reader.op.takes_accumulators for reader in readers)
        )


def _quantized(values: np.ndarray, formats: tuple[Format, ...]) -> np.ndarray:
    if len(formats) == 1:
        return quantize(values, formats[0])
    return np.stack([quantize(row, form) for row, form in zip(values, formats, strict=True)])


def rounded_names(graph: Graph, settings: Settings) -> tuple[str, ...]:
    """Names of an integer graph's values and weights whose fraction bits are a choice."""
    names = [value.name for value in graph.inputs if value.name not in settings.input_formats]
    for node in graph.nodes:
        assert node.quantization is not None
        assert node.accumulator is not None
        exact = node.quantization.format.frac >= node.accumulator.frac
        if not (exact or isinstance(node.op, Table) or node.name in settings.output_formats):
            names.append(node.name)
        for position, name in enumerate(node.inputs):
            if node.op.constant_roles.get(position) == "weight" and not settings.per_channel:
                names.append(name)
    return tuple(dict.fromkeys(names))


