"""Uncompressed video as a stream of frames: YUV4MPEG2 files and headerless raw video.

Frames have 8 bits a sample. YUV4MPEG2 with more is read too, and rounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
    YUV411 = "yuv411p"
    YUV420 = "yuv420p"
    YUV422 = "yuv422p"
    YUV444 = "yuv444p"
    RGB = "rgb24"


_CHROMA_STEPS: Final = {
    Layout.YUV411: (1, 4),
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
    "411": Layout.YUV411,
    "422": Layout.YUV422,
    "444": Layout.YUV444,
    "mono": Layout.GRAY,
}
"""Layout by colour space of a YUV4MPEG2 header."""
_DEEP: Final = re.compile(r"(420|422|444|mono)p?(9|10|12|14|16)")
"""Colour spaces of more than 8 bits, each sample in two bytes, the lower first."""


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
    bits
        Bits of a sample in the stream, above 8 only to be read.

    Raises
    ------
    VideoError
        If the size is not positive or larger than any real video.
    """

    width: int
    height: int
    layout: Layout
    tags: tuple[str, ...] | None = None
    bits: int = 8

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
        return (1 + (self.bits > 8)) * sum(int(np.prod(shape)) for shape in self.plane_shapes)

    def upscaled(self, scale: int) -> VideoFormat:
        """Return the format of the same video in 8 bits, each side `scale` times as long."""
        tags = self.tags
        if tags is not None and self.bits > 8:
            colours = next(key for key, layout in _LAYOUTS.items() if layout is self.layout)
            kept = (tag for tag in tags if tag[0] != "C" and not tag.startswith("XYSCSS"))
            tags = (f"C{colours}", *kept)
        return VideoFormat(self.width * scale, self.height * scale, self.layout, tags)

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
        If it is no such header, or one of interlaced video or of samples that are not grey,
        4:1:1, 4:2:0, 4:2:2 or 4:4:4.
    """
    line = stream.readline(MAX_LINE)
    first, *tags = line.removesuffix(b"\n").split(b" ")
    if first != MAGIC or not line.endswith(b"\n"):
        raise VideoError("this is no YUV4MPEG2 video; raw video needs its size and format")
    sizes: dict[str, int] = {}
    layout, bits, kept = Layout.YUV420, 8, []
    for tag in (item.decode("latin-1") for item in tags if item):
        letter, value = tag[0], tag[1:]
        if letter in "WH":
            if letter in sizes or not re.fullmatch(r"[0-9]{1,9}", value):
                raise VideoError(f"the YUV4MPEG2 header has a wrong size: {tag!r}")
            sizes[letter] = int(value)
            continue
        if letter == "C":
            deep = _DEEP.fullmatch(value)
            name, bits = (deep[1], int(deep[2])) if deep else (value, 8)
            if name not in _LAYOUTS:
                raise VideoError(
                    f"colour space {value!r} is not supported, only {', '.join(_LAYOUTS)}, and "
                    "p9 to p16 of 420, 422, 444 and mono"
                )
            layout = _LAYOUTS[name]
        elif letter == "I" and value not in ("p", "?"):
            raise VideoError(f"interlaced video ({tag!r}) is not supported")
        kept.append(tag)
    if len(sizes) != 2:
        raise VideoError("the YUV4MPEG2 header lacks the width or height")
    return VideoFormat(sizes["W"], sizes["H"], layout, tuple(kept), bits)


def header(form: VideoFormat) -> bytes:
    """Return the header of a stream, empty for raw video."""
    if form.tags is None:
        return b""
    words = [MAGIC.decode(), f"W{form.width}", f"H{form.height}", *form.tags]
    return (" ".join(words) + "\n").encode("latin-1")


def read_frames(stream: BinaryIO, form: VideoFormat) -> Iterator[Frame]:
    """Read the frames that follow the header, one at a time.

    Samples of more than 8 bits are rounded half up to 8, and saturated. That keeps black and white
    of the studio range, which are 64 and 940 in 10 bits, 16 and 235 in 8.

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
        samples, frame, start = _eight_bits(data, form.bits), [], 0
        for shape in form.plane_shapes:
            end = start + int(np.prod(shape))
            frame.append(samples[start:end].reshape(shape))
            start = end
        yield frame


def _eight_bits(data: bytes, bits: int) -> NDArray[np.uint8]:
    if bits == 8:
        return np.frombuffer(data, np.uint8)
    samples = np.frombuffer(data, "<u2").astype(np.uint32)
    shift = bits - 8
    return np.minimum((samples + (1 << (shift - 1))) >> shift, 255).astype(np.uint8)


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
