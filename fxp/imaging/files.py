"""Reading and writing image files, with errors a user can act on."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fxp.support.errors import FxpError
from fxp.support.files import replace_file
from fxp.support.lazy import lazy_import

from .sixteen_bits import is_deep, read_sixteen_bits, sixteen_to_eight_bits

if TYPE_CHECKING:
    import PIL
    from PIL import Image, ImageFile, ImageOps
else:
    PIL = lazy_import("PIL", "cli")
    Image = lazy_import("PIL.Image", "cli")
    ImageOps = lazy_import("PIL.ImageOps", "cli")

IMAGE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})

# Pillow knows many more, some of which start other programs (EPS runs Ghostscript).
_FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF")


class ImageError(FxpError, ValueError):
    """An image file or folder cannot be used; the message is one line and names the path."""


def read_image(path: str | PathLike[str], *, alpha: bool = False) -> NDArray[np.uint8]:
    """Read an image as 8 bits a channel.

    The orientation in the file is applied, palettes and CMYK become RGB, and an alpha channel is
    dropped if it is opaque throughout. Grey and RGB of 16 bits are rounded to 8, as
    ``(value + 128) // 257``. The content decides on the format, not the suffix.

    Parameters
    ----------
    path
        The file.
    alpha
        Whether to return transparent images with their alpha rather than to refuse them.

    Returns
    -------
    numpy.ndarray
        uint8, ``(H, W)`` for grey or ``(H, W, 3)`` for colour; ``(H, W, 2)`` or ``(H, W, 4)`` with
        alpha.

    Raises
    ------
    ImageError
        If the file is missing or damaged, is no PNG, JPEG, BMP or TIFF, holds several images, has
        other samples than unsigned ones of up to 8 or of 16 bits, or is transparent.
    """
    # Asked for here, so that a missing Pillow is not taken for a damaged file below.
    open_image, transpose = Image.open, ImageOps.exif_transpose
    unidentified = PIL.UnidentifiedImageError
    try:
        with warnings.catch_warnings(), open_image(path, formats=_FORMATS) as opened:
            # What Pillow warns of is either harmless metadata or becomes an error below.
            warnings.simplefilter("ignore")
            again = partial(open_image, path, formats=_FORMATS)
            pixels = _pixels(opened, again, transpose, path)
    except ImageError:
        raise
    except unidentified:
        raise ImageError(
            f"cannot read image {path}: it is no PNG, JPEG, BMP or TIFF, or is damaged"
        ) from None
    except OSError as error:
        reason = error.strerror or str(error).strip().partition("\n")[0]
        raise ImageError(f"cannot read image {path}: {reason}") from error
    except Exception as error:
        # Pillow reports damaged files with many unrelated types, and in several lines.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ImageError(f"cannot read image {path}: {reason}") from error
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        if pixels[..., -1].min() == 255:
            return np.ascontiguousarray(pixels[..., 0 if pixels.shape[2] == 2 else slice(3)])
        if not alpha:
            raise ImageError(f"{path} is transparent; flatten it first")
    return pixels


def _pixels(
    opened: ImageFile.ImageFile,
    again: Callable[[], ImageFile.ImageFile],
    transpose: Callable[..., Image.Image],
    path: str | PathLike[str],
) -> NDArray[np.uint8]:
    """Return an opened file's pixels as 8 bits, with any alpha, or raise `ImageError`."""
    # An MPO is a camera's JPEG with previews or a gain map behind the photograph.
    if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
        raise ImageError(f"{path} holds several images; split it first")
    if is_deep(opened):
        deep = read_sixteen_bits(opened, again, transpose)
        if deep is None:
            raise ImageError(
                f"{path} has mode {opened.mode} and over 8 bits a channel, of a kind that is not "
                "read; convert it to 8 bits"
            )
        return sixteen_to_eight_bits(deep)
    image = transpose(opened)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        return np.asarray(image.convert("LA" if grey else "RGBA"))
    return np.asarray(image.convert("L" if grey else "RGB"))


def check_image_path(path: str | PathLike[str]) -> None:
    """Raise `ImageError` if `write_image` could not write to a path of that name."""
    if Path(path).suffix.lower() not in IMAGE_SUFFIXES:
        raise ImageError(
            f"cannot write {path}: the name must end in {', '.join(sorted(IMAGE_SUFFIXES))}"
        )


def write_image(
    path: str | PathLike[str], image: NDArray[np.uint8], *, alpha: bool = False
) -> None:
    """Write ``(H, W)`` or ``(H, W, 3)`` uint8; an existing file is replaced only when complete.

    Parameters
    ----------
    path
        The file; its suffix chooses the format.
    image
        The pixels.
    alpha
        Whether ``(H, W, 2)`` and ``(H, W, 4)`` are images with alpha rather than errors.

    Raises
    ------
    ImageError
        If the suffix names no image format or one without the alpha that the image has, or the
        array is no image.
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    check_image_path(target)
    channels = image.shape[2:]
    transparent = alpha and channels in ((2,), (4,))
    known = transparent or channels in ((), (3,))
    if image.dtype != np.uint8 or image.ndim < 2 or not known or image.size == 0:
        raise ImageError(f"cannot write {path}: {image.dtype} {image.shape} is not an 8-bit image")
    kind = Image.registered_extensions()[target.suffix.lower()]
    if transparent and kind not in ("PNG", "TIFF"):
        raise ImageError(f"cannot write {path}: {kind} keeps no alpha; write PNG or TIFF")
    stream = io.BytesIO()
    # As good as the format allows: JPEG loses something at any quality.
    Image.fromarray(image).save(stream, kind, **({"quality": 95} if kind == "JPEG" else {}))
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
