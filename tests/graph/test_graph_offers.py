"""What a graph offers: printing, look-ups, equality, copies; and random graphs."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import re
from typing import Any

import numpy as np
import pytest
from graph_parts import (
    BIAS,
    CONV,
    PIXEL,
    SAME,
    TO_PIXEL,
    WEIGHT,
    WEIGHT_DATA,
    H,
    W,
    X,
    conv_graph,
    node,
    recurrent,
    refuses,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fxp.executors.execution import start
from fxp.formats import Format, FormatError, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.ops import (
    Add,
    AveragePool,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    Linear,
    MaxPool,
    Multiply,
    Nearest,
    Pad,
    PixelShuffle,
    PixelUnshuffle,
    Prelu,
    Relu,
    Requantize,
    Sigmoid,
    Slice,
    Subtract,
)
from fxp.graph.ops.base import GraphError
from fxp.support.errors import FxpError

# What a graph offers


def test_start_checks_inputs_and_states() -> None:
    graph = recurrent()
    image = np.zeros((2, 3, 4), np.int16)
    values, shapes = start(graph, [image], {"s": image + 1})
    assert values["x"].dtype == values["s"].dtype == np.int64
    assert shapes == {"x": (2, 3, 4), "s": (2, 3, 4), "y": (2, 3, 4)}
    refuses(lambda: start(graph, [image], {"t": image}), "graph 'g' has no state ['t']")
    refuses(lambda: start(graph, [image], {"s": image[:1]}), "state 's' needs shape (2, 3, 4)")
    with pytest.raises(FormatError, match=r"'x': raw 128 at index \(0, 0, 0\) does not fit"):
        start(graph, [image + 128])
    with pytest.raises(FormatError, match="'s': raw -129"):
        start(graph, [image], {"s": image - 129})
    with pytest.raises(TypeError, match="must be integers"):
        start(graph, [image + 0.5])


def golden() -> Graph:
    weight = Constant("conv.weight", WEIGHT_DATA, (Format(6, 5), Format(6, 4)))
    bias = Constant("conv.bias", np.array([100, -200]), (Format(16, 9), Format(16, 8)))
    gain = Constant("gain", np.array([[[3]]]), (Format(4, 2, False),))
    even = Quantization(Format(12, 6), Rounding.HALF_EVEN, Overflow.SATURATE_SYMMETRIC)
    return Graph(
        "golden",
        (X,),
        (
            Node("conv", Conv2d(stride=(2, 2), padding=(1, 1, 1, 1)),
                 ("x", "conv.weight", "conv.bias"), TO_PIXEL),
            Node("sum", Add(), ("conv", "memory"), Quantization(Format(14, 8))),
            Node("scaled", Multiply(), ("sum", "gain"), even),
            Node("up", BilinearUpsample(), ("scaled",), even),
        ),
        ("up", "sum"),
        (weight, bias, gain),
        (State(Value("memory", (2, (H + 1) // 2, (W + 1) // 2), Format(14, 8)), "sum", -6173),),
    )  # fmt: skip


GOLDEN = """\
graph golden (integer)
  input  x: (2, H, W) ap_fixed<8,4>
  state  memory: (2, (H+1)//2, (W+1)//2) ap_fixed<14,6> <- sum, reset -6173
  const  conv.weight: (2, 2, 3, 3) 6 bit, frac 4 to 5 per channel
  const  conv.bias: (2,) 16 bit, frac 8 to 9 per channel
  const  gain: (1, 1, 1) ap_ufixed<4,2>
  conv = conv2d(x, conv.weight, conv.bias; stride=(2, 2), padding=(1, 1, 1, 1)) \
-> (2, (H+1)//2, (W+1)//2) ap_fixed<8,4,AP_RND,AP_SAT>  [16 bit accumulator]
  sum = add(conv, memory) \
-> (2, (H+1)//2, (W+1)//2) ap_fixed<14,6,AP_RND,AP_SAT>  [15 bit accumulator]
  scaled = multiply(sum, gain) \
-> (2, (H+1)//2, (W+1)//2) ap_fixed<12,6,AP_RND_CONV,AP_SAT_SYM>  [16 bit accumulator]
  up = bilinear_upsample(scaled) \
-> (2, 2*((H+1)//2), 2*((W+1)//2)) ap_fixed<12,6,AP_RND_CONV,AP_SAT_SYM>  [16 bit accumulator]
  output up, sum"""


def test_print() -> None:
    assert str(golden()) == GOLDEN
    real = Graph("f", (Value("x", (3,)),), (node("y", Add(), "x", "k", to=None),), ("y",),
                 (Constant("k", np.array([0.5])),))  # fmt: skip
    assert str(real) == (
        "graph f (float)\n  input  x: (3,)\n  const  k: (1,)\n  y = add(x, k) -> (3,)\n  output y"
    )


def test_a_large_reset_is_printed_in_full() -> None:
    form = Format(40, 0)
    state = State(Value("s", (2, H, W), form), "y", 123456789)
    graph = recurrent(state, nodes=(node("y", Add(), "x", "s", to=Quantization(form)),))
    assert "reset 123456789" in str(graph)


def test_lookups() -> None:
    graph = conv_graph()
    assert graph.is_integer
    assert graph.node("conv") == CONV
    with pytest.raises(KeyError, match="graph 'g' has no node 'nothing'"):
        graph.node("nothing")
    with pytest.raises(FxpError) as error:
        graph.node("nothing")
    assert str(error.value) == "graph 'g' has no node 'nothing'"
    with pytest.raises(KeyError):
        graph.operand("nothing")
    assert list(graph.values) == ["x", "conv", "y"]
    assert graph.values["conv"] == Value("conv", (2, H, W), PIXEL)
    assert graph.constants_by_name == {"w": WEIGHT, "b": BIAS}
    assert [reader.name for reader in graph.consumers["x"]] == ["conv"]
    twice = Graph("g", (X,), (node("y", Add(), "x", "x"),), ("y",))
    assert [reader.name for reader in twice.consumers["x"]] == ["y"]
    operand = graph.operand("w")
    assert operand.constant is WEIGHT.data
    assert operand.formats == (Format(6, 5),)
    assert graph.operands["conv"][0].limits == (-128, 127)
    assert graph.operands["conv"][1].limits == (-18, 17)


def test_frozen() -> None:
    graph = recurrent()
    for item in (graph, graph.nodes[0], graph.inputs[0], graph.states[0], graph.nodes[0].op):
        for field in dataclasses.fields(item):  # type: ignore[arg-type]
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(item, field.name, None)
    with pytest.raises(AttributeError):
        graph.values.clear()  # type: ignore[attr-defined]
    assert list(graph.values) == ["x", "s", "y"]
    nodes = [node("y", Relu(), "x")]
    built = Graph("g", [X], nodes, ["y"])  # type: ignore[arg-type]
    nodes.clear()
    assert [item.name for item in built.nodes] == ["y"]
    assert built.outputs == ("y",)


def test_equality_and_hash() -> None:
    assert conv_graph() == conv_graph()
    assert hash(conv_graph()) == hash(conv_graph())
    assert golden() == golden()
    different = [
        conv_graph(name="h"),
        conv_graph(outputs=("y", "conv")),
        conv_graph(inputs=(Value("x", (2, H, 8), PIXEL),)),
        conv_graph(constants=(BIAS, WEIGHT)),
        conv_graph(constants=(WEIGHT, Constant("b", np.array([100, -201]), BIAS.formats))),
        conv_graph(nodes=(CONV, node("y", Clamp(0.0, 1.0), "conv"))),
        conv_graph(nodes=(dataclasses.replace(CONV, op=Conv2d()), node("y", Relu(), "conv"))),
        conv_graph(nodes=(CONV, node("y", Relu(), "conv", to=Quantization(Format(8, 5))))),
    ]
    assert len({conv_graph(), *different}) == len(different) + 1
    assert all(graph != conv_graph() for graph in different)
    assert recurrent() != recurrent(State(Value("s", (2, H, W), PIXEL), "y", 4))
    elsewhere = dataclasses.replace(CONV, origin="elsewhere")
    assert conv_graph(nodes=(elsewhere, node("y", Relu(), "conv"))) == conv_graph()


def test_copies_are_equal() -> None:
    graph = golden()
    graph.operands  # noqa: B018 - fill the cache
    for other in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph), copy.copy(graph)):
        assert other == graph
        assert str(other) == GOLDEN
    renamed = dataclasses.replace(graph, name="other")
    assert renamed.node("conv").accumulator == graph.node("conv").accumulator


def test_with_nodes_drops_unread_constants() -> None:
    graph = conv_graph()
    plain = dataclasses.replace(CONV, inputs=("x", "w"))
    changed = graph.with_nodes([plain, graph.node("y")], graph.constants)
    assert changed.constants == (WEIGHT,)
    assert changed.inputs == graph.inputs
    assert changed.outputs == ("y",)
    assert len(graph.constants) == 2
    assert graph.with_nodes(graph.nodes, graph.constants) == graph
    refuses(lambda: graph.with_nodes(graph.nodes, (WEIGHT,)), "its input 'b' does not exist")
    stateful = recurrent().with_nodes((node("y", Subtract(), "x", "s"),), ())
    assert stateful.states == recurrent().states


# Random graphs: each is either refused with GraphError or consistent.

names = st.sampled_from(["x", "z", "s", "v", "w", "b", "k", "a", "c", "d", "y", "?"])
shapes = st.one_of(
    st.tuples(st.integers(0, 4), st.sampled_from([H, W, 1, 4]), st.sampled_from([H, W, 1, H * 2])),
    st.tuples(st.integers(1, 4)),
    st.lists(st.sampled_from([0, 1, 2, H]), max_size=4).map(tuple),
)
some_formats = st.builds(Format, st.integers(1, 63), st.integers(-70, 70), st.booleans())
ops = st.sampled_from(
    [Add(), Subtract(), Multiply(), Relu(), Clamp(-1.0, 3.0), Prelu(), Sigmoid(), Requantize(),
     Concat(), Slice("channel", 1), Slice("row", 1, -1), Pad((1, 1, 1, 1), "reflect"), Flatten(),
     PixelShuffle(2), PixelUnshuffle(2), Nearest(2), BilinearUpsample(), MaxPool(), AveragePool(),
     GlobalAveragePool(), GlobalMaxPool(), Conv2d(), SAME, Conv2d(groups=2), Linear()]
)  # fmt: skip


@st.composite
def constants(draw: st.DrawFn, name: str) -> Constant:
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    forms = [draw(some_formats) for _ in range(draw(st.sampled_from([1, 1, shape[0]])))]
    low = max(form.min_raw for form in forms)
    high = min(form.max_raw for form in forms)
    return Constant(name, np.full(shape, draw(st.integers(low, high))), tuple(forms))


@st.composite
def random_parts(draw: st.DrawFn) -> dict[str, Any]:
    inputs = [Value(name, draw(shapes), draw(some_formats)) for name in draw(
        st.sampled_from([("x",), ("x", "z"), ("x", "x")]))]  # fmt: skip
    kept = [draw(constants(name)) for name in draw(st.sets(st.sampled_from("wbk")))]
    nodes = []
    for name in "acdy"[: draw(st.integers(1, 4))]:
        op = draw(ops)
        count = draw(st.integers(max(op.arity[0] - 1, 0), min(op.arity[1], 3)))
        known = st.sampled_from(["x", *(n.name for n in nodes), *(c.name for c in kept)])
        picked = tuple(draw(st.one_of(known, known, known, names)) for _ in range(count))
        nodes.append(node(name, op, *picked, to=Quantization(draw(some_formats))))
    states = [
        State(Value("s", draw(shapes), draw(some_formats)), draw(names), draw(st.integers(-9, 9)))
        for _ in range(draw(st.sampled_from([0, 0, 1])))
    ]
    outputs = tuple(n.name for n in nodes)
    return {"name": "g", "inputs": inputs, "nodes": nodes, "outputs": outputs,
            "constants": kept, "states": states}  # fmt: skip


@settings(deadline=None, max_examples=250)
@given(random_parts())
def test_random_graphs_are_refused_or_consistent(parts: dict[str, Any]) -> None:
    try:
        graph = Graph(**parts)
    except GraphError as caught:
        rule = str(caught)
        assert re.match("graph 'g'|state '?s", rule)
        return
    assert str(graph).startswith("graph g (integer)")
    assert hash(graph) == hash(Graph(**parts))
    for item in graph.nodes:
        shape = graph.values[item.name].shape
        assert len(shape) in (1, 3)
        accumulator = item.accumulator
        assert accumulator is not None
        assert len(accumulator.low) == shape[0]
        assert all(low <= high for low, high in zip(accumulator.low, accumulator.high, strict=True))
        assert 1 <= accumulator.bits <= 63
    try:
        found = graph.concrete_shapes({"H": 6, "W": 8})
    except GraphError:
        return
    assert all(min(shape) >= 1 for shape in found.values())
    assert graph.bind([found[value.name] for value in graph.inputs]) is not None


def test_list_attributes_are_refused():
    with pytest.raises(GraphError, match=r"\['stride'\] must be tuples"):
        Node("c", Conv2d(stride=[1, 1]), ("x", "w"))  # type: ignore[arg-type]
