"""Reading and writing image files, with errors a user can act on."""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fxp.files import replace_file
from fxp.lazy import lazy_import

if TYPE_CHECKING:
    from PIL import Image, ImageOps
else:
    Image = lazy_import("PIL.Image", "cli")
    ImageOps = lazy_import("PIL.ImageOps", "cli")

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


class ImageError(ValueError):
    """An image file or folder cannot be used; the message is one line and names the path."""


def read_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read an 8-bit image.

    The orientation in the file is applied, palettes and CMYK become RGB, and an alpha channel is
    dropped if it is opaque throughout.

    Returns
    -------
    numpy.ndarray
        uint8, ``(H, W)`` for grey or ``(H, W, 3)`` for colour.

    Raises
    ------
    ImageError
        If the file is missing or damaged, has more than 8 bits a channel, or is transparent.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):
                raise ImageError(f"{path} has mode {image.mode}; convert it to 8 bits a channel")
            if image.mode == "P":
                image = image.convert("RGBA" if "transparency" in image.info else "RGB")
            if image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
                if np.asarray(image.getchannel("A" if "A" in image.mode else "a")).min() < 255:
                    raise ImageError(f"{path} is transparent; flatten it first")
                image = image.convert("L" if image.mode in ("LA", "La") else "RGB")
            return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    except ImageError:
        raise
    except Exception as error:
        # Pillow reports damaged files with many unrelated types, and in several lines.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ImageError(f"cannot read image {path}: {reason}") from error


def write_image(path: str | PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write ``(H, W)`` or ``(H, W, 3)`` uint8; an existing file is replaced only when complete.

    Raises
    ------
    ImageError
        If the suffix names no image format, or the array is no image.
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise ImageError(f"cannot write {path}: the name must end in {sorted(IMAGE_SUFFIXES)}")
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ImageError(f"cannot write {path}: {image.dtype} {image.shape} is not an 8-bit image")
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, Image.registered_extensions()[suffix])
    replace_file(target, stream.getvalue())


def image_paths(path: str | PathLike[str]) -> list[Path]:
    """Return a file itself, or the images of a folder sorted by name.

    Raises
    ------
    ImageError
        If the path does not exist, or the folder holds no image.
    """
    source = Path(path)
    if not source.is_dir():
        if not source.exists():
            raise ImageError(f"no such file or folder: {source}")
        return [source]
    found = sorted(item for item in source.iterdir() if item.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ImageError(f"no images in folder {source}")
    return found
