"""The passes on graphs written by hand."""

import numpy as np

from fxp.frontend import fold_padding, remove_dead_code, remove_identities
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Concat, Conv2d, Nearest, Pad, Relu, Requantize, Slice

IMAGE = Value("x", (1, Extent("H"), Extent("W")))
WEIGHT = Constant("w", np.ones((1, 1, 3, 3)))


def test_dead_code():
    nodes = [Node("a", Relu(), ("x",)), Node("b", Relu(), ("a",)), Node("c", Relu(), ("a",))]
    assert [node.name for node in remove_dead_code(nodes, ["c"])] == ["a", "c"]
    assert remove_dead_code(nodes, ["x"]) == ()


def test_chains_of_identities():
    nodes = (
        Node("a", Slice("row"), ("x",)),
        Node("b", Nearest(1), ("a",)),
        Node("c", Relu(), ("b",)),
        Node("d", Concat(), ("c",)),
        Node("e", Pad(), ("d",)),
    )
    graph = remove_identities(Graph("g", (IMAGE,), nodes, ("e", "d")))
    assert graph.nodes == (Node("c", Relu(), ("x",)),)
    assert graph.outputs == ("c", "c")


def test_identity_from_input_to_output_stays():
    nodes = (Node("a", Slice("row"), ("x",)), Node("b", Nearest(1), ("a",)))
    graph = remove_identities(Graph("g", (IMAGE,), nodes, ("b",)))
    assert graph.nodes == (Node("b", Requantize(), ("x",)),)


def test_identity_that_feeds_a_state():
    nodes = (Node("a", Relu(), ("x",)), Node("b", Nearest(1), ("a",)))
    state = State(Value("s", IMAGE.shape), "b")
    graph = remove_identities(Graph("g", (IMAGE,), nodes, ("a",), states=(state,)))
    assert graph.states[0].source == "a"


def test_padding_of_another_kind_is_not_merged():
    for pad, layer in (
        (Pad((1, 1, 1, 1), "reflect"), Conv2d(padding=(1, 1, 1, 1))),
        (Pad((1, 1, 1, 1)), Conv2d(padding=(1, 1, 1, 1), padding_mode="replicate")),
    ):
        nodes = (Node("p", pad, ("x",)), Node("c", layer, ("p", "w")))
        graph = Graph("g", (IMAGE,), nodes, ("c",), (WEIGHT,))
        assert fold_padding(graph) == graph


def test_padding_that_is_an_output_stays():
    nodes = (Node("p", Pad((1, 1, 1, 1)), ("x",)), Node("c", Conv2d(), ("p", "w")))
    graph = Graph("g", (IMAGE,), nodes, ("c", "p"), (WEIGHT,))
    assert fold_padding(graph) == graph


def test_one_padding_of_two_layers():
    nodes = (
        Node("p", Pad((1, 2, 0, 0), "replicate"), ("x",)),
        Node("c", Conv2d(), ("p", "w")),
        Node("d", Conv2d(stride=(2, 1)), ("p", "w")),
    )
    graph = fold_padding(Graph("g", (IMAGE,), nodes, ("c", "d"), (WEIGHT,)))
    assert [node.inputs[0] for node in graph.nodes] == ["x", "x"]
    assert graph.node("d").op == Conv2d((2, 1), (1, 2, 0, 0), "replicate")
