"""Styles of multiplication of single layers."""

from __future__ import annotations

import pytest
import streaming_graphs as graphs

from fxp.hls.rtl.emit import emit_rtl, plan_graph
from fxp.hls.rtl.planning import ModuleInstance, StreamingError
from fxp.hls.rtl.styles import LayerStyles
from fxp.models import sr


def modules(**options) -> dict[str, str]:
    plan, _ = plan_graph(graphs.kimsr_shaped(), max_width=16, **options)
    return {item.name[2:].partition("_")[2]: item.module for item in plan.items
            if isinstance(item, ModuleInstance)}  # fmt: skip


def test_layers_multiply_as_they_are_told():
    found = modules(multipliers={"conv0": "shift_add"}, fold={"conv2": 5, "conv9": 3})
    assert found["conv0_sums"] == "core_v1_conv0_matrix"
    assert found["conv2_sums"] == "fxp_dot_folded"
    assert found["conv9_sums"] == "fxp_dot_folded"
    assert found["conv3_sums"] == "fxp_dot"


def test_only_adders_take_a_rounding_over():
    plan, _ = plan_graph(
        graphs.residual(), max_width=16, multipliers={"head": "shift_add", "wide": "dsp"}
    )
    assert plan.folded.rounded == {"head"}


def test_the_slowest_layer_sets_the_clocks(tmp_path):
    core = emit_rtl(graphs.kimsr_shaped(), tmp_path / "core", max_width=16,
                    multipliers={"conv9": "shift_add"}, fold={"conv2": 5, "conv3": 2})  # fmt: skip
    assert core.fold == 5
    assert core.multipliers == "mixed"
    sheet = (tmp_path / "core" / "README.md").read_text()
    assert "| Rate | 1 pixel every 5 clocks |" in sheet
    assert "| Weighted sums | multipliers, and shared shifts" in sheet


def test_outputs_share_multipliers_where_there_are_clocks_for_it():
    # Products of an output, and outputs, of the layers: 9 and 32, 5 and 32, 32 and 16, 5 and 16,
    # 16 and 32, 9 and 32, 32 and 16, 9 and 16, 16 and 4.
    plan, _ = plan_graph(sr.load("kimsr_x2").graph, max_width=64, fold=20)
    found = [item.cost.multipliers for item in plan.items
             if isinstance(item, ModuleInstance) and item.cost.multipliers]  # fmt: skip
    assert found == [16, 8, 32, 4, 32, 16, 32, 8, 4]
    plan, _ = plan_graph(sr.load("kimsr_x2").graph, max_width=64, fold=64)
    found = [item.cost.multipliers for item in plan.items
             if isinstance(item, ModuleInstance) and item.cost.multipliers]  # fmt: skip
    assert found == [5, 3, 8, 2, 8, 5, 8, 3, 1]


def test_refusals():
    with pytest.raises(StreamingError, match="has no layer 'relu1' with weights; it has conv0, "):
        modules(multipliers={"relu1": "shift_add"})
    with pytest.raises(StreamingError, match="has no layer 'x' with weights"):
        modules(fold={"x": 2})
    with pytest.raises(StreamingError, match="must be one of dsp, shift_add, got 'luts'"):
        LayerStyles({"conv0": "luts"})  # type: ignore[dict-item]
    with pytest.raises(StreamingError, match="fold must be 1 to 1024, got 0"):
        LayerStyles(fold={"conv0": 0})
