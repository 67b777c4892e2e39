"""Synthesis of a design, and the resources of every part of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fxp.hls.synth.parts import elaborate, module_key, synthesize_parts
from fxp.hls.synth.targets import Resources, SynthesisTarget
from fxp.hls.synth.tools import SynthesisError, run_synthesis_tool
from fxp.support.progress import Progress

_DISTRIBUTED_ROWS = 256


@dataclass(frozen=True)
class InstanceResources:
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
    instances: tuple[InstanceResources, ...]
    total: Resources
    seconds: float


def synthesize(
    folder: Path,
    sources: Sequence[str],
    top: str,
    target: SynthesisTarget,
    *,
    netlist: str | None = None,
    jobs: int | None = None,
    timeout_s: float = 3600,
    progress: Progress | None = None,
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
        File for a flat netlist, to be placed. Without it the hierarchy is kept, and every module in
        the top is synthesized by itself, which is where the resources of every instance come from.
    jobs
        How many runs of yosys at a time; by default one for each processor.
    timeout_s
        Time limit in seconds of each run.
    progress
        Told how many runs of yosys are finished, of how many.

    Raises
    ------
    SynthesisError
        If yosys is missing, fails, or makes cells that are not known.
    """
    start = time.monotonic()
    if netlist:
        counts = _flat(folder, sources, top, target, netlist, timeout_s)
        instances = (InstanceResources("", top, _own(counts, top, target, ())),)
    else:
        kinds = elaborate(folder, sources, top, timeout_s)
        parts = tuple(dict.fromkeys(kinds.values()))
        found, own = synthesize_parts(
            folder, top, parts, lambda module: _commands(target, module),
            jobs=jobs or os.cpu_count() or 1, timeout_s=timeout_s, progress=progress,
        )  # fmt: skip
        used = {kind: _total(module_key(kind, modules), modules, target, {})
                for kind, modules in found.items()}  # fmt: skip
        instances = (
            *(
                InstanceResources(name, _module_name(kind), used[kind])
                for name, kind in kinds.items()
            ),
            InstanceResources("", top, _own(own, top, target, parts)),
        )
    total = sum((item.resources for item in instances), Resources())
    return Synthesis(top, target.name, instances, total, round(time.monotonic() - start, 1))


def _flat(
    folder: Path,
    sources: Sequence[str],
    top: str,
    target: SynthesisTarget,
    netlist: str,
    timeout_s: float,
) -> Mapping[str, Any]:
    """Synthesize everything into one module and return its numbers of cells."""
    lines = [
        *(f"read_verilog -sv {source}" for source in sources),
        *_commands(target, top, flat=True),
        f"write_json {netlist}",
        "tee -q -o resources.json stat -json",
        "",
    ]
    (folder / "synthesis.ys").write_text("\n".join(lines), encoding="utf-8")
    run_synthesis_tool("yosys", ["-q", "-s", "synthesis.ys"], folder, timeout_s)
    return json.loads((folder / "resources.json").read_text(encoding="utf-8"))["modules"]


def _commands(target: SynthesisTarget, top: str, *, flat: bool = False) -> list[str]:
    if target.family.startswith("synth_xilinx"):
        command = f"{target.family}{' -flatten' if flat else ''} -top {top}"
        # The description of distributed memories of UltraScale devices has one of 65536 rows by
        # mistake (yosys 0.70), which then fails; deep memories are for block RAM anyway.
        return [
            f"{command} -run begin:map_memory",
            f'setattr -set ram_style "block" t:$mem_v2 r:SIZE>{_DISTRIBUTED_ROWS} %i',
            f"{command} -run map_memory:",
        ]
    if target.family.startswith("synth_gowin"):
        return [f"{target.family}{'' if flat else ' -noflatten -noiopads'} -top {top}"]
    return [f"{target.family}{'' if flat else ' -noflatten'} -top {top}"]


def _own(
    modules: Mapping[str, Any], top: str, target: SynthesisTarget, parts: Sequence[str]
) -> Resources:
    """Return the resources of the logic in the top itself."""
    counts = modules[module_key(top, modules)]["num_cells_by_type"]
    return sum((_cell(kind, target) * count for kind, count in counts.items()
                if kind.removeprefix("\\") not in parts), Resources())  # fmt: skip


def _total(
    module: str, modules: Mapping[str, Any], target: SynthesisTarget, known: dict[str, Resources]
) -> Resources:
    """Return the resources of a module with everything inside it."""
    if module not in known:
        total = Resources()
        for cell, count in modules[module]["num_cells_by_type"].items():
            inside = module_key(cell, modules)
            if inside in modules:
                total += _total(inside, modules, target, known) * count
            else:
                total += _cell(cell, target) * count
        known[module] = total
    return known[module]


def _cell(kind: str, target: SynthesisTarget) -> Resources:
    if kind not in target.cells:
        raise SynthesisError(f"yosys made a cell {kind}, which is not known for {target.name}")
    return target.cells[kind] or Resources()


def _module_name(kind: str) -> str:
    """Return the name that the sources give to a module, without the values of its parameters."""
    if kind.startswith("$paramod"):
        return kind.split("\\")[1]
    return kind.removeprefix("\\")
