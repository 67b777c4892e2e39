"""Changes of valid files, and the check of a refusal."""

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import store_files
import store_graphs

from fxp.store import FileError, load_graph
from fxp.store import graph_file as store

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
