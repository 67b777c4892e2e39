"""Float graph to integer graph: choose every format, then quantize every constant.

An exact accumulator is rounded only where it must be: a convolution that feeds a ReLU or an
addition keeps all its bits until the result of that op, so that each path rounds once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp.formats import (
    MAX_WIDTH,
    Format,
    FormatError,
    Quantization,
    quantize,
)
from fxp.graph import Constant, Graph, Node, State
from fxp.graph.ops import Add, Concat, GraphError, Multiply, Operand, Requantize, Subtract
from fxp.graph.ops.base import Accumulator, Range, Role
from fxp.graph.ops.tables import MAX_TABLE_BITS
from fxp.quantization.calibrate import choose_frac, covering_frac
from fxp.quantization.concatenations import BIASING_BITS, is_uneven, joined, only_concatenated
from fxp.quantization.constants import (
    BIAS_BITS,
    alike_in_size,
    bias_frac,
    bias_magnitudes,
    channel_fracs,
    constant_fracs,
    most_frac,
    quantized_rows,
)
from fxp.quantization.ranges import format_within_one, is_within_one, known_ranges
from fxp.quantization.saturation import saturation_exponent, saturation_exponents
from fxp.quantization.settings import LoweringSettings
from fxp.quantization.statistics import Statistics
from fxp.quantization.widths import Widths

TABLE_BITS: Final = 2
"""The table of a normalization has so many bits more than activations: its entries are multiplied
and added before anything is rounded."""
SLOPE_FRAC: Final = 30
"""A PReLU's slopes have at most this many fraction bits, because it multiplies by one as well."""


Remembered = dict[tuple[str, int, bool, Range], int]
"""Fraction bits of values by name, width, sign and known range."""


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
        self._widths = Widths(
            graph,
            settings.weight_bits,
            settings.activation_bits,
            settings.bits,
            settings.extra_bits,
            settings.wide_bits,
        )
        self._saturated = saturation_exponents(graph, self._widths)
        self._joined = only_concatenated(graph, settings.extra_bits)
        self._nodes: list[Node] = []
        self._constants: dict[tuple[str, tuple[Format, ...]], Constant] = {}
        self._tables: dict[tuple[Format, bytes], Constant] = {}
        self._copied: set[str] = set()
        self._formats: dict[str, Format] = {}
        self._names = set(graph.values) | set(graph.constants_by_name)
        self._requantized: dict[tuple[str, Format], str] = {}
        self._ranges = known_ranges(graph, statistics, settings.input_formats)
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
        if source is not None and is_within_one(source):
            form = format_within_one(source, self._widths.state(state))
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
            self._formats[name] = form
        return self._requantized[source, form]

    def _rounded_format(self, name: str, signed: bool, width: int | None = None) -> Format:
        settings = self._settings
        width = width or self._widths.value(name)
        frac = settings.fracs.get(name)
        if frac is None:
            key = name, width, signed, self._ranges[name]
            if key not in self._remembered:
                self._remembered[key] = choose_frac(
                    self._statistics[name],
                    width,
                    signed,
                    settings.method,
                    settings.percentile,
                    headroom=settings.headroom,
                    known=self._ranges[name],
                )
            frac = self._remembered[key]
            if name in self._saturated:
                frac = max(frac, width - signed - self._saturated[name])
            less = frac - max(map(self._joined_frac, self._joined.get(name, ())), default=frac)
            if 0 < less <= BIASING_BITS:
                return Format(width - less, frac - less, signed)
        return Format(width, frac, signed)

    def _joined_frac(self, name: str) -> int:
        """Fraction bits of a concatenation that is rounded."""
        return self._rounded_format(name, signed=self._statistics[name].low < 0).frac

    def _lower_node(self, node: Node) -> None:
        names, operands = self._lower_operands(node)
        if node.op.table_use is not None:
            table = self._table(node, operands[0])
            names.append(table.name)
            operands.append(table.operand)
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
                name = self._as_read(node, name)
                operand = Operand(shape, (self._formats[name],))
            else:
                role = node.op.constant_roles.get(position) or node.op.other_constants
                assert role is not None
                lowered = self._lower_constant(constant, role, node, operands)
                name = lowered.name
                operand = lowered.operand
            names.append(name)
            operands.append(operand)
        return names, operands

    def _as_read(self, node: Node, name: str) -> str:
        """Name of a value as an op reads it: a copy without extra bits, where they are needless."""
        form = self._formats[name]
        narrow = form
        if node.op.table_use is not None:
            extra = form.width > MAX_TABLE_BITS and name in self._settings.extra_bits
            if extra and name not in self._settings.bits:
                fewest = MAX_TABLE_BITS - form.signed - saturation_exponent(node, self._widths)
                frac = max(form.frac - form.width + MAX_TABLE_BITS, fewest)
                narrow = Format(MAX_TABLE_BITS, frac, form.signed)
        elif isinstance(node.op, Add | Subtract | Concat):
            narrow = joined(form, [self._formats[n] for n in node.inputs if n in self._formats])
        elif not (node.op.takes_accumulators or isinstance(node.op, Multiply)):
            narrow = self._widths.read_by_layers(name, form)
        return name if narrow == form else self._add_requantize(name, f"{name}.narrow", narrow)

    def _lower_constant(
        self, constant: Constant, role: Role, node: Node, operands: list[Operand]
    ) -> Constant:
        values = constant.data
        match role:
            case "bias":
                formats = self._bias_formats(values, operands)
            case "weight":
                formats = self._weight_formats(constant, node, operands[0].format)
            case _:
                width = self._widths.weight(constant.name)
                if role == "offset":
                    width = self._widths.value(constant.name)
                (frac,) = constant_fracs(values.reshape(1, -1), width, "mse").tolist()
                if role == "offset" and operands:
                    # The value before it is shifted to its binary point, within `BIAS_BITS`.
                    source = operands[0].format
                    frac = min(frac, BIAS_BITS - source.width + source.frac)
                if role == "slope":
                    # One has the same fraction bits, which needs frac >= 0.
                    width, frac = width - min(frac, 0), min(max(frac, 0), SLOPE_FRAC)
                formats = (Format(width, frac),)
        key = constant.name, formats
        if key not in self._constants:
            # Only the first copy has the float constant's own name.
            copied = constant.name in self._copied
            self._copied.add(constant.name)
            name = self._new_name(f"{constant.name}.{node.name}") if copied else constant.name
            given = self._settings.weights.get(name)
            if given is None or given.formats != formats:
                raws = quantized_rows(values, formats)
                if role == "weight":
                    raws = alike_in_size(values, raws)
                raws.setflags(write=False)
                given = Constant(name, raws, formats)
            self._constants[key] = given
        return self._constants[key]

    def _weight_formats(self, constant: Constant, node: Node, source: Format) -> tuple[Format, ...]:
        settings = self._settings
        width = self._widths.weight(constant.name)
        biases = bias_magnitudes(self._graph, node)
        whole = settings.fracs.get(constant.name)
        per_channel = settings.per_channel and whole is None
        if whole is None and not constant.data.any():
            whole = bias_frac(self._finest_frac(node.name), source)
        elif whole is None:
            flat = constant.data.reshape(1, -1)
            (whole,) = constant_fracs(flat, width, settings.method).tolist()
        whole = min(whole, most_frac(biases, source))
        if not per_channel:
            return (Format(width, whole),)
        fracs = channel_fracs(
            constant.data.reshape(len(constant.data), -1),
            biases,
            width,
            settings.method,
            whole=whole,
            source=source,
            result_frac=self._finest_frac(node.name),
            aligned_bits=settings.wide_bits if self._flows_on(node.name) else None,
        )
        return tuple(Format(width, frac) for frac in fracs)

    def _finest_frac(self, name: str) -> int:
        """Most fraction bits of a node's result, or of what its exact accumulator flows into."""
        form = self._forced.get(name) or self._rounded_format(name, self._statistics[name].low < 0)
        if not self._flows_on(name):
            return form.frac
        readers = (reader.name for reader in self._graph.consumers[name])
        return max(form.frac, *map(self._finest_frac, readers))

    def _bias_formats(self, values: np.ndarray, operands: list[Operand]) -> tuple[Format, ...]:
        source, weight = operands
        fracs = [form.frac + source.format.frac for form in weight.formats]
        raws = quantized_rows(values, tuple(Format(MAX_WIDTH, frac) for frac in fracs))
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
            frac = covering_frac(float(values.min()), float(values.max()), bits, False)
            form = Format(bits, frac, False)
            data = quantize(values, form)
        else:
            form, data = self._results(node, values)
        # Nodes whose tables are the same share one: it has up to 65,536 entries.
        key = form, data.tobytes()
        if key not in self._tables:
            constant = Constant(self._new_name(f"{node.name}.table"), data, (form,))
            self._tables[key] = self._constants[constant.name, (form,)] = constant
        return self._tables[key]

    def _results(self, node: Node, values: NDArray[np.float64]) -> tuple[Format, NDArray[np.int64]]:
        """Format and raw integers of a table that holds the results of a node."""
        forced = self._forced.get(node.name)
        if is_within_one(node.op):
            form = forced or format_within_one(node.op, self._widths.value(node.name))
            return form, quantize(values, form)
        # No operand gives more than the table holds.
        low, high = self._ranges[node.name]
        self._ranges[node.name] = max(low, float(values.min())), min(high, float(values.max()))
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
        form = self._rounded_format(node.name, signed=min(accumulator.low) < 0)
        if exact is not None and exact.width <= settings.wide_bits and self._leaves(node):
            parts = [self._formats.get(name, form) for name in node.inputs]
            if not overridden and is_uneven(parts, form):
                form = exact
        return Quantization(form, *modes)

    def _leaves(self, node: Node) -> bool:
        """Whether a node concatenates what the network gives and nothing in it reads."""
        if not isinstance(node.op, Concat) or node.name in self._settings.bits:
            return False
        fed = {state.source for state in self._graph.states}
        return node.name not in self._graph.consumers and node.name not in fed

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
            exact = is_within_one(node.op)
        if not (exact or node.op.format_is_given or node.name in settings.output_formats):
            names.append(node.name)
        for position, name in enumerate(node.inputs):
            if node.op.constant_roles.get(position) == "weight" and not settings.per_channel:
                names.append(name)
    return tuple(name for name in dict.fromkeys(names) if name not in settings.fracs)
