"""Super-resolution of whole images: the network on luma, bicubic on chroma and alpha."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fxp import FixedModel, Graph
from fxp.imaging.colour import real_rgb_to_ycbcr, real_ycbcr_to_rgb
from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.imaging.video import VideoFormat
from fxp.models.common.borders import coloured, cropped, extended
from fxp.models.common.measure import FloatPixels
from fxp.models.common.pixels import (
    ImagePipeline,
    Pixels,
    bicubic_graph,
    colour_graph,
    eight_bits,
    for_pixels,
    on_engine,
    on_oracle,
)
from fxp.models.sr.chain import luma_model
from fxp.models.sr.fixed import TAKES_QUALITY, at_quality
from fxp.models.sr.jpeg import CLEAN, estimated_quality
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")


class Upscaler:
    """A luma network made to upscale whole images, in integers from end to end.

    Threads may share it.

    Parameters
    ----------
    model
        Takes and returns one plane. Formats other than unsigned 8-bit pixels are adapted where
        that is exact, see `fxp.models.common.pixels.for_pixels`.
    scale
        Upscaling factor, 2, 3 or 4; that of the model by default. A model that keeps the size,
        such as SRCNN or VDSR, gets the plane upscaled by the integer bicubic first.
    quality
        JPEG quality of all images, for a model whose biases follow it. By default that of every
        image is estimated from its pixels, see `fxp.models.sr.jpeg.estimated_quality`; frames of
        video are taken for clean.

    Attributes
    ----------
    scale : int
        Upscaling factor.
    pipeline : ImagePipeline
        The models of luma, colour, and alpha or chroma; for clean images if the model is for
        several qualities and none is given.

    Raises
    ------
    ValueError
        If the model is no such model, has another factor, or takes no quality and one is given.
    """

    def __init__(
        self, model: FixedModel, *, scale: int | None = None, quality: int | None = None
    ) -> None:
        self._model, self._quality = model, quality
        self._estimates = TAKES_QUALITY in model.metadata and quality is None
        self._made: dict[int, ImagePipeline] = {}
        if quality is not None or self._estimates:
            model = at_quality(model, CLEAN if quality is None else quality)
        luma, self.scale = luma_model(model, scale)
        self.pipeline = self._pipeline(luma)

    def _pipeline(self, luma: FixedModel) -> ImagePipeline:
        return ImagePipeline(
            luma,
            FixedModel(colour_graph(luma.graph, self.scale)),
            FixedModel(bicubic_graph(self.scale)),
        )

    def _pipeline_of(self, image: Pixels) -> ImagePipeline:
        """Return what an image of its quality goes through."""
        quality = estimated_quality(_shown(image)) if self._estimates else CLEAN
        if quality == CLEAN:
            return self.pipeline
        if quality not in self._made:
            model = for_pixels(at_quality(self._model, quality))
            self._made[quality] = self._pipeline(model)
        return self._made[quality]

    def __call__(self, image: ArrayLike, *, threads: int | None = None) -> Pixels:
        """Upscale an image by the engine, a large one strip by strip with the same result.

        Parameters
        ----------
        image
            ``(H, W)`` or ``(H, W, C)``, uint8 or uint16, of any size: C is 1 for grey, 3 for RGB,
            one more with alpha. 16-bit images use the whole range and are rounded to 8 bits first,
            as ``(value + 128) // 257``.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        numpy.ndarray
            uint8 with the axes of the image, upscaled. Alpha is upscaled bicubically and has no
            influence on the colours.

        Raises
        ------
        TypeError
            If the image holds no 8-bit or 16-bit integers.
        ValueError
            If its shape does not fit.
        """
        pixels = eight_bits(image)
        return self._pipeline_of(pixels).image(pixels, on_engine(threads))

    def oracle(self, image: ArrayLike) -> Pixels:
        """Upscale an image by the slow reference; equals the call to the last bit."""
        pixels = eight_bits(image)
        return self._pipeline_of(pixels).image(pixels, on_oracle)

    def frame(self, planes: Sequence[Pixels], *, threads: int | None = None) -> list[Pixels]:
        """Upscale a video frame of separate planes.

        Parameters
        ----------
        planes
            Y of ``(H, W)``, or Y, Cb and Cr; chroma planes of any size.
        threads
            Number of threads, all processors by default.

        Returns
        -------
        list of numpy.ndarray
            Y from the network, Cb and Cr upscaled on their own pixel grid, not cut.
        """
        return self.pipeline.frame(planes, on_engine(threads))

    def video_format(self, form: VideoFormat) -> VideoFormat:
        """Return the format of an upscaled video."""
        return form.upscaled(self.scale)

    def __reduce__(self) -> tuple[Any, ...]:
        return _upscaler, (self._model.graph, self._model.metadata, self.scale, self._quality)


def _upscaler(graph: Graph, metadata: dict[str, str], scale: int, quality: int | None) -> Upscaler:
    return Upscaler(FixedModel(graph, metadata=metadata), scale=scale, quality=quality)


def _shown(image: Pixels) -> Pixels:
    """Grey or colour of 8-bit pixels, without alpha."""
    if image.ndim == 2:
        return image
    return image[..., 0] if image.shape[2] < 3 else image[..., :3]


def upscale(
    image: ArrayLike,
    model: FixedModel,
    *,
    scale: int | None = None,
    quality: int | None = None,
    threads: int | None = None,
) -> Pixels:
    """Upscale one image through a luma network, in integers; see `Upscaler`.

    Parameters
    ----------
    image, threads
        As an `Upscaler` is called.
    model, scale, quality
        As an `Upscaler` is made.
    """
    return Upscaler(model, scale=scale, quality=quality)(image, threads=threads)


def upscale_float(image: ArrayLike, network: torch.nn.Module) -> Pixels:
    """Upscale one image by the same steps in real numbers, rounded once at the end.

    Parameters
    ----------
    image
        As for `Upscaler`.
    network
        Maps luma in [0, 1] to luma upscaled by ``network.scale``, ``(N, 1, H, W)``;
        ``network.margin`` tells how many rows and columns it looks at on each side.
    """
    pixels = eight_bits(image)
    scale: int = int(network.scale)  # type: ignore[arg-type]
    border: tuple[int, int] = network.margin  # type: ignore[assignment]
    luma = FloatPixels(network)
    planes = np.atleast_3d(pixels).transpose(2, 0, 1)
    shown, alpha = (planes, None) if len(planes) % 2 else (planes[:-1], planes[-1])
    if alpha is not None:
        shown = coloured(shown, alpha, max(border))
    shown = extended(shown.astype(np.float64), border)
    if len(shown) == 1:
        upscaled = luma(shown[0])[None]
    else:
        ycbcr = real_rgb_to_ycbcr(shown.transpose(1, 2, 0))
        enlarged = np.dstack([luma(ycbcr[..., 0]), imresize(ycbcr[..., 1:], scale)])
        upscaled = real_ycbcr_to_rgb(enlarged).transpose(2, 0, 1)
    upscaled = cropped(upscaled, border, scale)
    if alpha is not None:
        upscaled = np.concatenate([upscaled, imresize(alpha, scale)[None]])
    return to_codes(upscaled[0] if pixels.ndim == 2 else upscaled.transpose(1, 2, 0))
