"""The whole way of colour video as one model: from RGB or YCbCr to RGB upscaled."""

from __future__ import annotations

from typing import Final

from fxp import FixedModel
from fxp.models.common.pixels import (
    Chroma,
    Source,
    colour_graph,
    for_pixels,
    scale_of,
    upscaled_first,
)
from fxp.models.sr.fixed import TAKES_QUALITY, at_quality
from fxp.models.sr.jpeg import CLEAN
from fxp.support.errors import ArgumentError

SCALES: Final = (2, 3, 4)


def colour_chain(
    model: FixedModel,
    *,
    chroma: Chroma = "bicubic",
    source: Source = "rgb",
    scale: int | None = None,
    quality: int | None = None,
) -> FixedModel:
    """Return one model from colour pictures to RGB upscaled: the network on Y, the rest around it.

    RGB becomes BT.601 studio-range YCbCr of 8 bits, the model upscales Y, interpolation upscales Cb
    and Cr, and the result becomes RGB again. The nodes of the network are those of `model`, with
    its integers. Like any model, the chain can be saved, run, exported and become a core.

    It takes and returns ``(3, H, W)`` of 0 to 255. As a core it has the network's own border of
    zeros, where `Upscaler` extends the picture first.

    Parameters
    ----------
    model
        Takes and returns one plane, as for `Upscaler`.
    chroma
        ``"bicubic"``, or ``"bilinear"`` at a factor of 2.
    source
        ``"rgb"``, or ``"ycbcr"`` for studio-range YCbCr 4:4:4 in the places that HDMI and
        AXI4-Stream Video give it: Cr for R, Y for G, Cb for B.
    scale
        Upscaling factor, 2, 3 or 4; that of the model by default.
    quality
        JPEG quality of all pictures, for a model whose biases follow it; clean ones by default.

    Raises
    ------
    ArgumentError
        If the model is no such model, or an argument does not suit it.

    Examples
    --------
    >>> from fxp.models import sr
    >>> sr.colour_chain(sr.load("kimsr_x2"), chroma="bilinear").graph.outputs
    ('colour.rgb',)
    """
    if quality is not None or TAKES_QUALITY in model.metadata:
        model = at_quality(model, CLEAN if quality is None else quality)
    luma, factor = luma_model(model, scale)
    graph = colour_graph(luma.graph, factor, chroma=chroma, source=source)
    return FixedModel(graph, metadata={"divide_by": "1"})


def luma_model(model: FixedModel, scale: int | None = None) -> tuple[FixedModel, int]:
    """Return a model from one plane of 8-bit pixels to one upscaled, and the factor.

    Parameters
    ----------
    model
        As for `fxp.models.common.pixels.for_pixels`. One that keeps the size gets the plane
        upscaled by the integer bicubic first.
    scale
        Upscaling factor, 2, 3 or 4; that of the model by default.

    Raises
    ------
    ArgumentError
        If the model is no such model, or has another factor.
    """
    model = for_pixels(model)
    own = scale_of(model)
    factor = own if scale is None else scale
    if factor not in SCALES:
        hint = "; the model keeps the size, so give the factor" if own == 1 else ""
        raise ArgumentError(
            f"the factor must be one of {', '.join(map(str, SCALES))}, not {factor}{hint}"
        )
    if own not in (1, factor):
        raise ArgumentError(f"the model upscales by {own}, not by {factor}")
    return (model if own > 1 else FixedModel(upscaled_first(model.graph, factor))), factor
