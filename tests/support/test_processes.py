"""Child processes: what they print, time limits, and that none of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fxp.support.processes import (
    ChildProcesses,
    ProcessError,
    ProcessTimeoutError,
    run_process,
)

SLEEPER = ["sh", "-c", "sleep 300 & echo $! > grandchild; echo $$ > child; wait"]
"""A program that starts another one."""
STUBBORN = ["sh", "-c", "trap '' TERM; echo $$ > child; while true; do sleep 0.1; done"]

TOLD_TO_END = f"""
import sys
from pathlib import Path
from fxp.support.processes import run_process
from fxp.support.signals import Terminated, orderly_end
try:
    with orderly_end():
        run_process({SLEEPER}, Path(sys.argv[1]))
except Terminated as error:
    print("Terminated", error.number)
except KeyboardInterrupt:
    print("KeyboardInterrupt")
"""
"""A process of its own: a signal that it does not handle would end the one that runs the tests."""


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(number: str) -> bool:
    """Whether a process runs; one that ended and was not yet waited for does not."""
    try:
        state = Path("/proc", number, "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def numbers(folder: Path) -> list[str]:
    return [path.read_text().strip() for path in folder.iterdir()]


def test_output_and_exit_code(tmp_path):
    done = run_process(["sh", "-c", "echo one; echo two >&2; exit 3"], tmp_path)
    assert done == (3, "one\ntwo\n")


def test_output_into_a_file(tmp_path):
    done = run_process(["sh", "-c", "pwd; echo $WORD"], tmp_path, output=tmp_path / "log",
                       environment={"WORD": "given", "PATH": os.environ["PATH"]})  # fmt: skip
    assert done == (0, "")
    assert (tmp_path / "log").read_text() == f"{tmp_path}\ngiven\n"


def test_temporary_files_of_a_program_are_removed(tmp_path):
    done = run_process(["sh", "-c", "mktemp; mktemp -d"], tmp_path)
    file, folder = map(Path, done.output.split())
    assert file.parent == folder.parent
    assert not file.exists()
    assert not folder.parent.exists()


def test_a_signal_is_a_negative_code(tmp_path):
    assert run_process(["sh", "-c", "kill -9 $$"], tmp_path).code == -9


def test_a_missing_program(tmp_path):
    with pytest.raises(ProcessError, match="no-such-program cannot be started"):
        run_process(["no-such-program"], tmp_path)


@pytest.mark.parametrize("command", [SLEEPER, STUBBORN])
def test_a_time_limit_ends_the_whole_group(command, tmp_path):
    with pytest.raises(ProcessTimeoutError, match=r"sh did not finish within 0\.5 seconds"):
        run_process(command, tmp_path, timeout_s=0.5)
    assert numbers(tmp_path)
    assert not any(alive(number) for number in numbers(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_the_whole_group(number, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", TOLD_TO_END, tmp_path], stdout=subprocess.PIPE, text=True
    )
    wait_for(tmp_path / "child")
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (
        0, "KeyboardInterrupt\n" if number == signal.SIGINT else f"Terminated {int(number)}\n"
    )  # fmt: skip
    assert len(numbers(tmp_path)) == 2
    assert not any(alive(each) for each in numbers(tmp_path))


def test_the_end_of_the_block_ends_programs_of_other_threads(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        with ChildProcesses() as children:
            waiting = pool.submit(children.run, SLEEPER, tmp_path)
            wait_for(tmp_path / "child")
        with pytest.raises(ProcessError, match="given up"):
            waiting.result(timeout=60)
    assert not any(alive(number) for number in numbers(tmp_path))


def test_nothing_starts_after_the_end(tmp_path):
    with ChildProcesses() as children:
        pass
    with pytest.raises(ProcessError, match="cannot be started"):
        children.run([sys.executable, "-c", "pass"], tmp_path)
