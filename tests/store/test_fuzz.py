"""Random damage: a file loads as a valid graph or is refused, quickly and in little memory."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import store_files
import store_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fxp.graph import Graph
from fxp.graph.extents import Extent
from fxp.store import FileError, load_graph, save_graph
from fxp.store import graph_file as store

SOURCES = [store_files.VALID, store._to_bytes(store_graphs.every_op(), {"a": "b"}, "fxp 0.1.0")]
QUICK = settings(
    max_examples=400,
    deadline=3000,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", autouse=True)
def _little_memory() -> Iterator[None]:
    """Let a huge allocation fail instead of taking the machine's memory."""
    status = Path("/proc/self/statm")
    if not status.exists():
        yield
        return
    import resource

    used = int(status.read_text().split()[0]) * resource.getpagesize()
    earlier = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), earlier[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, earlier)


def check(data: bytes, folder: Path) -> None:
    path = folder / "fuzzed.fxp"
    path.write_bytes(data)
    try:
        graph, metadata = load_graph(path)
    except FileError as error:
        assert str(error).startswith(f"{path}: ")  # noqa: PT017
        return
    assert isinstance(graph, Graph)
    assert graph.is_integer
    str(graph).encode()
    save_graph(graph, path, metadata=metadata)
    assert load_graph(path) == (graph, metadata)


@QUICK
@given(st.data())
def test_damaged_bytes(tmp_path: Path, data: st.DataObject):
    content = bytearray(data.draw(st.sampled_from(SOURCES)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        match data.draw(st.sampled_from(["flip", "set", "insert", "delete", "cut", "swap"])):
            case "flip" if place < len(content):
                content[place] ^= 1 << data.draw(st.integers(0, 7))
            case "set" if place < len(content):
                content[place] = data.draw(st.sampled_from(b'"\\{}[],:-0129eE.\x00\xff ntf'))
            case "insert":
                content[place:place] = data.draw(st.binary(min_size=1, max_size=9))
            case "delete":
                del content[place : place + data.draw(st.integers(1, 9))]
            case "cut":
                del content[place:]
            case "swap":
                other = data.draw(st.integers(0, len(content)))
                content[place : place + 4] = content[other : other + 4]
    check(bytes(content), tmp_path)


@QUICK
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(tmp_path: Path, content: bytes, framed: bool):
    check(store_files.pack(content, b"") if framed else content, tmp_path)


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """Paths of every entry below the root."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found


ODD = st.one_of(
    st.sampled_from(
        [None, True, False, "", "x", "conv", "w", "b", "H", "W+1", "H//2", "zero", [], {},
         0, 1, 2, 3, 4, 7, 8, 64, 65, 1000, 65535, 65536, -1, -8, 2**31 - 1, 2**31, 2**63, 10**12,
         -(10**9), 0.0, -0.5, -0.75, 1e300, -1e-300, 1.5, [1, 1], [2, 2], [0, 0, 0, 0], [3], ["x"],
         "ap_fixed<8,4>", "ap_fixed<63,-900>", "ap_fixed<63,1000>", "ap_ufixed<62,62>",
         "ap_ufixed<1,0>", "ap_fixed<1,1,AP_TRN,AP_WRAP>", "ap_fixed<63,900,AP_RND,AP_SAT>",
         "\ud800", "n" * 201, [4, "H", "W"], [1, 1, 1], [8]]
    ),
    st.integers(-(2**70), 2**70),
    st.integers(-20, 20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.sampled_from(sorted(store.REGISTRY)),
)  # fmt: skip


def mutate(tree: Any, data: st.DataObject) -> None:
    """Change one entry: replace, delete, double, or copy another entry over it."""
    every = places(tree)
    *parents, last = data.draw(st.sampled_from(every))
    target = tree
    for key in parents:
        target = target[key]
    match data.draw(st.sampled_from(["replace", "replace", "delete", "copy", "double", "rename"])):
        case "replace":
            target[last] = copy.deepcopy(data.draw(ODD))
        case "delete":
            del target[last]
        case "copy":
            other: Any = tree
            for key in data.draw(st.sampled_from(every)):
                other = other[key]
            target[last] = copy.deepcopy(other)
        case "double" if isinstance(target, list):
            target.insert(last, copy.deepcopy(target[last]))
        case "rename" if isinstance(target, dict):
            target[data.draw(st.text(max_size=4))] = target.pop(last)


@QUICK
@given(st.data())
def test_damaged_document(tmp_path: Path, data: st.DataObject):
    source = data.draw(st.sampled_from(SOURCES))
    document = store_files.document_of(source)
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(document["graph"], data)
    check(store_files.with_text(json.dumps(document), source), tmp_path)


@QUICK
@given(st.data())
def test_damaged_header(tmp_path: Path, data: st.DataObject):
    source = data.draw(st.sampled_from(SOURCES))
    header = store_files.header_of(source)
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(header, data)
    check(store_files.pack(header, store_files.payload_of(source)), tmp_path)


@QUICK
@given(
    st.sampled_from("HW"),
    st.lists(st.tuples(st.sampled_from("+*/"), st.integers(-5, 9)), max_size=6),
)
def test_formulas_come_back(symbol: str, steps: list[tuple[str, int]]):
    extent = Extent(symbol)
    for operation, number in steps:
        if operation == "+":
            extent += number
        elif operation == "*":
            extent *= max(number, 1)
        else:
            extent //= max(number, 1)
    assert store._size(str(extent), "here") == extent
