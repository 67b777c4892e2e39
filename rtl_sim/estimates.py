"""How long a simulation will take, roughly, and which simulator is the quickest for it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fxp.formats import IntArray
from fxp.model import FixedModel
from fxp.rtl_sim.simulators import SIMULATORS, SimulatorError, SimulatorName, find_simulator
from fxp.rtl_sim.stalls import Stalls

AUTO = "auto"
"""Takes the place of a simulator's name: the quickest one of those that are installed."""

# Seconds, measured on two cores of a server of 2019: until the first clock, by weight, and of a
# clock, by weight. Weights that are not zero stand for the size of a core.
_START = {"icarus": (3.0, 3e-3), "verilator": (30.0, 1.5e-2), "compiled": (40.0, 4e-2)}
_CLOCK = {"icarus": (2e-4, 1.5e-5), "verilator": (2e-4, 1e-7), "compiled": (5e-6, 1e-8)}


FEW_CLOCKS = 100_000
"""Simulations of fewer clocks than this are compiled quickly rather than well."""


def clock_count(frames: Sequence[IntArray], stalls: Stalls | None = None, fold: int = 1) -> float:
    """Return about how many clocks a simulation takes.

    Parameters
    ----------
    frames
        Images ``(C, H, W)``.
    stalls
        When source and sink pause.
    fold
        Clocks for each pixel.
    """
    # A few lines follow every change of the size, and the last frame.
    beats = sum(frame.shape[1] * frame.shape[2] + 4 * frame.shape[2] for frame in frames)
    return beats * fold * (stalls or Stalls()).slowness / 2


def expected_seconds(
    simulator: str,
    model: FixedModel,
    frames: Sequence[IntArray],
    stalls: Stalls | None = None,
    fold: int = 1,
) -> float:
    """Return about how many seconds a co-simulation takes, compilation included.

    Parameters
    ----------
    simulator
        ``"icarus"``, ``"verilator"`` or ``"compiled"`` (`fxp.rtl_sim.full_frame`).
    model
        What the core computes.
    frames, stalls, fold
        As for `clock_count`.
    """
    weights = sum(int(np.count_nonzero(constant.data)) for constant in model.graph.constants)
    clocks = clock_count(frames, stalls, fold)
    start, clock = _START[simulator], _CLOCK[simulator]
    return start[0] + start[1] * weights + clocks * (clock[0] + clock[1] * weights)


def quickest_simulator(
    model: FixedModel,
    frames: Sequence[IntArray],
    stalls: Stalls | None = None,
    fold: int = 1,
    suffix: str = "",
) -> SimulatorName:
    """Return the simulator that is expected to finish first, of those that are installed.

    Parameters
    ----------
    model
        What the core computes.
    frames, stalls, fold
        As for `clock_count`.
    suffix
        Of the waveform to write; Icarus writes ``.fst`` alone, which Verilator may not be able to.

    Raises
    ------
    SimulatorError
        If none is installed.
    """
    suitable: dict[str, tuple[SimulatorName, ...]] = {".vcd": ("verilator",), ".fst": ("icarus",)}
    names = suitable.get(suffix, SIMULATORS)
    missing: SimulatorError | None = None
    for name in sorted(names, key=lambda n: expected_seconds(n, model, frames, stalls, fold)):
        try:
            find_simulator(name)
        except SimulatorError as error:
            missing = missing or error
        else:
            return name
    assert missing is not None
    raise missing


def duration_text(seconds: float) -> str:
    """Return a duration in words: seconds, minutes or hours, rounded up."""
    for size, unit in ((3600, "hour"), (60, "minute")):
        if seconds > 1.5 * size:
            count = -(-int(seconds) // size)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    count = int(seconds) + 1
    return f"{count} second{'s' if count > 1 else ''}"
