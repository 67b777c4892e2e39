"""The ``fxp relight`` command: flash photographs in ambient light, in integers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fxp.cli.batch import (
    BACKEND,
    JOBS,
    BackendOption,
    JobsOption,
    SchedulerOption,
    refuse_failures,
)
from fxp.cli.console import JsonOption, ThreadsOption, print_json
from fxp.models.common.media import process
from fxp.models.flash.pipeline import Relighter
from fxp.models.flash.shipped import SHIPPED, load
from fxp.support.parallel import workers


def relight(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Photograph, or folder of photographs.")
    ],
    target: Annotated[str, typer.Argument(metavar="OUT", help="The same kind to write.")],
    model: Annotated[
        str, typer.Option(help="Shipped model or .fxp file of a network on RGB.")
    ] = SHIPPED[0],
    threads: ThreadsOption = None,
    jobs: JobsOption = JOBS,
    backend: BackendOption = BACKEND,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show flash photographs as ambient light would have, in integers.

    Photographs have any size; colour profile, resolution and EXIF are kept,
    and so is transparency. CMYK becomes RGB, grey stays grey. The photographs
    of a folder are written as PNG, and one that fails does not stop the
    others. A file is written as a whole or not at all.

    The network sees a photograph as a whole: with the shipped model, one of
    twelve megapixels takes about half a gigabyte of memory.

    Example: fxp relight flash.jpg ambient.png

    Example: fxp relight photos relit --jobs 4
    """
    reads = [Path(model)] if Path(model).suffix == ".fxp" else []
    with workers(backend, jobs, scheduler):
        report = process(
            source,
            target,
            lambda: Relighter(load(model)),
            threads=threads,
            doing="relighting",
            reads=reads,
        )
    if as_json:
        print_json(asdict(report))
    else:
        typer.echo(str(report))
    refuse_failures(report.images, "relit")
