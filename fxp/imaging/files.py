"""Reading and writing image files, with errors a user can act on."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.support.errors import FxpError
from fxp.support.files import replace_file
from fxp.support.lazy import lazy_import

from . import libtiff
from .attachments import Attachments, attachments_of, save_arguments
from .sixteen_bits import is_deep, read_sixteen_bits, sixteen_to_eight_bits

if TYPE_CHECKING:
    import PIL
    from PIL import Image, ImageFile, ImageOps
else:
    PIL = lazy_import("PIL", "cli")
    Image = lazy_import("PIL.Image", "cli")
    ImageOps = lazy_import("PIL.ImageOps", "cli")

_WRITERS: Final[dict[str, dict[str, Any]]] = {
    "BMP": {},
    "JPEG": {"quality": 95},
    "JPEG2000": {"irreversible": False},
    "PNG": {},
    "PPM": {},
    "TIFF": {},
    "WEBP": {"lossless": True, "exact": True},
}
"""Options of each format that is written: as good as it allows; JPEG loses something always."""
_SUFFIXES: Final = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".jp2": "JPEG2000",
}
WRITTEN_SUFFIXES: Final = frozenset(_SUFFIXES)
"""Endings of the files that `write_image` writes."""
IMAGE_SUFFIXES: Final = WRITTEN_SUFFIXES | {".gif", ".pnm", ".j2k"}
"""Endings of the files in a folder that are taken for images."""

# Pillow knows many more, some of which start other programs (EPS runs Ghostscript).
_FORMATS: Final = (*_WRITERS, "GIF")
_KINDS: Final = "PNG, JPEG, JPEG 2000, WebP, GIF, BMP, TIFF, PPM or PGM"
MAX_PIXELS: Final = 178_956_970
"""Largest image that is read; a small file may hold an image that needs all memory."""
_TOO_MANY: Final = f"more than the {MAX_PIXELS:,} pixels that are read; cut it into parts"
_HELP: Final = {
    ".mp4": "pipe it: ffmpeg -i {name} -f yuv4mpegpipe -pix_fmt yuv420p - | fxp upscale - -",
    ".yuv": "raw video needs --size WIDTHxHEIGHT and --format, such as yuv420p",
}
FILM_SUFFIXES: Final = frozenset({".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v", ".ts"})
"""Endings of films whose frames are compressed, which are neither read nor written here."""
_HELP.update(dict.fromkeys(FILM_SUFFIXES, _HELP[".mp4"]))
_HELP.update(dict.fromkeys((".rgb", ".raw"), _HELP[".yuv"]))


class ImageError(FxpError, ValueError):
    """An image file or folder cannot be used; the message is one line and names the path."""


def read_image(path: str | PathLike[str], *, alpha: bool = False) -> NDArray[np.uint8]:
    """Read an image as 8 bits a channel, without what else the file says; see `read_picture`.

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
        As for `read_picture`.
    """
    return read_picture(path, alpha=alpha)[0]


def video_advice(path: str | PathLike[str]) -> str:
    """Return how a film or raw video of that name is read; empty for other names."""
    advice = _HELP.get(Path(path).suffix.lower(), "")
    return advice.format(name=Path(path).name)


def read_picture(
    path: str | PathLike[str], *, alpha: bool = False
) -> tuple[NDArray[np.uint8], Attachments]:
    """Read an image as 8 bits a channel, and what else the file says of it.

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
    Attachments
        Colour profile, resolution and EXIF.

    Raises
    ------
    ImageError
        If the file is missing or damaged, is of another kind than `IMAGE_SUFFIXES` says, holds
        several images or more than `MAX_PIXELS`, has other samples than unsigned ones of up to 8
        or of 16 bits, or is transparent.
    """
    # Asked for here, so that a missing Pillow is not taken for a damaged file below.
    open_image, transpose = Image.open, ImageOps.exif_transpose
    unidentified, enormous = PIL.UnidentifiedImageError, Image.DecompressionBombError
    try:
        with warnings.catch_warnings():
            # What Pillow warns of is either harmless metadata or becomes an error below.
            warnings.simplefilter("ignore")
            with open_image(path, formats=_FORMATS) as opened:
                again = partial(open_image, path, formats=_FORMATS)
                # The notes of a TIFF file are out of reach once it is loaded; those of a PNG file
                # may follow its pixels.
                tiff = opened.format == "TIFF"
                early = attachments_of(opened) if tiff else None
                with libtiff.silenced() if tiff else nullcontext():
                    pixels = _pixels(opened, again, transpose, path)
                attachments = early or attachments_of(opened)
    except ImageError:
        raise
    except enormous:
        # Pillow refuses such files before their size is known here.
        raise ImageError(f"{path} has {_TOO_MANY}") from None
    except unidentified:
        advice = video_advice(path)
        advice = f"; {advice}" if advice else ""
        raise ImageError(
            f"cannot read image {path}: it is no {_KINDS}, or is damaged{advice}"
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
            opaque = pixels[..., 0 if pixels.shape[2] == 2 else slice(3)]
            return np.ascontiguousarray(opaque), attachments
        if not alpha:
            raise ImageError(
                f"{path} is transparent, and only commands that know what their network makes of "
                "a photograph keep that, as fxp upscale and fxp deblur do; flatten it first"
            )
    return pixels, attachments


def _pixels(
    opened: ImageFile.ImageFile,
    again: Callable[[], ImageFile.ImageFile],
    transpose: Callable[..., Image.Image],
    path: str | PathLike[str],
) -> NDArray[np.uint8]:
    """Return an opened file's pixels as 8 bits, with any alpha, or raise `ImageError`."""
    if opened.width * opened.height > MAX_PIXELS:
        raise ImageError(f"{path} has {opened.width}x{opened.height} pixels, {_TOO_MANY}")
    # An MPO is a camera's JPEG with previews or a gain map behind the photograph.
    if getattr(opened, "n_frames", 1) > 1 and opened.format != "MPO":
        raise ImageError(f"{path} holds several images, or is animated; split it first")
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
    if Path(path).suffix.lower() not in WRITTEN_SUFFIXES:
        raise ImageError(
            f"cannot write {path}: the name must end in {', '.join(sorted(WRITTEN_SUFFIXES))}"
        )


def write_image(
    path: str | PathLike[str],
    image: NDArray[np.uint8],
    *,
    alpha: bool = False,
    attachments: Attachments | None = None,
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
    attachments
        Colour profile, resolution and EXIF to keep, as far as the format holds them.

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
    suffix = target.suffix.lower()
    kind = _SUFFIXES[suffix]
    if transparent and kind not in ("PNG", "TIFF", "WEBP", "JPEG2000"):
        raise ImageError(f"cannot write {path}: {kind} keeps no alpha; write PNG, TIFF or WebP")
    if suffix in (".ppm", ".pgm") and (suffix == ".pgm") != (image.ndim == 2):
        raise ImageError(f"cannot write {path}: .pgm is for grey images, .ppm for colour")
    stream = io.BytesIO()
    options = _WRITERS[kind] | save_arguments(attachments, kind, grey=channels in ((), (2,)))
    try:
        Image.fromarray(image).save(stream, kind, **options)
    except (OSError, ValueError) as error:
        # Formats have limits of their own: WebP ends at 16,383 pixels, JPEG at 65,535.
        height, width = image.shape[:2]
        raise ImageError(f"cannot write {path}: {width}x{height} as {kind}: {error}") from error
    replace_file(target, stream.getvalue())


def image_paths(path: str | PathLike[str]) -> list[Path]:
    """Return a file itself, or the images of a folder sorted by name, without hidden ones.

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
    found = sorted(
        item
        for item in source.iterdir()
        if item.suffix.lower() in IMAGE_SUFFIXES and not item.name.startswith(".")
    )
    if not found:
        raise ImageError(f"no images in folder {source}")
    return found
