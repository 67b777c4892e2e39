"""Co-simulation: emitted cores in a simulator, compared with the engine integer by integer.

`cosim` drives a core with cocotb, on Verilator or Icarus, and names the first layer that differs;
`full_frame` streams whole frames through a compiled model. Both need the extra ``rtl``. The names
load on first use, as the process of a simulator needs none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fxp.rtl_sim.comparison import CosimResult, cosim
    from fxp.rtl_sim.differences import CoreDifference
    from fxp.rtl_sim.harness import FrameResult, full_frame
    from fxp.rtl_sim.simulators import SIMULATORS, SimulatorError, find_simulator
    from fxp.rtl_sim.stalls import Stalls

_HOMES = {
    "SIMULATORS": "fxp.rtl_sim.simulators",
    "CosimResult": "fxp.rtl_sim.comparison",
    "CoreDifference": "fxp.rtl_sim.differences",
    "FrameResult": "fxp.rtl_sim.harness",
    "SimulatorError": "fxp.rtl_sim.simulators",
    "Stalls": "fxp.rtl_sim.stalls",
    "cosim": "fxp.rtl_sim.comparison",
    "find_simulator": "fxp.rtl_sim.simulators",
    "full_frame": "fxp.rtl_sim.harness",
}

__all__ = [
    "SIMULATORS",
    "CoreDifference",
    "CosimResult",
    "FrameResult",
    "SimulatorError",
    "Stalls",
    "cosim",
    "find_simulator",
    "full_frame",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rtl_sim' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
