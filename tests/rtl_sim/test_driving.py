"""A core driven through its registers by `fxp.hls.driver`, over the AXI models of cocotbext-axi."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from simulations import SIMULATIONS, bench_of, graph

from fxp.rtl_sim.build import Bench

WIDTH, HEIGHT = 8, 6


Seen = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def core(work_dir) -> Bench:
    return bench_of(
        graph("kimsr_shaped"), "icarus", work_dir, max_width=WIDTH, max_height=HEIGHT,
        bus_errors=True,
    )[1]  # fmt: skip


@pytest.fixture(scope="module")
def seen(core, tmp_path_factory) -> Seen:
    folder = tmp_path_factory.mktemp("driving")
    core.play("driving_bench", folder)
    SIMULATIONS["icarus"] += 1
    assert (folder / "seen.json").is_file(), (folder / "simulation.log").read_text()[-3000:]
    return json.loads((folder / "seen.json").read_text())


def test_settings_are_read_and_written(core, seen):
    assert seen["settings"] == {
        "version": core.core.version, "largest": [8, 6], "scale": 2, "size": [8, 6],
        "enabled": True, "bypass": False, "new size": [5, 3], "kept size": [5, 3],
        "errors": ["SIZE_REFUSED"], "cleared": [],
        # Read-only and unmapped writes, and an unmapped read: SLVERR.
        "responses": [2] * 9,
    }  # fmt: skip


def test_a_core_stops_at_the_end_of_a_frame_and_interrupts(seen):
    told = seen["stopping"]
    assert told["before"] == told["after a while"] in (1, 2)
    assert told["lines"] == 3 * told["before"]
    assert (told["quiet"], told["raised"], told["lowered"]) == (0, 1, 0)
    assert told["events"] == ["FRAME_DONE"]
    assert told["errors"] == []


def test_a_reset_by_register_withdraws_no_beat_and_forgets_the_rest(seen):
    told = seen["resetting"]
    assert told["errors"] == ["MISSING_START"]
    assert told["irq"] == 1
    assert "waits for the receiver" in told["waits"]
    assert told["after"] == [0, 0, [], False, 0]
    assert told["size"] == [6, 4]
    # The beat that was offered is taken, a block of four pixels; nothing else of the first frame.
    # Then a whole frame: four lines of six blocks, the first block marked.
    assert told["lines"] == [[4 + 4, 4 + 24], [0, 24], [0, 24], [0, 24]]


def test_sizes_written_while_frames_pass_tear_none(seen):
    lines = seen["resizing"]["lines"]
    assert lines[0][0] == 4
    starts = [i for i, (user, _) in enumerate(lines) if user] + [len(lines)]
    shapes = {tuple(width // 4 for _, width in lines[a:b]) for a, b in pairwise(starts)}
    assert shapes == {(8, 8), (5, 5, 5, 5)}
