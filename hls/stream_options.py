"""Options that several commands on cores have: of streams, and of shared adders."""

from __future__ import annotations

from typing import Annotated

import typer

from fxp.hls.rtl.core import Packing

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
