"""The ``fxp deblur`` command: images and video through a fixed-point network, in integers."""

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
from fxp.imaging.video import Layout
from fxp.models import deblur as system
from fxp.models.common.media import STREAM, process, raw_video
from fxp.support.errors import ArgumentError
from fxp.support.parallel import workers


def deblur(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Image, folder of images, video, or - for stdin.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="The same kind to write, or - for stdout.")
    ],
    model: Annotated[str, typer.Option(help="Shipped model or .fxp file.")] = "small",
    tile_megabytes: Annotated[
        int, typer.Option(min=1, help="Memory for the values of a tile.")
    ] = 512,
    size: Annotated[str | None, typer.Option(help="Raw video: WIDTHxHEIGHT of a frame.")] = None,
    layout: Annotated[
        Layout | None, typer.Option("--format", help="Raw video: order of the samples.")
    ] = None,
    threads: ThreadsOption = None,
    jobs: JobsOption = JOBS,
    backend: BackendOption = BACKEND,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Deblur photographs or video by a multi-scale network in integers.

    Images of any size are read as PNG, JPEG, JPEG 2000, WebP, BMP, TIFF, PPM
    and still GIF, 16 bits a channel rounded to 8; transparency, colour
    profile, resolution and EXIF are kept. The images of a folder are written
    as PNG, and one that fails does not stop the others. Video is YUV4MPEG2
    (.y4m, also - without --size) or raw, and every frame is deblurred by
    itself; a film in another format comes through a pipe from ffmpeg. A file
    is written as a whole or not at all.

    Large images are computed in tiles, with the integers of the whole image.

    A model from a file takes and returns RGB; one whose formats are not
    unsigned 8-bit pixels is adapted where that is exact.

    Example: fxp deblur photo.jpg sharp.png

    Example: ffmpeg -i in.mp4 -f yuv4mpegpipe - | fxp deblur - - | ffplay -
    """
    if as_json and target == STREAM:
        raise ArgumentError("--json writes to standard output, where the video goes; give a file")
    raw = raw_video(size, layout)
    reads = [Path(model)] if Path(model).suffix == ".fxp" else []
    with workers(backend, jobs, scheduler):
        report = process(
            source,
            target,
            lambda: system.Deblurrer(system.load(model), tile_bytes=tile_megabytes << 20),
            raw=raw,
            threads=threads,
            doing="deblurring",
            reads=reads,
        )
    if as_json:
        print_json(asdict(report))
    else:
        typer.echo(str(report), err=target == STREAM)
    refuse_failures(report.images, "deblurred")
