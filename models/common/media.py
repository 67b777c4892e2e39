"""Pictures and video in and out of a command: files, folders, raw video and pipes."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, TypeVar

from fxp.cli.batch import over_files
from fxp.cli.console import progress_bar
from fxp.cli.targets import check_target, folder_targets
from fxp.imaging import video
from fxp.imaging.files import (
    FILM_SUFFIXES,
    IMAGE_SUFFIXES,
    WRITTEN_SUFFIXES,
    ImageError,
    image_paths,
    read_picture,
    video_advice,
    write_image,
)
from fxp.imaging.video import Frame, Layout, VideoError, VideoFormat
from fxp.models.common.pixels import Pixels
from fxp.support.files import replacing
from fxp.support.progress import Progress

STREAM = "-"
Y4M = ".y4m"
DEPTH = 2
"""Frames that wait on either side of the computation."""

Item = TypeVar("Item")
Made = TypeVar("Made")


class PixelWork(Protocol):
    """What a command does to pictures; workers of other processes get it by pickle."""

    def __call__(self, image: Pixels, *, threads: int | None = None) -> Pixels:
        """Return an image ``(H, W)`` or ``(H, W, C)`` uint8 for one."""
        ...

    def frame(self, planes: Sequence[Pixels], *, threads: int | None = None) -> list[Pixels]:
        """Return the planes of a video frame for those of one: Y, or Y, Cb and Cr."""
        ...

    def video_format(self, form: VideoFormat) -> VideoFormat:
        """Return the format of the result of a video."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes
    ----------
    input, output
        The files.
    seconds
        Time of reading, work and writing.
    error
        Why there is no result; None if there is.
    """

    input: str
    output: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class MediaReport:
    """What a command has done.

    Attributes
    ----------
    output
        What was written.
    count, what
        Number of images or frames that are written, and what they are.
    seconds
        Time of all.
    images
        Each image of a folder; empty for video.
    """

    output: str
    count: int
    what: str
    seconds: float
    images: tuple[Outcome, ...] = ()

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The images without a result."""
        return tuple(item for item in self.images if item.error is not None)

    def __str__(self) -> str:
        name = "standard output" if self.output == STREAM else self.output
        rate = self.count / self.seconds
        return (
            f"wrote {name}: {self.count} {self.what}, {self.seconds:.2f} s, {rate:.2f} per second"
        )


def raw_video(size: str | None, layout: Layout | None) -> VideoFormat | None:
    """Return the format of raw video from ``--size`` and ``--format``, None without them.

    Raises
    ------
    VideoError
        If one of them is missing or wrong.
    """
    if (size is None) != (layout is None):
        raise VideoError("raw video needs both --size and --format")
    return None if size is None or layout is None else VideoFormat(*frame_size(size), layout)


def process(
    source: str,
    target: str,
    work: Callable[[], PixelWork],
    *,
    raw: VideoFormat | None = None,
    threads: int | None = None,
    doing: str = "working",
    reads: Sequence[Path] = (),
) -> MediaReport:
    """Take an image, a folder, a video or a pipe through pixel work.

    The images of a folder are tasks of their own: joblib's setting decides where they run, see
    `fxp.support.parallel.workers`. One that fails does not stop the others.

    Parameters
    ----------
    source, target
        Files, folders, or ``-`` for the standard streams.
    work
        Makes the work, after the ends are found to be usable.
    raw
        Format of raw video; None for other media.
    threads
        Threads of the engine.
    doing
        What the progress bar says.
    reads
        Files that must not be written to either.

    Raises
    ------
    ImageError, VideoError, ArgumentError, OSError
        If source or target cannot be used, or the only image fails.
    """
    moving = raw is not None or source == STREAM or _is_y4m(Path(source))
    _check_ends(source, target, moving, raw, reads)
    made = work()
    started = time.perf_counter()
    outcomes: tuple[Outcome, ...] = ()
    if moving:
        with progress_bar(doing) as progress:
            count, what = _video(source, target, raw, made, threads, progress)
    else:
        outcomes = _images(Path(source), Path(target), made, threads, doing, reads)
        count = sum(item.error is None for item in outcomes)
        what = "images" if Path(source).is_dir() else "image"
    return MediaReport(target, count, what, time.perf_counter() - started, outcomes)


def image_task(work: PixelWork, source: Path, target: Path, threads: int | None) -> None:
    """Read an image, work on it and write the result.

    Parameters
    ----------
    work
        The work.
    source, target
        The files.
    threads
        Threads of the engine.
    """
    image, attachments = read_picture(source, alpha=True)
    write_image(target, work(image, threads=threads), alpha=True, attachments=attachments)


def frame_size(text: str) -> tuple[int, int]:
    """Return width and height from the option ``--size``, which is written as WIDTHxHEIGHT.

    Raises
    ------
    VideoError
        If it is written in another way.
    """
    sides = text.split("x")
    if len(sides) != 2 or not all(
        side.isascii() and side.isdigit() and len(side) < 10 for side in sides
    ):
        raise VideoError(f"--size must be written as WIDTHxHEIGHT, not {text!r}")
    width, height = map(int, sides)
    return width, height


def _is_y4m(path: Path) -> bool:
    """Judge by the suffix or the first bytes."""
    if path.suffix.lower() == Y4M:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(video.MAGIC)) == video.MAGIC


def _check_ends(
    source: str, target: str, moving: bool, raw: VideoFormat | None, reads: Sequence[Path]
) -> None:
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
        other = suffix in IMAGE_SUFFIXES | FILM_SUFFIXES | {".fxp", ".npy"}
        if target != STREAM and (other or (suffix == Y4M) != (raw is None)):
            kind = "raw" if raw else "a .y4m file"
            raise VideoError(f"the video is {kind}, so the output must be too, not {target}")
    elif not path.exists():
        raise ImageError(f"no such file or folder: {source}")
    advice = "" if moving or path.is_dir() else video_advice(path)
    if advice:
        raise VideoError(f"{source} is no image and no .y4m video; {advice}")
    if not path.is_dir() and not (moving and target == STREAM):
        check_target(
            goal,
            reads=[*reads, *([] if source == STREAM else [path])],
            suffixes=() if moving else WRITTEN_SUFFIXES,
        )


def _images(
    source: Path,
    target: Path,
    work: PixelWork,
    threads: int | None,
    doing: str,
    reads: Sequence[Path],
) -> tuple[Outcome, ...]:
    sources = image_paths(source)
    if not source.is_dir():
        image_task(work, source, target, threads)
        return (Outcome(str(source), str(target), 0.0),)
    targets = folder_targets(sources, target, reads=reads)
    tasks = [
        (item, partial(image_task, work, item.absolute(), goal.absolute(), threads))
        for item, goal in zip(sources, targets, strict=True)
    ]
    return tuple(
        Outcome(done.input, str(goal), done.seconds, done.error)
        for goal, done in zip(targets, over_files(tasks, doing), strict=True)
    )


def _video(
    source: str,
    target: str,
    raw: VideoFormat | None,
    pixel_work: PixelWork,
    threads: int | None,
    progress: Progress,
) -> tuple[int, str]:
    """Work on a video frame by frame."""
    with ExitStack() as stack:
        reading = stack.enter_context(_opened(sys.stdin.fileno() if source == STREAM else source))
        form = raw or video.read_header(reading)
        larger = pixel_work.video_format(form)
        writing = stack.enter_context(
            _opened(sys.stdout.fileno(), "wb") if target == STREAM else replacing(target)
        )
        writing.write(video.header(larger))

        def work(frame: Frame) -> Frame:
            if form.layout is Layout.RGB:
                return [pixel_work(frame[0], threads=threads)]
            # Of an odd size, half as many samples rounded up become too many.
            return [
                plane[: shape[0], : shape[1]]
                for plane, shape in zip(
                    pixel_work.frame(frame, threads=threads), larger.plane_shapes, strict=True
                )
            ]

        steps = overlapped(
            video.read_frames(reading, form),
            work,
            lambda frame: video.write_frame(writing, frame, larger),
        )
        length = os.fstat(reading.fileno()).st_size  # 0 for a pipe
        total = form.frame_count(length) if length else 0
        count = 0
        with closing(steps):
            for _ in steps:
                count += 1
                progress(count, total, "")
        if not count:
            raise VideoError("the video holds no frame")
    sizes = f"{form.width}x{form.height} to {larger.width}x{larger.height}"
    return count, f"frames of {sizes}"


def _opened(file: int | str, mode: Literal["rb", "wb"] = "rb") -> BinaryIO:
    """Open a file, or a standard stream once more, so that nothing waits in its own buffer."""
    return open(file, mode, closefd=isinstance(file, str))


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
