"""``fxp upscale``: images and video through a network; ``fxp chain``: the whole way as a model."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
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
from fxp.cli.targets import check_target
from fxp.imaging.video import Layout
from fxp.models import sr
from fxp.models.common.media import STREAM, process, raw_video
from fxp.support.errors import ArgumentError
from fxp.support.parallel import workers


def upscale(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Image, folder of images, video, or - for stdin.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="The same kind to write, or - for stdout.")
    ],
    model: Annotated[
        str | None, typer.Option(help="Shipped model or .fxp file; default kimsr_x2.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(min=2, max=4, help="Factor; default that of the model.")
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1, max=100, help="JPEG quality, for kimsr_x2_compressed; default: estimated."
        ),
    ] = None,
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
    """Upscale images or video by a super-resolution network in integers.

    The network upscales the luma; chroma and transparency are upscaled
    bicubically. PNG, JPEG, JPEG 2000, WebP, BMP, TIFF, PPM and still GIF are
    read, 16 bits a channel rounded to 8; colour profile, resolution and EXIF
    are kept. The images of a folder are written as PNG, and one that fails
    does not stop the others. Video is YUV4MPEG2 (.y4m, also - without --size)
    or raw, and is read, upscaled and written at the same time; a film in
    another format comes through a pipe from ffmpeg. A file is written as a
    whole or not at all.

    A model from a file takes and returns one plane; one whose formats are not
    unsigned 8-bit pixels is adapted where that is exact. One that keeps the
    size (SRCNN, VDSR) needs --scale.

    Example: fxp upscale photo.png large.png

    Example: ffmpeg -i in.mp4 -f yuv4mpegpipe - | fxp upscale - - | ffplay -

    Example: fxp upscale in.yuv out.yuv --size 1920x1080 --format yuv420p
    """
    if as_json and target == STREAM:
        raise ArgumentError("--json writes to standard output, where the video goes; give a file")
    raw = raw_video(size, layout)
    reads = [Path(model)] if model is not None and Path(model).suffix == ".fxp" else []
    with workers(backend, jobs, scheduler):
        report = process(
            source,
            target,
            lambda: sr.Upscaler(
                sr.load(model or f"kimsr_x{scale or 2}"), scale=scale, quality=quality
            ),
            raw=raw,
            threads=threads,
            doing="upscaling",
            reads=reads,
        )
    if as_json:
        print_json(asdict(report))
    else:
        typer.echo(str(report), err=target == STREAM)
    refuse_failures(report.images, "upscaled")


class ChromaChoice(StrEnum):
    """How Cb and Cr are enlarged."""

    BICUBIC = "bicubic"
    BILINEAR = "bilinear"


class SourceChoice(StrEnum):
    """Components of a picture that comes in."""

    RGB = "rgb"
    YCBCR = "ycbcr"


def chain(
    model: Annotated[str, typer.Argument(help="Shipped model or .fxp file, of luma.")],
    out: Annotated[Path, typer.Argument(help="The .fxp file to write.")],
    chroma: Annotated[
        ChromaChoice, typer.Option(help="How Cb and Cr are enlarged; bilinear for a factor of 2.")
    ] = ChromaChoice.BICUBIC,
    source: Annotated[
        SourceChoice, typer.Option(help="What comes in; ycbcr is 4:4:4 in the order Cr, Y, Cb.")
    ] = SourceChoice.RGB,
    scale: Annotated[
        int | None, typer.Option(min=2, max=4, help="Factor; default that of the model.")
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="JPEG quality, for kimsr_x2_compressed; default: clean."),
    ] = None,
) -> None:
    """Make one model of the whole way from colour pictures to RGB upscaled.

    Conversion to YCbCr, the network for the luma, interpolation for the chroma and conversion back
    become one integer graph, with the network's own integers. fxp export rtl, cosim, synth and
    bitstream make a core for colour video of it.

    Example: fxp chain kimsr_x2 chain.fxp --chroma bilinear
    """
    reads = [Path(model)] if Path(model).suffix == ".fxp" else []
    check_target(out, reads=reads, suffixes=(".fxp",))
    made = sr.colour_chain(
        sr.load(model), chroma=chroma.value, source=source.value, scale=scale, quality=quality
    )
    made.save(out)
    typer.echo(f"wrote {out}: {source} to RGB")
