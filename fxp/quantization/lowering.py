"""Float graph to integer graph: choose every format, then quantize every constant.

An exact accumulator is rounded only where it must be: a convolution that feeds a ReLU or an
addition keeps all its bits until the result of that op, so that each path rounds once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import (
    MAX_FRAC_MAGNITUDE,
    MAX_WIDTH,
    Format,
    FormatError,
    Overflow,
    Quantization,
    Rounding,
    quantize,
)
from fxp.graph import Constant, Graph, Node, State
from fxp.graph.ops import GraphError, Op, Operand, Requantize
from fxp.graph.ops.base import Accumulator, Role
from fxp.quantization.calibrate import Statistics, choose_frac
from fxp.quantization.options import Method, check_width
from fxp.quantization.widths import Widths

CHANNEL_SPREAD: Final = 8
"""A channel's fraction bits exceed the tensor's by at most this, so that an almost dead channel
does not widen the accumulator and the bias."""
BIAS_BITS: Final = 50
"""Weights get no more fraction bits than let the bias, which has those of the products, fit this
width; an almost dead layer would pass 63 bits otherwise, and the 52 bits of float64."""
TABLE_BITS: Final = 2
"""The table of a normalization has so many bits more than activations: its entries are multiplied
and added before anything is rounded."""
SLOPE_FRAC: Final = 30
"""A PReLU's slopes have at most this many fraction bits, because it multiplies by one as well."""


@dataclass(frozen=True)
class LoweringSettings:
    """How a float graph is quantized.

    Attributes
    ----------
    weight_bits, activation_bits
        Widths of weights and of rounded values.
    bits
        Widths by value or weight name that override them. A value named here is rounded to its
        width where its exact result is wider, also where that could flow on. A state has the width
        of its own name, or else that of its source, and gives a source without one its own.
    method, percentile
        Rule for fraction bits, see `fxp.quantization.calibrate.choose_frac`.
    per_channel
        Whether weights get fraction bits per output channel instead of per tensor.
    rounding, overflow
        Modes of every rounded value.
    wide_bits
        Exact accumulators up to this width flow unrounded into a ReLU, an addition and the like
        that is their only reader; what two nodes read is stored, and has `activation_bits`.
    input_formats, output_formats
        Formats by input or output name; those left out are chosen.
    fracs
        Fraction bits by value or weight name that override the rule (the format search sets them).
    weights
        Rounded weights by their name in the integer graph, which replace the nearest integers where
        the format is theirs (learned rounding sets them).
    """

    weight_bits: int = 10
    activation_bits: int = 14
    bits: Mapping[str, int] = field(default_factory=dict)
    method: Method = "mse"
    percentile: float = 99.99
    per_channel: bool = False
    rounding: Rounding = Rounding.HALF_UP
    overflow: Overflow = Overflow.SATURATE
    wide_bits: int = 32
    input_formats: Mapping[str, Format] = field(default_factory=dict)
    output_formats: Mapping[str, Format] = field(default_factory=dict)
    fracs: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, Constant] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("weight_bits", "activation_bits"):
            check_width(name, getattr(self, name))
        for name, width in self.bits.items():
            check_width(f"bits[{name!r}]", width)
        bits = self.wide_bits
        if isinstance(bits, bool) or not isinstance(bits, int) or not 0 <= bits <= MAX_WIDTH:
            raise FormatError(f"wide_bits must be an integer from 0 to {MAX_WIDTH}, got {bits!r}")
        if not 50 < self.percentile <= 100:
            raise FormatError(f"percentile must be above 50, at most 100: {self.percentile}")


Remembered = dict[tuple[str, int, bool], int]
"""Fraction bits of values by name, width and sign."""


def lower(
    graph: Graph,
    statistics: Mapping[str, Statistics],
    settings: LoweringSettings,
    remembered: Remembered | None = None,
) -> Graph:
    """Turn a float graph into an integer graph.

    Parameters
    ----------
    graph
        A float graph.
    statistics
        Of every value, from `fxp.quantization.calibrate.observe`.
    settings
        Widths, rules and overrides.
    remembered
        Fraction bits found before by the same rule for the same statistics, which need not be found
        again; new ones are added.

    Raises
    ------
    GraphError
        If a node needs more than 63 bits, a table input is too wide, or a format or fraction bits
        are given for a name that the graph does not have.
    """
    # A state is unsigned only if that follows: if all of them are never negative, no source of one
    # is. That calibration data showed no negative value proves nothing.
    unsigned = {
        state.value.name
        for state in graph.states
        if min(statistics[state.source].low, state.reset) >= 0
    }
    while True:
        lowered = _Lowering(graph, statistics, settings, frozenset(unsigned), remembered).result()
        lows = {node.name: min(node.accumulator.low) for node in lowered.nodes if node.accumulator}
        refuted = {
            state.value.name for state in lowered.states if lows.get(state.source, 0) < 0
        } & unsigned
        if not refuted:
            return lowered
        unsigned -= refuted


class _Lowering:
    """Walks the nodes in order and collects the integer graph, with these states unsigned."""

    def __init__(
        self,
        graph: Graph,
        statistics: Mapping[str, Statistics],
        settings: LoweringSettings,
        unsigned: frozenset[str],
        remembered: Remembered | None,
    ) -> None:
        if graph.is_integer:
            raise GraphError(f"graph {graph.name!r} is an integer graph already")
        self._graph = graph
        self._statistics = statistics
        self._settings = settings
        self._unsigned = unsigned
        self._remembered = {} if remembered is None else remembered
        self._widths = Widths(graph, settings.weight_bits, settings.activation_bits, settings.bits)
        self._nodes: list[Node] = []
        self._constants: dict[tuple[str, tuple[Format, ...]], Constant] = {}
        self._formats: dict[str, Format] = {}
        self._names = set(graph.values) | set(graph.constants_by_name)
        self._requantized: dict[tuple[str, Format], str] = {}
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
        for what, given, known in (
            ("a format is given for input", settings.input_formats,
             {value.name for value in graph.inputs}),
            ("a format is given for output", settings.output_formats, set(graph.outputs)),
            ("fraction bits are given for", settings.fracs, self._names),
            ("bits are given for", settings.bits, self._names),
        ):  # fmt: skip
            for name in given:
                if name not in known:
                    raise GraphError(f"{what} {name!r}; graph {graph.name!r} has {sorted(known)}")
        self._widths.check({*settings.input_formats, *self._output_formats()})

    def _output_formats(self) -> dict[str, Format]:
        """Return the formats of nodes whose only reader is the outside."""
        graph = self._graph
        inside = set(graph.consumers) | {state.source for state in graph.states}
        return {
            node.name: self._settings.output_formats[node.name]
            for node in graph.nodes
            if node.name in self._settings.output_formats and node.name not in inside
        }

    def _new_name(self, wanted: str) -> str:
        """Return a name that nothing has yet."""
        while wanted in self._names:
            wanted += "_"
        self._names.add(wanted)
        return wanted

    def _input_format(self, name: str) -> Format:
        given = self._settings.input_formats.get(name)
        return given or self._rounded_format(name, signed=self._statistics[name].low < 0)

    def _lower_state(self, state: State) -> State:
        signed = state.value.name not in self._unsigned
        ops = {node.name: node.op for node in self._graph.nodes}
        source = ops.get(state.source)
        if source is not None and _is_within_one(source):
            form = _format_within_one(source, self._widths.state(state))
        else:
            form = self._rounded_format(state.source, signed, self._widths.state(state))
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

    def _add_requantize(self, source: str, wanted: str, form: Format) -> str:
        """Name of a value that is `source` in another format; one node per format."""
        if (source, form) not in self._requantized:
            name = self._requantized[source, form] = self._new_name(wanted)
            quantization = Quantization(form, self._settings.rounding, self._settings.overflow)
            self._nodes.append(Node(name, Requantize(), (source,), quantization))
        return self._requantized[source, form]

    def _rounded_format(self, name: str, signed: bool, width: int | None = None) -> Format:
        settings = self._settings
        width = width or self._widths.value(name)
        frac = settings.fracs.get(name)
        if frac is None:
            key = name, width, signed
            if key not in self._remembered:
                self._remembered[key] = choose_frac(
                    self._statistics[name], width, signed, settings.method, settings.percentile
                )
            frac = self._remembered[key]
        return Format(width, frac, signed)

    def _lower_node(self, node: Node) -> None:
        names, operands = self._lower_operands(node)
        if node.op.table_use is not None:
            table = self._table(node, operands[0])
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
                most = self._most_weight_frac(node, operands[0].format)
                formats = self._weight_formats(constant, most)
            case _:
                width = self._widths.weight(constant.name)
                if role == "offset":
                    width = self._widths.value(constant.name)
                frac = choose_frac(Statistics.of(values), width, True, "mse")
                if role == "offset" and operands:
                    # The value before it is shifted to its binary point, within `BIAS_BITS`.
                    source = operands[0].format
                    frac = min(frac, BIAS_BITS - source.width + source.frac)
                if role == "slope":
                    # One has the same fraction bits, which needs frac >= 0.
                    width, frac = width - min(frac, 0), min(max(frac, 0), SLOPE_FRAC)
                formats = (Format(width, frac),)
        key = (constant.name, formats)
        if key not in self._constants:
            # Only the first copy has the float constant's own name.
            copied = any(name == constant.name for name, _ in self._constants)
            name = self._new_name(f"{constant.name}.{node.name}") if copied else constant.name
            given = self._settings.weights.get(name)
            if given is None or given.formats != formats:
                given = Constant(name, _quantized(values, formats), formats)
            self._constants[key] = given
        return self._constants[key]

    def _most_weight_frac(self, node: Node, source: Format) -> int:
        """Most fraction bits of weights whose products a bias can be added to."""
        biases = [
            self._graph.constants_by_name[name].data
            for position, name in enumerate(node.inputs)
            if node.op.constant_roles.get(position) == "bias"
        ]
        largest = max((float(np.abs(bias).max()) for bias in biases), default=0.0)
        if largest == 0:
            return MAX_FRAC_MAGNITUDE
        return BIAS_BITS - 1 - math.frexp(largest)[1] - source.frac

    def _weight_formats(self, constant: Constant, most: int) -> tuple[Format, ...]:
        settings = self._settings
        method = "mse" if settings.method == "percentile" else settings.method
        width = self._widths.weight(constant.name)
        frac = settings.fracs.get(constant.name)
        if frac is None:
            frac = choose_frac(Statistics.of(constant.data), width, True, method)
        frac = min(frac, most)
        if not settings.per_channel:
            return (Format(width, frac),)
        most = min(most, frac + CHANNEL_SPREAD)
        fracs = (
            min(choose_frac(Statistics.of(row), width, True, method), most) if row.any() else frac
            for row in constant.data
        )
        return tuple(Format(width, row_frac) for row_frac in fracs)

    def _bias_formats(self, values: np.ndarray, operands: list[Operand]) -> tuple[Format, ...]:
        source, weight = operands
        fracs = [form.frac + source.format.frac for form in weight.formats]
        raws = _quantized(values, tuple(Format(MAX_WIDTH, frac) for frac in fracs))
        width = Format.for_range(min(int(raws.min()), -1), int(raws.max()), 0).width
        return tuple(Format(width, frac) for frac in fracs)

    def _table(self, node: Node, source: Operand) -> Constant:
        """Enter the table of a node that reads `source`."""
        bits = self._widths.value(node.name)
        if node.op.table_use == "factor":
            bits += TABLE_BITS
        try:
            values = node.op.table_values(source, bits)
        except GraphError as error:
            raise GraphError(f"node {node.name!r} ({node.op.name}): {error}") from None
        if not np.isfinite(values).all():
            raise GraphError(
                f"node {node.name!r} ({node.op.name}): a result is infinite or not a number for "
                f"operands in {source.format}; change the function's parameters"
            )
        if node.op.table_use == "factor":
            form = Format(bits, choose_frac(Statistics.of(values), bits, False, "minmax"), False)
            data = quantize(values, form)
        else:
            form, data = self._results(node, values)
        constant = Constant(self._new_name(f"{node.name}.table"), data, (form,))
        self._constants[constant.name, (form,)] = constant
        return constant

    def _results(self, node: Node, values: NDArray[np.float64]) -> tuple[Format, NDArray[np.int64]]:
        """Format and raw integers of a table that holds the results of a node."""
        forced = self._forced.get(node.name)
        if _is_within_one(node.op):
            form = forced or _format_within_one(node.op, self._widths.value(node.name))
            return form, quantize(values, form)
        # The fraction bits are those of the result, but no entry is clipped: what the calibration
        # data did not reach overflows in the result, where it is counted.
        form = forced or self._rounded_format(node.name, signed=bool(values.min() < 0))
        data = quantize(values, Format(MAX_WIDTH, form.frac))
        return Format.for_range(int(data.min()), max(int(data.max()), 0), form.frac), data

    def _quantization(self, node: Node, accumulator: Accumulator) -> Quantization:
        """Keep the exact result where it is narrow or flows on; round it otherwise."""
        settings = self._settings
        modes = (settings.rounding, settings.overflow)
        if node.op.never_rounded:
            return Quantization(accumulator.exact_format, *modes)
        forced = self._forced.get(node.name)
        if forced is not None:
            return Quantization(forced, *modes)
        try:
            exact = accumulator.exact_format
        except FormatError:
            exact = None
        overridden = node.name in settings.fracs
        if exact is not None and not overridden:
            if exact.width <= self._widths.value(node.name):
                return Quantization(exact, *modes)
            flows_on = node.name not in settings.bits and self._flows_on(node.name)
            if exact.width <= settings.wide_bits and flows_on:
                return Quantization(exact, *modes)
        signed = min(accumulator.low) < 0
        return Quantization(self._rounded_format(node.name, signed), *modes)

    def _flows_on(self, name: str) -> bool:
        """Whether a value, or each slice of it, has one reader that can take an accumulator."""
        readers = self._graph.consumers.get(name, ())
        sliced = all(reader.op.reads_part for reader in readers)
        return (
            bool(readers)
            and (len(readers) == 1 or sliced)
            and name not in self._graph.outputs
            and all(state.source != name for state in self._graph.states)
            and all(reader.op.takes_accumulators for reader in readers)
        )


def _is_within_one(op: Op) -> bool:
    """Whether the op alone says that no result passes ±1, which then decides its format."""
    if op.output_range is None:
        return False
    low, high = op.output_range
    return low >= -1 and high <= 1


def _format_within_one(op: Op, bits: int) -> Format:
    # The range (0, 1) needs no integer bit and (-1, 1) only the sign.
    assert op.output_range is not None
    signed = op.output_range[0] < 0
    return Format(bits, bits - signed, signed)


def _quantized(values: np.ndarray, formats: tuple[Format, ...]) -> np.ndarray:
    if len(formats) == 1:
        return quantize(values, formats[0])
    return np.stack([quantize(row, form) for row, form in zip(values, formats, strict=True)])


def rounded_names(graph: Graph, settings: LoweringSettings) -> tuple[str, ...]:
    """Names of a lowered graph's values and weights whose fraction bits are a choice.

    Left out are those that `settings` fix, exact results, and the nodes that `lower` has added.
    """
    names = [value.name for value in graph.inputs if value.name not in settings.input_formats]
    for node in graph.nodes:
        assert node.quantization is not None
        assert node.accumulator is not None
        exact = node.quantization.format.frac >= node.accumulator.frac
        if node.op.table_use == "result":
            # Its entries have the fraction bits of the result.
            exact = _is_within_one(node.op)
        if not (exact or node.op.format_is_given or node.name in settings.output_formats):
            names.append(node.name)
        for position, name in enumerate(node.inputs):
            if node.op.constant_roles.get(position) == "weight" and not settings.per_channel:
                names.append(name)
    return tuple(name for name in dict.fromkeys(names) if name not in settings.fracs)
