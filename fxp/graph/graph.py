"""The one intermediate representation: a frozen, validated graph of ops on images and vectors.

A *float graph* has float64 constants and no formats; an *integer graph* has raw integer constants,
and every value has a `Format`. Both are the same class, so that passes, printing and the file
format exist once.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from fxp.formats import Format
from fxp.graph.extents import Extent, Shape, evaluate_shape, fit_sizes, shape_text
from fxp.graph.limits import Limits, node_text
from fxp.graph.ops.base import GraphError, NoSuchNodeError, Operand
from fxp.graph.parts import Constant, Node, State, Value
from fxp.graph.rendering import graph_html, graph_line, graph_text

NAME_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,199}")
MAX_CHANNELS = 2**22
MAX_ELEMENTS = 2**40


@dataclass(frozen=True)
class Graph:
    """A validated graph; nodes stand in execution order.

    Raises
    ------
    GraphError
        If any rule is broken: a name used twice or not defined before use, wrong arity or shapes,
        formats missing or mixed with floats, an accumulator beyond 63 bits, an unused node.
    """

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    constants: tuple[Constant, ...] = ()
    states: tuple[State, ...] = ()
    _values: Mapping[str, Value] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        kinds = {"inputs": Value, "nodes": Node, "outputs": str, "constants": Constant,
                 "states": State}  # fmt: skip
        for name, kind in kinds.items():
            items = tuple(getattr(self, name))
            if any(not isinstance(item, kind) for item in items):
                raise GraphError(f"graph {self.name!r}: {name} must be {kind.__name__} objects")
            object.__setattr__(self, name, items)
        if not self.inputs or not self.outputs:
            raise GraphError(f"graph {self.name!r} needs at least one input and one output")
        self._check_names()
        values = {value.name: value for value in self._sources}
        object.__setattr__(self, "_values", values)
        proved = []
        for node in self.nodes:
            self._check_inputs(node)
            shape = self._result_shape(node)
            proved.append(self._prove(node, shape))
            form = node.quantization.format if node.quantization else None
            values[node.name] = Value(node.name, shape, form)
        object.__setattr__(self, "nodes", tuple(proved))
        self._check_ends()

    @property
    def is_integer(self) -> bool:
        """Whether this is an integer graph."""
        return self.inputs[0].format is not None

    @property
    def values(self) -> Mapping[str, Value]:
        """Inputs, states and node results by name."""
        return MappingProxyType(self._values)

    @cached_property
    def constants_by_name(self) -> Mapping[str, Constant]:
        """Constants by name."""
        return {constant.name: constant for constant in self.constants}

    @cached_property
    def nodes_by_name(self) -> Mapping[str, Node]:
        """Nodes by name, which is also that of their value."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """For every value and constant, the nodes that read it."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                readers.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    @cached_property
    def operands(self) -> Mapping[str, tuple[Operand, ...]]:
        """For every node, what is known of its inputs."""
        return {node.name: tuple(self.operand(name) for name in node.inputs) for node in self.nodes}

    def node(self, name: str) -> Node:
        """Return the node of that name; raises `NoSuchNodeError`, which is a KeyError."""
        if name not in self.nodes_by_name:
            raise NoSuchNodeError(f"graph {self.name!r} has no node {name!r}")
        return self.nodes_by_name[name]

    def operand(self, name: str) -> Operand:
        """Return what is known of a value or constant before the graph runs."""
        constant = self.constants_by_name.get(name)
        if constant is not None:
            return constant.operand
        value = self._values[name]
        return Operand(value.shape, (value.format,) if value.format else ())

    def bind(self, shapes: Sequence[tuple[int, ...]]) -> dict[str, int]:
        """Match concrete input shapes with the graph's and return the size of every symbol.

        Raises
        ------
        GraphError
            If the number, channels or sizes do not fit, or a size is below 1.
        """
        if len(shapes) != len(self.inputs):
            raise GraphError(f"graph {self.name!r} takes {len(self.inputs)} inputs, "
                             f"got {len(shapes)}")  # fmt: skip
        sizes = fit_sizes((v.shape, shape) for v, shape in zip(self.inputs, shapes, strict=True))
        for value, shape in zip(self.inputs, shapes, strict=True):
            if (
                len(shape) != len(value.shape)
                or min(shape) < 1
                or evaluate_shape(value.shape, sizes) != tuple(shape)
            ):
                raise GraphError(
                    f"input {value.name!r} needs shape {shape_text(value.shape)}, "
                    f"got {tuple(shape)}"
                    + (f" with {sizes} from all inputs" if len(self.inputs) > 1 else "")
                )
        return sizes

    def concrete_shapes(
        self, sizes: Mapping[str, int], limits: Limits | None = None
    ) -> dict[str, tuple[int, ...]]:
        """Shape of every value for given symbol sizes.

        Parameters
        ----------
        sizes
            Size of every symbol.
        limits
            Most that a run may need.

        Raises
        ------
        GraphError
            If the sizes do not fit some op, or a run would need more than the limits; the message
            names the node.
        """
        shapes: dict[str, tuple[int, ...]] = {
            value.name: evaluate_shape(value.shape, sizes) for value in self._sources
        }
        for name, shape in shapes.items():
            if min(shape) < 1:
                raise GraphError(f"value {name!r} of shape {shape} is empty at sizes {dict(sizes)}")
        for node in self.nodes:
            inputs = [
                shapes[name] if name in shapes else self.constants_by_name[name].data.shape
                for name in node.inputs
            ]
            try:
                shape = node.op.shape(*inputs)
            except GraphError as error:
                raise self._error(node, f"{error} (at sizes {dict(sizes)})") from None
            if any(not isinstance(size, int) or size < 1 for size in shape):
                raise self._error(node, f"result {shape} would be empty at sizes {dict(sizes)}")
            shapes[node.name] = tuple(int(size) for size in shape)  # type: ignore[arg-type]
        (limits or Limits()).check(self, shapes)
        return shapes

    def with_nodes(self, nodes: Iterable[Node], constants: Iterable[Constant]) -> Graph:
        """Return a copy with other nodes and constants; constants no node reads are dropped."""
        nodes = tuple(nodes)
        used = {name for node in nodes for name in node.inputs}
        kept = tuple(constant for constant in constants if constant.name in used)
        return Graph(self.name, self.inputs, nodes, self.outputs, kept, self.states)

    def __reduce__(self) -> tuple[Any, ...]:
        # Made anew, a copy from a file is checked, and every accumulator proved again.
        parts = (self.name, self.inputs, self.nodes, self.outputs, self.constants, self.states)
        return Graph, parts

    def __repr__(self) -> str:
        return graph_line(self)

    def __str__(self) -> str:
        return graph_text(self)

    def _repr_html_(self) -> str:
        return graph_html(self)

    @property
    def _sources(self) -> tuple[Value, ...]:
        return self.inputs + tuple(state.value for state in self.states)

    def _check_names(self) -> None:
        seen: set[str] = set()
        names = [value.name for value in self._sources]
        names += [constant.name for constant in self.constants]
        defined = set(names)
        names += [node.name for node in self.nodes]
        for name in names:
            if not isinstance(name, str) or NAME_PATTERN.fullmatch(name) is None:
                raise GraphError(
                    f"graph {self.name!r}: {name!r} is not a name (letters, digits, _ and .)"
                )
            if name in seen:
                raise GraphError(f"graph {self.name!r}: the name {name!r} is used twice")
            seen.add(name)
        for node in self.nodes:
            for name in node.inputs:
                if name not in defined:
                    known = "is only computed later" if name in seen else "does not exist"
                    raise self._error(node, f"its input {name!r} {known}")
            defined.add(node.name)
        for value in self._sources:
            rule = _broken_shape_rule(value.shape)
            if rule:
                raise GraphError(f"graph {self.name!r}: {value} {rule}")
        known_symbols = _symbols(self.inputs)
        for state in self.states:
            unknown = _symbols([state.value]) - known_symbols
            if unknown:
                raise GraphError(f"state {state.value}: no input has the free size {min(unknown)}")
        kinds = {value.format is not None for value in self._sources}
        kinds |= {bool(constant.formats) for constant in self.constants}
        kinds |= {node.quantization is not None for node in self.nodes}
        if len(kinds) > 1:
            raise GraphError(
                f"graph {self.name!r} mixes float and integer values: either every input, state, "
                "constant and node has a format, or none has"
            )

    def _check_inputs(self, node: Node) -> None:
        """Check arity, and that values and constants stand where they may."""
        fewest, most = node.op.arity
        if not fewest <= len(node.inputs) <= most:
            count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
            raise self._error(node, f"takes {count} inputs, got {len(node.inputs)}")
        for position, name in enumerate(node.inputs):
            constant = name in self.constants_by_name
            allowed = position in node.op.constant_roles or node.op.other_constants is not None
            if constant > allowed or (position in node.op.constant_roles and not constant):
                wanted = "a value" if constant else "a constant"
                raise self._error(node, f"input {position} ({name!r}) must be {wanted}")
        if all(name in self.constants_by_name for name in node.inputs):
            raise self._error(node, "at least one input must be a value, not a constant")

    def _prove(self, node: Node, shape: Shape) -> Node:
        """Prove the accumulator of a node of an integer graph."""
        if node.quantization is None:
            if node.op.integer_only:
                raise self._error(node, "has no meaning in a float graph")
            return replace(node, accumulator=None)
        operands = [self.operand(name) for name in node.inputs]
        try:
            accumulator = node.op.accumulator(*operands)
            accumulator.check()
        except GraphError as error:
            raise self._error(node, str(error)) from None
        assert len(accumulator.low) == len(accumulator.high) == len(accumulator.fracs) == shape[0]
        return replace(node, accumulator=accumulator)

    def _result_shape(self, node: Node) -> Shape:
        try:
            shape = node.op.shape(*(self.operand(name).shape for name in node.inputs))
        except GraphError as error:
            raise self._error(node, str(error)) from None
        rule = _broken_shape_rule(shape)
        if rule:
            raise self._error(node, f"its result {shape_text(shape)} {rule}")
        return shape

    def _check_ends(self) -> None:
        for name in self.outputs:
            if name not in self._values:
                raise GraphError(f"graph {self.name!r}: its output {name!r} is not a value of it")
        for state in self.states:
            source = self._values.get(state.source)
            if source is None:
                raise GraphError(f"state {state.value.name!r}: no value {state.source!r} feeds it")
            if source.shape != state.value.shape or source.format != state.value.format:
                raise GraphError(f"state {state.value} is fed by {source}: they must be equal")
            if not _can_start_from(state.reset, state.value.format):
                kind = "raw integer of " + str(state.value.format) if self.is_integer else "number"
                raise GraphError(f"state {state.value.name!r}: reset {state.reset} is no {kind}")
        used = {name for node in self.nodes for name in node.inputs} | set(self.outputs)
        used |= {state.source for state in self.states}
        for item in (*self.nodes, *self.constants):
            if item.name not in used:
                raise GraphError(f"graph {self.name!r}: nothing reads {item.name!r}")

    def _error(self, node: Node, rule: str) -> GraphError:
        return GraphError(f"{node_text(self, node)}: {rule}")


def _broken_shape_rule(shape: Shape) -> str | None:
    """Say what keeps a shape from being that of a value, if anything does."""
    fixed = [size for size in shape if isinstance(size, int)]
    if len(shape) not in (1, 3) or isinstance(shape[0], Extent):
        return (
            "must be an image (channels, height, width) or a vector (features,) with a fixed "
            "number of channels or features"
        )
    if min(fixed) < 1:
        return "has a size below 1"
    if fixed[0] > MAX_CHANNELS or math.prod(fixed) > MAX_ELEMENTS:
        return f"has more than {MAX_CHANNELS} channels or {MAX_ELEMENTS} elements"
    return None


def _symbols(values: Iterable[Value]) -> set[str]:
    return {size.symbol for value in values for size in value.shape if isinstance(size, Extent)}


def _can_start_from(reset: float, form: Format | None) -> bool:
    """Tell whether a state of that format may start from `reset`."""
    if isinstance(reset, bool) or not isinstance(reset, int | float | np.integer):
        return False
    if form is None:
        return abs(reset) <= sys.float_info.max
    return form.min_raw <= reset <= form.max_raw and reset == int(reset)
