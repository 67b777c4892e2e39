"""The one entry: a fixed-point model becomes a folder with a streaming core."""

from __future__ import annotations

from os import PathLike
from typing import Literal

from fxp.graph import Graph
from fxp.model import FixedModel
from hls.rtl.core import Core

Multipliers = Literal["dsp", "shift_add"]


def emit_rtl(
    model: FixedModel | Graph,
    out_dir: str | PathLike[str],
    *,
    max_width: int,
    max_height: int = 4096,
    initial_size: tuple[int, int] | None = None,
    pixels_per_clock: int = 1,
    multipliers: Multipliers = "dsp",
    fold: int = 1,
    raster: bool = False,
    name: str | None = None,
) -> Core:
    """Write a self-contained folder with a streaming core that computes what the engine computes.

    Parameters
    ----------
    model
        A quantized model, or its integer graph: one image in, one image out, feed-forward, no
        strides.
    out_dir
        Folder to write; must not exist or be empty, or hold an earlier core, which is replaced.
    max_width, max_height
        Largest frame; the line memories are `max_width` pixels long.
    initial_size
        ``(width, height)`` after reset, the largest frame by default.
    pixels_per_clock
        Only 1.
    multipliers
        ``"dsp"``, a multiplier per weight, or ``"shift_add"``, shared adders without multipliers.
    fold
        Weights that share a multiplier; the core then takes a pixel every `fold` clocks.
    raster
        Whether the output is raster lines of the enlarged image instead of blocks.
    name
        Name of the core, by default from the graph.

    Returns
    -------
    Core
        What was emitted, also in ``core.json`` of the folder.

    Raises
    ------
    ValueError
        If the network cannot stream or an argument does not suit; nothing is written then.
    """
    raise NotImplementedError
