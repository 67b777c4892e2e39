"""What slang, a second reader of SystemVerilog, finds in sources."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyslang import TextDiagnosticClient
from pyslang.driver import Driver  # pyright: ignore[reportMissingModuleSource]

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
