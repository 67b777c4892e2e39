"""What commands write: tables and figures on standard output, progress on standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from fxp.cli.figures import json_text
from fxp.support.progress import Progress

LINE_SECONDS = 20.0
"""Least time between two lines of progress where the output is no terminal."""
PIPE_WIDTH = 10_000
"""Columns where the output is no terminal: wide enough that no table is ever folded."""

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object with the figures, nothing else.")
]
"""The option ``--json`` of all commands that print figures."""

ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Threads of the engine; default: all processors.")
]
"""The option ``--threads`` of all commands that run the engine."""
UnlimitedOption = Annotated[
    bool, typer.Option("--unlimited", help="Run however many rows, bytes and operations it takes.")
]
"""The option ``--unlimited`` of commands that run any file on any image."""


def output_console() -> Console:
    """Return the console of standard output: as wide as the terminal, unlimited in a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def print_json(figures: object) -> None:
    """Print figures as one JSON object on standard output; see `fxp.cli.figures.json_text`."""
    typer.echo(json_text(figures))


def note(text: str) -> None:
    """Print a line that is no result on standard error."""
    typer.echo(text, err=True)


@contextmanager
def progress_bar(text: str) -> Iterator[Progress]:
    """Show on standard error how far the work of the block is.

    A terminal shows a bar. Elsewhere, a log say, a line comes now and then from `LINE_SECONDS` on.

    Parameters
    ----------
    text
        What is being done.

    Yields
    ------
    Progress
        Takes steps done, steps in all (0 if unknown), and what is being done now.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(text)
        return
    # Names of files and layers are no markup.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(text, total=None)

        def report(done: int, total: int, now: str) -> None:
            description = f"{text}: {now}" if now else text
            bar.update(task, description=description, completed=done, total=total or None)

        yield report


def _lines(text: str) -> Progress:
    """Report progress as lines."""
    told = time.monotonic()

    def report(done: int, total: int, now: str) -> None:
        nonlocal told
        if time.monotonic() - told < LINE_SECONDS:
            return
        told = time.monotonic()
        share = f", {done} of {total} ({100 * done // total} %)" if total else ""
        note(f"{text}: {now}{share}" if now else f"{text}{share}")

    return report
