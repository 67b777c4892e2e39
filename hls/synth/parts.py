"""Synthesis of a design part by part, which takes less time and memory than all at once.

Passes of yosys go over all modules again for each module that they map, so that the time of a large
design grows with the square of its size. With the hierarchy kept, the modules do not depend on each
other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from fxp.hls.synth.tools import run_synthesis_tool
from fxp.support.processes import ChildProcesses
from fxp.support.progress import Progress

_SMALL_BYTES = 1 << 16
"""Parts of less text than this share a run of yosys, as it takes a second to start."""


def elaborate(folder: Path, sources: Sequence[str], top: str, timeout_s: float) -> dict[str, str]:
    """Read a design; return what module each instance in its top is of, as yosys calls it.

    Parameters
    ----------
    folder
        Where the sources are; the elaborated design is written there.
    sources
        SystemVerilog files, relative to the folder.
    top
        Name of the top module.
    timeout_s
        Time limit in seconds.
    """
    lines = [
        *(f"read_verilog -sv {source}" for source in sources),
        f"hierarchy -top {top}",
        "proc",
        "write_rtlil elaborated.il",
        "tee -q -o elaborated.json stat -json",
        f"select {top}",
        "write_json -selected top.json",
    ]
    _run(folder, "elaborate.ys", lines, timeout_s)
    modules = _read(folder / "elaborated.json")
    cells = _read(folder / "top.json")[top]["cells"]
    kinds = {name: cell["type"] for name, cell in cells.items()}
    return {name: kind for name, kind in kinds.items() if module_key(kind, modules) in modules}


def module_key(kind: str, modules: Mapping[str, Any]) -> str:
    """Return how ``stat -json`` writes a module's name; names of the sources get a backslash."""
    return kind if kind in modules else f"\\{kind}"


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))["modules"]


def synthesize_parts(
    folder: Path,
    top: str,
    parts: Sequence[str],
    commands: Callable[[str], Sequence[str]],
    *,
    jobs: int,
    timeout_s: float,
    progress: Progress | None = None,
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Synthesize modules in the top of an elaborated design, and what the top has of its own.

    Parameters
    ----------
    folder
        Where `elaborate` ran.
    top
        Name of the top module.
    parts
        Names of modules, without those inside them.
    commands
        Commands of yosys that synthesize the module of the given name.
    jobs
        How many runs of yosys at a time.
    timeout_s
        Time limit in seconds of each run.
    progress
        Told how many runs of yosys are finished, of how many.

    Returns
    -------
    tuple
        For every part, and for the top, the numbers of cells by type of every module in it, as
        ``stat -json`` gives them.
    """
    files = {name: f"part{index}" for index, name in enumerate(parts)}
    split = ["read_rtlil elaborated.il", "design -save all"]
    for name, file in files.items():
        split += [f"hierarchy -top {name}", f"write_rtlil {file}.il", "design -load all"]
    if parts:
        split.append(f"blackbox {' '.join(parts)}")
    split += [f"hierarchy -top {top}", "write_rtlil own.il"]
    _run(folder, "split.ys", split, timeout_s)

    everything = {**files, top: "own"}
    sizes = {name: (folder / f"{file}.il").stat().st_size for name, file in everything.items()}
    batches = [[name] for name in sorted(sizes, key=sizes.__getitem__, reverse=True)
               if sizes[name] >= _SMALL_BYTES]  # fmt: skip
    batches.append([name for name in everything if sizes[name] < _SMALL_BYTES])
    batches = [batch for batch in batches if batch]

    def work(index: int, children: ChildProcesses) -> None:
        lines = []
        for name in batches[index]:
            file = everything[name]
            lines += ["design -reset", f"read_rtlil {file}.il", *commands(name),
                      f"tee -q -o {file}.json stat -json"]  # fmt: skip
        _run(folder, f"synthesis{index}.ys", lines, timeout_s, children)

    # After an error, or when this process is told to end, the children end before the pool is
    # waited for.
    with ThreadPoolExecutor(max_workers=jobs) as pool, ChildProcesses() as children:
        running = [pool.submit(work, index, children) for index in range(len(batches))]
        try:
            for finished, item in enumerate(as_completed(running), start=1):
                item.result()
                if progress is not None:
                    progress(finished, len(batches), f"part {finished} of {len(batches)}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise

    counts = {name: _read(folder / f"{file}.json") for name, file in files.items()}
    return counts, _read(folder / "own.json")


def _run(
    folder: Path,
    script: str,
    lines: Sequence[str],
    timeout_s: float,
    children: ChildProcesses | None = None,
) -> None:
    (folder / script).write_text("\n".join([*lines, ""]), encoding="utf-8")
    log = f"{Path(script).stem}.log"
    run_synthesis_tool("yosys", ["-q", "-s", script], folder, timeout_s, log=log, children=children)
