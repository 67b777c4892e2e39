"""The ``fxp upscale`` command: images and video through a fixed-point network, in integers."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, BinaryIO, Literal, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fxp.cli.sources import check_target, folder_targets
from fxp.imaging import video
from fxp.imaging.files import (
    IMAGE_SUFFIXES,
    ImageError,
    check_image_path,
    image_paths,
    read_image,
    write_image,
)
from fxp.imaging.video import Frame, Layout, VideoError, VideoFormat
from fxp.models import sr
from fxp.support.files import replacing

STREAM = "-"
Y4M = ".y4m"
DEPTH = 2
"""Frames that wait on either side of the computation."""

Item = TypeVar("Item")
Made = TypeVar("Made")


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
    size: Annotated[str | None, typer.Option(help="Raw video: WIDTHxHEIGHT of a frame.")] = None,
    layout: Annotated[
        Layout | None, typer.Option("--format", help="Raw video: order of the samples.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: all processors.")] = None,
) -> None:
    """Enlarge images or video by a super-resolution network in integers.

    The network enlarges the luma; chroma and transparency are enlarged
    bicubically. PNG, JPEG, BMP and TIFF are read, 16 bits a channel rounded
    to 8; the images of a folder are written as PNG. Video is 8-bit YUV4MPEG2
    (.y4m, also - without --size) or raw, and is read, enlarged and written at
    the same time. A file is written as a whole or not at all.

    A model from a file takes and returns one plane of unsigned 8-bit pixels;
    one that keeps the size (SRCNN, VDSR) needs --scale.

    Example: fxp upscale photo.png large.png

    Example: ffmpeg -i in.mp4 -f yuv4mpegpipe - | fxp upscale - - | ffplay -

    Example: fxp upscale in.yuv out.yuv --size 1920x1080 --format yuv420p
    """
    if (size is None) != (layout is None):
        raise VideoError("raw video needs both --size and --format")
    raw = None if size is None or layout is None else _raw_format(size, layout)
    moving = raw is not None or source == STREAM or _is_y4m(Path(source))
    _check_ends(source, target, moving, raw)
    enlarger = sr.Enlarger(sr.load(model or f"kimsr_x{scale or 2}"), scale=scale)
    started = time.perf_counter()
    if moving:
        count, what = _video(source, target, raw, enlarger, threads)
    else:
        count, what = _images(Path(source), Path(target), enlarger, threads)
    seconds = time.perf_counter() - started
    name = "standard output" if target == STREAM else target
    typer.echo(
        f"wrote {name}: {count} {what}, {seconds:.2f} s, {count / seconds:.2f} per second",
        err=target == STREAM,
    )


def _raw_format(size: str, layout: Layout) -> VideoFormat:
    width, _, height = size.partition("x")
    if not all(side.isascii() and side.isdigit() and len(side) < 10 for side in (width, height)):
        raise VideoError(f"--size must be written as WIDTHxHEIGHT, not {size!r}")
    return VideoFormat(int(width), int(height), layout)


def _is_y4m(path: Path) -> bool:
    """Judge by the suffix or the first bytes."""
    if path.suffix.lower() == Y4M:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(video.MAGIC)) == video.MAGIC


def _check_ends(source: str, target: str, moving: bool, raw: VideoFormat | None) -> None:
    """Refuse a source or target that cannot be meant, before any work."""
    path, goal = Path(source), Path(target)
    if moving:
        if source != STREAM and not path.is_file() and (path.is_dir() or not path.exists()):
            raise VideoError(f"no such video file: {source}")
        for end, name in ((source, "input"), (target, "output")):
            stream = sys.stdin if name == "input" else sys.stdout
            if end == STREAM and stream.isatty():
                raise VideoError(f"the standard {name} is a terminal; redirect it")
        suffix = goal.suffix.lower()
        if target != STREAM and (suffix in IMAGE_SUFFIXES or (suffix == Y4M) != (raw is None)):
            kind = "raw" if raw else "a .y4m file"
            raise VideoError(f"the video is {kind}, so the output must be too, not {target}")
    elif not path.exists():
        raise ImageError(f"no such file or folder: {source}")
    if target != STREAM and not path.is_dir():
        check_target(goal)
        if source != STREAM and goal.exists() and goal.samefile(path):
            raise OSError(f"{target} is the input itself; give another name")


def _images(
    source: Path, target: Path, enlarger: sr.Enlarger, threads: int | None
) -> tuple[int, str]:
    """Enlarge an image or a folder of them."""
    sources = image_paths(source)
    targets = folder_targets(sources, target) if source.is_dir() else [target]
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    for goal in targets:
        check_target(goal)
        check_image_path(goal)
    goals = iter(targets)
    steps = overlapped(
        (read_image(path, alpha=True) for path in sources),
        lambda image: enlarger(image, threads=threads),
        lambda image: write_image(next(goals), image, alpha=True),
    )
    return _progress(steps, len(sources)), "images" if source.is_dir() else "image"


def _video(
    source: str, target: str, raw: VideoFormat | None, enlarger: sr.Enlarger, threads: int | None
) -> tuple[int, str]:
    """Enlarge a video frame by frame."""
    with ExitStack() as stack:
        reading = stack.enter_context(_opened(sys.stdin.fileno() if source == STREAM else source))
        form = raw or video.read_header(reading)
        larger = form.enlarged(enlarger.scale)
        writing = stack.enter_context(
            _opened(sys.stdout.fileno(), "wb") if target == STREAM else replacing(target)
        )
        writing.write(video.header(larger))

        def work(frame: Frame) -> Frame:
            if form.layout is Layout.RGB:
                return [enlarger(frame[0], threads=threads)]
            # Of an odd size, half as many samples rounded up become too many.
            return [
                plane[: shape[0], : shape[1]]
                for plane, shape in zip(
                    enlarger.frame(frame, threads=threads), larger.plane_shapes, strict=True
                )
            ]

        steps = overlapped(
            video.read_frames(reading, form),
            work,
            lambda frame: video.write_frame(writing, frame, larger),
        )
        length = os.fstat(reading.fileno()).st_size  # 0 for a pipe
        count = _progress(steps, form.frame_count(length) if length else None)
        if not count:
            raise VideoError("the video holds no frame")
    sizes = f"{form.width}x{form.height} to {larger.width}x{larger.height}"
    return count, f"frames of {sizes}"


def _opened(file: int | str, mode: Literal["rb", "wb"] = "rb") -> BinaryIO:
    """Open a file, or a standard stream once more, so that nothing waits in its own buffer."""
    return open(file, mode, closefd=isinstance(file, str))


def _progress(steps: Generator[None, None, None], total: int | None) -> int:
    """Show how far the work is, on a terminal only; returns the number of steps."""
    console = Console(stderr=True)
    columns = (
        TextColumn("enlarging"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    count = 0
    hidden = not console.is_terminal or total == 1
    bar = Progress(*columns, console=console, transient=True, disable=hidden)
    with closing(steps), bar as progress:
        task = progress.add_task("", total=total)
        for _ in steps:
            count += 1
            progress.advance(task)
    return count


def overlapped(
    source: Iterator[Item], work: Callable[[Item], Made], write: Callable[[Made], None]
) -> Generator[None, None, None]:
    """Read ahead and write behind in two threads while `work` runs in this one.

    At most `DEPTH` items wait on either side. The first exception of any part ends everything and
    is raised here.

    Parameters
    ----------
    source
        Items, in order.
    work
        What to do with each.
    write
        Takes the results, in order.

    Yields
    ------
    None
        Once for every item, after `work`.
    """
    end = object()
    reader, writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    ahead: deque[Future] = deque()
    behind: deque[Future] = deque()
    try:
        for _ in range(DEPTH):
            ahead.append(reader.submit(next, source, end))
        while (item := ahead.popleft().result()) is not end:
            ahead.append(reader.submit(next, source, end))
            made = work(item)
            if len(behind) == DEPTH:
                behind.popleft().result()
            behind.append(writer.submit(write, made))
            yield
        for future in behind:
            future.result()
    finally:
        reader.shutdown(cancel_futures=True)
        writer.shutdown(cancel_futures=True)
