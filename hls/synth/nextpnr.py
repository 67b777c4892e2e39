"""Runs nextpnr for one seed after another, and keeps every result."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, cast

from fxp.hls.synth.targets import SynthesisTarget
from fxp.hls.synth.tools import SynthesisError, run_synthesis_tool
from fxp.support.files import replace_file

NETLIST = "netlist.json"
PINS = "harness.cst"
Router = Literal["router1", "router2"]
"""Routers of nextpnr."""
Placer = Literal["heap", "static"]
"""Placers of nextpnr."""
ESTIMATE = re.compile(r"Max frequency for clock\s+'[^']*': ([0-9.]+) MHz")
Report = Mapping[str, Any]
"""What nextpnr writes with ``--report``."""


def run_name(speed: int, seed: int) -> str:
    """Begin the names of all files of a run."""
    return f"seed{seed}_speed{speed}"


@dataclass(frozen=True)
class PlaceAndRoute:
    """Placement and routing of a netlist; what an earlier run left in the folder is used again.

    Attributes
    ----------
    folder
        Where the netlist is, and everything goes.
    key
        Tells the netlist from others that may have been in the folder.
    device, package, speed
        What it is for, and the speed grade.
    megahertz
        Frequency to aim at.
    placer, router
        Of nextpnr.
    timeout_s
        Time limit in seconds, of each run.
    """

    folder: Path
    key: str
    device: SynthesisTarget
    package: str
    speed: int
    megahertz: float
    placer: Placer
    router: Router
    timeout_s: float

    def placed(self, seed: int) -> tuple[float, Report]:
        """Place without routing, and keep the placement, from which `routed` goes on.

        Returns
        -------
        float
            Clock frequency in MHz that nextpnr estimates from where the cells are.
        dict
            Its report, which has nothing but the cells.
        """
        name = f"{run_name(self.speed, seed)}_placed"
        arguments = [*self._start(seed), "--no-route", "--write", f"{name}.json"]
        report = self._run(name, arguments, self._placing(), f"{name}_report.json")
        log = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        found = ESTIMATE.findall(log)
        if not found:
            raise SynthesisError("nextpnr found no path from register to register")
        return min(map(float, found)), report

    def routed(self, seed: int) -> Report:
        """Place and route, from a placement that `placed` kept if there is one."""
        name = run_name(self.speed, seed)
        if self._is_there(f"{name}_placed", self._placing()):
            kept = f"{name}_placed.json"
            self._choose_router(self.folder / kept)
            arguments = ["--json", kept, "--no-pack", "--no-place"]
        else:
            arguments = self._start(seed)
        if self.device.tool == "nextpnr-ecp5":
            arguments += ["--textcfg", f"{name}.config"]
        return self._run(name, arguments, f"{self._placing()} {self.router}", f"{name}.json")

    def _choose_router(self, placement: Path) -> None:
        """Name the router in a placement: its settings go before those of the command line."""
        design = json.loads(placement.read_text(encoding="utf-8"))
        settings = [module.get("settings", {}) for module in design["modules"].values()]
        if any(item["router"] != self.router for item in settings if item):
            for item in settings:
                item["router"] = self.router
            replace_file(placement, json.dumps(design).encode())

    def _start(self, seed: int) -> list[str]:
        return ["--json", NETLIST, "--seed", str(seed), "--placer", self.placer]

    def _placing(self) -> str:
        """Everything that a placement depends on, but its seed."""
        tool = version(f"yowasp-{self.device.tool}")
        return f"{self.key} {self.package} {self.megahertz} {self.placer} {tool}"

    def _is_there(self, name: str, options: str) -> bool:
        record = self.folder / f"{name}.options"
        return record.exists() and record.read_text(encoding="utf-8") == options

    def _run(self, name: str, arguments: Sequence[str], options: str, report: str) -> Report:
        """Run nextpnr unless it ran with these options before; return its report."""
        if not self._is_there(name, options):
            arguments = [*arguments, "--freq", str(self.megahertz), "--router", self.router,
                         "--report", report, "--timing-allow-fail", *self._device()]  # fmt: skip
            record = self.folder / f"{name}.options"
            record.unlink(missing_ok=True)
            run_synthesis_tool(self.device.tool, arguments, self.folder, self.timeout_s,
                               log=f"{name}.log")  # fmt: skip
            record.write_text(options, encoding="utf-8")
        return cast(Report, json.loads((self.folder / report).read_text(encoding="utf-8")))

    def _device(self) -> list[str]:
        device = self.device
        assert device.placer is not None
        if device.tool == "nextpnr-ecp5":
            return [device.placer, "--package", self.package, "--speed", str(self.speed),
                    "--lpf-allow-unconstrained"]  # fmt: skip
        places = "".join(f'IO_LOC "{pin}" {place};\n' for pin, place in device.pins)
        (self.folder / PINS).write_text(places, encoding="utf-8")
        return ["--device", device.placer, "--vopt", f"family={device.device}",
                "--vopt", f"cst={PINS}"]  # fmt: skip
