"""How many bits each weight, value and state of a graph gets: those of all, or those of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fxp.graph import Graph, State
from fxp.graph.ops import GraphError


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
    """

    graph: Graph
    weight_bits: int
    activation_bits: int
    bits: Mapping[str, int]

    def weight(self, name: str) -> int:
        """Width of a weight."""
        return self.bits.get(name, self.weight_bits)

    def value(self, name: str) -> int:
        """Width of a value; that of the widest state it is fed back to, if only these have one."""
        fed = [
            self.bits[state.value.name]
            for state in self.graph.states
            if state.source == name and state.value.name in self.bits
        ]
        return self.bits.get(name, max(fed, default=self.activation_bits))

    def state(self, state: State) -> int:
        """Width of a state; that of its source, if it has none."""
        return self.bits.get(state.value.name, self.value(state.source))

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
