"""The graph, the only intermediate representation: values, nodes, constants, states and the ops."""

from fxp.graph.graph import MAX_CHANNELS, MAX_ELEMENTS, Constant, Graph, Node, State, Value

__all__ = ["MAX_CHANNELS", "MAX_ELEMENTS", "Constant", "Graph", "Node", "State", "Value"]
