"""The ``fxp events`` command: recordings of event cameras to video, in integers."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, BinaryIO

import numpy as np
import typer
from numpy.typing import NDArray

from fxp.cli.console import JsonOption, ThreadsOption, print_json, progress_bar
from fxp.cli.targets import check_folder_target, check_target
from fxp.imaging import video
from fxp.imaging.files import FILM_SUFFIXES, IMAGE_SUFFIXES, write_image
from fxp.imaging.video import Layout, VideoFormat
from fxp.models.common.media import STREAM, Y4M, frame_size, overlapped
from fxp.models.events.events import SECOND, EventsError
from fxp.models.events.fixed import DEFAULT, SHIPPED, load
from fxp.models.events.preview import PREVIEW_SUFFIXES, Preview
from fxp.models.events.reading import EventReader
from fxp.models.events.reconstruct import Reconstructor
from fxp.models.events.windows import Window, by_count, by_time
from fxp.support.errors import ArgumentError
from fxp.support.files import replacing

COUNT = 15_000
"""Events of a window, unless the user says otherwise."""
RATE = 30
"""Frames a second of a video whose windows have a number of events."""
TIMES = "timestamps.txt"
"""File in a folder of frames that lists the end of each window."""
_UNITS = {"us": 1, "ms": 1000, "s": SECOND}


@dataclass(frozen=True)
class EventsReport:
    """What the command has done.

    Attributes
    ----------
    output
        What was written.
    frames, events
        Their numbers.
    seconds
        Time of all.
    error
        Why the recording could not be read to its end; None if it could.
    """

    output: str
    frames: int
    events: int
    seconds: float
    error: str | None = None

    def __str__(self) -> str:
        name = "standard output" if self.output == STREAM else self.output
        rate = self.frames / self.seconds
        return (
            f"wrote {name}: {self.frames} frames from {self.events} events, {self.seconds:.2f} s, "
            f"{rate:.2f} per second"
        )


def events(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="Recording of an event camera, or - for stdin.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="Folder for PNG, .y4m video, or - for stdout.")
    ],
    model: Annotated[
        str, typer.Option(help=f"Shipped model ({', '.join(SHIPPED)}) or .fxp file.")
    ] = DEFAULT,
    window: Annotated[
        str | None,
        typer.Option(help="Events of a frame, such as 15000, or their time: 500us, 20ms, 0.1s."),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.001, help="Frames a second of the video.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="WIDTHxHEIGHT of the sensor, if the file does not say.")
    ] = None,
    drop_outside: Annotated[
        bool, typer.Option(help="Leave out events outside the sensor.")
    ] = False,
    hot: Annotated[
        int | None, typer.Option(min=1, help="Limit of hot pixels, events a frame; usually 25.")
    ] = None,
    stretch: Annotated[bool, typer.Option(help="Stretch the contrast of each frame.")] = False,
    preview: Annotated[
        Path | None,
        typer.Option(help="Write a small animation as well: a .gif, .webp or .apng file."),
    ] = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a recording of an event camera into video by a recurrent network.

    Read are text (time, x, y, polarity), .npz, HDF5, AEDAT 4, Prophesee RAW
    (EVT 2.0 and 3.0) and DAT, and ROS bags; text, RAW and DAT also from a pipe.
    The output is a folder of PNG files with the times of the frames, or
    YUV4MPEG2 (.y4m, or - for a pipe).

    A frame is made of 15000 events, or as --window says. With --fps alone a
    frame is made of the events of one frame time, which plays in real time.
    Events at the end that fill no frame are left out.

    Of a recording that is damaged, the frames before the damage are written;
    then the command fails. A run that writes no frame leaves a folder as it was.

    --preview also writes an animation of at most 120 frames and 320 pixels a
    side, as long as the video.

    Example: fxp events recording.raw frames --model firenet-small

    Example: fxp events recording.raw - --fps 30 | ffmpeg -i - video.mp4
    """
    if as_json and target == STREAM:
        raise ArgumentError("--json writes to standard output, where the video goes; give a file")
    if source == STREAM and sys.stdin.isatty():
        raise ArgumentError("the standard input is a terminal; redirect it")
    if fps is not None and not math.isfinite(fps):
        raise ArgumentError(f"--fps must be a number, not {fps}")
    count, duration = _window(window, fps)
    rate = Fraction(SECOND, duration) if fps is None and duration else Fraction(fps or RATE)
    _check_target(target, source, model)
    if preview is not None:
        _check_preview(preview, target, source, model)
    sensor = None if size is None else frame_size(size)
    loaded = load(model)
    with EventReader(source, size=sensor, outside="drop" if drop_outside else "refuse") as reader:
        work = Reconstructor(loaded, reader.size, hot=hot, stretch=stretch)
        windows = by_time(reader, duration) if duration else by_count(reader, count)
        report = _write(
            windows,
            work,
            target,
            rate.limit_denominator(1001) or rate,
            preview=preview,
            threads=threads,
        )
    if as_json:
        print_json(asdict(report))
    else:
        typer.echo(str(report), err=target == STREAM)
    if report.error is not None:
        raise EventsError(f"{report.error}; {report.frames} frames before that are written")


def _window(text: str | None, fps: float | None) -> tuple[int, int]:
    """Return the number of events of a window, or its microseconds; the other one is zero."""
    if text is None:
        return (COUNT, 0) if fps is None else (0, max(round(SECOND / fps), 1))
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)?", text, re.ASCII)
    number = Fraction(found[1]) * _UNITS.get(found[2], 1) if found else Fraction(0)
    if number < 1 or number.denominator != 1:
        raise ArgumentError(
            f"--window must be a number of events such as 15000, or a time such as 500us, 20ms or "
            f"0.1s, not {text!r}"
        )
    return (0, int(number)) if found and found[2] else (int(number), 0)


def _read_files(source: str, model: str) -> list[Path]:
    """Return the files that are read: neither a stream nor a shipped model."""
    return [Path(name) for name in (model, source) if name not in (STREAM, *SHIPPED)]


def _check_preview(preview: Path, target: str, source: str, model: str) -> None:
    """Refuse a preview that cannot be meant, before any work."""
    check_target(preview, reads=_read_files(source, model), suffixes=PREVIEW_SUFFIXES)
    if preview.absolute() == Path(target).absolute():
        raise ArgumentError(f"{preview} cannot be both the video and its preview")


def _check_target(target: str, source: str, model: str) -> None:
    """Refuse a target that cannot be meant, before any work."""
    reads = _read_files(source, model)
    goal = Path(target)
    if target == STREAM:
        if sys.stdout.isatty():
            raise ArgumentError("the standard output is a terminal; redirect it")
    elif goal.suffix.lower() == Y4M:
        check_target(goal, reads=reads)
    elif goal.suffix.lower() in FILM_SUFFIXES:
        raise ArgumentError(
            f"{target} is written through a pipe: fxp events ... - | ffmpeg -i - {target}"
        )
    elif goal.suffix.lower() in IMAGE_SUFFIXES:
        raise ArgumentError(f"{target} is one image; give a folder for the frames, or a .y4m file")
    else:
        check_folder_target(goal, reads=reads)


def _write(
    windows: Iterator[Window],
    work: Reconstructor,
    target: str,
    rate: Fraction,
    *,
    preview: Path | None,
    threads: int | None,
) -> EventsReport:
    started = time.perf_counter()
    frames = events = 0
    broken: list[EventsError] = []
    shown = None if preview is None else Preview(rate)

    def whole() -> Iterator[Window]:
        # What is broken ends the video, so that the frames before it are still written.
        try:
            yield from windows
        except EventsError as error:
            broken.append(error)

    with ExitStack() as stack:
        progress = stack.enter_context(progress_bar("reconstructing"))
        output = _Output(stack, target, work.size, rate)

        def step(window: Window) -> tuple[NDArray[np.uint8], int]:
            nonlocal events
            events += len(window.events)
            return work.frame(window.events, threads=threads), window.end

        def write(made: tuple[NDArray[np.uint8], int]) -> None:
            output.write(made)
            if shown is not None:
                shown.add(made[0])

        with closing(overlapped(whole(), step, write)) as steps:
            for _ in steps:
                frames += 1
                progress(frames, 0, f"{events} events")
        if not frames:
            if broken:
                raise broken[0]
            raise EventsError("the recording is shorter than one window; see --window")
        if shown is not None and preview is not None:
            shown.write(preview)
    error = str(broken[0]) if broken else None
    return EventsReport(target, frames, events, time.perf_counter() - started, error)


class _Output:
    """Where frames go: a folder, a file or standard output."""

    def __init__(
        self, stack: ExitStack, target: str, size: tuple[int, int], rate: Fraction
    ) -> None:
        self._number = 0
        self._stream: BinaryIO | None = None
        tags = (f"F{rate.numerator}:{rate.denominator}", "Ip", "A1:1", "Cmono")
        self._form = VideoFormat(*size, Layout.GRAY, tags)
        if target == STREAM:
            # Once more, so that nothing waits in a buffer of its own.
            stdout = open(sys.stdout.fileno(), "wb", closefd=False)  # noqa: SIM115
            self._stream = stack.enter_context(stdout)
        elif Path(target).suffix.lower() == Y4M:
            self._stream = stack.enter_context(replacing(target))
        else:
            self._folder = Path(target)
            self._times: BinaryIO | None = None
            self._listing = ExitStack()
            # A callback is not told of an exception, so that the frames before it are listed.
            stack.callback(self._finish)
        if self._stream is not None:
            self._stream.write(video.header(self._form))

    def write(self, made: tuple[NDArray[np.uint8], int]) -> None:
        """Write a frame."""
        frame, end = made
        if self._stream is not None:
            video.write_frame(self._stream, [frame], self._form)
            self._stream.flush()
        else:
            path = self._frame(self._number)
            if self._times is None:
                self._times = self._begin(path, frame)
            else:
                write_image(path, frame)
            self._times.write(f"{end} {path.name}\n".encode())
        self._number += 1

    def _frame(self, number: int) -> Path:
        return self._folder / f"frame_{number:07d}.png"

    def _begin(self, path: Path, frame: NDArray[np.uint8]) -> BinaryIO:
        """Write the first frame, and begin the list of times; make the folder if it is missing."""
        made = not self._folder.exists()
        if made:
            self._folder.mkdir()
        try:
            with ExitStack() as listing:
                times = listing.enter_context(replacing(self._folder / TIMES))
                write_image(path, frame)
                # Only now is there something to list.
                self._listing = listing.pop_all()
        except BaseException:
            if made:
                self._folder.rmdir()
            raise
        return times

    def _finish(self) -> None:
        """End the list of times, and remove the frames that an earlier, longer run has left.

        They would be taken for frames of this run. A run that has written no frame changes
        nothing.
        """
        if not self._number:
            return
        self._listing.close()
        number = self._number
        while (path := self._frame(number)).is_file():
            path.unlink()
            number += 1
