"""Whole photographs and video frames through a network that deblurs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp import FixedModel
from fxp.filters.colour import rgb_to_ycbcr, ycbcr_to_rgb
from fxp.imaging.video import VideoFormat
from fxp.models.common.photographs import PhotographNetwork, PlanesMethod
from fxp.models.common.pixels import Pixels
from fxp.models.deblur.tiles import TILE_BYTES, run_parts, split


class Deblurrer(PhotographNetwork):
    """A network made to deblur whole photographs and frames of any size, in bounded memory.

    Parameters
    ----------
    model
        As for `fxp.models.common.photographs.PhotographNetwork`.
    tile_bytes
        Memory for the values of a tile. Larger images are computed in tiles that overlap as far as
        needed, with the integers of the whole image.
    """

    def __init__(self, model: FixedModel, *, tile_bytes: int = TILE_BYTES) -> None:
        super().__init__(model)
        self._tile_bytes = tile_bytes
        self._parts = split(self.model.graph)

    def frame(self, planes: Sequence[Pixels], *, threads: int | None = None) -> list[Pixels]:
        """Deblur a video frame of separate planes.

        Parameters
        ----------
        planes
            Y of ``(H, W)``, or Y, Cb and Cr in BT.601 studio range; chroma planes of any size.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        list of numpy.ndarray
            The planes in their sizes. Chroma is repeated to the size of the luma for the way to
            RGB and averaged afterwards, so that chroma of less resolution returns unchanged where
            the network changes nothing.
        """
        run = self._on_engine(threads)
        luma, *chroma = planes
        if not chroma:
            return [self._image(luma, run)]
        larger = [_repeated(plane, luma.shape) for plane in chroma]
        colours = ycbcr_to_rgb(np.stack([luma, *larger]), threads=threads)
        made = rgb_to_ycbcr(self._rgb(colours, run), threads=threads)
        smaller = [
            _averaged(plane, given.shape) for plane, given in zip(made[1:], chroma, strict=True)
        ]
        return [made[0], *smaller]

    def video_format(self, form: VideoFormat) -> VideoFormat:
        """Return the format of the result of a video: the same, in 8 bits."""
        return form.upscaled(1)

    def _on_engine(self, threads: int | None) -> PlanesMethod:
        def run(model: FixedModel, inputs: Sequence[NDArray]) -> NDArray:
            result = model.run(*inputs, threads=threads, count_clipped=False, narrow=True)
            return result.outputs[0]

        return partial(run_parts, self._parts, run=run, tile_bytes=self._tile_bytes)

    def _options(self) -> dict[str, Any]:
        return {"tile_bytes": self._tile_bytes}


def _repeated(plane: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Repeat rows and columns of a chroma plane up to the size of the luma."""
    for axis, size in enumerate(shape):
        plane = plane.repeat(-(-size // plane.shape[axis]), axis).take(range(size), axis)
    return plane


def _averaged(plane: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Average blocks of a plane down to the size of a chroma plane, rounded half up."""
    rows, columns = (-(-large // small) for large, small in zip(plane.shape, shape, strict=True))
    padded = np.pad(
        plane,
        [(0, rows * shape[0] - plane.shape[0]), (0, columns * shape[1] - plane.shape[1])],
        mode="edge",
    )
    sums = padded.reshape(shape[0], rows, shape[1], columns).sum((1, 3), dtype=np.int64)
    count = rows * columns
    return ((2 * sums + count) // (2 * count)).astype(np.uint8)
