"""Pass: recognize variances, deviations, norms and normalizations in the formulas for them.

However a model spells them, the front end writes reductions, differences, products and powers. Each
step of a formula would be rounded on its own; as one op it is computed exactly and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from fxp.frontend.rewrite import rebuilt
from fxp.frontend.statistics import Axes, grouping, reduced
from fxp.graph import Graph, Node
from fxp.graph.ops import (
    Add,
    Clamp,
    GlobalAveragePool,
    GroupNorm,
    L2Norm,
    Multiply,
    Op,
    Power,
    ReduceMean,
    ReduceSum,
    StandardDeviation,
    Subtract,
    Variance,
)
from fxp.graph.ops.statistics import Scope

Found = tuple[Op, str]
"""An op, and the value that it reads."""


def fuse_statistics(graph: Graph) -> Graph:
    """Return the graph with one op in place of each formula for a statistic.

    Recognized are the variance ``mean((x - mean(x))**2)`` or ``mean(x**2) - mean(x)**2``, its root,
    the root of a sum of squares, and what is divided by one of these: ``(x - mean(x)) /
    sqrt(variance + epsilon)``, ``x / sqrt(mean(x**2) + epsilon)`` and ``x / norm(x)``, with or
    without a lower bound of the norm.
    """
    return _Fusion(graph).run()


class _Fusion:
    """One run of the pass; what is found early is seen by later formulas."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: dict[str, Node] = {}

    def run(self) -> Graph:
        for node in self._graph.nodes:
            found = None
            for rule in _RULES.get(type(node.op), ()):
                found = found or rule(self, node)
            if found is not None:
                op, source = found
                node = replace(node, op=op, inputs=(source,))
            self._nodes[node.name] = node
        return rebuilt(self._graph, self._nodes.values())

    def _node(self, name: str, *kinds: type[Op]) -> Node | None:
        """Return the node of that name if its op is of one of these kinds."""
        node = self._nodes.get(name)
        return node if node is not None and isinstance(node.op, kinds) else None

    def _reduction(self, name: str, kind: type[Op]) -> tuple[Axes, str] | None:
        """Axes and source of a sum or mean; sums and means of one step count as one."""
        node = self._nodes.get(name)
        found = node and reduced(node.op)
        if node is None or not found or found[0] is not kind:
            return None
        return found[1], node.inputs[0]

    def _square(self, name: str) -> str | None:
        """Return what a product squares."""
        node = self._node(name, Multiply)
        return node.inputs[0] if node and node.inputs[0] == node.inputs[1] else None

    def _scalar(self, name: str) -> float | None:
        """Value of a constant whose entries are all equal."""
        constant = self._graph.constants_by_name.get(name)
        if constant is None or (constant.data != constant.data.flat[0]).any():
            return None
        return float(constant.data.flat[0])

    def _deviation(self, name: str) -> tuple[Axes, str] | None:
        """Axes and ``x`` of ``x - mean(x)``."""
        node = self._node(name, Subtract)
        found = node and self._reduction(node.inputs[1], ReduceMean)
        return found if node and found and found[1] == node.inputs[0] else None

    def _grouping(self, axes: Axes, source: str) -> tuple[int, Scope] | None:
        return grouping(axes, self._graph.values[source])

    def _padded(self, name: str) -> tuple[str, float]:
        """``value`` and ``epsilon`` of ``value + epsilon``."""
        node = self._node(name, Add)
        for value, constant in ((0, 1), (1, 0)) if node else ():
            assert node is not None
            epsilon = self._scalar(node.inputs[constant])
            if epsilon is not None and epsilon >= 0:
                return node.inputs[value], epsilon
        return name, 0.0

    def variance_of_deviations(self, node: Node) -> Found | None:
        """``mean((x - mean(x))**2)``."""
        outer = self._reduction_of(node, ReduceMean)
        square = outer and self._square(outer[1])
        inner = self._deviation(square) if square else None
        if outer is None or inner is None or inner[0] != outer[0]:
            return None
        groups = self._grouping(*inner)
        return (Variance(*groups), inner[1]) if groups else None

    def _reduction_of(self, node: Node, kind: type[Op]) -> tuple[Axes, str] | None:
        found = reduced(node.op)
        return (found[1], node.inputs[0]) if found and found[0] is kind else None

    def variance_of_squares(self, node: Node) -> Found | None:
        """``mean(x**2) - mean(x)**2``."""
        squares = self._reduction(node.inputs[0], ReduceMean)
        source = squares and self._square(squares[1])
        mean = self._square(node.inputs[1])
        center = mean and self._reduction(mean, ReduceMean)
        if not squares or not center or center != (squares[0], source):
            return None
        groups = self._grouping(*center)
        return (Variance(*groups), center[1]) if groups else None

    def root(self, node: Node) -> Found | None:
        """``sqrt(variance + epsilon)`` and ``sqrt(sum(x**2))``."""
        assert isinstance(node.op, Power)
        if node.op.exponent != 0.5:
            return None
        name, epsilon = self._padded(node.inputs[0])
        variance = self._node(name, Variance)
        if variance is not None:
            assert isinstance(variance.op, Variance)
            attributes = variance.op.attributes()
            return StandardDeviation(**attributes, epsilon=epsilon), variance.inputs[0]  # type: ignore[arg-type]
        squares = self._reduction(name, ReduceSum)
        source = squares and self._square(squares[1])
        groups = self._grouping(squares[0], source) if squares and source else None
        if groups is None or epsilon:
            return None
        assert source is not None
        return L2Norm(*groups), source

    def quotient(self, node: Node) -> Found | None:
        """Something times the reciprocal of its deviation, root mean square or norm."""
        for value, inverse in ((0, 1), (1, 0)):
            power = self._node(node.inputs[inverse], Power)
            if power is None:
                continue
            assert isinstance(power.op, Power)
            source = node.inputs[value]
            if power.op.exponent == -1.0:
                found = self._over_root(source, power.inputs[0])
            elif power.op.exponent == -0.5:
                found = self._over_square(source, *self._padded(power.inputs[0]))
            else:
                found = None
            if found is not None:
                return found
        return None

    def _over_root(self, source: str, name: str) -> Found | None:
        """``source / root``."""
        spread = self._node(name, StandardDeviation)
        if spread is not None:
            assert isinstance(spread.op, StandardDeviation)
            return self._normalized(source, spread, spread.op.epsilon)
        root = self._node(name, Power)
        if root is not None and root.op == Power(0.5):
            return self._over_square(source, *self._padded(root.inputs[0]))
        bound = self._node(name, Clamp)
        lowest = 0.0
        if bound is not None:
            assert isinstance(bound.op, Clamp)
            if bound.op.high is not None or (bound.op.low or 0) < 0:
                return None
            lowest, name = bound.op.low or 0.0, bound.inputs[0]
        norm = self._node(name, L2Norm)
        if norm is None or norm.inputs[0] != source:
            return None
        assert isinstance(norm.op, L2Norm)
        return GroupNorm(norm.op.groups, norm.op.scope, "norm", lowest), source

    def _over_square(self, source: str, name: str, epsilon: float) -> Found | None:
        """``source / sqrt(name + epsilon)``."""
        spread = self._node(name, Variance)
        if spread is not None:
            return self._normalized(source, spread, epsilon)
        squares = self._reduction(name, ReduceMean)
        if squares is None or self._square(squares[1]) != source:
            return None
        groups = self._grouping(squares[0], source)
        return (GroupNorm(*groups, "root_mean_square", epsilon), source) if groups else None

    def _normalized(self, source: str, spread: Node, epsilon: float) -> Found | None:
        """``(x - mean(x)) / deviation``, where all mean the same ``x`` and axes."""
        assert isinstance(spread.op, Variance | StandardDeviation)
        deviation = self._deviation(source)
        if deviation is None or deviation[1] != spread.inputs[0] or spread.op.correction:
            return None
        own = (spread.op.groups, spread.op.scope)
        if self._grouping(*deviation) != own:
            return None
        return GroupNorm(*own, epsilon=epsilon), deviation[1]


_Rule = Callable[[_Fusion, Node], Found | None]
_RULES: Final[dict[type[Op], tuple[_Rule, ...]]] = {
    ReduceMean: (_Fusion.variance_of_deviations,),
    GlobalAveragePool: (_Fusion.variance_of_deviations,),
    Subtract: (_Fusion.variance_of_squares,),
    Power: (_Fusion.root,),
    Multiply: (_Fusion.quotient,),
}
"""What an op may be the last step of."""
