"""Co-simulation: emitted cores in a simulator, compared with the engine integer by integer.

`cosim` drives a core with cocotb, on Verilator or Icarus, and names the first layer that differs;
`full_frame` streams whole frames through a compiled model. Both need the extra ``rtl``.
"""

from rtl_sim.cosim import CosimResult, Difference, cosim
from rtl_sim.harness import FrameResult, full_frame
from rtl_sim.simulators import SIMULATORS, SimulatorError, find_simulator
from rtl_sim.stalls import Stalls

__all__ = [
    "SIMULATORS",
    "CosimResult",
    "Difference",
    "FrameResult",
    "SimulatorError",
    "Stalls",
    "cosim",
    "find_simulator",
    "full_frame",
]
