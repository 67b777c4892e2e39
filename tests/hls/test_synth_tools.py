"""The first runs of a tool, which compiles itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fxp.hls.synth import tools

# Notes when it begins and ends, as the real tools begin to write their code and end.
TOOL = """
import pathlib, sys, time
def run(arguments):
    with (pathlib.Path(__file__).parent / "runs").open("a") as runs:
        print("begins", *arguments, file=runs, flush=True)
        time.sleep(0.3)
        print("ends", file=runs, flush=True)
"""


def test_a_tool_compiles_itself_once_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "slow_tool.py").write_text(TOOL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("YOWASP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(tools.TOOLS, "yosys", ("slow_tool", "run"))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(tools.compile_tool, ["yosys"] * 4))
    assert (tmp_path / "runs").read_text().splitlines() == ["begins --version", "ends"]
    tools.run_synthesis_tool("yosys", ["-q"], tmp_path, 60)
    assert (tmp_path / "runs").read_text().splitlines()[2:] == ["begins -q", "ends"]
