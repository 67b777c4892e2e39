"""How many bits each weight, value and state of a graph gets: those of all, or those of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from fxp.formats import Format
from fxp.graph import Graph, State
from fxp.graph.ops import Add, GraphError, Multiply, Subtract
from fxp.graph.readers import read_by_prelus_alone

FAST_BITS: Final = 16
"""Widest values that the engine stores in 16 bits and layers read at full speed."""
MOST_BITS: Final = 24
"""Widest states that are added or scaled; layers read a copy of `FAST_BITS`."""
SLOPED_BITS: Final = 14
"""Bits at least of what PReLUs alone read. It is rounded once more behind the PReLU, which scales
negative numbers down: steps as coarse as those of the result would double the error, and numbers
far below zero, of which little is left, would make them coarser yet."""


@dataclass(frozen=True)
class Widths:
    """Widths of a float graph's weights and values.

    Attributes
    ----------
    graph
        The float graph.
    weight_bits, activation_bits
        Widths of all weights and of all values.
    bits
        Widths by value or weight name that override them.
    extra_bits
        What is added to them, by value, state or weight name; see `fxp.quantization.states`.
    wide_bits
        Bits of a sum that need not be rounded. What PReLUs alone read has more than
        `activation_bits` only as far as this allows.
    """

    graph: Graph
    weight_bits: int
    activation_bits: int
    bits: Mapping[str, int]
    extra_bits: Mapping[str, int] = field(default_factory=dict)
    wide_bits: int = 32

    def weight(self, name: str) -> int:
        """Width of a weight."""
        return self.bits.get(name, self._more(name, self.weight_bits))

    def value(self, name: str) -> int:
        """Width of a value; that of the widest state it is fed back to, if only these have one."""
        width = self.activation_bits
        if name in self._sloped:
            width = max(width, min(SLOPED_BITS, self.wide_bits))
        fed = [
            self.bits[state.value.name]
            for state in self.graph.states
            if state.source == name and state.value.name in self.bits
        ]
        return self.bits.get(name, max(fed, default=self._more(name, width)))

    def state(self, state: State) -> int:
        """Width of a state; that of its source, if it has none."""
        return self.bits.get(state.value.name, self.value(state.source))

    def _more(self, name: str, width: int) -> int:
        """Width of what is named nowhere, with its extra bits as far as these are fast."""
        wide = width + self.extra_bits.get(name, 0)
        return max(width, min(wide, MOST_BITS if name in self._added else FAST_BITS))

    def read_by_layers(self, name: str, form: Format) -> Format:
        """Format in which layers read a value: of fewer bits, if it has extra bits they need not.

        Parameters
        ----------
        name
            Of a value or state.
        form
            Its own format.
        """
        most = max(FAST_BITS, self.activation_bits)
        rounded = name in self.extra_bits and name in self._added and name not in self.bits
        if not rounded or form.width <= most:
            return form
        return Format(most, form.frac - form.width + most, form.signed)

    @cached_property
    def _sloped(self) -> frozenset[str]:
        return read_by_prelus_alone(self.graph)

    @cached_property
    def _added(self) -> frozenset[str]:
        """Names of values, no inputs, that are added or scaled, also when fed back.

        Layers and tables read a narrow copy.
        """
        readers = {name: list(nodes) for name, nodes in self.graph.consumers.items()}
        for state in self.graph.states:
            fed = self.graph.consumers.get(state.value.name, ())
            readers.setdefault(state.source, []).extend(fed)
        inputs = {value.name for value in self.graph.inputs}
        return frozenset(
            name
            for name in self.graph.values.keys() - inputs
            if any(isinstance(node.op, Add | Multiply | Subtract) for node in readers.get(name, ()))
        )

    def check(self, formatted: Iterable[str]) -> None:
        """Raise GraphError if a width is given where there is no choice.

        Parameters
        ----------
        formatted
            Inputs and outputs whose formats are given.
        """
        settled = dict.fromkeys(formatted, "whose format is given too")
        for node in self.graph.nodes:
            if node.op.never_rounded:
                settled[node.name] = f"but the results of {node.op.name} are never rounded"
            for position, name in enumerate(node.inputs):
                if node.op.constant_roles.get(position) == "bias":
                    settled[name] = "a bias, whose width follows from its values"
        for name in self.bits:
            if name in settled:
                raise GraphError(f"bits are given for {name!r}, {settled[name]}")
