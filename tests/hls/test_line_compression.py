"""Which convolutions get compressed lines, and what that saves."""

from __future__ import annotations

import numpy as np
import pytest
import streaming_graphs as graphs
from lint import verilator_findings
from streaming_graphs import GraphBuilder

import fxp
from fxp import hls
from fxp.cli import main
from fxp.formats import Format
from fxp.graph import ops
from fxp.hls.line_compression import LEAST_BITS, lines_of
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.planning import Lag, ModuleInstance
from fxp.model import FixedModel
from fxp.models import sr


def codecs(model: FixedModel) -> dict[str, str]:
    """Names of the codecs, and what they read."""
    return {n.name: n.inputs[0] for n in model.graph.nodes if isinstance(n.op, ops.LineCodec)}


def memory(model: FixedModel, *modules: str, width: int = 1920) -> int:
    plan, _ = plan_graph(model.graph, max_width=width)
    return sum(
        item.cost.memory_bits
        for item in plan.items
        if isinstance(item, ModuleInstance) and item.module in modules
    )


def test_line_memories_of_kimsr_are_halved():
    plain = sr.load("kimsr_x2")
    model = hls.compress_lines(plain)
    assert codecs(model) == {"relu_2.stored": "relu_2", "relu_3.stored": "relu_3"}
    assert model.metadata == plain.metadata
    before, after = (memory(m, "fxp_window") for m in (plain, model))
    # The first convolution keeps its two lines of 8-bit pixels.
    assert after - 2 * 1920 * 8 == (before - 2 * 1920 * 8) // 2
    assert memory(model, "fxp_window", "fxp_line_codec") <= 1_400_000


def test_a_codec_delays_by_seven_pixels():
    plain, output = plan_graph(sr.load("kimsr_x2").graph, max_width=1920)
    model, compressed = plan_graph(hls.compress_lines(sr.load("kimsr_x2")).graph, max_width=1920)
    assert compressed.stream.path.lag == output.stream.path.lag + Lag(0, 14)
    assert sum(path.lag.lines for path in model.paths) >= sum(p.lag.lines for p in plain.paths)


def test_readers_of_one_value_share_a_codec_and_others_read_the_value():
    builder = GraphBuilder("shared", 4, Format(12, 6), seed=1)
    left = builder.conv(2, source="image", target=Format(12, 6), name="left")
    right = builder.conv(2, (5, 1), source="image", target=Format(12, 6), name="right")
    builder.conv(2, (1, 1), source="image", target=Format(12, 6), name="straight")
    builder.add(ops.Add(), "straight", builder.add(ops.Subtract(), left, right))
    model = hls.compress_lines(FixedModel(builder.graph()))
    assert codecs(model) == {"image.stored": "image"}
    inputs = {node.name: node.inputs[0] for node in model.graph.nodes}
    assert inputs["left"] == inputs["right"] == "image.stored"
    assert inputs["straight"] == "image"
    # Again: nothing to share with, and names stay unique.
    twice = hls.compress_lines(model, ["left"])
    assert codecs(twice)["image.stored.stored"] == "image.stored"


def test_small_and_narrow_lines_stay_as_they_are():
    for channels, width, wanted in ((2, 16, 1), (1, 16, 0), (8, 11, 0), (8, 25, 0), (3, 12, 1)):
        builder = GraphBuilder("small", channels, Format(width, 4))
        builder.conv(1)
        graph = builder.graph()
        assert (2 * channels * width >= LEAST_BITS and 12 <= width <= 24) == wanted
        assert len(codecs(hls.compress_lines(FixedModel(graph)))) == wanted


@pytest.mark.parametrize(("kernel", "stride"), [(5, 2), (4, 2), (9, 3)])
def test_lines_are_those_of_the_window(kernel, stride):
    graph = graphs.fsrcnn_shaped(stride, kernel)
    plan, _ = plan_graph(graph, max_width=10)
    windows = [i for i in plan.items if isinstance(i, ModuleInstance) and i.module == "fxp_window"]
    lines = [lines_of(graph, node) for node in graph.nodes if node.op.name.startswith("conv")]
    assert [n for n in lines if n] == [int(w.parameters["KernelRows"]) - 1 for w in windows]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("nowhere", "espcn_shaped has no node 'nowhere'"),
        ("relu2", r"node 'relu2' \(relu\) of espcn_shaped stores no lines"),
    ],
)
def test_nodes_that_cannot_be_compressed_are_named(name, match):
    with pytest.raises(ValueError, match=match):
        hls.compress_lines(FixedModel(graphs.espcn_shaped()), [name])


def test_formats_that_no_codec_takes_are_refused_by_name():
    builder = GraphBuilder("narrow", 1, Format(5, 0))
    builder.conv(1, name="conv")
    with pytest.raises(ValueError, match=r"'image.stored'.* formats of 6 to 24 bits, got"):
        hls.compress_lines(FixedModel(builder.graph()), ["conv"])


def test_a_codec_behind_an_enlargement_cannot_stream():
    builder = GraphBuilder("behind", 4, Format(14, 8))
    builder.add(ops.PixelShuffle(2))
    builder.add(ops.LineCodec(), target=Format(14, 8))
    with pytest.raises(hls.StreamingError, match=r"'line_codec1'.*behind an enlargement"):
        plan_graph(builder.graph(), max_width=16)


@pytest.mark.parametrize("max_width", [1, 8, 9, 30])
@pytest.mark.parametrize("name", ["kimsr_shaped", "branches", "fsrcnn_shaped", "alone"])
def test_verilator_has_nothing_to_say(name, max_width, tmp_path):
    if name == "alone":
        builder = GraphBuilder("alone", 2, Format(9, 4))
        builder.add(ops.LineCodec(), target=Format(9, 4))
        model = FixedModel(builder.graph())
    else:
        graph = getattr(graphs, name)()
        nodes = [node.name for node in graph.nodes if lines_of(graph, node)]
        model = hls.compress_lines(FixedModel(graph), nodes)
    core = hls.emit_rtl(model, tmp_path / "core", max_width=max_width)
    assert verilator_findings(tmp_path / "core", core) == ""


def test_the_command_simulates_the_compressed_network(tmp_path, capsys):
    builder = GraphBuilder("command", 3, Format(12, 8), seed=5)
    builder.conv(2, target=Format(10, 6))
    graph = builder.graph()
    model = FixedModel(graph)
    model.save(tmp_path / "model.fxp")
    raw = np.random.default_rng(0).integers(-2048, 2048, (3, 7, 13))
    np.save(tmp_path / "image.npy", raw / 256)
    compressed = hls.compress_lines(model)
    assert not np.array_equal(model.run_raw(raw), compressed.run_raw(raw))
    arguments = ["cosim", "model.fxp", "image.npy", "--simulator", "icarus", "--compress-lines"]
    paths = [str(tmp_path / a) if a.startswith(("model.", "image.")) else a for a in arguments]
    assert main([*paths, "--work-dir", str(tmp_path / "work")]) == 0
    assert capsys.readouterr().out.startswith("bit-exact: 1 frame")
    cores = [*(tmp_path / "work").rglob("command_core.sv")]
    assert any("fxp_line_codec" in core.read_text() for core in cores)
    assert fxp.load(tmp_path / "model.fxp").graph == graph
