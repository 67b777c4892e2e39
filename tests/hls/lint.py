"""What Verilator and slang, two readers of SystemVerilog, find in sources."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from pyslang import TextDiagnosticClient
from pyslang.driver import Driver  # pyright: ignore[reportMissingModuleSource]

from fxp.hls import Core
from fxp.rtl_sim.simulators import find_simulator

# Casts that change nothing are of use for other values of a parameter.
OPTIONS = "-Wextra -Wpedantic -Wno-useless-cast"


def slang_findings(folder: Path, sources: Sequence[str], top: str) -> str:
    """Return all errors and warnings, in slang's words."""
    driver = Driver()
    driver.addStandardArgs()
    files = " ".join(f'"{folder / source}"' for source in sources)
    assert driver.parseCommandLine(f"slang {OPTIONS} --top {top} {files}")
    assert driver.processOptions()
    client = TextDiagnosticClient()
    driver.diagEngine.addClient(client)
    driver.parseAllSources()
    compilation = driver.createCompilation()
    driver.reportCompilation(compilation, True)
    driver.runAnalysis(compilation)
    driver.reportDiagnostics(True)
    return client.getString()


def verilator_findings(folder: Path, core: Core) -> str:
    """Return all errors and warnings of a core in a folder, in Verilator's words."""
    verilator = find_simulator("verilator")
    command = [verilator.program, "--lint-only", "-Wall", "-f", f"{core.name}.f"]
    result = subprocess.run(
        [*map(str, command), "--top-module", core.top],
        cwd=folder,
        env=verilator.environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 or result.stderr
    return result.stderr
