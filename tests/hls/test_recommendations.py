"""Either way to hardware is recommended only where it takes the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from streaming_graphs import GraphBuilder

from fxp.formats import Format, Quantization, Rounding
from fxp.graph import Graph, Node, Value, ops
from fxp.graph.ops.base import Op
from fxp.hls import ExportError, StreamingError, emit_rtl, export

ACT = Format(8, 4)
NEITHER = "the engine and fxp.export.onnx take it"


def times_mean(*before: Op) -> Graph:
    """An image times its mean over rows and columns, as in squeeze-and-excite blocks."""
    b = GraphBuilder("gated", 2, ACT)
    b.conv(2, target=ACT)
    for op in before:
        b.add(op, target=ACT)
    image = b.last
    b.add(ops.GlobalAveragePool(), target=ACT)
    b.add(ops.Multiply(), image, b.last, target=ACT)
    return b.graph()


@pytest.mark.parametrize("before", [(), (ops.Flip("row"),), (ops.Pad((1, 1, 1, 1)),)])
def test_neither_way_recommends_the_other_if_both_refuse(before: tuple[Op, ...], tmp_path: Path):
    with pytest.raises(StreamingError) as streaming:
        emit_rtl(times_mean(*before), tmp_path / "core", max_width=8, max_height=8)
    with pytest.raises(ExportError, match="stretched over rows and columns") as exported:
        export(times_mean(*before), tmp_path / "project", size=(8, 8), verify=False)
    for message in (str(streaming.value), str(exported.value)):
        assert "fxp.hls" not in message
    assert NEITHER in str(exported.value)


def test_no_core_is_recommended_for_vectors(tmp_path: Path):
    source = Value("vector", (5,), ACT)
    # Rounding would look at more bits than there are.
    target = Quantization(Format(9, -20), Rounding.HALF_EVEN)
    graph = Graph("far", (source,), (Node("round", ops.Requantize(), ("vector",), target),),
                  ("round",))  # fmt: skip
    with pytest.raises(ExportError, match="round") as caught:
        export(graph, tmp_path / "project", verify=False)
    assert "change the network" in str(caught.value)
    assert "emit_rtl" not in str(caught.value)


def test_the_way_that_takes_a_network_is_recommended(tmp_path: Path):
    b = GraphBuilder("turned", 1, ACT)
    b.conv(1, target=ACT)
    b.add(ops.Flip("row"))
    with pytest.raises(StreamingError, match=r"flip cannot stream; fxp\.hls\.export takes"):
        emit_rtl(b.graph(), tmp_path / "core", max_width=8)
    # Nine readers are more than hls4ml has copies for.
    b = GraphBuilder("fan", 1, ACT)
    start = b.conv(1, target=ACT)
    outputs = [b.add(ops.Relu(), start, target=ACT) for _ in range(9)]
    with pytest.raises(ExportError, match=r"at most 7 times; fxp\.hls\.emit_rtl takes this"):
        export(b.graph(outputs=outputs), tmp_path / "project", verify=False)
