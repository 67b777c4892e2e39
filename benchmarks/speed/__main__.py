"""The command: run the measurements and publish after each.

``--missing`` continues a run that was stopped; ``--only NAME`` repeats a part.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import report
from benchmarks.speed import (
    hls_simulation,
    large,
    libraries,
    machine,
    records,
    scaling,
    tables,
    tile_shapes,
    versus,
)
from benchmarks.speed.timing import Settings
from benchmarks.speed.versus import Say
from benchmarks.speed.works import WORKS, Work
from fxp.cli.messages import one_line

TITLE = "How fast the engine is"
Measure = Callable[[Settings, Say], Any]


def _versus(work: Work, settings: Settings, say: Say) -> dict[str, Any]:
    return versus.measure(work.tiny() if settings.quick else work, settings, say)


MEASUREMENTS: dict[str, tuple[str, Measure]] = {
    **{work.name: ("works", partial(_versus, work)) for work in WORKS},
    "hls4ml": ("libraries", hls_simulation.measure),
    **{name: ("libraries", partial(libraries.measure, name)) for name in libraries.LIBRARIES},
    "pixels": ("pixels", scaling.measure_pixels),
    "startup": ("startup", scaling.measure_startup),
    "large": ("large", large.measure),
    "tiles": ("tiles", tile_shapes.measure),
}
"""For every name on the command line, where the record holds it and what measures it."""


def measure(record: records.Record, name: str, settings: Settings, say: Say) -> str | None:
    """Measure one thing and put it into the record; return why that failed, if it did.

    Parameters
    ----------
    record
        Is changed.
    name
        One of `MEASUREMENTS`.
    settings
        Sizes, rounds and numbers of threads.
    say
        Called with what is being done.
    """
    key, function = MEASUREMENTS[name]
    try:
        records.add(record, key, function(settings, say))
    except Exception as error:
        # One network must not end a long run; the page lists it, and so does the end.
        failed = f"{type(error).__name__}: {one_line(error)}"
        if key in records.LISTS:
            records.add(record, key, {"name": name, "failed": failed})
        return f"{name}: {failed}"
    return None


def write(out: Path | None) -> Path:
    """Write the page of all processors; to the documentation and the README if `out` is None."""
    found = records.read_all(out)
    body = tables.page(found)
    if out is not None:
        return report.write_page(out, "speed", TITLE, body)
    return report.publish("speed", TITLE, body, summary=tables.summary(found), headlines=4)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes, to try the script.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(MEASUREMENTS)}; may be repeated.")
    ] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave out; names as for --only.")] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only what this processor's file does not have.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Write the page again, and measure nothing.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every contender.")] = 5,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="1 and 2 by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for page and records.")] = None,
) -> None:
    """Measure the engine's speed on this processor.

    After every measurement the file of this processor in docs/benchmarks/speed and the page are
    written, below the folder --out instead if it is given. With --quick and no --out, results are
    only printed.
    """
    for name in [*(only or []), *(skip or [])]:
        if name not in MEASUREMENTS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(MEASUREMENTS)}")
    kept = out is not None or not quick
    if kept and out is None:
        report.check_readme()  # now rather than at the end
    if page:
        print(f"wrote {write(out)}")
        return
    settings = Settings(quick, 1, 0.0) if quick else Settings(rounds=rounds)
    if threads:
        settings = replace(settings, threads=tuple(threads))
    fresh = {"machine": machine.describe()}
    record = {**(records.read(records.path_of(fresh, out)) if kept else {}), **fresh}
    have = records.names(record, settings.threads) if missing else set()
    chosen = [
        name for name in MEASUREMENTS
        if name in (only or MEASUREMENTS) and name not in (skip or []) and name not in have
    ]  # fmt: skip
    if not chosen:
        raise typer.BadParameter("nothing is left to measure")
    record["settings"] = {
        "quick": quick, "rounds": settings.rounds, "threads": list(settings.threads),
    }  # fmt: skip
    peak = machine.find_peak()
    record["peak"] = {str(count): peak(count) for count in settings.threads} if peak else {}
    failed = []
    bars = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *bars, TextColumn("{task.description}"), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("", total=len(chosen))

        def say(text: str) -> None:
            progress.update(task, description=text)

        for name in chosen:
            failed.append(measure(record, name, settings, say))
            if kept:
                records.write(record, out)
                write(out)
            progress.advance(task)
    print(tables.page([record]))
    if kept:
        print(f"wrote {records.path_of(record, out)}")
    if any(failed):
        raise ValueError("; ".join(filter(None, failed)))


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {one_line(error)}")
