"""Commands over many files: where the work runs, and what becomes of a file that fails."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from fxp.cli.console import note, progress_bar
from fxp.cli.messages import CommandError, one_line
from fxp.support.errors import FxpError
from fxp.support.parallel import BACKENDS, Task, run_tasks

JobsOption = Annotated[
    int, typer.Option(help="Files of a folder at a time; -1: one on every processor.")
]
"""The option ``--jobs`` of all commands that work on many files."""

BackendOption = Annotated[str, typer.Option(help=f"Of joblib: {', '.join(BACKENDS)}.")]
"""The option ``--backend``, see `fxp.support.parallel.workers`."""

SchedulerOption = Annotated[str | None, typer.Option(help="Address of the Dask or Ray head.")]
"""The option ``--scheduler``, see `fxp.support.parallel.workers`."""

JOBS, BACKEND = 2, "threading"
"""Defaults of commands that run the engine, which has threads of its own."""


class Attempted(Protocol):
    """A file that was worked on."""

    @property
    def input(self) -> str:
        """The file."""
        ...

    @property
    def error(self) -> str | None:
        """Why there is no result; None if there is."""
        ...


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file.

    Attributes
    ----------
    input
        The file.
    seconds
        Time of reading, work and writing.
    result
        What the work returned; None if it failed.
    error
        Why there is no result, in one line; None if there is.
    """

    input: str
    seconds: float
    result: Any = None
    error: str | None = None


def attempt(path: Path, work: Task, folder: str) -> FileOutcome:
    """Do the work on one file; an error that a file can cause becomes part of the outcome.

    Parameters
    ----------
    path
        The file, as the user named it.
    work
        What to do with it.
    folder
        Current folder of the command; that of a worker may be another one.
    """
    started = time.perf_counter()
    result = error = None
    try:
        result = work()
    except (FxpError, OSError, MemoryError) as failure:
        error = one_line(failure)
        if not path.is_absolute():
            error = error.replace(f"{folder}{os.sep}", "")
    return FileOutcome(str(path), time.perf_counter() - started, result, error)


def over_files(work: Sequence[tuple[Path, Task]], doing: str) -> Iterator[FileOutcome]:
    """Yield what became of each file, in order; one that fails does not stop the others.

    joblib's own setting decides where the work is done, see `fxp.support.parallel.workers`.

    Parameters
    ----------
    work
        The files as the user named them, and what to do with each. What is done by other processes
        must be picklable, and hold absolute paths alone.
    doing
        What the progress bar says.
    """
    with progress_bar(doing) as progress:
        tasks = [partial(attempt, path, task, str(Path.cwd())) for path, task in work]
        for count, outcome in enumerate(run_tasks(tasks), 1):
            progress(count, len(work), Path(outcome.input).name)
            yield outcome


def refuse_failures(outcomes: Sequence[Attempted], done: str) -> None:
    """End a command with the list of the files that failed, if there are any.

    Parameters
    ----------
    outcomes
        What became of all files.
    done
        What the failed ones are not: ``"upscaled"``.

    Raises
    ------
    CommandError
        If a file failed.
    """
    failed = [item for item in outcomes if item.error is not None]
    for item in failed:
        note(f"failed: {item.error}")
    if failed:
        names = ", ".join(item.input for item in failed)
        raise CommandError(f"{len(failed)} of {len(outcomes)} images are not {done}: {names}")
