"""A small animation of a video, which takes bounded memory however long the video is."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.support.files import replacing
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    from PIL import Image
else:
    Image = lazy_import("PIL.Image", "cli")

PREVIEW_SUFFIXES: Final = (".gif", ".webp", ".apng")
"""Endings of the animations that can be written."""
MOST_FRAMES: Final = 120
"""Frames of a preview. When there are more, every second one is left out."""
MOST_PIXELS: Final = 320
"""Longest side of a preview; larger frames are reduced."""
SHORTEST: Final = 20
"""Milliseconds of a frame, at least; many programs show faster GIF files much more slowly."""


class Preview:
    """Frames that are kept for an animation: every n-th, with n as small as `MOST_FRAMES` allows.

    Parameters
    ----------
    rate
        Frames a second of the video.
    """

    def __init__(self, rate: Fraction) -> None:
        self._rate = rate
        self._frames: list[NDArray[np.uint8]] = []
        self._seen, self._step = 0, 1

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Take the next frame of the video, ``(H, W)``; most are passed over in a long one."""
        if self._seen % self._step == 0:
            if len(self._frames) == MOST_FRAMES:
                self._frames, self._step = self._frames[::2], 2 * self._step
            # The number of kept frames is even, so that this one is due after half of them, too.
            self._frames.append(_reduced(frame))
        self._seen += 1

    @property
    def milliseconds(self) -> int:
        """Time for which each frame is shown, so that the animation lasts as long as the video."""
        return max(round(1000 * self._step / self._rate), SHORTEST)

    def write(self, path: str | Path) -> None:
        """Write the animation, which repeats without end.

        Parameters
        ----------
        path
            Where to; the ending, one of `PREVIEW_SUFFIXES`, says the format.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        kind = Path(path).suffix.lower()[1:]
        options: dict[str, Any] = {"lossless": True} if kind == "webp" else {}
        first, *others = map(Image.fromarray, self._frames)
        # Pillow moves about in what it writes, so the file is written as a whole.
        content = io.BytesIO()
        first.save(
            content,
            {"apng": "PNG"}.get(kind, kind.upper()),
            save_all=True,
            append_images=others,
            duration=self.milliseconds,
            loop=0,
            **options,
        )
        with replacing(path) as stream:
            stream.write(content.getvalue())


def _reduced(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the means of square blocks, as large as needed; what fills no block is left out."""
    factor = -(-max(frame.shape) // MOST_PIXELS)
    # A short side has a block, too.
    rows, columns = (min(factor, side) for side in frame.shape)
    height, width = (
        side // block for side, block in zip(frame.shape, (rows, columns), strict=True)
    )
    whole = frame[: height * rows, : width * columns].reshape(height, rows, width, columns)
    # A copy: the frame itself may be used again.
    return np.floor(whole.mean((1, 3)) + 0.5).astype(np.uint8)
