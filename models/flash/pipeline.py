"""Whole flash photographs through a fixed-point network, in integers from end to end."""

from __future__ import annotations

from collections.abc import Sequence

from fxp.imaging.video import VideoError, VideoFormat
from fxp.models.common.photographs import PhotographNetwork
from fxp.models.common.pixels import Pixels


class Relighter(PhotographNetwork):
    """A network that shows whole flash photographs of any size in ambient light.

    The network sees a photograph as a whole: one that looks at all of a picture cannot work in
    parts. Memory therefore grows with the photograph.
    """

    def frame(self, planes: Sequence[Pixels], *, threads: int | None = None) -> list[Pixels]:
        """Refuse video, see `video_format`."""
        raise VideoError("relighting is for photographs, not for video")

    def video_format(self, form: VideoFormat) -> VideoFormat:
        """Refuse video.

        Raises
        ------
        VideoError
            Always: each frame would get a light of its own, and the video would flicker.
        """
        raise VideoError("relighting is for photographs, not for video")
