"""Compiled kernels on disk: no folder, no room, damage, and processes at once change no result."""

from __future__ import annotations

import ast
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fxp
from fxp.kernels.kernel_cache import _KernelFiles

PACKAGE = Path(fxp.__file__).parent
PROGRAM = """
import numpy as np
from fxp.engine import Engine
from fxp.formats import Format, Quantization
from fxp.graph import Graph, Node, Value
from fxp.graph.ops import Relu

form = Format(8, 0)
node = Node("y", Relu(), ("x",), Quantization(form))
graph = Graph("g", (Value("x", (2, 3, 3), form),), (node,), ("y",))
image = np.arange(-9, 9).reshape(2, 3, 3)
(result,) = Engine(graph).run([image], threads=1).outputs
assert (result == np.maximum(image, 0)).all()
print("right")
"""

COMPILERS = {"njit", "jit", "cfunc", "vectorize", "guvectorize"}


def started(
    folder: Path, package: Path = PACKAGE, most_bytes: int | None = None
) -> subprocess.Popen:
    """Start a process that runs a graph and keeps its kernels in a folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(package.parent),
        "NUMBA_CACHE_DIR": str(folder),
        "XDG_CACHE_HOME": "/dev/null",
        "HOME": "/dev/null",
    }

    def bounded() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=bounded,
    )


def warnings_of(process: subprocess.Popen) -> str:
    """What a process that gave the right result wrote besides."""
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, "right\n"), err
    return err


def kernels(folder: Path) -> dict[Path, bytes]:
    """Files in a cache, with their content."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_no_place_to_write(tmp_path: Path) -> None:
    package = tmp_path / "fxp"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "models", "hls",
                                                                    "rtl_sim"))  # fmt: skip
    # Not a folder, which nobody can write into, not even the superuser.
    (package / "kernels" / "__pycache__").write_text("")
    warned = warnings_of(started(Path("/dev/null/kernels"), package))
    assert warned.count("KernelCacheWarning") == 1
    assert f"compiled kernels cannot be kept in {package / 'kernels' / '__pycache__'}" in warned
    assert "NUMBA_CACHE_DIR" in warned


def test_a_full_disk(tmp_path: Path) -> None:
    warned = warnings_of(started(tmp_path, most_bytes=64))
    assert warned.count("KernelCacheWarning") == 1
    assert f"compiled kernels cannot be kept in {tmp_path}" in warned
    assert "File too large" in warned
    assert kernels(tmp_path) == {}


def test_damaged_files_are_compiled_and_written_again(tmp_path: Path) -> None:
    assert warnings_of(started(tmp_path)) == ""
    whole = kernels(tmp_path)
    assert len(whole) >= 3
    for number, (path, content) in enumerate(whole.items()):
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 1
        path.write_bytes([b"", content[: len(content) // 2], bytes(damaged)][number % 3])
    assert warnings_of(started(tmp_path)) == ""
    repaired = kernels(tmp_path)
    assert repaired.keys() == whole.keys()
    assert all(len(repaired[path]) > len(content) // 2 for path, content in whole.items())
    times = {path: path.stat().st_mtime_ns for path in repaired}
    assert warnings_of(started(tmp_path)) == ""
    assert {path: path.stat().st_mtime_ns for path in kernels(tmp_path)} == times


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    files = _KernelFiles(tmp_path, "add-3.py311", 1)
    files.save("int16", "code")
    (path,) = kernels(tmp_path)
    path.unlink()
    path.mkdir()
    assert files.load("int16") is None
    with pytest.raises(IsADirectoryError, match=f"{path.name} is a folder, which must be removed"):
        files.save("int16", "code")


def test_a_file_of_another_kernel_is_not_used(tmp_path: Path) -> None:
    warnings_of(started(tmp_path))
    paths = list(kernels(tmp_path))
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, [*contents[1:], contents[0]], strict=True):
        path.write_bytes(content)
    assert warnings_of(started(tmp_path)) == ""


def test_files_of_earlier_sources_are_removed(tmp_path: Path) -> None:
    old, new = (_KernelFiles(tmp_path, "add-3.py311", stamp) for stamp in (1, 2))
    other = _KernelFiles(tmp_path, "subtract-3.py311", 1)
    old.save("int16", "old code")
    old.save("int32", "old code")
    other.save("int16", "other code")
    assert new.load("int16") is None
    new.save("int16", "new code")
    assert (new.load("int16"), new.load("int32")) == ("new code", None)
    assert (old.load("int16"), old.load("int32")) == (None, None)
    assert other.load("int16") == "other code"
    assert len(kernels(tmp_path)) == 2


def test_processes_at_once(tmp_path: Path) -> None:
    processes = [started(tmp_path) for _ in range(3)]
    assert [warnings_of(process) for process in processes] == ["", "", ""]
    assert all(path.suffix == ".kernel" for path in kernels(tmp_path))


@pytest.mark.parametrize("folder", [PACKAGE, PACKAGE / "models"], ids=lambda path: path.name)
def test_every_kernel_is_kept_this_way(folder: Path) -> None:
    files = [path for path in folder.resolve().rglob("*.py") if path.name != "compiler.py"]
    taken = {
        (path.name, alias.name)
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "numba"
        for alias in node.names
    }
    assert len(files) > 20
    assert not {use for use in taken if use[1] in COMPILERS}
