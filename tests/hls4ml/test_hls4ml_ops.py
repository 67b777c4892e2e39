"""Every supported op, random graphs and shaped networks are exact; the rest is refused by name."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from graphs import SIZE, case_graphs, random_graph, small_network, union

from fxp.formats import Format, Overflow, Quantization
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.ops import (
    Conv2d,
    GroupNorm,
    L2Norm,
    LineCodec,
    Prelu,
    Relu,
    Requantize,
    StandardDeviation,
    Variance,
)
from fxp.model import FixedModel

pytest.importorskip("hls4ml")

from fxp import hls
from fxp.hls.hls4ml_export import ExportError
from fxp.hls.hls4ml_export.lowering import SUPPORTED
from fxp.models import sr

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
pytestmark = pytest.mark.usefixtures("compiled_once")
CHUNKS = 4
BYTE = Format(8, 0)


@needs_compiler
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_cases_are_exact(chunk, tmp_path):
    """Every case of the table that can be taken; `export` compares with the engine."""
    graphs = case_graphs(11)
    assert len(graphs) > 100
    assert {graph.nodes[0].op.name for graph in graphs} == {*SUPPORTED}
    hls.export(union("cases", graphs[chunk::CHUNKS]), tmp_path / "p", size=SIZE)


@needs_compiler
@pytest.mark.parametrize("chunk", range(2))
def test_random_graphs_are_exact(chunk, tmp_path):
    graphs = [random_graph(seed) for seed in range(chunk * 5, chunk * 5 + 5)]
    backend = ("Vitis", "Vivado")[chunk]
    hls.export(union("random", graphs), tmp_path / "p", size=SIZE, backend=backend)


@needs_compiler
@pytest.mark.parametrize("backend", ["Vitis", "Vivado"])
def test_kimsr_is_exact(backend, tmp_path):
    model = sr.load("kimsr_x2")
    project = hls.export(model, tmp_path / "p", size=(10, 8), backend=backend)
    raw = np.random.default_rng(5).integers(0, 256, (1, 1, 10, 8))
    assert np.array_equal(project.predict_raw(raw), model.run_raw(raw))


@needs_compiler
@pytest.mark.parametrize("name", ["SRCNN", "ESPCN", "FSRCNN"])
def test_shapes_of_known_networks(name, tmp_path):
    """Biases, tanh tables, PReLUs and a 9×9 transposed convolution."""
    pytest.importorskip("torch")
    hls.export(small_network(name), tmp_path / "p", size=(6, 5))


@needs_compiler
@pytest.mark.parametrize(
    ("backend", "io_type"),
    [("Vitis", "io_stream"), ("Vivado", "io_parallel"), ("Quartus", "io_stream")],
)
def test_weights_per_output_channel_are_exact(backend, io_type, tmp_path):
    """hls4ml has one type for all channels: they are aligned to the most fraction bits."""
    pytest.importorskip("torch")
    from quantized_networks import uneven

    model = uneven()
    assert len({*model.graph.constants_by_name["middle.weight"].formats}) > 1
    project = hls.export(model, tmp_path / "p", size=(4, 5), backend=backend, io_type=io_type)
    raw = np.random.default_rng(5).integers(0, 256, (1, 1, 4, 5))
    assert np.array_equal(project.predict_raw(raw), model.run_raw(raw))


def test_strategies_write_the_same_weights(tmp_path):
    """Resource transposes weights of convolutions; depthwise ones must stay as they lie."""
    model = sr.load("kimsr_x2")
    found = []
    for mode in ("latency", "resource"):
        project = hls.export(model, tmp_path / mode, size=(6, 6), strategy=mode, verify=False)
        folder = project.folder / "firmware" / "weights"
        texts = [path.read_text() for path in sorted(folder.glob("w*.h"))]
        rows = [re.search(r"= \{(.*)\}", text)[1].split(", ") for text in texts]
        assert sum(map(len, rows)) == model.parameters
        found.append(rows)
    for latency, resource in zip(*found, strict=True):
        assert sorted(latency) == sorted(resource)


def image(name: str = "x", channels: int = 2) -> Value:
    return Value(name, (channels, 6, 8), BYTE)


def single(op, *constants: Constant, channels: int = 2, target: Quantization | None = None):
    names = ("x", *(item.name for item in constants))
    node = Node("odd", op, names, target or Quantization(Format(8, 0)))
    return Graph("refused", (image(channels=channels),), (node,), ("odd",), constants)


class TestRefusals:
    @pytest.mark.parametrize(
        ("op", "advice"),
        [
            (Variance(), "train the network without it"),
            (StandardDeviation(), "train the network without it"),
            (L2Norm(), "train the network without it"),
            (GroupNorm(2), "BatchNorm2d"),
        ],
        ids=lambda item: item if isinstance(item, str) else item.name,
    )
    def test_ops_by_name(self, op, advice, tmp_path):
        """With what to do instead; a streaming core would not take them either."""
        with pytest.raises(ExportError, match=rf"node 'odd' \({op.name}\).*{advice}") as caught:
            hls.export(single(op, target=Quantization(Format(30, 0))), tmp_path / "p")
        assert "emit_rtl" not in str(caught.value)
        assert [*tmp_path.iterdir()] == []

    def test_ops_that_a_streaming_core_takes(self, tmp_path):
        match = r"node 'odd' \(line_codec\).*emit_rtl takes this network"
        with pytest.raises(ExportError, match=match):
            hls.export(single(LineCodec()), tmp_path / "p")
        assert [*tmp_path.iterdir()] == []

    def test_sign_magnitude(self, tmp_path):
        target = Quantization(Format(6, 0), overflow=Overflow.WRAP_SIGN_MAGNITUDE)
        with pytest.raises(ExportError, match=r"AP_WRAP_SM.*hls\.emit_rtl"):
            hls.export(single(Relu(), target=target), tmp_path / "p")

    def test_symmetric_values_of_one_bit(self, tmp_path):
        target = Quantization(Format(1, 0), overflow=Overflow.SATURATE_SYMMETRIC)
        with pytest.raises(ExportError, match=r"does not saturate .*AP_SAT_SYM.* to 0"):
            hls.export(single(Relu(), target=target), tmp_path / "p")

    def test_wide_values(self, tmp_path):
        with pytest.raises(ExportError, match=r"node 'odd' \(relu\).*53 bits"):
            hls.export(single(Relu(), target=Quantization(Format(54, 0))), tmp_path / "p")

    def test_steps_larger_than_the_accumulator(self, tmp_path):
        """C simulation aborts there, so the path refuses it."""
        target = Quantization(Format(6, -12))
        with pytest.raises(ExportError, match=r"node 'odd' \(relu\).*drops 12 bits"):
            hls.export(single(Relu(), target=target), tmp_path / "p")

    def test_steps_larger_than_a_product(self, tmp_path):
        """A PReLU's product has fewer bits than the accumulator that values share with it."""
        slope = Constant("w", np.array([3]), (Format(3, 13),))
        graph = single(Prelu(), slope, target=Quantization(Format(6, -5)))
        with pytest.raises(ExportError, match=r"node 'odd' \(prelu\).*drops 18 bits"):
            hls.export(graph, tmp_path / "p")

    def test_channels_too_far_apart(self, tmp_path):
        """Formats per channel are aligned exactly, or refused."""
        formats = (Format(8, 0), Format(8, 46))
        weight = Constant("w", np.full((2, 2, 1, 1), -99), formats)
        with pytest.raises(ExportError, match=r"'odd' \(conv2d\).*one type for all.*per_channel"):
            hls.export(
                single(Conv2d(), weight, target=Quantization(Format(20, 40))), tmp_path / "p"
            )

    def test_states(self, tmp_path):
        state = State(Value("memory", (2, 6, 8), BYTE), "next")
        node = Node("next", Requantize(), ("memory",), Quantization(BYTE))
        other = Node("y", Relu(), ("x",), Quantization(BYTE))
        graph = Graph("loop", (image(),), (node, other), ("y",), (), (state,))
        with pytest.raises(ExportError, match=r"state 'memory'.*hls4ml cannot; "):
            hls.export(graph, tmp_path / "p")

    def test_too_many_readers(self, tmp_path):
        nodes = [Node(f"n{i}", Relu(), ("x",), Quantization(BYTE)) for i in range(8)]
        graph = Graph("fan", (image(),), tuple(nodes), tuple(node.name for node in nodes))
        with pytest.raises(ExportError, match="read 8 times"):
            hls.export(graph, tmp_path / "p")

    def test_outputs_that_are_inputs(self, tmp_path):
        node = Node("y", Relu(), ("x",), Quantization(BYTE))
        graph = Graph("through", (image(),), (node,), ("y", "x"))
        with pytest.raises(ExportError, match="'x' is unread or an output itself"):
            hls.export(FixedModel(graph), tmp_path / "p")
