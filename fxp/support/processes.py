"""Programs that this process runs, none of which outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from fxp.support.errors import FxpError

GRACE_SECONDS = 2.0
"""Time that a program has to end by itself before it is killed."""
_GROUPS = hasattr(os, "killpg")
"""Whether this system has process groups; Windows has none."""


class ProcessError(FxpError, RuntimeError):
    """A program could not be started, or was ended before it was finished."""


class ProcessTimeoutError(ProcessError):
    """A program did not finish in time and was ended."""


class Finished(NamedTuple):
    """How a program ended.

    Attributes
    ----------
    code
        Its exit code; the negative number of a signal that ended it.
    output
        What it printed to standard output and standard error, empty if that went to a file.
    """

    code: int
    output: str


class ChildProcesses:
    """Runs programs, and ends those that still run when the ``with`` block ends.

    Every program is the leader of a process group of its own. However the block ends, by a signal
    that raises an exception, an interrupt or an error in another thread, the whole groups are told
    to end, killed if they do not, and waited for. What they left in their folder for temporary
    files is removed. Threads may share one object: `run` in a thread then raises `ProcessError`
    when the block of another thread ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False
        # An exception that a signal raises in the main thread must not come between the start of
        # a program and the moment when it is known here; other threads get no signals.
        self._starter = ThreadPoolExecutor(max_workers=1)
        # Compilers that are ended do not remove their own temporary files.
        self._scratch = tempfile.TemporaryDirectory(prefix="fxp_run_", ignore_cleanup_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._starter.shutdown(wait=True, cancel_futures=True)
        with self._lock:
            self._closed = True
            running = list(self._running)
        _end(running)
        self._scratch.cleanup()

    def run(
        self,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        output: Path | None = None,
        timeout_s: float | None = None,
    ) -> Finished:
        """Run a program to its end.

        Parameters
        ----------
        command
            The program and its arguments.
        folder
            Its working directory.
        environment
            Its environment variables, by default those of this process; ``TMPDIR`` is replaced.
        output
            File for what it prints; by default that is returned.
        timeout_s
            Time limit in seconds, by default none.

        Returns
        -------
        Finished
            Its exit code, whatever that is, and what it printed.

        Raises
        ------
        ProcessError
            If the program cannot be started, or the block ended meanwhile.
        ProcessTimeoutError
            If it did not finish in time.
        """
        with tempfile.TemporaryFile() if output is None else output.open("wb") as stream:
            words = [str(part) for part in command]
            try:
                process = self._starter.submit(
                    self._start, words, folder, environment, stream
                ).result()
            except (OSError, RuntimeError, CancelledError) as error:
                raise ProcessError(f"{words[0]} cannot be started: {error}") from None
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                raise ProcessTimeoutError(
                    f"{words[0]} did not finish within {timeout_s:g} seconds"
                ) from None
            finally:
                # Whatever interrupted the wait: a program that has ended is not ended again.
                _end([process])
                with self._lock:
                    self._running.discard(process)
                    closed = self._closed
            if closed:
                raise ProcessError(f"{words[0]} was ended, as the work was given up")
            if output is not None:
                return Finished(code, "")
            stream.seek(0)
            return Finished(code, stream.read().decode(errors="replace"))

    def _start(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None,
        stream: BinaryIO,
    ) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={
                **(os.environ if environment is None else environment),
                "TMPDIR": self._scratch.name,
            },
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with self._lock:
            self._running.add(process)
        return process


def run_process(
    command: Sequence[str | Path],
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
    output: Path | None = None,
    timeout_s: float | None = None,
) -> Finished:
    """Run one program to its end; it never outlives this call. See `ChildProcesses.run`.

    Parameters
    ----------
    command, folder, environment, output, timeout_s
        As for `ChildProcesses.run`.

    Returns
    -------
    Finished
        Its exit code, whatever that is, and what it printed.

    Raises
    ------
    ProcessError
        If the program cannot be started.
    ProcessTimeoutError
        If it did not finish in time.
    """
    with ChildProcesses() as children:
        return children.run(
            command, folder, environment=environment, output=output, timeout_s=timeout_s
        )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End programs with their process groups, and wait for them."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    # The leader of a group may end before the programs that it started.
    while any(_lives(process) for process in running) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in running:
        _signal(process, signal.SIGKILL if _GROUPS else signal.SIGTERM)
        process.wait()


def _lives(process: subprocess.Popen[bytes]) -> bool:
    """Whether any program of the group is there."""
    ended = process.poll() is not None
    if not _GROUPS:
        return not ended
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if _GROUPS:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
