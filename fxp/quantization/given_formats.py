"""A float graph whose formats are given, not chosen, as an integer graph.

Every value between two quantizers is exact: a node has the format of its exact result, unless a
quantizer alone reads it, which then is the rounding of the node itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fxp.formats import (
    Format,
    FormatError,
    Quantization,
    Rounding,
    quantize,
)
from fxp.frontend.builder import clean_name
from fxp.frontend.errors import FrontendError
from fxp.frontend.onnx.call import NodeInfo
from fxp.frontend.onnx.quantizers import Declared, Quantizer
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.ops import (
    Accumulator,
    Add,
    Conv2d,
    ConvTranspose2d,
    Flatten,
    GraphError,
    Linear,
    Requantize,
)
from fxp.graph.ops.base import Operand, Role
from fxp.quantization.given_constants import (
    Raw,
    are_whole,
    declared_of,
    key_of,
    raw_of,
    rounded,
)

MOVING = frozenset(
    ("flatten", "flip", "gather_channels", "nearest", "part", "pixel_shuffle", "pixel_unshuffle",
     "requantize", "slice", "transpose", "unflatten")
)  # fmt: skip
"""Ops through which the format of an input is looked for."""


@dataclass
class Given:
    """What a quantized file says of its float graph.

    Attributes
    ----------
    quantizers
        By the name of their `Requantize` node.
    declared
        Formats of constants, by their key in the state dict.
    tensors
        Names of the file's tensors, by the same keys.
    input_formats
        By the name of the input.
    places
        Nodes of the file, by the origin of the nodes that were made of them.
    snap
        Whether constants that are not in fixed point are rounded, and not refused.
    rounded
        Names of the file's nodes of which a constant was rounded.
    """

    quantizers: Mapping[str, Quantizer]
    declared: Mapping[str, Declared]
    tensors: Mapping[str, str]
    input_formats: Mapping[str, Format]
    places: Mapping[str, NodeInfo]
    snap: bool = False
    rounded: list[str] = field(default_factory=list)


def lower_given(graph: Graph, given: Given) -> Graph:
    """Return the integer graph.

    Parameters
    ----------
    graph
        A float graph.
    given
        Its formats; what is rounded is entered in it.

    Raises
    ------
    FrontendError
        If a format is missing, or a constant is not in fixed point; the message names the node.
    """
    return _Lowering(graph, given).result()


def _rounded_where_moved(nodes: list[Node], outputs: tuple[str, ...]) -> list[Node]:
    """Let nodes that only move values round them, in place of a node before that does but that."""
    readers = Counter(name for node in nodes for name in set(node.inputs))
    by_name = {node.name: node for node in nodes}
    dropped: set[str] = set()
    made = []
    for node in nodes:
        source = by_name.get(node.inputs[0])
        if (
            node.op.name in MOVING
            and source is not None
            and isinstance(source.op, Requantize)
            and readers[source.name] == 1
            and source.name not in outputs
            and source.quantization is not None
            and node.quantization == Quantization(source.quantization.format)
        ):
            dropped.add(source.name)
            node = replace(node, inputs=source.inputs, quantization=source.quantization)
            by_name[node.name] = node
        made.append(node)
    return [node for node in made if node.name not in dropped]


class _Lowering:
    """One pass over the nodes."""

    def __init__(self, graph: Graph, given: Given) -> None:
        self._graph = graph
        self._given = given
        self._ends = {*graph.outputs}
        self._formats: dict[str, Format] = {}
        self._nodes: list[Node] = []
        self._constants: dict[tuple[str, tuple[Format, ...]], Constant] = {}
        self._tensors: dict[str, str] = {}
        self._renamed: dict[str, str] = {}
        self._done: set[str] = set()
        self._names = {*graph.values, *graph.constants_by_name}

    def result(self) -> Graph:
        """Lower everything."""
        graph = self._graph
        inputs = tuple(replace(value, format=self._input_format(value)) for value in graph.inputs)
        self._formats = {value.name: value.format for value in inputs if value.format is not None}
        for node in graph.nodes:
            if node.name not in self._done:
                self._lower(node)
        outputs = tuple(self._renamed.get(name, name) for name in graph.outputs)
        nodes = _rounded_where_moved(self._nodes, outputs)
        used = {name for node in nodes for name in node.inputs}
        constants = tuple(item for item in self._constants.values() if item.name in used)
        lowered = Graph(graph.name, inputs, tuple(nodes), outputs, constants)
        return self._with_names_of_file(lowered)

    def _refuse(self, node: Node, rule: str, instead: str) -> NoReturn:
        place = self._given.places.get(node.origin)
        where = f"node {node.name!r} ({node.op.name})" if place is None else str(place)
        raise FrontendError(f"{where}: {rule}; {instead}")

    def _input_format(self, value: Value) -> Format:
        given = self._given.input_formats.get(value.name)
        if given is not None:
            return given
        found = set(self._first_quantizers(value.name))
        if len(found) == 1 and (only := next(iter(found))) is not None:
            return only.quantization.format
        rule = "is read without a quantizer" if None in found else "has several quantizers"
        raise FrontendError(
            f"input {value.name!r} {rule if found else 'is not read'}, so that its format is not "
            "known; put one quantizer behind it, or give its format with input_format "
            "(--input-format)"
        )

    def _first_quantizers(self, name: str) -> Iterator[Quantizer | None]:
        """Yield the quantizers that read a value; None for other readers."""
        for node in self._graph.consumers.get(name, ()):
            quantizer = self._given.quantizers.get(node.name)
            if quantizer is not None:
                yield quantizer
            elif node.op.name in MOVING and node.name not in self._ends:
                yield from self._first_quantizers(node.name)
            else:
                yield None

    def _lower(self, node: Node) -> None:
        quantizer = self._given.quantizers.get(node.name)
        source = self._renamed.get(node.inputs[0], node.inputs[0])
        # Values in a format stay as they are, unless a narrow range leaves one of them out.
        if quantizer is not None and node.name not in self._ends:
            same = self._formats[source] == quantizer.quantization.format
            if same and not quantizer.narrow:
                self._renamed[node.name] = source
                return
        followers = [] if quantizer is not None else self._followers(node)
        if len(followers) == 1 and isinstance(node.op, Add):
            last = self._given.quantizers[followers[0].name]
            if self._is_half(node, last):
                # What it is added to has a format of its own.
                node = replace(node, op=Requantize(), inputs=node.inputs[:1])
                half_up = replace(last, rounding=Rounding.HALF_UP)
                self._given.quantizers = {**self._given.quantizers, followers[0].name: half_up}
        names, operands, later = self._operands(node)
        name = node.name
        if followers:
            quantizer = self._given.quantizers[followers[-1].name]
            if len(followers) == 2:
                quantizer = replace(quantizer, rounding=Rounding.HALF_UP)
            if followers[-1].name in self._ends:
                name = followers[-1].name
            self._done |= {follower.name for follower in followers}
            self._renamed |= {item.name: name for item in (node, *followers)}
        if later is not None:
            names, operands = self._added_later(node, names, operands, later)
            node = replace(node, op=Add())
        if node.op.table_use is not None:
            table = self._table(node, operands[0], quantizer)
            names.append(table.name)
            operands.append(table.operand)
        accumulator = self._accumulator(node, operands)
        quantization = self._quantization(node, accumulator, quantizer)
        self._nodes.append(Node(name, node.op, tuple(names), quantization, origin=node.origin))
        self._formats[name] = quantization.format

    def _followers(self, node: Node) -> list[Node]:
        """Return the quantizer that alone reads a node, behind half a step that it may add."""
        found: list[Node] = []
        name = node.name
        while len(found) < 2 and name not in self._ends:
            readers = self._graph.consumers.get(name, ())
            if len(readers) != 1 or readers[0].inputs.count(name) != 1:
                return []
            (reader,) = readers
            if reader.name in self._given.quantizers:
                whole = not found or self._is_half(found[0], self._given.quantizers[reader.name])
                return [*found, reader] if whole else []
            if found or not isinstance(reader.op, Add):
                return []
            found.append(reader)
            name = reader.name
        return []

    def _is_half(self, node: Node, quantizer: Quantizer) -> bool:
        """Whether a sum adds half a step before a quantizer rounds down: ties go up."""
        constant = self._graph.constants_by_name.get(node.inputs[1])
        return (
            constant is not None
            and quantizer.rounding is Rounding.FLOOR
            and bool((constant.data == quantizer.scale / 2).all())
        )

    def _accumulator(self, node: Node, operands: list[Operand]) -> Accumulator:
        try:
            accumulator = node.op.accumulator(*operands)
            accumulator.check()
        except GraphError as error:
            self._refuse(node, str(error), "quantize what it reads to fewer bits")
        return accumulator

    def _quantization(
        self, node: Node, accumulator: Accumulator, quantizer: Quantizer | None
    ) -> Quantization:
        if quantizer is None:
            try:
                return Quantization(accumulator.exact_format)
            except FormatError as error:
                self._refuse(node, str(error), "put a quantizer behind it")
        made = quantizer.quantization
        if not quantizer.saturates:
            shift = accumulator.frac - made.format.frac
            low = min(accumulator.low) if shift <= 0 else min(accumulator.low) >> shift
            high = max(accumulator.high) if shift <= 0 else -(-max(accumulator.high) >> shift)
            low, high = (number << max(-shift, 0) for number in (low, high))
            form = Format.for_range(min(low, high), max(high, 0), made.format.frac)
            made = replace(made, format=form)
        trial = Node("", node.op, (), made, accumulator)
        # Modes that change nothing are the usual ones.
        return Quantization(made.format) if trial.is_exact else made

    def _operands(self, node: Node) -> tuple[list[str], list[Operand], Constant | None]:
        """Return names and operands, and a bias that has to be added later."""
        names: list[str] = []
        operands: list[Operand] = []
        later = None
        for position, name in enumerate(node.inputs):
            constant = self._graph.constants_by_name.get(name)
            if constant is None:
                name = self._renamed.get(name, name)
                operands.append(Operand(self._graph.values[node.inputs[position]].shape,
                                        (self._formats[name],)))  # fmt: skip
            else:
                role = node.op.constant_roles.get(position) or node.op.other_constants
                assert role is not None
                made = self._constant(constant, role, node, operands)
                if made is None:
                    later = constant
                    continue
                operands.append(made.operand)
                name = made.name
            names.append(name)
        return names, operands, later

    def _constant(
        self, constant: Constant, role: Role, node: Node, operands: list[Operand]
    ) -> Constant | None:
        """Return a constant in integers; None for a bias finer than the products."""
        given = declared_of(constant, self._given.declared)
        if role == "bias":
            raw = self._bias(constant, given, operands)
            if raw is None:
                if given is None:
                    self._refuse_constant(node, constant)
                return None
        else:
            raw = raw_of(constant.data, given, role == "weight")
            if raw is None or (role == "slope" and raw.formats[0].frac < 0):
                if not self._given.snap:
                    self._refuse_constant(node, constant)
                raw = rounded(constant.data, role == "weight")
        if not raw.exact:
            self._given.rounded.append(self._given.places[node.origin].name)
        key = constant.name, raw.formats
        if key not in self._constants:
            taken = any(name == constant.name for name, _ in self._constants)
            name = self._new_name(f"{constant.name}.{node.name}") if taken else constant.name
            self._constants[key] = Constant(name, raw.data, raw.formats)
            if given is not None:
                self._tensors[name] = given[0].tensor
            elif (tensor := self._given.tensors.get(key_of(constant) or "")) is not None:
                self._tensors[name] = tensor
        return self._constants[key]

    def _bias(
        self,
        constant: Constant,
        given: tuple[Declared, NDArray[np.int64]] | None,
        operands: list[Operand],
    ) -> Raw | None:
        source, weight = operands
        fracs = [form.frac + source.format.frac for form in weight.formats]
        steps = np.ldexp(constant.data, np.array(fracs))
        exact = are_whole(steps)
        if not exact and not self._given.snap:
            return None
        data = np.rint(steps).astype(np.int64)
        if given is not None and (given[1] == fracs).all():
            formats = tuple(Format(given[0].width, frac, given[0].signed) for frac in fracs)
            if data.min() >= formats[0].min_raw and data.max() <= formats[0].max_raw:
                return Raw(data, formats)
        width = Format.for_range(min(int(data.min()), -1), max(int(data.max()), 0), 0).width
        return Raw(data, tuple(Format(width, frac) for frac in fracs), exact)

    def _refuse_constant(self, node: Node, constant: Constant) -> NoReturn:
        self._refuse(
            node,
            f"its constant {constant.name!r} of real numbers, such as {constant.data.flat[0]:.6g}, "
            "is not quantized",
            "quantize it in the training (batch normalization is to be merged before), or round it "
            "with --snap-scales",
        )

    def _added_later(
        self, node: Node, names: list[str], operands: list[Operand], bias: Constant
    ) -> tuple[list[str], list[Operand]]:
        """Emit a layer without its bias; return what the sum with the bias reads."""
        assert isinstance(node.op, Conv2d | ConvTranspose2d | Linear)
        accumulator = self._accumulator(node, operands)
        quantization = self._quantization(node, accumulator, None)
        name = self._new_name(f"{node.name}.products")
        self._nodes.append(Node(name, node.op, tuple(names), quantization, origin=node.origin))
        self._formats[name] = quantization.format
        shape = self._graph.values[node.name].shape
        view = bias.data.reshape((-1,) + (1,) * (len(shape) - 1))
        raw = raw_of(view, None, False)
        given = declared_of(bias, self._given.declared)
        if given is not None:
            raw = raw_of(view, (given[0], given[1].reshape(view.shape)), False)
        if raw is None:
            self._refuse_constant(node, bias)
        constant = Constant(bias.name, raw.data, raw.formats)
        self._constants[bias.name, raw.formats] = constant
        return [name, constant.name], [Operand(shape, (quantization.format,)), constant.operand]

    def _table(self, node: Node, source: Operand, quantizer: Quantizer | None) -> Constant:
        """Enter the table of a function, whose results the quantizer behind it rounds."""
        if node.op.table_use != "result":
            self._refuse(
                node, "its integers would differ from those of the file, as it uses a table",
                "leave it outside of the network, or give the float network to fxp.quantize",
            )  # fmt: skip
        if quantizer is None:
            self._refuse(
                node, "its results are real numbers, which no quantizer rounds",
                "put a quantizer right behind it, or leave it outside of the network",
            )  # fmt: skip
        made = quantizer.quantization
        try:
            values = node.op.table_values(source, made.format.width)
        except GraphError as error:
            self._refuse(node, str(error), "quantize what it reads to at most 16 bits")
        data = quantize(values, made.format, made.rounding, made.overflow)
        name = self._new_name(f"{node.name}.table")
        self._constants[name, (made.format,)] = Constant(name, data, (made.format,))
        return self._constants[name, (made.format,)]

    def _new_name(self, wanted: str) -> str:
        while wanted in self._names:
            wanted += "_"
        self._names.add(wanted)
        return wanted

    def _with_names_of_file(self, graph: Graph) -> Graph:
        """Call nodes as those of the file, and constants as its tensors, where each made one."""
        counts = Counter(node.origin for node in graph.nodes)
        wanted: dict[str, str] = {}
        for node in graph.nodes:
            place = self._given.places.get(node.origin)
            if place is not None and counts[node.origin] == 1 and node.name not in graph.outputs:
                wanted[node.name] = clean_name(place.name)
        for node in graph.nodes:
            # A layer that reads a vector makes one of an image, under the name of that image.
            if isinstance(node.op, Flatten) and node.name not in {*wanted, *graph.outputs}:
                source = node.inputs[0]
                wanted[node.name] = f"{wanted.get(source, source)}.flatten"
        wanted |= {name: clean_name(tensor) for name, tensor in self._tensors.items()}
        taken = Counter(wanted.values())
        own = {*graph.values, *graph.constants_by_name}
        names = {
            old: new
            for old, new in wanted.items()
            if taken[new] == 1 and (new not in own or new == old)
        }

        def final(name: str) -> str:
            return names.get(name, name)

        return Graph(
            graph.name,
            graph.inputs,
            tuple(
                replace(node, name=final(node.name), inputs=tuple(map(final, node.inputs)))
                for node in graph.nodes
            ),
            graph.outputs,
            tuple(Constant(final(c.name), c.data, c.formats) for c in graph.constants),
        )
