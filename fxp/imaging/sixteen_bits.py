"""All 16 bits of image files that Pillow reads as 8 bits a channel."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image, ImageFile

# Raw modes of more than 8 bits a channel that Pillow would cut to 8; BGR;16 is 16 bits a pixel.
_DEEP: Final = re.compile(r"(?<!BGR);(12|16|32|64)")
_GREY: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})
_NATIVE: Final = "L" if sys.byteorder == "little" else "B"
# TIFF tags.
_BITS, _PHOTOMETRIC, _PLANES = 258, 262, 284
_WHITE_IS_ZERO, _SEPARATE = 0, 2


def sixteen_to_eight_bits(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Round samples over the whole range, ``255 / 65535 * value``, to the nearest 8-bit ones."""
    # 65535 + 128 needs more than 16 bits.
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def is_deep(opened: ImageFile.ImageFile) -> bool:
    """Tell whether a file that is open but not loaded has more than 8 bits a channel."""
    return (
        opened.mode.startswith(("I", "F"))
        or any(_DEEP.search(str(tile)) for tile in opened.tile)
        # Pillow takes separate planes of 16 bits for ones of 8.
        or bool(np.max(_tag(opened, _BITS, 8)) > 8)
    )


def read_sixteen_bits(
    opened: ImageFile.ImageFile,
    again: Callable[[], ImageFile.ImageFile],
    transpose: Callable[[Image.Image], Image.Image],
) -> NDArray[np.uint16] | None:
    """Read unsigned 16-bit grey or RGB, with or without alpha.

    Pillow has no mode for 16-bit colour and keeps the upper byte of every sample. Told that the
    bytes stand the other way round, it keeps the lower one, so that reading twice gives both.

    Parameters
    ----------
    opened
        The file, not loaded.
    again
        Opens the file once more.
    transpose
        Applies the orientation in the file.

    Returns
    -------
    numpy.ndarray or None
        ``(H, W)``, or ``(H, W, C)`` with 2 to 4 channels; None for another kind of file.
    """
    raws = {_raw_mode(tile.args) for tile in opened.tile}
    if len(raws) != 1 or _tag(opened, _PLANES, 1) == _SEPARATE:
        return None
    if opened.info.get("transparency") is not None:  # one colour that means transparent
        return None
    (raw,) = raws
    if raw in _GREY:
        values = _samples(transpose(opened))
        # Pillow looks after this for 8 bits only.
        white_is_zero = _tag(opened, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO
        return np.invert(values) if white_is_zero else values
    if raw == "LA;16B":
        # The four bytes of a pixel, upper byte of the grey first.
        pixels = _samples(transpose(_read_as(opened, "RGBA")))
        return pixels[..., ::2] * np.uint16(256) + pixels[..., 1::2]
    known = re.fullmatch(r"(RGBA?);16([BLN])", raw)
    if known is None:
        return None
    channels, order = known.groups()
    swapped = "L" if (_NATIVE if order == "N" else order) == "B" else "B"
    upper = _samples(transpose(opened))
    with again() as other:
        lower = _samples(transpose(_read_as(other, f"{channels};16{swapped}")))
    return upper * np.uint16(256) + lower


def _read_as(opened: ImageFile.ImageFile, raw: str) -> ImageFile.ImageFile:
    """Replace what Pillow takes the samples of an open file for."""
    opened.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in opened.tile
    ]
    return opened


def _samples(image: Image.Image) -> NDArray[np.uint16]:
    return np.asarray(image).astype(np.uint16)


def _raw_mode(arguments: object) -> str:
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _tag(opened: ImageFile.ImageFile, number: int, default: int) -> Any:
    return getattr(opened, "tag_v2", {}).get(number, default)
