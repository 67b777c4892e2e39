"""Commands that are told to end: their exit code, their child processes, their temporary files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

MODEL = Path(__file__).parents[2] / "models" / "sr" / "weights" / "kimsr_x2_bicubic.fxp"


def processes_of(folder: Path) -> list[int]:
    """Return the processes that have a folder among their arguments, their directory or files."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            place = os.readlink(entry / "cwd")
        except OSError:
            continue
        if str(folder) in words or place.startswith(str(folder)):
            found.append(int(entry.name))
    return found


def wait_for(condition, seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("stage", ["iverilog", "vvp"])
def test_cosim_ends_its_children_and_removes_its_files(tmp_path: Path, number: int, stage: str):
    np.save(tmp_path / "image.npy", np.zeros((64, 64)))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-m", "fxp", "cosim", MODEL, tmp_path / "image.npy"]
    process = subprocess.Popen(
        [*command, "--simulator", "icarus"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        # Alone in its group: whatever it started must be ended by itself, not by the terminal.
        start_new_session=True,
    )

    def started() -> bool:
        names = [(Path("/proc") / str(each) / "comm") for each in processes_of(temporary)]
        return process.poll() is not None or stage in [
            name.read_text().strip() for name in names if name.exists()
        ]

    assert wait_for(started)
    assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    # Behind what the command says of its duration and progress there is one line.
    said = [
        line
        for line in errors.splitlines()
        if not line.startswith(("this takes about ", "co-simulation: "))
    ]
    assert len(said) == 1
    assert wait_for(lambda: processes_of(temporary) == [], seconds=5)
    assert list(temporary.iterdir()) == []


# In processes of their own: a signal that is not handled would end the one that runs the tests.
FIRST_SIGNAL = """
import os, signal, time
from fxp.support.signals import Terminated, orderly_end

try:
    with orderly_end():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGHUP)
            print("cleaned to the end")
except Terminated as end:
    print(end, end.exit_code, signal.getsignal(signal.SIGTERM).name)
"""
IGNORED_SIGNAL = """
import os, signal
from fxp.support.signals import orderly_end

signal.signal(signal.SIGHUP, signal.SIG_IGN)
with orderly_end():
    os.kill(os.getpid(), signal.SIGHUP)
    print(signal.getsignal(signal.SIGHUP).name)
print(signal.getsignal(signal.SIGHUP).name)
"""


@pytest.mark.parametrize(
    ("program", "lines"),
    [
        (FIRST_SIGNAL, ["cleaned to the end", "ended by SIGTERM 143 SIG_DFL"]),
        (IGNORED_SIGNAL, ["SIG_IGN", "SIG_IGN"]),
    ],
    ids=["only the first signal raises", "ignored signals stay ignored"],
)
def test_signals_in_an_orderly_end(program: str, lines: list[str]):
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines() == lines
