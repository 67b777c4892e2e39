"""Options of commands that say how the pixels of a core's streams lie in their beats."""

from __future__ import annotations

from typing import Annotated

import typer

from fxp.hls.rtl.core import Packing

PixelsPerBeatOption = Annotated[
    int | None, typer.Option(help="Raster lines with 1, 2 or 4 pixels in a beat.")
]
PackingOption = Annotated[
    Packing, typer.Option(help="Channels in whole bytes, or side by side as in video.")
]
