"""Synthesis of a design, and the resources of every part of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hls.synth.targets import Resources, Target
from hls.synth.tools import SynthesisError, run_tool

_DISTRIBUTED_ROWS = 256


@dataclass(frozen=True)
class Instance:
    """An instance in the top module.

    Parameters
    ----------
    name
        Of the instance; empty for the logic of the top module itself.
    module
        Name of its module.
    resources
        What it needs, with everything inside it.
    """

    name: str
    module: str
    resources: Resources


@dataclass(frozen=True)
class Synthesis:
    """Result of a synthesis.

    Parameters
    ----------
    top
        Name of the top module.
    target
        Name of the device.
    instances
        Resources of the instances in the top module, in the order of the netlist.
    total
        Resources of the design.
    seconds
        Time that the synthesis took.
    """

    top: str
    target: str
    instances: tuple[Instance, ...]
    total: Resources
    seconds: float


def synthesize(
    folder: Path,
    sources: Sequence[str],
    top: str,
    target: Target,
    *,
    netlist: str | None = None,
    timeout_s: float = 3600,
) -> Synthesis:
    """Synthesize a design with yosys.

    Parameters
    ----------
    folder
        Where the sources are; scripts, logs and results are written there.
    sources
        SystemVerilog files, relative to the folder.
    top
        Name of the top module.
    target
        The device.
    netlist
        File for a flat netlist, to be placed. Without it the hierarchy is kept, which is what the
        resources of every instance come from.
    timeout_s
        Time limit in seconds.

    Raises
    ------
    SynthesisError
        If yosys is missing, fails, or makes cells that are not known.
    """
    start = time.monotonic()
    (folder / "synthesis.ys").write_text(_script(sources, top, target, netlist), encoding="utf-8")
    run_tool("yosys", ["-q", "-s", "synthesis.ys"], folder, timeout_s)
    modules = _read_json(folder / "resources.json")["modules"]
    design = _read_json(folder / "top.json")["modules"][top]
    totals: dict[str, Resources] = {}
    inner: list[Instance] = []
    own = Resources()
    for name, cell in design["cells"].items():
        if f"\\{cell['type']}" in modules or cell["type"] in modules:
            kind = cell["type"] if cell["type"] in modules else f"\\{cell['type']}"
            used = _total(kind, modules, target, totals)
            inner.append(Instance(name, _module_name(kind), used))
        else:
            own += _cell(cell["type"], target)
    instances = (*inner, Instance("", top, own))
    total = sum((item.resources for item in instances), Resources())
    return Synthesis(top, target.name, instances, total, round(time.monotonic() - start, 1))


def _script(sources: Sequence[str], top: str, target: Target, netlist: str | None) -> str:
    lines = [f"read_verilog -sv {source}" for source in sources]
    if target.family.startswith("synth_xilinx"):
        flat = " -flatten" if netlist else ""
        command = f"{target.family}{flat} -top {top}"
        # The description of distributed memories of UltraScale devices has one of 65536 rows by
        # mistake (yosys 0.70), which then fails; deep memories are for block RAM anyway.
        lines += [
            f"{command} -run begin:map_memory",
            f'setattr -set ram_style "block" t:$mem_v2 r:SIZE>{_DISTRIBUTED_ROWS} %i',
            f"{command} -run map_memory:",
        ]
    else:
        flat = "" if netlist else " -noflatten"
        lines.append(f"{target.family}{flat} -top {top}")
    if netlist:
        lines.append(f"write_json {netlist}")
    lines += [
        "tee -q -o resources.json stat -json",
        f"select {top}",
        "write_json -selected top.json",
    ]
    return "\n".join([*lines, ""])


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _total(
    module: str, modules: Mapping[str, Any], target: Target, known: dict[str, Resources]
) -> Resources:
    """Return the resources of a module with everything inside it."""
    if module not in known:
        total = Resources()
        for cell, count in modules[module]["num_cells_by_type"].items():
            inside = cell if cell in modules else f"\\{cell}"
            if inside in modules:
                total += _total(inside, modules, target, known) * count
            else:
                total += _cell(cell, target) * count
        known[module] = total
    return known[module]


def _cell(kind: str, target: Target) -> Resources:
    if kind not in target.cells:
        raise SynthesisError(f"yosys made a cell {kind}, which is not known for {target.name}")
    return target.cells[kind] or Resources()


def _module_name(kind: str) -> str:
    """Return the name that the sources give to a module, without the values of its parameters."""
    if kind.startswith("$paramod"):
        return kind.split("\\")[1]
    return kind.removeprefix("\\")
