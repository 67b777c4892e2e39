"""Placement and routing on an ECP5, between registers that stand for the rest of a system."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fxp.hls.synth.harness import ModulePort, harness
from fxp.hls.synth.multiplier_registers import (
    INSIDE_NS,
    MULTIPLIER,
    pack_multiplier_registers,
    registered_on_both_sides,
)
from fxp.hls.synth.synthesis import synthesize
from fxp.hls.synth.targets import TARGETS
from fxp.hls.synth.tools import SynthesisError, run_synthesis_tool

PLACED_TARGET = "ecp5-85k"
"""The only target with open placement and routing."""


@dataclass(frozen=True)
class Placement:
    """Result of placement and routing.

    Parameters
    ----------
    megahertz
        Highest clock frequency of the slowest path from register to register.
    logic_ns, routing_ns
        Delays of that path, in cells and in wires.
    path
        First and last cell of that path.
    cells
        Cells in use by type, those of the surrounding registers included.
    speed
        Speed grade.
    seed
        Seed of the placer.
    seconds
        Time from the start of the synthesis to this result.
    """

    megahertz: float
    logic_ns: float
    routing_ns: float
    path: tuple[str, str]
    cells: Mapping[str, int]
    speed: int
    seed: int
    seconds: float


def place(
    folder: Path,
    sources: Sequence[str],
    module: str,
    ports: Sequence[ModulePort],
    *,
    parameters: Mapping[str, int | str] | None = None,
    speed: int = 8,
    megahertz: float = 150.0,
    seed: int = 1,
    attempts: int = 1,
    timeout_s: float = 3600,
) -> Placement:
    """Synthesize a module, place and route it with nextpnr, and return how fast it is.

    Its inputs come from registers and its outputs go to registers, as in a larger design. Registers
    around multipliers move into the multiplier blocks.

    Parameters
    ----------
    folder
        Where the sources are; scripts, logs and results are written there.
    sources
        SystemVerilog files, relative to the folder.
    module
        Name of the module.
    ports
        All its ports.
    parameters
        The module's parameters: numbers, or SystemVerilog expressions.
    speed
        Speed grade, 6 to 8.
    megahertz
        Frequency to aim at.
    seed
        First seed of the placer.
    attempts
        Seeds to try, until the aim is reached; the best result counts.
    timeout_s
        Time limit in seconds, of each run of a tool.

    Raises
    ------
    SynthesisError
        If a tool is missing or fails, or the design does not fit the device.
    """
    start = time.monotonic()
    text = harness(module, ports, parameters or {})
    (folder / "harness.sv").write_text(text, encoding="utf-8")
    netlist = folder / "netlist.json"
    target = TARGETS[PLACED_TARGET]
    result = synthesize(folder, [*sources, "harness.sv"], "harness", target,
                        netlist=netlist.name, timeout_s=timeout_s)  # fmt: skip
    lacking = target.lacking(result.total)
    if lacking:
        raise SynthesisError(f"{module} does not fit {target.device}: {', '.join(lacking)}")
    design = json.loads(netlist.read_text(encoding="utf-8"))
    flat = design["modules"]["harness"]
    pack_multiplier_registers(flat)
    netlist.write_text(json.dumps(design), encoding="utf-8")
    best = None
    for number in range(seed, seed + attempts):
        arguments = ["--85k", "--package", "CABGA756", "--speed", str(speed),
                     "--freq", str(megahertz), "--seed", str(number), "--json", netlist.name,
                     "--report", "timing.json", "--lpf-allow-unconstrained",
                     "--timing-allow-fail"]  # fmt: skip
        run_synthesis_tool("nextpnr-ecp5", arguments, folder, timeout_s)
        report = json.loads((folder / "timing.json").read_text(encoding="utf-8"))
        result = _placement(report, speed, number, round(time.monotonic() - start, 1))
        if registered_on_both_sides(flat) and result.megahertz > 1000 / INSIDE_NS[speed]:
            result = replace(result, megahertz=round(1000 / INSIDE_NS[speed], 1),
                             logic_ns=INSIDE_NS[speed], routing_ns=0.0,
                             path=(MULTIPLIER, MULTIPLIER))  # fmt: skip
        if best is None or result.megahertz > best.megahertz:
            best = result
        if best.megahertz >= megahertz:
            break
    if best is None:
        raise SynthesisError("at least one attempt is needed")
    return best


def _placement(report: dict, speed: int, seed: int, seconds: float) -> Placement:
    if not report["fmax"]:
        raise SynthesisError("nextpnr found no path from register to register")
    clock, slowest = min(report["fmax"].items(), key=lambda item: item[1]["achieved"])
    steps = next(
        item["path"]
        for item in report["critical_paths"]
        if item["from"] == item["to"] == f"posedge {clock}"
    )
    routing = sum(step["delay"] for step in steps if step["type"] == "routing")
    total = sum(step["delay"] for step in steps)
    cells = {name: use["used"] for name, use in report["utilization"].items() if use["used"]}
    ends = (steps[0]["from"]["cell"], steps[-1]["to"]["cell"])
    return Placement(round(slowest["achieved"], 1), round(total - routing, 2), round(routing, 2),
                     ends, cells, speed, seed, seconds)  # fmt: skip
