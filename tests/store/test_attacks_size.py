"""Small files that would grow large are refused before they do."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hostile_files import refuse
from store_files import pack

from fxp.store import load_graph

# Small files that would grow large.


def chain(*ops: tuple[str, dict[str, Any], int], shape: Any = (1, "H", "W")) -> bytes:
    """Chain ops one after the other, each reading its predecessor the given number of times."""
    nodes = [
        {
            "name": f"n{index}",
            "op": name,
            "attributes": attributes,
            "inputs": [f"n{index - 1}" if index else "x"] * copies,
            "type": "ap_fixed<8,8,AP_RND,AP_SAT>",
            "origin": "",
        }
        for index, (name, attributes, copies) in enumerate(ops)
    ]
    inputs = [{"name": "x", "shape": list(shape), "format": "ap_fixed<8,8>"}]
    graph = {"name": "g", "inputs": inputs, "states": [], "constants": [], "nodes": nodes}
    graph["outputs"] = [nodes[-1]["name"]]
    document = {"version": 1, "producer": "", "metadata": {}, "graph": graph}
    return pack({"__metadata__": {"fxp": json.dumps(document)}}, b"")


DOUBLE = ("concat", {}, 2)
UNSHUFFLE = ("pixel_unshuffle", {"factor": 64}, 1)
NEAREST = ("nearest", {"factor": 64}, 1)
HALVE = ("max_pool", {"window": [1, 1], "stride": [2, 3], "padding": [0] * 4}, 1)
TRIPLE = ("nearest", {"factor": 3}, 1)
RELU = ("relu", {}, 1)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (chain(*[DOUBLE] * 40), "channels"),
        (chain(*[("concat", {}, 1024)] * 4), "channels"),
        (chain(*[UNSHUFFLE] * 4), "channels"),
        (chain(*[RELU] * 200, shape=(100_000, 1, 1)), "channels"),
        (chain(*[NEAREST] * 2000), "too large"),
        (chain(*[NEAREST] * 2000, shape=(1, 5, 5)), "too large"),
        (chain(*[HALVE, TRIPLE] * 300), "nested|too large"),
        (chain(("flatten", {}, 1), shape=(3, 2**11, 2**11)), "channels"),
        (chain(("flatten", {}, 1), shape=(2**20, 2**22, 2**22)), "too large"),
        (chain(("flatten", {}, 1), shape=(2**22, 2**21, 2**21)), "too large"),
        (chain(("global_average_pool", {}, 1), shape=(1, 2**20, 2**20)), "supported"),
    ],
)
def test_small_files_stay_small(data: bytes, match: str, tmp_path: Path):
    refuse(data, tmp_path, match)


def test_constants_read_again_and_again(tmp_path: Path):
    """A large weight that thousands of nodes read would take minutes to prove."""
    count, features = 3000, 1000
    form = "ap_fixed<2,2>"
    nodes = [
        {
            "name": f"n{index}",
            "op": "linear",
            "attributes": {},
            "inputs": ["x", "w"],
            "type": "ap_fixed<8,8,AP_RND,AP_SAT>",
            "origin": "",
        }
        for index in range(count)
    ]
    graph = {
        "name": "g",
        "inputs": [{"name": "x", "shape": [features], "format": form}],
        "states": [],
        "constants": [{"name": "w", "formats": [form], "channels": []}],
        "nodes": nodes,
        "outputs": [item["name"] for item in nodes],
    }
    document = {"version": 1, "producer": "", "metadata": {}, "graph": graph}
    header = {
        "__metadata__": {"fxp": json.dumps(document)},
        "w": {"dtype": "I16", "shape": [10, features], "data_offsets": [0, 20 * features]},
    }
    refuse(pack(header, bytes(20 * features)), tmp_path, "too many times")


def test_many_nodes_load_in_linear_time(tmp_path: Path):
    path = tmp_path / "long.fxp"
    path.write_bytes(chain(*[RELU] * 5000))
    start = time.perf_counter()
    graph, _ = load_graph(path)
    assert len(graph.nodes) == 5000
    assert time.perf_counter() - start < 10
