"""What an image file says besides its pixels: colour profile, resolution and EXIF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    from PIL import Image
else:
    Image = lazy_import("PIL.Image", "cli")

# EXIF tags (CIPA DC-008) that describe the stored pixels, which are others afterwards: the
# orientation is applied, sizes and compression change.
_UNTRUE: Final = (
    0x0100,  # ImageWidth
    0x0101,  # ImageLength
    0x0102,  # BitsPerSample
    0x0103,  # Compression
    0x0106,  # PhotometricInterpretation
    0x0111,  # StripOffsets
    0x0112,  # Orientation
    0x0115,  # SamplesPerPixel
    0x0116,  # RowsPerStrip
    0x0117,  # StripByteCounts
    0x011A,  # XResolution, kept as resolution
    0x011B,  # YResolution
    0x011C,  # PlanarConfiguration
    0x0128,  # ResolutionUnit
    0x013D,  # Predictor
    0x0140,  # ColorMap
    0x014A,  # SubIFDs, previews
    0x0142,  # TileWidth
    0x0143,  # TileLength
    0x0144,  # TileOffsets
    0x0145,  # TileByteCounts
    0x0152,  # ExtraSamples
    0x0153,  # SampleFormat
    0x0201,  # JPEGInterchangeFormat, the preview
    0x0202,  # JPEGInterchangeFormatLength
    0x0211,  # YCbCrCoefficients
    0x0212,  # YCbCrSubSampling
    0x0213,  # YCbCrPositioning
    0x02BC,  # XMP, which repeats sizes and orientation
    0x8773,  # the colour profile, kept by itself
    # The following belong in folders, where not all programs write them.
    0x9101,  # ComponentsConfiguration
    0x9102,  # CompressedBitsPerPixel
    0x927C,  # MakerNote, whose offsets no longer hold
    0xA002,  # PixelXDimension
    0xA003,  # PixelYDimension
    0xA005,  # the interoperability folder
)
_EXIF_FOLDER: Final = 0x8769
_FOLDERS: Final = (_EXIF_FOLDER, 0x8825)
"""Folders of further tags: the exposure, and where it was taken."""
_WITH_EXIF: Final = ("JPEG", "PNG", "WEBP", "TIFF")
_WITH_PROFILE: Final = ("JPEG", "PNG", "WEBP", "TIFF")
_WITH_RESOLUTION: Final = ("JPEG", "PNG", "TIFF", "BMP")
_RESOLUTION: Final = (0x011A, 0x011B)
_RESOLUTION_UNIT: Final = 0x0128
_UNITS_PER_INCH: Final = {2: 1.0, 3: 2.54}
"""EXIF's units of resolution: inches and centimetres."""
_SPACE: Final = slice(16, 20)
"""Where an ICC profile names its colour space."""


@dataclass(frozen=True)
class Attachments:
    """What stays true of a picture whose pixels change.

    Attributes
    ----------
    profile
        ICC colour profile.
    resolution
        Pixels per inch, across and down.
    exif
        The camera's notes without what describes the stored pixels: orientation, sizes, preview.
    """

    profile: bytes | None = None
    resolution: tuple[float, float] | None = None
    exif: bytes | None = None


def attachments_of(opened: Image.Image) -> Attachments:
    """Return what a file that is open says besides its pixels."""
    profile = opened.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) else None
    try:
        resolution = opened.info.get("dpi") or _exif_resolution(opened.getexif())
        across, down = (float(value) for value in resolution or ())
        resolution = (across, down) if across > 0 and down > 0 else None
    except Exception:
        # As for EXIF: what cannot be read is not worth failing.
        resolution = None
    return Attachments(profile, resolution, _true_exif(opened))


def save_arguments(attachments: Attachments | None, kind: str, *, grey: bool) -> dict[str, Any]:
    """Return the arguments with which Pillow writes attachments.

    Parameters
    ----------
    attachments
        What to keep. A profile for another colour space is left out, such as that of a CMYK image,
        which has become RGB.
    kind
        Pillow's name of the format; what it cannot hold is left out.
    grey
        Whether the pixels are grey.
    """
    if attachments is None:
        return {}
    arguments: dict[str, Any] = {}
    profile = attachments.profile
    if profile and kind in _WITH_PROFILE and profile[_SPACE] == (b"GRAY" if grey else b"RGB "):
        arguments["icc_profile"] = profile
    if attachments.resolution and kind in _WITH_RESOLUTION:
        arguments["dpi"] = attachments.resolution
    if attachments.exif and kind in _WITH_EXIF:
        arguments["exif"] = attachments.exif
    if attachments.resolution and kind == "WEBP":
        # The format holds a resolution in its EXIF data alone.
        exif = Image.Exif()
        exif.load(attachments.exif or b"")
        for tag, value in zip(_RESOLUTION, attachments.resolution, strict=True):
            exif[tag] = value
        exif[_RESOLUTION_UNIT] = 2
        arguments["exif"] = exif.tobytes()
    return arguments


def _exif_resolution(exif: Image.Exif) -> tuple[float, float] | None:
    """Pixels per inch, across and down, if EXIF data say them."""
    factor = _UNITS_PER_INCH.get(exif.get(_RESOLUTION_UNIT, 2))
    across, down = (exif.get(tag) for tag in _RESOLUTION)
    if factor is None or across is None or down is None:
        return None
    return float(across) * factor, float(down) * factor


def _true_exif(opened: Image.Image) -> bytes | None:
    """Return the EXIF data that stays true; None if there is none, or it is damaged."""
    try:
        exif = opened.getexif()
        kept = Image.Exif()
        for tag, value in exif.items():
            if tag not in (*_UNTRUE, *_FOLDERS):
                kept[tag] = value
        for folder in _FOLDERS:
            found = exif.get_ifd(folder)
            true = {tag: value for tag, value in found.items() if tag not in _UNTRUE}
            if true:
                kept.get_ifd(folder).update(true)
                kept[folder] = kept.get_ifd(folder)
        return kept.tobytes() if len(kept) else None
    except Exception:
        # Notes of any camera, written by anybody: those that cannot be read are not worth failing.
        return None
