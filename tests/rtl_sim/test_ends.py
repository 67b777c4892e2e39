"""Simulations and syntheses that are told to end leave no process and no folder behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import streaming_graphs

from fxp.store import save_graph

COSIM = """
import sys, numpy as np
from fxp import rtl_sim
from fxp.support.signals import Terminated, orderly_end

try:
    with orderly_end():
        rtl_sim.cosim(sys.argv[1], np.zeros((400, 400)), simulator="icarus")
except Terminated as end:
    sys.exit(end.exit_code)
"""
SYNTH = """
import sys, tempfile
from pathlib import Path
from fxp import hls
from fxp.hls.synth import TARGETS, synthesize
from fxp.support.signals import Terminated, orderly_end

try:
    with orderly_end(), tempfile.TemporaryDirectory(prefix="fxp_synth_") as name:
        core = hls.emit_rtl(sys.argv[1], name, max_width=64)
        synthesize(Path(name), core.sources, core.top, TARGETS["ecp5-85k"], jobs=2)
except Terminated as end:
    sys.exit(end.exit_code)
"""


def descendants(mark: str) -> Iterator[tuple[str, str]]:
    """Number and command of every process that has `mark` in its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes():
                yield folder.name, (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(
    ("program", "child"),
    [(COSIM, "vvp"), (COSIM, "ivl"), (SYNTH, "elaborate.ys"), (SYNTH, "synthesis0.ys")],
    ids=["simulator", "compiler", "elaboration", "parts"],
)
def test_signals_leave_nothing_behind(program, child, number, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    save_graph(streaming_graphs.kimsr_shaped(seed=15), tmp_path / "model.fxp")
    mark = f"FXP_TEST_MARK={tmp_path}"
    name, _, value = mark.partition("=")
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "model.fxp")],
        env={**os.environ, name: value, "TMPDIR": str(scratch)},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 240
        while not any(child in command for _, command in descendants(mark)):
            assert process.poll() is None, f"{child} never ran"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    finally:
        process.kill()
        process.wait()
    assert list(descendants(mark)) == []
    assert list(scratch.iterdir()) == []
