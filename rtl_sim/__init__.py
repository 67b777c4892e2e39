"""Co-simulation: emitted cores in a simulator, compared with the engine integer by integer.

`cosim` drives a core with cocotb, on Verilator or Icarus, and names the first layer that differs;
`full_frame` streams whole frames through a compiled model. Both need the extra ``rtl``. The names
load on first use, as the process of a simulator needs none of them. `build_bench` and `Script` are
for other stimuli: resets, register accesses and malformed frames.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.rtl_sim.build import Bench, build_bench
    from fxp.rtl_sim.comparison import CosimResult, cosim, raw_images
    from fxp.rtl_sim.differences import CoreDifference
    from fxp.rtl_sim.estimates import duration_text, expected_seconds, quickest_simulator
    from fxp.rtl_sim.harness import FrameResult, full_frame
    from fxp.rtl_sim.script import Script
    from fxp.rtl_sim.simulators import SIMULATORS, Simulator, SimulatorError, find_simulator
    from fxp.rtl_sim.stalls import Stalls

_HOMES = {
    "SIMULATORS": "fxp.rtl_sim.simulators",
    "Bench": "fxp.rtl_sim.build",
    "CosimResult": "fxp.rtl_sim.comparison",
    "CoreDifference": "fxp.rtl_sim.differences",
    "FrameResult": "fxp.rtl_sim.harness",
    "Script": "fxp.rtl_sim.script",
    "Simulator": "fxp.rtl_sim.simulators",
    "SimulatorError": "fxp.rtl_sim.simulators",
    "Stalls": "fxp.rtl_sim.stalls",
    "build_bench": "fxp.rtl_sim.build",
    "cosim": "fxp.rtl_sim.comparison",
    "duration_text": "fxp.rtl_sim.estimates",
    "expected_seconds": "fxp.rtl_sim.estimates",
    "quickest_simulator": "fxp.rtl_sim.estimates",
    "raw_images": "fxp.rtl_sim.comparison",
    "find_simulator": "fxp.rtl_sim.simulators",
    "full_frame": "fxp.rtl_sim.harness",
}

__all__ = [
    "SIMULATORS",
    "Bench",
    "CoreDifference",
    "CosimResult",
    "FrameResult",
    "Script",
    "Simulator",
    "SimulatorError",
    "Stalls",
    "build_bench",
    "cosim",
    "duration_text",
    "expected_seconds",
    "find_simulator",
    "full_frame",
    "quickest_simulator",
    "raw_images",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'fxp.rtl_sim' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
