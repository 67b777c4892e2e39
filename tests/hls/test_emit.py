"""What is emitted: plans, refusals, papers, and that nothing is left half-written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import stage_graphs
import streaming_graphs as graphs
from streaming_graphs import GraphBuilder

from fxp.formats import Format, FormatError
from fxp.graph import Graph, Node, Value, ops
from fxp.graph.extents import Extent
from fxp.hls import Core, emit_rtl
from fxp.hls.rtl.data_sheet import core_cost
from fxp.hls.rtl.emit import plan_graph
from fxp.hls.rtl.layers import RULES
from fxp.hls.rtl.planning import ModuleInstance, StreamingError
from fxp.model import FixedModel
from fxp.models import sr
from fxp.store import save_graph

SHAPES = {
    "kimsr": graphs.kimsr_shaped,
    "espcn": graphs.espcn_shaped,
    "srcnn": graphs.srcnn_shaped,
    "fsrcnn": graphs.fsrcnn_shaped,
    "branches": graphs.branches,
    **stage_graphs.SHAPES,
}


# ---- Plans ----------------------------------------------------------------------------------


def test_lags_and_latencies_of_kimsr():
    plan, output = plan_graph(graphs.kimsr_shaped(), max_width=1920)
    lags = {p.value: (p.stream.path.lag.lines, p.stream.path.lag.pixels) for p in plan.values}
    assert lags["image"] == (0, 0)
    assert lags["conv0"] == lags["relu1"] == (1, 1)
    assert lags["conv2"] == (1, 3)
    assert lags["add7"] == (1, 5)
    assert lags["conv9"] == (2, 6)
    assert lags["add16"] == (3, 7)
    assert output.stream.scale == 2
    # Window 6, products of 9 taps and their sum 6, requantize 2, which clips as the ReLU does.
    latency = {p.value: p.stream.latency for p in plan.values}
    assert latency["conv0"] == 12
    assert latency["relu1"] == 14
    assert latency["nearest"] == 0
    assert latency["conv13"] == latency["pixel_shuffle14"]


def test_line_memories_are_the_windows_lines_and_a_copied_value_waits_once():
    plan, _ = plan_graph(graphs.kimsr_shaped(4), max_width=1920)
    instances = [item for item in plan.items if isinstance(item, ModuleInstance)]
    windows = [item.cost.memory_bits for item in instances if item.module == "fxp_window"]
    assert windows == [2 * 1920 * 8, 0, 0, 2 * 1920 * 4 * 10, 2 * 1920 * 2 * 10]
    buffers = [item for item in instances if item.module == "fxp_lag_buffer"]
    assert [item.parameters["Width"] for item in buffers] == ["40", "8"]
    # Three lines and seven pixels, and what the pipeline holds.
    assert 3 * 1920 + 7 < int(buffers[1].parameters["Depth"]) < 3 * 1920 + 7 + 120


def test_kimsr_at_1920_pixels_keeps_its_promises(tmp_path):
    core = emit_rtl(sr.load("kimsr_x2"), tmp_path / "core", max_width=1920)
    plan, output = plan_graph(sr.load("kimsr_x2").graph, max_width=1920)
    # All memories, the output FIFO too.
    assert core_cost(core, plan, output).memory_bits <= 2_700_000
    # The first result leaves within four lines.
    assert core.lag_lines * 1920 + core.lag_pixels + core.latency_clocks < 4 * 1920
    weights = sum(np.count_nonzero(c.data) for c in sr.load("kimsr_x2").graph.constants)
    assert core_cost(core, plan, output).multipliers == weights


def test_joins_of_lags_that_no_operand_has_wait_for_both():
    plan, _ = plan_graph(graphs.branches(), max_width=40)
    value = next(p for p in plan.values if p.value == "difference")
    assert (value.stream.path.lag.lines, value.stream.path.lag.pixels) == (2, 3)
    assert (
        sum(isinstance(i, ModuleInstance) and i.module == "fxp_tag_delay" for i in plan.items) == 1
    )


def test_a_window_read_twice_exists_once():
    b = GraphBuilder("shared")
    first = b.conv(2, source="image", target=Format(8, 4))
    second = b.conv(3, source="image", target=Format(8, 4))
    b.add(ops.Concat(), first, second)
    plan, _ = plan_graph(b.graph(), max_width=16)
    assert sum(isinstance(i, ModuleInstance) and i.module == "fxp_window" for i in plan.items) == 1


def test_exact_results_need_no_rounding_hardware():
    b = GraphBuilder("exact")
    b.conv(2)
    plan, output = plan_graph(b.graph(), max_width=16)
    modules = [item.module for item in plan.items if isinstance(item, ModuleInstance)]
    assert modules == ["fxp_window", "fxp_dot"]
    accumulator = b.graph().nodes[0].accumulator
    assert accumulator is not None
    assert output.stream.width == accumulator.bits


def test_folding_divides_the_multipliers():
    def multipliers(fold: int) -> int:
        plan, _ = plan_graph(graphs.kimsr_shaped(8), max_width=16, fold=fold)
        return sum(item.cost.multipliers for item in plan.items if isinstance(item, ModuleInstance))

    assert multipliers(3) < multipliers(1) / 2.5
    assert multipliers(9) < multipliers(1) / 5


@pytest.mark.parametrize(
    "shape", sorted(SHAPES.keys() - {"constants", "classifier", "channel_reductions", "recurrent"})
)
def test_shared_adders_replace_all_multipliers(shape):
    """Apart from products of values, and weights that change from pixel to pixel."""
    plan, _ = plan_graph(SHAPES[shape](), max_width=16, multipliers="shift_add")
    instances = [item for item in plan.items if isinstance(item, ModuleInstance)]
    assert not any(item.cost.multipliers for item in instances)
    multiplying = {"fxp_dot", "fxp_dot_folded", "fxp_prelu"}
    assert multiplying.isdisjoint(item.module for item in instances)


# ---- Refusals -------------------------------------------------------------------------------


def refused(graph: Graph, tmp_path: Path, **options: object) -> str:
    """Message of a refusal, which must be one line and leave nothing behind."""
    arguments: dict[str, object] = {"max_width": 32, **options}
    with pytest.raises(StreamingError) as caught:
        emit_rtl(graph, tmp_path / "core", **arguments)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (ops.MaxPool((2, 2), (2, 2), (1, 1, 1, 1)), "makes the image larger with a 2x2 window"),
        (
            ops.AveragePool((3, 3), (1, 1), (1, 1, 1, 1), count_padding=False),
            "has another divisor at the borders",
        ),
        (ops.Pad((1, 1, 1, 1)), "pad cannot stream; pad inside a convolution, with its padd"),
        (ops.ReduceMean(False, True, False), "rows and columns can only be reduced together"),
        (ops.ReduceMax(True, True, True), "rows and columns can only be reduced together"),
        (ops.AdaptiveMaxPool((2, 2)), "pool with windows of a fixed size"),
        (ops.Variance(), "variance cannot stream; hardware for squares"),
        (ops.StandardDeviation(), "standard_deviation cannot stream; hardware for squares"),
        (ops.L2Norm(), "l2_norm cannot stream; hardware for squares"),
        (ops.GroupNorm(2), "group_norm cannot stream; train with torch.nn.BatchNorm2d"),
    ],
)
def test_ops_that_cannot_stream_are_named(op, words, tmp_path):
    b = GraphBuilder("refused")
    b.conv(2, target=Format(8, 4))
    b.add(op, name="culprit", target=Format(20, 4))
    message = refused(b.graph(), tmp_path)
    assert words in message
    assert "'culprit'" in message


def conv_refused(tmp_path: Path, **attributes: object) -> str:
    b = GraphBuilder("refused")
    weight = b.constant("w", np.ones((1, 1, 3, 3)), Format(4, 0))
    b.add(ops.Conv2d(**{"padding": (1, 1, 1, 1), **attributes}), "image", weight)  # type: ignore[arg-type]
    return refused(b.graph(), tmp_path)


def test_convolutions_that_cannot_stream(tmp_path):
    message = conv_refused(tmp_path, padding=(2, 1, 1, 1))
    assert "padding (2, 1, 1, 1) makes the image larger" in message
    assert "at most 2 rows and 2 columns can be added" in message


def test_what_cannot_follow_an_enlargement_is_refused(tmp_path):
    for op, words in (
        (ops.MaxPool(), "a pooling behind an enlargement cannot stream"),
        (ops.BilinearUpsample(), "a bilinear_upsample behind an enlargement cannot stream"),
        (ops.Slice("row", 1), "rows can only be cut off in multiples of 2"),
        (ops.PixelUnshuffle(3), "blocks of 3 pixels do not divide those of the enlargement"),
    ):
        b = GraphBuilder("refused", size=(6, 6))
        b.add(ops.Nearest(2))
        b.add(op, target=Format(12, 8))
        assert words in refused(b.graph(), tmp_path)
    b = GraphBuilder("refused")
    b.add(ops.Nearest(2))
    weight = b.constant("w", np.ones((1, 1, 3, 3)), Format(4, 0))
    b.add(ops.Conv2d(padding=(1, 1, 1, 1), padding_mode="reflect"), b.last, weight)
    assert "reflect borders behind an enlargement" in refused(b.graph(), tmp_path)
    b = GraphBuilder("refused")
    b.add(ops.Nearest(2))
    b.conv(1, padding=(0, 0, 0, 0))
    assert "only convolutions stream that keep the size" in refused(b.graph(), tmp_path)


@pytest.mark.parametrize(
    ("stride", "kernel"),
    [((2, 2), (3, 3)), ((2, 1), (2, 1))],
    ids=["other_size", "other_strides"],
)
def test_transposed_convolutions_that_do_not_multiply_the_size(stride, kernel, tmp_path):
    b = GraphBuilder("refused")
    weight = b.constant("w", np.ones((1, 1, *kernel)), Format(4, 0))
    b.add(ops.ConvTranspose2d(stride), "image", weight)
    assert "enlarges both sides exactly by its stride" in refused(b.graph(), tmp_path)


def test_operands_that_came_to_their_size_in_different_ways_are_refused(tmp_path):
    b = GraphBuilder("refused", size=(8, 8))
    first = b.conv(1, (2, 1), padding=(0, 0, 0, 0), source="image", target=Format(8, 4))
    second = b.add(ops.Slice("row", 1), "image")
    b.add(ops.Add(), first, second)
    assert "other rows and columns are left" in refused(b.graph(), tmp_path)


def test_products_beyond_the_multipliers_of_devices_are_refused(tmp_path):
    b = GraphBuilder("refused", form=Format(20, 8))
    b.add(ops.Multiply(), "image", "image")
    assert "multipliers of 20 x 20 bits" in refused(b.graph(), tmp_path, multipliers="shift_add")
    for wide, taken in ((25, True), (26, False)):
        b = GraphBuilder("products", form=Format(wide, 8))
        narrow = b.add(ops.Clamp(0.0, 1.0), target=Format(18, 8))
        b.add(ops.Multiply(), "image", narrow)
        if taken:
            plan_graph(b.graph(), max_width=16)
        else:
            assert "multipliers of 18 x 26 bits" in refused(b.graph(), tmp_path)
    b = GraphBuilder("refused")
    plane = b.constant("plane", np.ones((1, 1, 6)), Format(4, 0))
    b.add(ops.Multiply(), "image", plane)
    assert "a constant of shape (1, 1, 6) cannot stream" in refused(b.graph(), tmp_path)


def test_a_division_of_the_size_is_refused(tmp_path):
    b = GraphBuilder("refused")
    b.add(ops.MaxPool((3, 3), (3, 3)))
    b.add(ops.MaxPool())
    assert "behind a step of 3" in refused(b.graph(), tmp_path)


def test_frames_too_small_for_the_network_are_refused(tmp_path):
    b = GraphBuilder("refused")
    b.conv(1, (5, 5), padding=(0, 0, 0, 0))
    message = refused(b.graph(), tmp_path, max_width=4, max_height=8)
    assert "frames of 4x8 are smaller than the network takes, 5x5" in message
    core = emit_rtl(b.graph(), tmp_path / "core", max_width=32)
    assert core.smallest == (5, 5)
    assert core.beats(9, 7) == (5, 3)
    sheet = (tmp_path / "core" / "README.md").read_text()
    assert "| Smallest frame | 5 x 5 pixels |" in sheet
    assert "| Output of the largest frame | 28 x 4092 pixels |" in sheet


def test_a_network_with_a_linear_layer_takes_one_size(tmp_path):
    message = refused(stage_graphs.classifier(), tmp_path, initial_size=(8, 8), max_width=32)
    assert "frames of 8x8 do not suit: the network takes 12x11 alone" in message
    core = emit_rtl(stage_graphs.classifier(), tmp_path / "core", max_width=32)
    assert (core.max_width, core.max_height, core.smallest) == (12, 11, (11, 12))
    assert core.beats(11, 12) == (1, 1)
    b = GraphBuilder("mean")
    b.add(ops.GlobalAveragePool(), target=Format(12, 10))
    core = emit_rtl(b.graph(), tmp_path / "core", max_width=32, initial_size=(9, 5))
    assert (core.max_width, core.max_height, core.smallest) == (9, 5, (5, 9))
    # Its line memories are no longer than that.
    b = GraphBuilder("rows")
    b.conv(1, target=Format(8, 4))
    b.add(ops.GlobalAveragePool(), target=Format(12, 10))
    emit_rtl(b.graph(), tmp_path / "core", max_width=1920, initial_size=(9, 5))
    sheet = (tmp_path / "core" / "README.md").read_text()
    assert "| Line memories | 144 bits |" in sheet


def test_a_value_times_one_of_a_whole_image_is_refused(tmp_path):
    b = GraphBuilder("refused", size=(8, 8))
    b.add(ops.GlobalMaxPool())
    b.add(ops.Multiply(), b.last, "image")
    assert "one of its operands depends on a whole image" in refused(b.graph(), tmp_path)


def test_multipliers_beyond_those_of_devices_are_refused(tmp_path):
    b = GraphBuilder("refused", form=Format(20, 8))
    b.conv(1, bits=19)
    assert "20 x 19" not in (message := refused(b.graph(), tmp_path))
    assert "multipliers of 19 x 20 bits" in message
    assert "shift_add" in message
    b = GraphBuilder("refused", form=Format(20, 8))
    b.conv(1, bits=25)
    message = refused(b.graph(), tmp_path, multipliers="shift_add")
    assert "node 'conv0' (conv2d) of 'refused': has weights of 25 bits" in message
    b = GraphBuilder("wide", form=Format(26, 8))
    b.conv(1)
    assert "6 x 26" in refused(b.graph(), tmp_path)
    emit_rtl(b.graph(), tmp_path / "core", max_width=16, multipliers="shift_add")


def test_graphs_of_another_kind_are_refused(tmp_path):
    image = Value("x", (1, Extent("H"), Extent("W")))
    floats = Graph("floats", (image,), (Node("y", ops.Relu(), ("x",)),), ("y",))
    assert "not quantized" in refused(floats, tmp_path)
    b = GraphBuilder("two")
    b.add(ops.Relu())
    second = Value("second", b.source.shape, b.source.format)
    both = replace(b.graph(), inputs=(b.source, second), outputs=("relu0", "second"))
    assert "2 inputs" in refused(both, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_width": 0}, "max_width must be 1 to 65535"),
        ({"max_height": 70000}, "max_height"),
        ({"pixels_per_clock": 2}, "pixels_per_clock must be 1"),
        ({"multipliers": "lut"}, "multipliers must be one of"),
        ({"fold": 0}, "fold must be 1"),
        ({"fold": 2, "multipliers": "shift_add"}, "fold shares multipliers"),
        ({"initial_size": (33,)}, "initial_size must be two integers"),
        ({"initial_size": (33, 4)}, "frames of 33x4 exceed the largest size, 32x4096"),
        ({"name": "9"}, "no name for a core"),
    ],
)
def test_arguments_that_do_not_suit(options, words, tmp_path):
    assert words in refused(graphs.kimsr_shaped(2), tmp_path, **options)


# ---- Folders --------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_folder_is_complete_and_the_same_each_time(tmp_path):
    core = emit_rtl(graphs.fsrcnn_shaped(), tmp_path / "a", max_width=32)
    emit_rtl(graphs.fsrcnn_shaped(), tmp_path / "b", max_width=32)
    files = contents(tmp_path / "a")
    assert files == contents(tmp_path / "b")
    assert core == Core.read(tmp_path / "a")
    assert set(core.sources) < set(files)
    assert files[f"{core.name}.f"].decode().splitlines()[1:] == list(core.sources)
    assert {"core.json", "README.md", f"{core.name}.xdc", f"{core.name}.core"} < set(files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_model_is_given_as_itself_its_graph_or_its_file(tmp_path):
    graph = graphs.shuffled()
    save_graph(graph, tmp_path / "model.fxp")
    for number, model in enumerate((graph, FixedModel(graph), tmp_path / "model.fxp")):
        emit_rtl(model, tmp_path / str(number), max_width=32)
    assert contents(tmp_path / "0")
    assert contents(tmp_path / "0") == contents(tmp_path / "1") == contents(tmp_path / "2")


def test_other_things_are_no_model(tmp_path):
    with pytest.raises(TypeError, match=r"a FixedModel, its Graph, or the path of a \.fxp file"):
        emit_rtl(3, tmp_path / "core", max_width=32)  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=r"model\.fxp: cannot be read"):
        emit_rtl(tmp_path / "model.fxp", tmp_path / "core", max_width=32)
    assert contents(tmp_path) == {}


def test_an_earlier_core_is_replaced_and_other_folders_are_not(tmp_path):
    target = tmp_path / "core"
    emit_rtl(graphs.fsrcnn_shaped(), target, max_width=32)
    core = emit_rtl(graphs.espcn_shaped(), target, max_width=32)
    assert Core.read(target) == core
    assert not (target / "fsrcnn_shaped.f").exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("words")
    with pytest.raises(StreamingError, match="holds no earlier core"):
        emit_rtl(graphs.espcn_shaped(), mine, max_width=32)
    assert contents(mine) == {"thesis.txt": b"words"}


def test_a_failure_while_writing_leaves_the_earlier_core(tmp_path, monkeypatch):
    target = tmp_path / "core"
    emit_rtl(graphs.fsrcnn_shaped(), target, max_width=32)
    before = contents(target)

    def fail(*_: object, **options: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OSError, match="disk full"):
        emit_rtl(graphs.espcn_shaped(), target, max_width=32)
    assert contents(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["core"]


def test_descriptions_of_cores_are_checked(tmp_path):
    core = emit_rtl(graphs.espcn_shaped(), tmp_path / "core", max_width=32)
    content = json.loads(core.to_json())
    del content["lag_lines"]
    with pytest.raises(ValueError, match="not the description of a core"):
        Core.from_json(json.dumps(content))
    with pytest.raises(ValueError, match="holds no emitted core"):
        Core.read(tmp_path)


def test_taps_and_ports_describe_the_values(tmp_path):
    graph = graphs.espcn_shaped()
    core = emit_rtl(graph, tmp_path / "core", max_width=32, initial_size=(20, 10))
    assert [tap.value for tap in core.taps] == ["image", *(node.name for node in graph.nodes)]
    last = core.taps[-1]
    assert (last.channels, last.width, last.frac, last.scale) == (9, 9, 8, 3)
    assert (core.output.bytes, core.output.signed, core.scale) == (2, True, 3)
    assert (core.initial_width, core.initial_height) == (20, 10)
    assert (core.lag_lines, core.lag_pixels) == (4, 4)


def test_the_page_lists_what_streams():
    page = (Path(__file__).parents[2] / "docs" / "rtl.md").read_text()
    table = page.partition("| Operation | With |")[2].partition("\n\n")[0]
    told = [row.split("|")[1] for row in table.strip().splitlines()[1:]]
    names = [name for cell in told for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(names) == sorted(op.name for op in RULES)


# ---- Papers ---------------------------------------------------------------------------------


def test_the_data_sheet_adds_up(tmp_path):
    emit_rtl(graphs.kimsr_shaped(), tmp_path / "core", max_width=1920)
    text = (tmp_path / "core" / "README.md").read_text()
    assert f"| Line memories | {2 * 1920 * (8 + 40 + 20):,} bits |" in text
    begin = text.index("| Module | Multipliers")
    rows = [line.split("|")[2:-1] for line in text[begin:].split("\n\n")[0].splitlines()[2:]]
    figures = np.array([[int(cell.replace(",", "")) for cell in row] for row in rows])
    assert np.array_equal(figures[:-1].sum(axis=0), figures[-1])
    weights = [np.count_nonzero(item.data) for item in graphs.kimsr_shaped().constants]
    assert figures[-1][0] == sum(weights)


def test_only_the_registers_and_their_reset_hear_the_reset_of_the_board(tmp_path):
    core = emit_rtl(graphs.kimsr_shaped(), tmp_path / "core", max_width=30, raster=True)
    text = (tmp_path / "core" / core.sources[-1]).read_text()
    instances = re.findall(r"u_(\w+) \([^;]*\(aresetn\)", text)
    assert sorted(instances) == ["registers", "restart"]
