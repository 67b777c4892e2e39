"""Uncompressed 8-bit video as a stream of frames: YUV4MPEG2 files and headerless raw video."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from fxp.support.errors import FxpError

MAGIC: Final = b"YUV4MPEG2"
MAX_PIXELS: Final = 1 << 28
"""Largest frame that is read; a damaged header may announce any size."""
MAX_LINE: Final = 4096

Frame = list[NDArray[np.uint8]]
"""One plane ``(H, W)`` for Y and each of Cb and Cr, or one image ``(H, W, 3)`` for RGB."""


class VideoError(FxpError, ValueError):
    """A video stream cannot be used; the message is one line."""


class Layout(StrEnum):
    """Order of the samples of a frame, by ffmpeg's names."""

    GRAY = "gray"
    YUV420 = "yuv420p"
    YUV422 = "yuv422p"
    YUV444 = "yuv444p"
    RGB = "rgb24"


_CHROMA_STEPS: Final = {
    Layout.YUV420: (2, 2),
    Layout.YUV422: (1, 2),
    Layout.YUV444: (1, 1),
}
"""Rows and columns of luma for one sample of chroma."""

_LAYOUTS: Final = {
    "420": Layout.YUV420,
    "420jpeg": Layout.YUV420,
    "420mpeg2": Layout.YUV420,
    "420paldv": Layout.YUV420,
    "422": Layout.YUV422,
    "444": Layout.YUV444,
    "mono": Layout.GRAY,
}
"""Layout by colour space of a YUV4MPEG2 header."""


@dataclass(frozen=True)
class VideoFormat:
    """Size and layout of every frame of a video.

    Attributes
    ----------
    width, height
        Size in pixels.
    layout
        Order of the samples.
    tags
        The other tags of a YUV4MPEG2 header, such as ``F25:1``; None for raw video, which has no
        headers.

    Raises
    ------
    VideoError
        If the size is not positive or larger than any real video.
    """

    width: int
    height: int
    layout: Layout
    tags: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.width * self.height > MAX_PIXELS:
            raise VideoError(f"a frame of {self.width}x{self.height} pixels is empty or too large")

    @property
    def plane_shapes(self) -> list[tuple[int, ...]]:
        """Shape of every array of a frame; the sizes of subsampled chroma are rounded up."""
        if self.layout is Layout.RGB:
            return [(self.height, self.width, 3)]
        planes: list[tuple[int, ...]] = [(self.height, self.width)]
        if self.layout is not Layout.GRAY:
            rows, columns = _CHROMA_STEPS[self.layout]
            planes += [(-(-self.height // rows), -(-self.width // columns))] * 2
        return planes

    @property
    def frame_bytes(self) -> int:
        """Bytes of the samples of a frame."""
        return sum(int(np.prod(shape)) for shape in self.plane_shapes)

    def upscaled(self, scale: int) -> VideoFormat:
        """Return the format of the same video with every side `scale` times as long."""
        return replace(self, width=self.width * scale, height=self.height * scale)

    def frame_count(self, length: int) -> int:
        """Return how many frames a whole file of `length` bytes holds, if none has tags."""
        if self.tags is None:
            return length // self.frame_bytes
        return (length - len(header(self))) // (self.frame_bytes + len(b"FRAME\n"))


def read_header(stream: BinaryIO) -> VideoFormat:
    """Read the header of a YUV4MPEG2 stream.

    Raises
    ------
    VideoError
        If it is no such header, or one of interlaced video or of samples that are not 8-bit grey,
        4:2:0, 4:2:2 or 4:4:4.
    """
    line = stream.readline(MAX_LINE)
    first, *tags = line.removesuffix(b"\n").split(b" ")
    if first != MAGIC or not line.endswith(b"\n"):
        raise VideoError("this is no YUV4MPEG2 video; raw video needs its size and format")
    sizes: dict[str, int] = {}
    layout, kept = Layout.YUV420, []
    for tag in (item.decode("latin-1") for item in tags if item):
        letter, value = tag[0], tag[1:]
        if letter in "WH":
            if letter in sizes or not re.fullmatch(r"[0-9]{1,9}", value):
                raise VideoError(f"the YUV4MPEG2 header has a wrong size: {tag!r}")
            sizes[letter] = int(value)
            continue
        if letter == "C":
            if value not in _LAYOUTS:
                raise VideoError(
                    f"colour space {value!r} is not supported, only {', '.join(map(str, _LAYOUTS))}"
                )
            layout = _LAYOUTS[value]
        elif letter == "I" and value not in ("p", "?"):
            raise VideoError(f"interlaced video ({tag!r}) is not supported")
        kept.append(tag)
    if len(sizes) != 2:
        raise VideoError("the YUV4MPEG2 header lacks the width or height")
    return VideoFormat(sizes["W"], sizes["H"], layout, tuple(kept))


def header(form: VideoFormat) -> bytes:
    """Return the header of a stream, empty for raw video."""
    if form.tags is None:
        return b""
    words = [MAGIC.decode(), f"W{form.width}", f"H{form.height}", *form.tags]
    return (" ".join(words) + "\n").encode("latin-1")


def read_frames(stream: BinaryIO, form: VideoFormat) -> Iterator[Frame]:
    """Read the frames that follow the header, one at a time.

    Raises
    ------
    VideoError
        If the stream ends within a frame, or something else stands in place of one.
    """
    number = 0
    while True:
        number += 1
        if form.tags is not None:
            line = stream.readline(MAX_LINE)
            if not line:
                return
            if not re.fullmatch(rb"FRAME( .*)?\n", line):
                raise VideoError(f"something else stands in place of frame {number}")
        data = stream.read(form.frame_bytes)
        if not data and form.tags is None:
            return
        if len(data) < form.frame_bytes:
            raise VideoError(f"the video ends within frame {number}")
        samples, frame, start = np.frombuffer(data, np.uint8), [], 0
        for shape in form.plane_shapes:
            end = start + int(np.prod(shape))
            frame.append(samples[start:end].reshape(shape))
            start = end
        yield frame


def write_frame(stream: BinaryIO, frame: Sequence[NDArray[np.uint8]], form: VideoFormat) -> None:
    """Write one frame.

    Parameters
    ----------
    stream
        Where to write, open for binary writing.
    frame
        Planes ``(H, W)`` in the order of the format: Y, or Y, Cb and Cr.
    form
        Size and subsampling of the video.

    Raises
    ------
    VideoError
        If its planes do not have the sizes of the format.
    """
    shapes = [plane.shape for plane in frame]
    if shapes != form.plane_shapes:
        raise VideoError(f"planes of {shapes} are no frame of {form.plane_shapes}")
    if form.tags is not None:
        stream.write(b"FRAME\n")
    for plane in frame:
        stream.write(np.ascontiguousarray(plane, np.uint8).data)
