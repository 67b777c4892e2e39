"""What is saved comes back: equality, determinism, the golden file, safetensors, atomic writes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
import store_files
import store_graphs

from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import REGISTRY, Linear, Relu, Requantize
from fxp.store import (
    FORMAT_VERSION,
    FileError,
    attribute_hints,
    container,
    graph_digest,
    load_graph,
    save_graph,
)
from fxp.store import graph_file as store

GOLDEN = sorted((Path(__file__).parent / "golden").glob("version*.fxp"))
GOLDEN_METADATA = store_graphs.GOLDEN_METADATA
EVERY_OP = store_graphs.every_op()


def test_the_graph_has_every_op():
    assert {node.op.name for node in EVERY_OP.nodes} == set(REGISTRY)


@pytest.mark.parametrize("graph", [store_graphs.small(), EVERY_OP], ids=lambda graph: graph.name)
def test_round_trip(graph: Graph, tmp_path: Path):
    path = tmp_path / "model.fxp"
    save_graph(graph, path, metadata=GOLDEN_METADATA)
    loaded, metadata = load_graph(str(path))
    assert loaded == graph
    assert metadata == GOLDEN_METADATA
    assert [node.origin for node in loaded.nodes] == [node.origin for node in graph.nodes]
    assert [n.accumulator for n in loaded.nodes] == [n.accumulator for n in graph.nodes]
    assert str(loaded) == str(graph)
    assert all(not constant.data.flags.writeable for constant in loaded.constants)
    again = tmp_path / "again.fxp"
    save_graph(loaded, again, metadata=dict(reversed(metadata.items())))
    assert again.read_bytes() == path.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["again.fxp", "model.fxp"]


def test_without_constants_and_metadata(tmp_path: Path):
    form = Format(62, -5, signed=False)
    kind = Quantization(form)
    graph = Graph("ü", (Value("a", (5,), form),), (Node("n", Relu(), ("a",), kind),), ("n", "a"))
    save_graph(graph, tmp_path / "file")
    assert load_graph(tmp_path / "file") == (graph, {})


@pytest.mark.parametrize(
    ("width", "signed", "dtype"),
    [(1, True, "I16"), (15, False, "I16"), (16, True, "I16"), (16, False, "I32"), (17, True, "I32"),
     (32, True, "I32"), (32, False, "I64"), (33, True, "I64"), (63, True, "I64"),
     (63, False, "I64")],
)  # fmt: skip
def test_constants_take_the_narrowest_type(width: int, signed: bool, dtype: str, tmp_path: Path):
    form = Format(width, width, signed)
    data = np.array([form.min_raw, form.max_raw])
    node = Node("c", Linear(), ("x", "w", "k"), Quantization(Format(8, 0)))
    constants = (
        Constant("w", np.zeros((2, 1), np.int64), (Format(2, form.frac),)),
        # Half the range: with 63 bits unsigned the sum would need 64.
        Constant("k", data // 2, (form,)),
    )
    graph = Graph("g", (Value("x", (1,), Format(1, 0, False)),), (node,), ("c",), constants)
    path = tmp_path / "x.fxp"
    save_graph(graph, path)
    assert store_files.header_of(path.read_bytes())["k"]["dtype"] == dtype
    assert load_graph(path)[0] == graph


def test_golden_file_is_reproduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(store, "version", lambda: "0.1.0")
    path = tmp_path / f"version{FORMAT_VERSION}.fxp"
    save_graph(store_graphs.small(), path, metadata=GOLDEN_METADATA)
    assert path.read_bytes() == GOLDEN[-1].read_bytes()


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        (
            "tests/store/golden/version3.fxp",
            "a4aadd2123ad56d90203520a16cf784ac6a42475e1d287dfbc0759f6dc9009b4",
        ),
        (
            "tests/store/golden/kimsr.fxp",
            "123f6345e699be0852f43e9933b08957b5751857f8f0fd1dabb47b1f8d0ba368",
        ),
    ],
)
def test_the_digest_of_a_graph_stays_what_it_was(name: str, digest: str):
    """Cores and states of streams hold it: these digests are those of file version 3."""
    graph, _ = load_graph(Path(__file__).parents[2] / name)
    assert graph_digest(graph) == digest


def test_every_version_has_a_golden_file():
    wanted = [f"version{n + 1}" for n in range(FORMAT_VERSION)]
    assert [path.stem for path in GOLDEN] == wanted, "run python tests/store/store_graphs.py"


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_golden_files_load(golden: Path):
    graph, metadata = load_graph(golden)
    assert graph == store_graphs.small()
    assert metadata == GOLDEN_METADATA


def test_every_attribute_has_a_file_format():
    for op_class in REGISTRY.values():
        assert all(hint is not None for hint in attribute_hints(op_class).values())


def test_safetensors_reads_our_file(tmp_path: Path):
    path = tmp_path / "model.fxp"
    save_graph(EVERY_OP, path)
    tensors = safetensors.numpy.load_file(path)
    assert tensors.keys() == {constant.name for constant in EVERY_OP.constants}
    for constant in EVERY_OP.constants:
        np.testing.assert_array_equal(tensors[constant.name], constant.data)
    with safetensors.safe_open(path, "numpy") as opened:
        assert list(opened.metadata()) == ["fxp"]


def test_we_read_a_file_that_safetensors_wrote(tmp_path: Path):
    ours, theirs = tmp_path / "ours.fxp", tmp_path / "theirs.fxp"
    save_graph(EVERY_OP, ours, metadata={"a": "b"})
    with safetensors.safe_open(ours, "numpy") as opened:
        metadata = opened.metadata()
    safetensors.numpy.save_file(safetensors.numpy.load_file(ours), theirs, metadata)
    assert load_graph(theirs) == (EVERY_OP, {"a": "b"})


def test_loading_needs_neither_safetensors_nor_torch(tmp_path: Path):
    blocked = ["safetensors", "torch", "onnx", "onnxruntime", "typer", "rich", "PIL", "scipy"]
    code = (
        f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
        f"from fxp.store import load_graph, save_graph\n"
        f"graph, _ = load_graph({str(GOLDEN[-1])!r})\n"
        f"save_graph(graph, {str(tmp_path / 'copy.fxp')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_tensors_are_views_and_read_only():
    tensors, _ = container.decode(store_files.VALID)
    for tensor in tensors.values():
        assert not tensor.flags.writeable
        assert not tensor.flags.owndata


def test_float_graph_is_refused(tmp_path: Path):
    graph = Graph("f", (Value("x", (3,)),), (Node("r", Relu(), ("x",)),), ("r",))
    with pytest.raises(FileError, match=r"'f' is a float graph"):
        save_graph(graph, tmp_path / "x.fxp")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("metadata", [{1: "a"}, {"a": 1}, {"a": None}, {"a": "\ud800"}])
def test_metadata_that_is_no_text_is_refused(metadata: dict, tmp_path: Path):
    with pytest.raises(FileError, match="metadata"):
        save_graph(store_graphs.small(), tmp_path / "x.fxp", metadata=metadata)
    assert os.listdir(tmp_path) == []


def test_a_file_that_would_come_back_different_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store, "_from_bytes", lambda data: (None, {}))
    with pytest.raises(FileError, match="would change its type"):
        save_graph(store_graphs.small(), tmp_path / "x.fxp")
    assert not list(tmp_path.iterdir())


def test_symbols_that_are_no_formula_are_refused(tmp_path: Path):
    form = Format(4, 0)
    image = Value("x", (1, Extent("class"), Extent("a b")), form)
    node = Node("r", Requantize(), ("x",), Quantization(form))
    with pytest.raises(FileError, match="cannot read 'class'"):
        save_graph(Graph("g", (image,), (node,), ("r",)), tmp_path / "x.fxp")


def test_reset_reaches_the_ends_of_its_format(tmp_path: Path):
    form = Format(63, 0)
    for reset in (form.min_raw, form.max_raw):
        graph = Graph(
            "g",
            (Value("x", (1,), form),),
            (Node("r", Requantize(), ("x",), Quantization(form)),),
            ("s",),
            states=(State(Value("s", (1,), form), "r", reset),),
        )
        save_graph(graph, tmp_path / "x.fxp")
        assert load_graph(tmp_path / "x.fxp")[0].states[0].reset == reset


class _FullDiskError(OSError):
    pass


@pytest.mark.parametrize("step", ["replace", "fsync"])
@pytest.mark.parametrize("failure", [_FullDiskError, KeyboardInterrupt])
def test_a_failed_write_changes_nothing(
    step: str, failure: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "model.fxp"
    path.write_bytes(b"earlier")

    def fail(*_: object) -> None:
        raise failure("no space left")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(failure, match="no space left"):
        save_graph(store_graphs.small(), path)
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["model.fxp"]
    assert path.read_bytes() == b"earlier"
    save_graph(store_graphs.small(), path)
    assert load_graph(path)[0] == store_graphs.small()


def test_saving_into_a_missing_folder_or_onto_a_folder(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        save_graph(store_graphs.small(), tmp_path / "missing" / "x.fxp")
    with pytest.raises(OSError, match="directory"):
        save_graph(store_graphs.small(), tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_a_saved_file_has_ordinary_permissions(tmp_path: Path):
    plain = tmp_path / "plain"
    plain.touch()
    save_graph(store_graphs.small(), tmp_path / "x.fxp")
    assert (tmp_path / "x.fxp").stat().st_mode == plain.stat().st_mode
