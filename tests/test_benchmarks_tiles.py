"""The benchmark of register tiles."""

from __future__ import annotations

import pytest

from benchmarks.speed import details, tile_shapes
from benchmarks.speed.timing import Settings
from fxp.kernels.host import FEW, MANY_NARROW, MANY_WIDE, host_tiles


@pytest.mark.parametrize("host", [MANY_WIDE, FEW, MANY_NARROW], ids=lambda host: host.name)
def test_one_shape_differs_at_a_time(host):
    found = tile_shapes.shapes(host)
    assert next(iter(found)) == tile_shapes.BUILT_IN
    assert len({repr(tiles) for tiles in found.values()}) == len(found) >= 7
    for name, tiles in found.items():
        if name.startswith("dense"):
            assert (tiles.dense[1:], tiles.depthwise) == (host.dense[1:], host.depthwise)
        if name.startswith("depthwise"):
            assert (tiles.depthwise[1:], tiles.dense) == (host.depthwise[1:], host.dense)


def test_shapes_are_timed_and_compared(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tile_shapes, "NAMES", ("conv3x3",))
    name = host_tiles().name
    monkeypatch.setitem(tile_shapes.DENSE, name, tile_shapes.DENSE[name][:1])
    monkeypatch.setitem(tile_shapes.DEPTHWISE, name, ())
    said: list[str] = []
    (record,) = tile_shapes.measure(Settings(True, 1, 0.0), said.append)
    assert record["name"] == "conv3x3"
    assert len(said) == 1
    assert next(iter(record["seconds"])) == "built in"
    assert min(record["seconds"].values()) > 0


def test_table():
    seconds = {"built in": 0.5, "dense, 32 channels of 12 pixels": 0.4, "other": 1.0}
    item = {"name": "a", "title": "A", "input": [3, 20, 30], "seconds": seconds}
    record = {"machine": {}, "tiles": [item]}
    heading, text = details.sections(record, "Some processor")
    assert heading == "### Some processor: register tiles"
    assert text.splitlines()[2:] == [
        "| tiles | A, 30×20 |",
        "| :-- | --: |",
        "| built in | 1.00× |",
        "| dense, 32 channels of 12 pixels | 1.25× |",
        "| other | 0.50× |",
    ]
