"""Options that several commands on cores have: of frames, of streams, and of shared adders."""

from __future__ import annotations

from typing import Annotated

import typer

from fxp.hls.rtl.core import Packing
from fxp.support.errors import ArgumentError

MaxHeightOption = Annotated[
    int | None, typer.Option(min=1, help="Most lines of a frame; default 4096.")
]
InitialSizeOption = Annotated[
    str | None,
    typer.Option(metavar="WIDTHxHEIGHT", help="Size of frames after reset; default the largest."),
]
RasterOption = Annotated[
    bool, typer.Option("--raster", help="Raster lines as output instead of blocks.")
]
BypassOption = Annotated[
    bool, typer.Option("--bypass", help="Let a register put copies of the input in place.")
]
CompressLinesOption = Annotated[
    bool, typer.Option("--compress-lines", help="Halve the line memories; a little lossy.")
]
PixelsPerBeatOption = Annotated[
    int | None, typer.Option(help="Raster lines with 1, 2 or 4 pixels in a beat.")
]
SubsampledOption = Annotated[
    bool, typer.Option("--subsampled", help="Take YCbCr 4:2:2: Y, and Cb or Cr in turn.")
]
LevelsOption = Annotated[int, typer.Option(min=1, help="Shared adders between two registers.")]
RegisterSharedOption = Annotated[
    bool, typer.Option("--register-shared", help="Read shared sums from registers only.")
]
PackingOption = Annotated[
    Packing, typer.Option(help="Channels in whole bytes, or side by side as in video.")
]


def initial_size_of(text: str | None) -> tuple[int, int] | None:
    """Return the width and height that an option gives, None without it.

    Raises
    ------
    ArgumentError
        If the text is written otherwise, or a side is zero.
    """
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not all(side.isascii() and side.isdigit() and len(side) < 6 for side in (width, height)):
        raise ArgumentError(f"--initial-size must be written as WIDTHxHEIGHT, not {text!r}")
    if not int(width) or not int(height):
        raise ArgumentError(f"--initial-size {text} has no pixels: both sides must be at least 1")
    return int(width), int(height)


def check_raster(raster: bool, pixels_per_beat: int | None) -> None:
    """Refuse two ways of raster lines together.

    Raises
    ------
    ArgumentError
        If both are asked for.
    """
    if raster and pixels_per_beat is not None:
        raise ArgumentError(
            "--raster gives a whole block's pixels of a line in a beat, --pixels-per-beat "
            f"{pixels_per_beat} so many: leave one of them out"
        )
