"""The command: run the measurements, print, and publish if all of them ran."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import report
from benchmarks.speed import hls_simulation, libraries, machine, scaling, tables, versus
from benchmarks.speed.timing import Settings
from benchmarks.speed.versus import Say
from benchmarks.speed.works import WORKS

TITLE = "How fast the engine is"
Measure = Callable[[Settings, Say], Any]
LIBRARIES: dict[str, Measure] = {
    "hls4ml": hls_simulation.measure,
    **{name: partial(libraries.measure, name) for name in libraries.LIBRARIES},
}
SCALING: dict[str, Measure] = {
    "pixels": scaling.measure_pixels,
    "threads": scaling.measure_threads,
    "startup": scaling.measure_startup,
}
NAMES = (*(work.name for work in WORKS), *LIBRARIES, *SCALING)


def measure(settings: Settings, names: list[str], say: Say) -> Iterator[dict[str, Any]]:
    """Yield, after each measurement, the record that holds everything the tables show.

    Parameters
    ----------
    settings
        Sizes, rounds and numbers of threads.
    names
        What to measure, of `NAMES`.
    say
        Called with what is being done.
    """
    peak = machine.find_peak()
    record: dict[str, Any] = {
        "machine": machine.describe(),
        "settings": {
            "quick": settings.quick,
            "rounds": settings.rounds,
            "threads": list(settings.threads),
        },
        "left_out": [name for name in NAMES if name not in names],
        "peak": {str(count): peak(count) for count in settings.threads} if peak else {},
        "works": [],
        "libraries": [],
        **dict.fromkeys(SCALING),
    }
    works = {work.name: work for work in WORKS}
    for name in names:
        if name in works:
            work = works[name].tiny() if settings.quick else works[name]
            record["works"].append(versus.measure(work, settings, say))
        elif name in LIBRARIES:
            record["libraries"].append(LIBRARIES[name](settings, say))
        else:
            record[name] = SCALING[name](settings, say)
        yield record


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes, to try the script.")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(NAMES)}.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Leave out; names as for --only.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of every contender.")] = 5,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="1 and 2 by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for speed.md and speed.json.")] = None,
) -> None:
    """Measure the engine's speed; a whole run writes docs/benchmarks/speed.md.

    With --out the results go to that folder instead. With --quick or --only, and no --out, they
    are only printed.
    """
    for name in [*(only or []), *(skip or [])]:
        if name not in NAMES:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(NAMES)}")
    names = [name for name in NAMES if name in (only or NAMES) and name not in (skip or [])]
    if not names:
        raise typer.BadParameter("nothing is left to measure")
    published = out is None and not quick and not only
    if published:
        report.check_readme()  # now rather than at the end
    settings = Settings(quick, 1, 0.0) if quick else Settings(rounds=rounds)
    if threads:
        settings = replace(settings, threads=tuple(threads))
    record: dict[str, Any] = {}
    bars = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *bars, TextColumn("{task.description}"), console=Console(stderr=True), transient=True
    ) as progress:
        task = progress.add_task("", total=len(names))

        def say(text: str) -> None:
            progress.update(task, description=text)

        for record in measure(settings, names, say):  # noqa: B007 - the last one is kept
            progress.advance(task)
    body, details = tables.overview(record), tables.details(record)
    print(f"{body}\n\n{details}")
    if out is not None:
        page = report.write_page(out, "speed", TITLE, f"{body}\n\n{details}", record)
    elif published:
        page = report.publish(
            "speed", TITLE, body, summary=tables.summary(record), details=details, data=record
        )
    else:
        return
    print(f"wrote {page}")


if __name__ == "__main__":
    typer.run(main)
