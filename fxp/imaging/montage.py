"""Pictures side by side with captions, for looking rather than reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont
else:
    Image = lazy_import("PIL.Image", "cli")
    ImageDraw = lazy_import("PIL.ImageDraw", "cli")
    ImageFont = lazy_import("PIL.ImageFont", "cli")

CAPTION_HEIGHT = 28
GAP = 6
PANEL = 360


def side_by_side(
    panels: Mapping[str, NDArray[np.uint8]], *, crop: int = 120, panel: int = PANEL
) -> NDArray[np.uint8]:
    """Cut the middle out of each image, magnify it without smoothing, and put them in a row.

    Parameters
    ----------
    panels
        Caption to image; ``(H, W)`` or ``(H, W, 3)`` uint8, all of one size.
    crop
        Side of the square that is cut out, pixels; less if the images are smaller.
    panel
        Side of the magnified square, pixels.

    Returns
    -------
    numpy.ndarray
        ``(panel + caption, count * (panel + gap) - gap, 3)`` uint8.
    """
    width = len(panels) * (panel + GAP) - GAP
    sheet = Image.new("RGB", (width, panel + CAPTION_HEIGHT), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    for position, (caption, image) in enumerate(panels.items()):
        side = min(crop, *image.shape[:2])
        top, left = ((size - side) // 2 for size in image.shape[:2])
        piece = Image.fromarray(image[top : top + side, left : left + side]).convert("RGB")
        magnified = piece.resize((panel, panel), Image.Resampling.NEAREST)
        x = position * (panel + GAP)
        sheet.paste(magnified, (x, CAPTION_HEIGHT))
        draw.text((x + panel // 2, CAPTION_HEIGHT // 2), caption, "black", font, anchor="mm")
    return np.asarray(sheet)
