"""The choice of a simulator, the forms in which `cosim` takes a model, and progress in a log."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from simulations import SIMULATIONS, frame, graph

from fxp.cli import console
from fxp.model import FixedModel
from fxp.models import sr
from fxp.rtl_sim import (
    Stalls,
    comparison,
    cosim,
    duration_text,
    expected_seconds,
    quickest_simulator,
)
from fxp.rtl_sim import estimates as estimates_module
from fxp.rtl_sim.estimates import clock_count
from fxp.rtl_sim.simulators import SimulatorError


def test_small_images_go_to_icarus_and_large_ones_to_verilator():
    small = FixedModel(graph("kimsr_shaped"))
    assert quickest_simulator(small, [np.zeros((1, 16, 16), int)]) == "icarus"
    assert quickest_simulator(small, [np.zeros((1, 480, 640), int)]) == "verilator"
    large = sr.load("kimsr_x2")
    assert quickest_simulator(large, [np.zeros((1, 8, 8), int)]) == "icarus"
    assert quickest_simulator(large, [np.zeros((1, 64, 64), int)]) == "verilator"
    # Only one of them writes such a file.
    assert quickest_simulator(small, [np.zeros((1, 480, 640), int)], suffix=".fst") == "icarus"
    assert quickest_simulator(small, [np.zeros((1, 2, 2), int)], suffix=".vcd") == "verilator"


def test_without_the_quickest_simulator_the_other_is_taken(monkeypatch):
    model = FixedModel(graph("kimsr_shaped"))
    images = [np.zeros((1, 4, 4), int)]

    def find(missing: set[str]):
        def found(name: str) -> None:
            if name in missing:
                raise SimulatorError(f"{name} is not installed")

        return found

    monkeypatch.setattr(estimates_module, "find_simulator", find({"icarus"}))
    assert quickest_simulator(model, images) == "verilator"
    monkeypatch.setattr(estimates_module, "find_simulator", find({"icarus", "verilator"}))
    with pytest.raises(SimulatorError, match="icarus is not installed"):
        quickest_simulator(model, images)


def test_stalls_and_folding_take_longer():
    model = FixedModel(graph("kimsr_shaped"))
    images = [np.zeros((1, 100, 100), int)]
    usual = expected_seconds("icarus", model, images)
    assert expected_seconds("icarus", model, images, Stalls("random50")) > 1.5 * usual
    assert expected_seconds("icarus", model, images, fold=4) > 3 * usual


def test_durations_in_words():
    assert duration_text(0.2) == "1 second"
    assert duration_text(70) == "71 seconds"
    assert duration_text(121) == "3 minutes"
    assert duration_text(5401) == "2 hours"


def test_a_module_a_path_and_stalls_by_name(tmp_path: Path):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.ReLU()).eval()
    image = np.random.default_rng(0).random((1, 4, 5))
    told: list[str] = []
    result = cosim(
        network, image, stalls="random25/none", progress=lambda done, total, text: told.append(text)
    )
    SIMULATIONS["icarus"] += 1
    assert result.bit_exact, str(result)
    assert (result.stalls.source, result.stalls.sink) == ("random25", "none")
    assert result.simulator.startswith("icarus")
    assert any("about 4 seconds in all" in text for text in told), told
    with pytest.raises(ValueError, match="must be real numbers"):
        cosim(network, np.zeros((1, 4, 5), np.uint8))
    with pytest.raises(ValueError, match="no stall pattern"):
        cosim(graph("kimsr_shaped"), image, stalls="sometimes")
    path = tmp_path / "model.fxp"
    model = FixedModel(graph("kimsr_shaped"))
    model.save(path)
    result = cosim(path, frame(model, (3, 2), "random"))
    SIMULATIONS["icarus"] += 1
    assert result.bit_exact, str(result)


def test_progress_in_a_log_is_a_line_now_and_then(monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    with console.progress_bar("co-simulation") as report:
        report(0, 0, "compiling")
        assert capsys.readouterr().err == ""
        clock[0] += console.LINE_SECONDS
        report(0, 0, "compiling")
        report(0, 0, "compiling")
        clock[0] += 2 * console.LINE_SECONDS
        report(300, 1200, "simulating")
    assert capsys.readouterr().err == (
        "co-simulation: compiling\nco-simulation: simulating, 300 of 1200 (25 %)\n"
    )


class StoppedError(Exception):
    """Raised in place of a compilation."""


@pytest.mark.parametrize(("size", "quickly"), [((300, 320), True), ((310, 320), False)])
def test_short_simulations_are_compiled_quickly(size: tuple[int, int], quickly: bool, monkeypatch):
    """310 lines of 320 pixels, and four lines more, are over 100,000 clocks."""
    given: list[bool] = []

    def build(*args: object, quickly: bool, **options: object) -> None:
        given.append(quickly)
        raise StoppedError

    monkeypatch.setattr(comparison, "build_bench", build)
    model = FixedModel(graph("kimsr_shaped"))
    with pytest.raises(StoppedError):
        cosim(model, np.zeros((1, *size), int), simulator="icarus")
    assert given == [quickly]
    assert clock_count([np.zeros((1, *size), int)]) == (size[0] + 4) * size[1]
