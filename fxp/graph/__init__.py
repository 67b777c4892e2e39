"""The graph, the only intermediate representation: values, nodes, constants, states and the ops."""

from fxp.graph.graph import MAX_CHANNELS, MAX_ELEMENTS, Graph
from fxp.graph.limits import Limits
from fxp.graph.parts import Constant, Node, State, Value

__all__ = ["MAX_CHANNELS", "MAX_ELEMENTS", "Constant", "Graph", "Limits", "Node", "State", "Value"]
