"""Files of every version, put together byte by byte, load to known graphs and results.

`fxp.store` writes nothing here: the header is JSON text, the tensors are packed by `struct`, as
docs/file-format.md describes them. So a change that reader and writer make together is noticed.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from golden_runs import EXECUTORS

from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph.ops import Conv2d, LineCodec, Pad, StoredTable
from fxp.model import FixedModel
from fxp.store import FORMAT_VERSION, load_graph


@dataclass(frozen=True)
class File:
    """A file by hand.

    Attributes
    ----------
    version
        Version of the format.
    graph
        JSON text of the graph.
    tensors
        JSON text of the header's entries, without the braces around all.
    data
        The tensors' bytes.
    given, expected
        Raw integers of the input, and of each output.
    """

    version: int
    graph: str
    tensors: str
    data: bytes
    given: Any
    expected: tuple[Any, ...]

    def write(self, folder: Path) -> Path:
        """Write the file; returns its path."""
        text = (
            f'{{"version": {self.version}, "producer": "by hand", '
            f'"metadata": {{"licence": "none"}}, "graph": {self.graph}}}'
        )
        tensors = f", {self.tensors}" if self.tensors else ""
        header = f'{{"__metadata__": {{"fxp": {json.dumps(text)}}}{tensors}}}'.encode()
        path = folder / f"version{self.version}.fxp"
        path.write_bytes(struct.pack("<Q", len(header)) + header + self.data)
        return path


# Version 1. The bias has the fraction bits of the products, 0 + 1: I32 as it has 20 bits.
# Sums of 1 2 4 and a zero to the right with the taps 3 and -2, plus 5: 3 - 4 + 5 = 4,
# 6 - 8 + 5 = 3, 12 + 5 = 17 with one fraction bit: 2, 1.5 and 8.5, ties up: 2 2 9. The state
# begins with -1: 1 1 8.
CONVOLUTION: Final = File(
    1,
    """{"name": "hand",
        "inputs": [{"name": "x", "shape": [1, "H", "W"], "format": "ap_fixed<8,8>"}],
        "states": [{"name": "last", "shape": [1, "H", "W"], "format": "ap_fixed<8,8>",
                    "source": "fed", "reset": -1}],
        "constants": [{"name": "w", "formats": ["ap_fixed<4,3>"], "channels": []},
                      {"name": "b", "formats": ["ap_fixed<20,19>"], "channels": []}],
        "nodes": [{"name": "conv", "op": "conv2d", "origin": "net.0",
                   "attributes": {"stride": [1, 1], "padding": [0, 0, 0, 1],
                                  "padding_mode": "zero", "dilation": [1, 1], "groups": 1},
                   "inputs": ["x", "w", "b"], "type": "ap_fixed<8,8,AP_RND,AP_SAT>"},
                  {"name": "fed", "op": "add", "origin": "", "attributes": {},
                   "inputs": ["conv", "last"], "type": "ap_fixed<8,8,AP_TRN_ZERO,AP_WRAP>"}],
        "outputs": ["conv", "fed"]}""",
    '"b": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}, '
    '"w": {"dtype": "I16", "shape": [1, 1, 1, 2], "data_offsets": [4, 8]}',
    struct.pack("<i2h", 5, 3, -2),
    [[[1, 2, 4]]],
    ([[[2, 2, 9]]], [[[1, 1, 8]]]),
)

# Version 2 added ops and the mode symmetric. 3 0 1 becomes 0 3 3 0 1, which reads 5 -8 -8 5 -6.
TABLE: Final = File(
    2,
    """{"name": "hand",
        "inputs": [{"name": "x", "shape": [1, 1, 3], "format": "ap_ufixed<2,2>"}],
        "states": [],
        "constants": [{"name": "t", "formats": ["ap_fixed<40,40>"], "channels": []}],
        "nodes": [{"name": "pad", "op": "pad", "origin": "",
                   "attributes": {"sides": [0, 0, 2, 0], "mode": "symmetric"},
                   "inputs": ["x"], "type": "ap_ufixed<2,2,AP_RND,AP_SAT>"},
                  {"name": "y", "op": "table", "origin": "", "attributes": {},
                   "inputs": ["pad", "t"], "type": "ap_fixed<8,8,AP_RND_CONV,AP_SAT_SYM>"}],
        "outputs": ["y"]}""",
    '"t": {"dtype": "I64", "shape": [4], "data_offsets": [0, 32]}',
    struct.pack("<4q", 5, -6, 7, -8),
    [[[3, 0, 1]]],
    ([[[5, -8, -8, 5, -6]]],),
)

# Version 3 added line_codec. The row is the one that tests/golden/golden_images.py derives.
CODEC: Final = File(
    3,
    """{"name": "hand",
        "inputs": [{"name": "x", "shape": [1, "(H+1)//2", "W"], "format": "ap_ufixed<8,8>"}],
        "states": [], "constants": [],
        "nodes": [{"name": "y", "op": "line_codec", "origin": "", "attributes": {},
                   "inputs": ["x"], "type": "ap_ufixed<8,8,AP_RND,AP_SAT>"}],
        "outputs": ["y"]}""",
    "",
    b"",
    [[[20, 25, 30, 40, 60, 80, 100, 33, 40, 255]]],
    ([[[16, 32, 32, 48, 64, 80, 96, 32, 32, 255]]],),
)

# Version 4 added functions. hardswish at -2 -1 0 1 is -1/3 -1/3 0 2/3, in eighths -3 -3 0 5.
FUNCTION: Final = File(
    4,
    """{"name": "hand",
        "inputs": [{"name": "x", "shape": [4], "format": "ap_fixed<2,2>"}],
        "states": [],
        "constants": [{"name": "t", "formats": ["ap_fixed<8,5>"], "channels": []}],
        "nodes": [{"name": "y", "op": "hardswish", "origin": "", "attributes": {},
                   "inputs": ["x", "t"], "type": "ap_fixed<8,5,AP_RND,AP_SAT>"}],
        "outputs": ["y"]}""",
    '"t": {"dtype": "I16", "shape": [4], "data_offsets": [0, 8]}',
    struct.pack("<4h", -3, -3, 0, 5),
    [1, 0, -1, -2],
    ([5, 0, -3, -3],),
)

FILES: Final = (CONVOLUTION, TABLE, CODEC, FUNCTION)


def test_every_version_has_a_file_written_by_hand() -> None:
    assert [file.version for file in FILES] == list(range(1, FORMAT_VERSION + 1))


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("file", FILES, ids=lambda file: f"version {file.version}")
def test_results_are_those_written_by_hand(file: File, executor: str, tmp_path: Path) -> None:
    graph, metadata = load_graph(file.write(tmp_path))
    assert metadata == {"licence": "none"}
    inputs = [np.array(file.given, np.int64)]
    results = EXECUTORS[executor](graph, inputs)
    assert tuple(result.tolist() for result in results) == file.expected


def test_what_version_1_says(tmp_path: Path) -> None:
    graph, _ = load_graph(CONVOLUTION.write(tmp_path))
    conv, fed = graph.nodes
    assert conv.op == Conv2d(padding=(0, 0, 0, 1))
    assert conv.origin == "net.0"
    assert conv.quantization == Quantization(Format(8, 0), Rounding.HALF_UP, Overflow.SATURATE)
    assert fed.quantization == Quantization(Format(8, 0), Rounding.TO_ZERO, Overflow.WRAP)
    weight, bias = graph.constants_by_name["w"], graph.constants_by_name["b"]
    assert (weight.data.tolist(), weight.formats) == ([[[[3, -2]]]], (Format(4, 1),))
    assert (bias.data.tolist(), bias.formats) == ([5], (Format(20, 1),))
    (state,) = graph.states
    assert (state.value.name, state.source, state.reset) == ("last", "fed", -1)
    # Sums of 3*x0 - 2*x1 + 5 for x from -128 to 127: -384 - 254 + 5 and 381 + 256 + 5.
    assert conv.accumulator is not None
    assert (conv.accumulator.low, conv.accumulator.high) == ((-633,), (642,))


def test_the_state_of_version_1_is_fed_back(tmp_path: Path) -> None:
    model = FixedModel(load_graph(CONVOLUTION.write(tmp_path))[0])
    frame = np.array(CONVOLUTION.given)
    assert [model.step_raw(frame)[1].tolist() for _ in range(3)] == [
        [[[1, 1, 8]]],
        [[[3, 3, 17]]],
        [[[5, 5, 26]]],
    ]


def test_what_version_2_says(tmp_path: Path) -> None:
    graph, _ = load_graph(TABLE.write(tmp_path))
    assert [node.op for node in graph.nodes] == [Pad((0, 0, 2, 0), "symmetric"), StoredTable()]
    assert graph.constants_by_name["t"].data.tolist() == [5, -6, 7, -8]
    assert graph.nodes[1].quantization == Quantization(
        Format(8, 0), Rounding.HALF_EVEN, Overflow.SATURATE_SYMMETRIC
    )


def test_what_version_3_says(tmp_path: Path) -> None:
    graph, _ = load_graph(CODEC.write(tmp_path))
    assert [node.op for node in graph.nodes] == [LineCodec()]
    assert graph.inputs[0].format == Format(8, 0, signed=False)
    assert str(graph.inputs[0].shape[1]) == "(H+1)//2"
