"""Writes changed netlists as Verilog, so that they are simulated beside their sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fxp.hls.synth.tools import run_synthesis_tool


def write_netlist(
    folder: Path, module: dict[str, Any], top: str, name: str, sources: tuple[str, ...] = ()
) -> None:
    """Write a netlist as ``<name>.sv`` with a module of that name, its cells resolved.

    Parameters
    ----------
    folder
        Where it goes.
    module
        The netlist.
    top
        What the module was called.
    name
        What it is called from now on.
    sources
        Files in the folder with models of cells that yosys has none of.
    """
    (folder / "packed.json").write_text(json.dumps({"modules": {top: module}}))
    script = [
        "read_json packed.json",
        *(f"read_verilog {source}" for source in sources),
        "read_verilog -overwrite +/lattice/cells_sim_ecp5.v",
        f"hierarchy -top {top}",
        "proc",
        "flatten",
        "clean",
        f"rename {top} {name}",
        f"write_verilog -noattr {name}.sv",
    ]
    run_synthesis_tool("yosys", ["-q", "-p", "; ".join(script)], folder, 600)
