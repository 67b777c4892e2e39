"""Broken and hostile files: each is refused with a message that names the file and the place."""

import json
import os
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_files
import store_graphs
from store_files import VALID, pack, with_document, with_header, with_text

from fxp.formats import FormatError
from fxp.graph.ops import AveragePool, GraphError
from fxp.store import FORMAT_VERSION, FileError, load_graph
from fxp.store import graph_file as store

NEWER = FORMAT_VERSION + 1
EVERY_OP = store._to_bytes(store_graphs.every_op(), {}, "fxp 0.1.0")


def refuse(data: bytes, folder: Path, match: str) -> None:
    path = folder / "hostile.fxp"
    path.write_bytes(data)
    start = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(FileError, match=match) as caught:
            load_graph(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value)) < 1500
    assert peak < 100 * len(data) + (1 << 20)
    assert time.perf_counter() - start < 5


def at(*place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    """Change that sets the entry at `place`."""

    def change(document: dict[str, Any]) -> None:
        target: Any = document
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = value

    return change


def node(name: str) -> int:
    names = [item["name"] for item in store_files.document_of(EVERY_OP)["graph"]["nodes"]]
    return names.index(name)


def test_valid_files_load(tmp_path: Path):
    for data in (VALID, EVERY_OP, with_header(lambda _: None), with_document(lambda _: None)):
        (tmp_path / "valid.fxp").write_bytes(data)
        load_graph(tmp_path / "valid.fxp")


# The file and its header.


def test_not_a_file(tmp_path: Path):
    for path, match in (
        (tmp_path / "missing.fxp", "No such file"),
        (tmp_path, "not a regular file"),
        (Path(os.devnull), "not a regular file"),
        (tmp_path / "nul\0", "cannot be read"),
    ):
        with pytest.raises(FormatError, match=match):
            load_graph(path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileError, match="not a regular file"):
            load_graph(tmp_path / "pipe")


def test_truncated_anywhere(tmp_path: Path):
    path = tmp_path / "cut.fxp"
    for length in range(len(VALID)):
        path.write_bytes(VALID[:length])
        with pytest.raises(FileError, match="truncated"):
            load_graph(path)


def test_one_byte_too_many(tmp_path: Path):
    refuse(VALID + b"\0", tmp_path, "unused bytes between byte 24 and 25")


@pytest.mark.parametrize("length", [100_000_001, 1 << 40, 2**63, 2**64 - 1, len(VALID), 99_000_000])
def test_header_length(length: int, tmp_path: Path):
    refuse(struct.pack("<Q", length) + VALID[8:], tmp_path, "header length")


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe{}", "not UTF-8 at byte 0"),
        (b'{"\xc3\x28":1}', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        ("\ufeff{}".encode(), "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"[]", "must be an object"),
        (b"3", "must be an object"),
        (b"null", "must be an object"),
        (b"NaN", "NaN is not a JSON number"),
        (b'{"a":-Infinity}', "-Infinity is not a JSON number"),
        (b'{"a":1,"a":2}', "'a' appears twice"),
        (b"[" * 200_000 + b"]" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"a":' + b"9" * 10_000 + b"}", "not valid JSON"),
        (b"{}", "one key 'fxp'"),
        (b'{"__metadata__":{"format":"pt"}}', "not a .fxp file"),
        (b'{"__metadata__":{"fxp":"{}","more":""}}', "one key 'fxp'"),
        (b'{"__metadata__":[]}', "__metadata__: must be an object"),
        (b'{"__metadata__":{"fxp":3}}', "object of texts"),
        (b'{"__metadata__":{"fxp":"{}","fxp":"{}"}}', "'fxp' appears twice"),
    ],
)
def test_header(header: bytes, match: str, tmp_path: Path):
    refuse(pack(header, b""), tmp_path, match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (at("w", value=3), "tensor 'w': must be an object"),
        (at("w", value={}), "tensor 'w': must be an object"),
        (at("w", "extra", value=1), "tensor 'w': must be an object"),
        (at("w", "dtype", value="F32"), "dtype must be one of"),
        (at("w", "dtype", value="I8"), "dtype must be one of"),
        (at("w", "dtype", value="U16"), "dtype must be one of"),
        (at("w", "dtype", value=["I16"]), "dtype must be one of"),
        (at("w", "dtype", value=None), "dtype must be one of"),
        (at("w", "dtype", value="I32"), "does not take the 16 bytes"),
        (at("w", "shape", value=[2, 1, 2, 3]), "does not take the 16 bytes"),
        (at("w", "shape", value=[8]), "channels are given|weight must have four axes"),
        (at("w", "shape", value=[]), "shape must be"),
        (at("w", "shape", value=8), "shape must be"),
        (at("w", "shape", value="8"), "shape must be"),
        (at("w", "shape", value=[-2, -1, 2, 2]), "shape must be"),
        (at("w", "shape", value=[0, 1, 2, 2]), "shape must be"),
        (at("w", "shape", value=[2.0, 1, 2, 2]), "shape must be"),
        (at("w", "shape", value=[2, True, 2, 2]), "shape must be"),
        (at("w", "shape", value=[2, 1, 2, None]), "shape must be"),
        (at("w", "shape", value=[1] * 9), "shape must be"),
        (at("w", "shape", value=[1 << 62, 1 << 62]), "does not take"),
        (at("w", "shape", value=[1 << 32, 1 << 32, 2, 2]), "does not take"),
        (at("w", "shape", value=[1 << 64]), "shape must be"),
        (at("w", "data_offsets", value=[8]), "two counts"),
        (at("w", "data_offsets", value=[8, 16, 24]), "two counts"),
        (at("w", "data_offsets", value=[8.0, 24]), "two counts"),
        (at("w", "data_offsets", value=[-8, 8]), "two counts"),
        (at("w", "data_offsets", value={"0": 8}), "two counts"),
        (at("w", "data_offsets", value=[24, 8]), "leave the 24 bytes"),
        (at("w", "data_offsets", value=[8, 25]), "leave the 24 bytes"),
        (at("w", "data_offsets", value=[8, 1 << 62]), "leave the 24 bytes"),
        (at("w", "data_offsets", value=[9, 24]), "does not take the 15 bytes"),
        (at("w", "data_offsets", value=[0, 16]), "overlap"),
        (at("b", "data_offsets", value=[8, 16]), "unused bytes"),
        (lambda header: header.pop("b"), "unused bytes between byte 0 and 8"),
        (lambda header: header.update(v=header.pop("b")), "there is no tensor 'b'"),
        (lambda header: header.update({"\ud800": header.pop("b")}), "there is no tensor"),
        (lambda header: header.update(c=dict(header["b"])), "overlap"),
    ],
)
def test_tensor_entries(change: Callable, match: str, tmp_path: Path):
    refuse(with_header(change), tmp_path, match)


def test_a_tensor_that_no_constant_names(tmp_path: Path):
    header = store_files.header_of(VALID)
    header["more"] = {"dtype": "I16", "shape": [1], "data_offsets": [24, 26]}
    refuse(pack(header, store_files.payload_of(VALID) + b"\0\0"), tmp_path, "no constant names")


def test_two_constants_of_one_name(tmp_path: Path):
    def copy(document: dict[str, Any]) -> None:
        document["graph"]["constants"] *= 2

    refuse(with_document(copy), tmp_path, r"constants\[2\]: there is no tensor 'w', or .* twice")


def test_a_hole_between_tensors(tmp_path: Path):
    header = store_files.header_of(VALID)
    header["w"]["data_offsets"] = [10, 26]
    payload = store_files.payload_of(VALID)
    refuse(pack(header, payload[:8] + b"\0\0" + payload[8:]), tmp_path, "unused bytes")


def test_a_raw_integer_outside_its_format(tmp_path: Path):
    payload = bytearray(store_files.payload_of(VALID))
    payload[8:10] = struct.pack("<h", 8)
    data = pack(store_files.header_of(VALID), bytes(payload))
    refuse(data, tmp_path, r"'w': raw 8 at index \(0, 0, 0\)")


def test_a_type_wider_than_the_format_needs(tmp_path: Path):
    header = store_files.header_of(VALID)
    weight = np.frombuffer(store_files.payload_of(VALID)[8:], "<i2").astype("<i4").tobytes()
    header["w"].update(dtype="I32", data_offsets=[8, 40])
    refuse(pack(header, store_files.payload_of(VALID)[:8] + weight), tmp_path, "stored as int16")


# The text.


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "fxp: is not valid JSON"),
        ("[]", f"needs a version from 1 to {FORMAT_VERSION}"),
        ("null", f"needs a version from 1 to {FORMAT_VERSION}"),
        ("{}", f"needs a version from 1 to {FORMAT_VERSION}"),
        ('{"version":0}', f"needs a version from 1 to {FORMAT_VERSION}, got 0"),
        ('{"version":-1}', f"needs a version from 1 to {FORMAT_VERSION}"),
        ('{"version":true}', f"needs a version from 1 to {FORMAT_VERSION}"),
        ('{"version":1.0}', f"needs a version from 1 to {FORMAT_VERSION}"),
        ('{"version":"1"}', f"needs a version from 1 to {FORMAT_VERSION}"),
        (
            f'{{"version":{NEWER},"new":{{}}}}',
            f"written by a newer fxp, update.* version is {NEWER}.* up to {FORMAT_VERSION}",
        ),
        (f'{{"version":{NEWER}' + "0" * 4000 + "}", "written by a newer fxp, update"),
        (f'{{"version":{NEWER}' + "0" * 9000 + "}", "not valid JSON"),
        ('{"version":1}', "the key 'producer' is missing"),
        ('{"version":1,"version":1}', "'version' appears twice"),
        ('{"version":NaN}', "NaN"),
        ("[" * 100_000 + "]" * 100_000, "fxp: JSON is nested too deeply"),
    ],
)
def test_text(text: str, match: str, tmp_path: Path):
    refuse(with_text(text), tmp_path, match)


def test_a_number_too_large_for_a_float(tmp_path: Path):
    def infinite(header: dict[str, Any]) -> None:
        text = header["__metadata__"]["fxp"]
        assert '"high":1.5' in text
        header["__metadata__"]["fxp"] = text.replace('"high":1.5', '"high":1e999')

    refuse(with_header(infinite), tmp_path, "high: must be a finite number, got inf")


GRAPH, NODES = ("graph",), ("graph", "nodes")
CONV, CLAMP = (*NODES, 0), (*NODES, 2)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (at("extra", value=1), "the key 'extra' is unknown"),
        (at("producer", value=1), "producer: must be a text"),
        (at("metadata", value=[]), "metadata: must be an object"),
        (at("metadata", value={"a": 1}), "metadata, 'a': must be a text"),
        (at("metadata", value={"a": "\udfff"}), "not valid Unicode"),
        (at("metadata", value={"\udfff": ""}), "not valid Unicode"),
        (at("graph", value=[]), "graph: must be an object"),
        (at("graph", "name", value=None), "graph, name: must be a text"),
        (at("graph", "name", value="\ud800"), "graph, name: .* is not valid Unicode"),
        (at("graph", "inputs", value={}), "inputs: must be an array"),
        (at("graph", "inputs", value=[]), "at least one input|'x' does not exist"),
        (at("graph", "outputs", value=[]), "at least one input and one output"),
        (at("graph", "outputs", value=["nothing"]), "output 'nothing' is not a value"),
        (at("graph", "outputs", value=["out", 1]), r"outputs\[1\]: must be a text"),
        (at("graph", "nodes", value=None), "nodes: must be an array"),
        (at("graph", "nodes", value=[3]), r"nodes\[0\]: must be an object"),
        (at("graph", "nodes", value=[]), "is not a value of it|nothing reads"),
        (at("graph", "states", value=[[]]), r"states\[0\]: must be an object"),
        (lambda document: document["graph"].pop("states"), "graph: the key 'states' is missing"),
        (at("graph", "constants", value=[]), "no constant names the tensors"),
        (at("graph", "constants", 0, "name", value="b"), r"stored as int16, not as int32"),
        (at("graph", "constants", 0, "name", value=["b"]), r"constants\[0\], name: must be a text"),
        (at("graph", "constants", 0, "formats", value=[]), "must be an integer 0 to -1"),
        (at("graph", "constants", 0, "formats", value=["ap_fixed<4,1>"] * 2), "must be distinct"),
        (at("graph", "constants", 0, "formats", value="a"), "must be an array"),
        (at("graph", "constants", 0, "channels", value=[]), "without channels there must be one"),
        (at("graph", "constants", 0, "channels", value=[0]), "formats must be distinct"),
        (at("graph", "constants", 0, "channels", value=[1, 0]), "in the order"),
        (at("graph", "constants", 0, "channels", value=[0, 2]), "must be an integer 0 to 1"),
        (at("graph", "constants", 0, "channels", value=[0, -1]), "must be an integer 0 to 1"),
        (at("graph", "constants", 0, "channels", value=[0, True]), "must be an integer 0 to 1"),
        (at("graph", "constants", 0, "channels", value=[0, 1, 1]), "3 channels are given"),
        (at(*NODES, 1, "name", value="conv"), "'conv' is used twice"),
        (at(*NODES, 1, "name", value="x"), "'x' is used twice"),
        (at(*NODES, 1, "name", value=""), "is not a name"),
        (at(*NODES, 1, "name", value="a b"), "does not exist|is not a name"),
        (at(*NODES, 1, "name", value="n" * 201), "does not exist|is not a name"),
        (at(*NODES, 1, "name", value="\ud800"), "not valid Unicode"),
        (at(*NODES, 1, "inputs", value=["fed", "last"]), "'fed' is only computed later"),
        (at(*NODES, 1, "inputs", value=["out", "last"]), "'out' is only computed later"),
        (at(*NODES, 1, "inputs", value=["conv", "nowhere"]), "'nowhere' does not exist"),
        (at(*NODES, 1, "inputs", value=["conv"]), "inputs, got 1"),
        (at(*NODES, 1, "inputs", value=["conv"] * 3), "inputs, got 3"),
        (at(*NODES, 1, "inputs", value=[]), "inputs, got 0"),
        (at(*NODES, 1, "inputs", value="conv"), "inputs: must be an array"),
        (at(*NODES, 1, "inputs", value=["conv", {}]), r"inputs\[1\]: must be a text"),
        (at(*NODES, 1, "type", value="ap_fixed<14,6>"), "must be written"),
        (at(*NODES, 1, "type", value="ap_fixed<99,6,AP_RND,AP_SAT>"), "1 to 63"),
        (at(*NODES, 1, "type", value="ap_fixed<14,6,AP_RND,AP_NEVER>"), "unknown mode"),
        (at(*NODES, 1, "type", value="ap_ufixed<14,6,AP_RND,AP_WRAP_SM>"), "needs a signed"),
        (at(*NODES, 1, "type", value="None"), "cannot read"),
        (at(*NODES, 1, "type", value=None), "must be a type name"),
        (at(*NODES, 1, "origin", value=None), "origin: must be a text"),
        (at(*NODES, 1, "op", value="import os"), "there is no op 'import os'"),
        (at(*NODES, 1, "op", value=["add"]), "there is no op"),
        (at(*NODES, 1, "op", value="relu"), "inputs, got 2"),
        (at(*NODES, 1, "attributes", value=[]), "attributes: must be an object"),
        (at(*NODES, 1, "attributes", value={"axis": 1}), "the key 'axis' is unknown"),
        (at(*NODES, 1, "attributes", value={"name": "x"}), "the key 'name' is unknown"),
        (at(*CONV, "attributes", "weight", value=1), "the key 'weight' is unknown"),
        (lambda d: d["graph"]["nodes"][0]["attributes"].pop("groups"), "'groups' is missing"),
        (at(*CONV, "attributes", "groups", value=True), "groups: must be an integer"),
        (at(*CONV, "attributes", "groups", value=1.0), "groups: must be an integer"),
        (at(*CONV, "attributes", "groups", value="1"), "groups: must be an integer"),
        (at(*CONV, "attributes", "groups", value=None), "groups: must be an integer"),
        (at(*CONV, "attributes", "groups", value=0), "groups must be at least 1"),
        (at(*CONV, "attributes", "groups", value=10**12), "groups: must be an integer"),
        (at(*CONV, "attributes", "groups", value=10**9), "in 1000000000 groups"),
        (at(*CONV, "attributes", "stride", value=1), "stride: must be an array"),
        (at(*CONV, "attributes", "stride", value=[1]), "must be 2 numbers"),
        (at(*CONV, "attributes", "stride", value=[1, 1, 1]), "must be 2 numbers"),
        (at(*CONV, "attributes", "stride", value=[1, [1]]), r"stride\[1\]: must be an integer"),
        (at(*CONV, "attributes", "stride", value=[1, 0]), "must be >= 1"),
        (at(*CONV, "attributes", "stride", value=[1, -1]), "must be >= 1"),
        (at(*CONV, "attributes", "dilation", value=[10**12, 1]), "must be an integer"),
        (at(*CONV, "attributes", "dilation", value=[2**31 - 1, 1]), "too large|do not fit"),
        (at(*CONV, "attributes", "padding", value=[10**9, 0, 0, 0]), "padding must be"),
        (at(*CONV, "attributes", "padding", value=[-1, 0, 0, 0]), "padding must be"),
        (at(*CONV, "attributes", "padding", value={}), "must be an array"),
        (at(*CONV, "attributes", "padding_mode", value="circular"), "must be one of"),
        (at(*CONV, "attributes", "padding_mode", value=["zero"]), "must be one of"),
        (at(*CONV, "inputs", value=["x", "b", "w"]), "weight must have four axes"),
        (at(*CONV, "inputs", value=["x", "w", "w"]), "bias must have shape"),
        (at(*CONV, "inputs", value=["w", "w", "b"]), "needs an image|must be a value"),
        (at(*CLAMP, "attributes", "high", value="1"), "must be a finite number"),
        (at(*CLAMP, "attributes", "high", value=False), "must be a finite number"),
        (at(*CLAMP, "attributes", "high", value=10**400), "must be a finite number"),
        (at(*CLAMP, "attributes", "high", value=None), "needs a lower or an upper bound"),
        (at("graph", "inputs", 0, "format", value="ap_ufixed<1000000000,1>"), "not an integer"),
        (at("graph", "inputs", 0, "format", value="ap_fixed<8,-999999999>"), "frac must be within"),
        (at("graph", "inputs", 0, "format", value="ap_fixed<8," + "9" * 5000 + ">"), "type name"),
        (at("graph", "inputs", 0, "format", value="ap_fixed<0,1>"), "1 to 63"),
        (at("graph", "inputs", 0, "format", value="ap_fixed<+8,1>"), "must be written"),
        (at("graph", "inputs", 0, "format", value="INT8"), "must be written"),
        (at("graph", "inputs", 0, "format", value=8), "must be a type name"),
        (at("graph", "inputs", 0, "format", value=None), "must be a type name"),
        (at("graph", "inputs", 0, "shape", value=None), "shape: must be an array"),
        (at("graph", "inputs", 0, "shape", value=[]), "must be an image"),
        (at("graph", "inputs", 0, "shape", value=[1, "H"]), "must be an image"),
        (at("graph", "inputs", 0, "shape", value=["C", "H", "W"]), "fixed number of channels"),
        (at("graph", "inputs", 0, "shape", value=[0, "H", "W"]), "must be an integer 1 to"),
        (at("graph", "inputs", 0, "shape", value=[-1, "H", "W"]), "must be an integer 1 to"),
        (at("graph", "inputs", 0, "shape", value=[True, "H", "W"]), "must be an integer 1 to"),
        (at("graph", "inputs", 0, "shape", value=[1.0, "H", "W"]), "must be an integer 1 to"),
        (at("graph", "inputs", 0, "shape", value=[1, None, "W"]), "must be an integer 1 to"),
        (at("graph", "inputs", 0, "shape", value=[2**31, 1, 1]), "must be an integer 1 to"),
        (at("graph", "inputs", 0, "shape", value=[2**31 - 1] * 3), "too large"),
        (at("graph", "inputs", 0, "shape", value=[10**9, "H", "W"]), "have 1000000000 channels"),
        (at("graph", "states", 0, "reset", value=8192), "reset: must be an integer -8192 to 8191"),
        (at("graph", "states", 0, "reset", value=10**400), "reset: must be an integer"),
        (at("graph", "states", 0, "reset", value=0.0), "reset: must be an integer"),
        (at("graph", "states", 0, "reset", value=True), "reset: must be an integer"),
        (at("graph", "states", 0, "reset", value=None), "reset: must be an integer"),
        (at("graph", "states", 0, "source", value="nowhere"), "no value 'nowhere' feeds it"),
        (at("graph", "states", 0, "source", value="out"), "must be equal"),
        (at("graph", "states", 0, "source", value=1), "source: must be a text"),
        (at("graph", "states", 0, "name", value="x"), "'x' is used twice"),
        (at("graph", "states", 0, "format", value="ap_fixed<14,7>"), "must be equal"),
        (at("graph", "states", 0, "shape", value=[2, "H", "W"]), "do not fit|must be equal"),
    ],
)
def test_document(change: Callable, match: str, tmp_path: Path):
    refuse(with_document(change), tmp_path, match)


@pytest.mark.parametrize(
    "formula",
    [
        "", "3", "-H", "H/2", "H**2", "H+", "2H", "1or2", "H if H else W", "__import__('os')",
        "H()", "H.real", "H[0]", "H+W", "H*W", "H-H", "(H)", "H + 1", "H+0", "1*H", "H*2", "0*H",
        "2*-H", "H//0", "1//0", "1//0+H", "(2*H+4)//4", "2*H//2", "None", "True", "lambda",
        "\u210b", "H\0", "H\n", "99999999999*H", "H+2147483648", "H//2147483648", "H*" * 99 + "1",
        "(" * 99 + "H" + ")" * 99, "(" * 50_000 + "H", "9" * 199, "H" * 10_000,
        "9" * 100_000 + "*H", "1" * 190 + "$", "a" * 190 + "$", "{'H'}", "'H'", "0x10*H", "1_0*H",
        "1e3*H",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:invalid decimal literal")
def test_formulas(formula: str, tmp_path: Path):
    change = at("graph", "inputs", 0, "shape", 1, value=formula)
    refuse(with_document(change), tmp_path, r"shape\[1\]")


@pytest.mark.parametrize(
    ("name", "attribute", "value", "match"),
    [
        ("pooled", "window", [10**9, 10**9], "window"),
        ("pooled", "window", [0, 3], "at least 1|exceeds half"),
        ("average", "window", [10**9, 10**9], "window|supported"),
        ("average", "stride", [0, 1], "at least 1"),
        ("average", "count_padding", 1, "must be true or false"),
        ("average", "count_padding", None, "must be true or false"),
        ("nearest", "factor", 10**9, "factor must be 1 to 64"),
        ("shallow", "factor", 0, "factor must be 1 to 64"),
        ("deep", "factor", -1, "factor must be 1 to 64"),
        ("channels", "axis", "batch", "must be one of"),
        ("channels", "start", 10**9, "leaves nothing"),
        ("channels", "stop", "4", "must be an integer"),
        ("channels", "stop", -(10**12), "must be an integer"),
        ("channels", "step", 0, "step must be at least 1"),
        ("rows", "stop", 5, "free size"),
        ("rows", "start", -1, "free size"),
        ("bicubic", "parameter", -0.6, "must be -0.5 or -0.75"),
        ("bicubic", "parameter", None, "must be a finite number"),
        ("bicubic", "border", "edge", "must be one of"),
        ("clamp6", "low", 7, "exceeds"),
        ("padded", "sides", [1 << 20, 0, 0, 0], "padding must be"),
    ],
)
def test_op_attributes(name: str, attribute: str, value: Any, match: str, tmp_path: Path):
    change = at("graph", "nodes", node(name), "attributes", attribute, value=value)
    refuse(with_document(change, EVERY_OP), tmp_path, match)


def test_average_pool_windows_are_bounded():
    with pytest.raises(GraphError):
        AveragePool((4096, 4096))


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
