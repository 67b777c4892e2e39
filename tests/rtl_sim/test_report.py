"""The report on a whole frame: its figures come from the run and from the data sheet."""

from __future__ import annotations

import pytest

from benchmarks import rtl
from fxp.hls import Core, emit_rtl
from fxp.models import sr
from fxp.rtl_sim import FrameResult
from fxp.rtl_sim.differences import CoreDifference


@pytest.fixture(scope="module")
def core(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "core"
    emit_rtl(sr.load("kimsr_x2"), folder, max_width=1920, max_height=1080)
    return folder


def _result(core, difference=None):
    return FrameResult(
        bit_exact=difference is None, difference=difference, frames=1, cycles=2_079_526,
        total_cycles=2_079_526, latency_cycles=5760, input_cycles=2_073_600, pixels=2_073_600,
        status=0, seconds=3.0, compile_seconds=1.0, simulation_seconds=2.0, core=Core.read(core),
    )  # fmt: skip


def test_resources_are_those_of_the_data_sheet(core):
    found = rtl.DataSheetFigures.read(core)
    total = (core / "README.md").read_text().splitlines()
    (line,) = [line for line in total if line.startswith("| **Sum**")]
    sums = [int(cell.replace(",", "")) for cell in line.strip("| ").split(" | ")[1:]]
    assert sums[:2] == [found.multipliers, found.adders]
    assert sums[3] == found.memory.total()
    # Tags have registers, but are no module of their own.
    assert 0 < sums[2] - found.registers < 2000


def test_all_memories_of_the_shipped_network_fit(core):
    memory = rtl.DataSheetFigures.read(core).memory
    assert memory[rtl.LINE_MEMORIES] == 2 * 1920 * (8 + 32 * 14 + 16 * 14)
    assert memory.total() <= 2.7e6


def test_the_page(core):
    resources = rtl.DataSheetFigures.read(core)
    right = rtl.Measurement("dsp", _result(core), resources, 47.0)
    other = rtl.Measurement("shift_add", _result(core), resources, 46.0)
    body = rtl.page([right, other], 1920)
    assert "1920×1080 to 3840×2160" in body
    for row in (
        "|  | dsp | shift_add |",
        "| Latency, lines | 3.00 | 3.00 |",
        "| Clocks per pixel taken | 1.000000 | 1.000000 |",
        "| The same, seconds of processor time | 47 | 46 |",
    ):
        assert row in body
    wrong = CoreDifference("clamp", "expected 1, got 2", 0, 0, 3, 4, 1, 2)
    differs = rtl.Measurement("dsp", _result(core, wrong), resources, 47.0)
    assert "NO: clamp: frame 0, channel 0, row 3, column 4" in rtl.page([differs], 1920)


def test_the_mosaic_has_any_size():
    for size in ((1920, 1080), (3, 5), (1, 1)):
        assert rtl.mosaic(*size).shape == size[::-1]
    assert rtl.mosaic(1920, 1080).std() > 30
