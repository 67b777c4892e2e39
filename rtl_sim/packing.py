"""Between images of raw integers and the bytes of streams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fxp.formats import IntArray
from fxp.hls.rtl.core import Core, StreamPort, Tap
from fxp.rtl_sim.script import LAST, USER, Bytes
from fxp.support.errors import ArgumentError


@dataclass(frozen=True)
class TapBeats:
    """What a tap showed: fields ``(beats, channels)``, up to the first beat with unknown bits."""

    fields: IntArray
    unknown: bool


def input_beats(image: IntArray, port: StreamPort) -> tuple[Bytes, Bytes]:
    """Return data ``(pixels, bytes)`` and flags of the beats of one frame.

    Parameters
    ----------
    image
        Raw integers ``(C, H, W)``.
    port
        The input of the core.
    """
    if port.subsampled:
        image = np.stack([image[1], _chroma(image)])
    channels, height, width = image.shape
    if channels != port.channels:
        raise ArgumentError(f"the core takes {port.channels} channels, the image has {channels}")
    pixels = image[list(port.order)].transpose(1, 2, 0).reshape(-1, channels)
    if port.packed:
        bits = (pixels[:, :, None] >> np.arange(port.width)) & 1
        data = np.packbits(bits.reshape(len(pixels), -1).astype(np.uint8), 1, bitorder="little")
    else:
        words = np.ascontiguousarray(pixels, "<i8")
        data = words.view(np.uint8).reshape(len(pixels), channels, 8)[:, :, : port.bytes]
    flags = np.zeros((height, width), np.uint8)
    flags[:, -1] |= LAST
    flags[0, 0] |= USER
    return np.ascontiguousarray(data.reshape(len(pixels), -1)), flags.reshape(-1)


def _chroma(image: IntArray) -> IntArray:
    """Return what beats of YCbCr 4:2:2 bring beside Y: Cb in even columns, Cr in odd ones."""
    return np.where(np.arange(image.shape[2]) % 2, image[0], image[2])


def taken_image(image: IntArray, port: StreamPort) -> IntArray:
    """Return an image as the network of a core sees it, with the chroma that its beats bring.

    Parameters
    ----------
    image
        Raw integers ``(C, H, W)``; of YCbCr 4:2:2, the channels are Cr, Y, Cb.
    port
        The input of the core.
    """
    if not port.subsampled:
        return image
    columns, chroma = np.arange(image.shape[2]), _chroma(image)
    # A last column without a partner repeats its own.
    red = chroma[:, np.minimum(columns | 1, columns[-1])]
    return np.stack([red, image[1], chroma[:, columns & ~1]])


def as_image(value: NDArray) -> NDArray:
    """Return a vector as the channels of one pixel, and an image as it is."""
    return value.reshape(-1, 1, 1) if value.ndim == 1 else value


def output_flags(core: Core, height: int, width: int) -> Bytes:
    """Return the flags of the beats of one frame that the core must give for a size of input.

    Parameters
    ----------
    core
        The core.
    height, width
        Size of the frame that went in, in pixels.
    """
    flags = np.zeros(output_shape(core, height, width), np.uint8)
    flags[:, -1] |= LAST
    flags[0, 0] |= USER
    return flags.reshape(-1)


def output_shape(core: Core, height: int, width: int) -> tuple[int, int]:
    """Return lines and beats per line of the frame the core gives for a size of input.

    Parameters
    ----------
    core
        The core.
    height, width
        Size of the frame that went in, in pixels.
    """
    rows, columns = core.beats(height, width)
    if not core.raster:
        return rows, columns
    return rows * core.scale, -(-columns * core.scale // core.beat_pixels)


def output_image(core: Core, data: Bytes, keep: Bytes | None, height: int, width: int) -> IntArray:
    """Put the beats of one frame together.

    Parameters
    ----------
    core
        The core.
    data, keep
        Beats ``(beats, bytes)``, as many as the frame has.
    height, width
        Size of the input frame.

    Returns
    -------
    numpy.ndarray
        Raw integers ``(C, rows, columns)``.

    Raises
    ------
    ValueError
        If the kept bytes of a line are not those of its pixels, or bits that must be zero are not.
    """
    port, scale = core.output, core.scale
    height, width = core.beats(height, width)
    fields = _pixel_fields(port, data, core.beat_pixels)
    if not core.raster:
        return blocks_to_image(fields, port.channels, scale, height, width)
    lines = height * scale
    if keep is not None:
        line_bytes = scale * width * port.channels * port.bytes
        wanted = np.arange(data.size // lines) < line_bytes
        if not (keep.reshape(lines, -1) == wanted).all():
            raise ArgumentError("tkeep does not mark the pixels of the line")
    fields = fields.reshape(lines, -1, port.channels)[:, : scale * width]
    return fields.transpose(2, 0, 1)


def _pixel_fields(port: StreamPort, data: Bytes, pixels: int) -> IntArray:
    """Return the channels of all pixels of beats ``(beats, bytes)``, in the order of the graph."""
    if not port.packed:
        return decode_fields(data.reshape(-1, port.bytes), port.signed)
    count = pixels * port.channels
    bits = np.unpackbits(data, axis=1, bitorder="little")[:, count * port.width :]
    if bits.any():
        raise ArgumentError("the bits above the highest channel are not zero")
    fields = decode_bits(data, count, port.width, port.signed).reshape(-1, port.channels)
    return fields[:, np.argsort(port.order)].reshape(-1)


def decode_fields(data: Bytes, signed: bool) -> IntArray:
    """Return the integers of fields ``(fields, bytes)``, low byte first, from all their bits."""
    whole = np.zeros((len(data), 8), np.uint8)
    whole[:, : data.shape[1]] = data
    if signed:
        whole[:, data.shape[1] :] = np.where(data[:, -1:] & 0x80, 0xFF, 0)
    return whole.view("<i8").reshape(-1).astype(np.int64)


def blocks_to_image(
    fields: IntArray, channels: int, scale: int, height: int, width: int
) -> IntArray:
    """Put blocks, pixel by pixel with channels together, into one image ``(C, rows, columns)``.

    Parameters
    ----------
    fields
        Raw integers, ``height * width`` beats of ``scale * scale * channels`` fields.
    channels
        Channels of a pixel.
    scale
        Side of a block.
    height, width
        Blocks in a column and in a row.
    """
    blocks = fields.reshape(height, width, scale, scale, channels)
    return blocks.transpose(4, 0, 2, 1, 3).reshape(channels, scale * height, scale * width)


def image_to_blocks(image: NDArray, scale: int) -> IntArray:
    """Return the beats ``(pixels, fields)`` of an image, the inverse of `blocks_to_image`."""
    channels, height, width = image.shape
    blocks = image.reshape(channels, height // scale, scale, width // scale, scale)
    blocks = blocks.transpose(1, 3, 2, 4, 0).astype(np.int64)
    return blocks.reshape(-1, scale * scale * channels)


def read_tap(path: Path, tap: Tap) -> TapBeats:
    """Read the file of a tap."""
    digits = -(-tap.channels * tap.width // 4)
    lines = path.read_text(encoding="ascii").split() if path.is_file() else []
    known = next((i for i, line in enumerate(lines) if set(line) & set("xXzZ")), len(lines))
    packed = bytes.fromhex("".join(line.zfill(digits + digits % 2) for line in lines[:known]))
    data = np.frombuffer(packed, np.uint8).reshape(known, (digits + 1) // 2)[:, ::-1]
    fields = decode_bits(data, tap.channels, tap.width, tap.signed)
    return TapBeats(fields, known < len(lines))


def decode_bits(data: NDArray[np.uint8], fields: int, width: int, signed: bool) -> IntArray:
    """Return ``(rows, fields)`` of packed fields of `width` bits, low byte and low bit first.

    Parameters
    ----------
    data
        Bytes ``(rows, bytes of a row)``.
    fields
        Fields of a row.
    width
        Bits of a field.
    signed
        Whether fields are in two's complement.
    """
    bits = np.unpackbits(data, axis=1, count=fields * width, bitorder="little")
    bits = bits.reshape(len(data), fields, width).astype(np.int64)
    weights = np.int64(1) << np.arange(width, dtype=np.int64)
    if signed:
        weights[-1] = -weights[-1]
    return bits @ weights
