"""How fast other register tiles would be than those that the engine takes on this processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.speed.timing import Settings, best_times
from benchmarks.speed.versus import Say, fixed_model, raw_input
from benchmarks.speed.works import WORKS
from fxp.engine import Engine, Options
from fxp.kernels.host import FEW, MANY_NARROW, MANY_WIDE, Tiles, host_tiles

NAMES: Final = ("conv3x3", "conv5x5", "kimsr-540", "mobilenet-112", "resnet18")
"""Works that are timed: products of Winograd, of direct tiles, and depthwise ones."""
BUILT_IN: Final = "built in"
DENSE: Final[Mapping[str, tuple[tuple[int, int, int], ...]]] = {
    MANY_WIDE.name: ((2, 16, 12), (2, 16, 10), (2, 16, 8), (3, 16, 9), (4, 16, 6), (1, 16, 28)),
    FEW.name: ((2, 8, 5), (2, 8, 4), (3, 8, 4), (1, 8, 14)),
    MANY_NARROW.name: ((4, 4, 6), (4, 4, 4), (2, 4, 14), (8, 4, 3)),
}
"""``(vectors, lanes, pixels)`` in place of the widest dense tile."""
DEPTHWISE: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    MANY_WIDE.name: ((32, 4), (32, 12), (16, 16)),
    FEW.name: ((16, 2), (16, 6), (8, 8)),
    MANY_NARROW.name: ((8, 4), (8, 10), (16, 4)),
}
"""``(channels, pixels)`` in place of the widest depthwise tile."""
NARROWER: Final = {MANY_WIDE.name: (FEW,), FEW.name: (), MANY_NARROW.name: ()}
"""Tiles of processors with narrower registers, whose kernels run on this one too."""


def shapes(host: Tiles) -> dict[str, Tiles]:
    """Return the tiles that are compared, by what the table calls them.

    Parameters
    ----------
    host
        What the engine takes on this processor.
    """
    found = {BUILT_IN: host}
    for vectors, lanes, pixels in DENSE[host.name]:
        dense = ((vectors, lanes, pixels), *host.dense[1:])
        found[f"dense, {vectors * lanes} channels of {pixels} pixels"] = replace(host, dense=dense)
    for channels, pixels in DEPTHWISE[host.name]:
        depthwise = ((channels, pixels), *host.depthwise[1:])
        name = f"depthwise, {channels} channels of {pixels} pixels"
        found[name] = replace(host, depthwise=depthwise)
    for tiles in NARROWER[host.name]:
        found[tiles.name] = replace(tiles, quads=host.quads, bits=host.bits)
    return found


def measure(settings: Settings, say: Say) -> list[dict[str, Any]]:
    """Time every shape of tiles in turns, on one thread; all results must be equal.

    Parameters
    ----------
    settings
        Rounds, and whether to take tiny frames.
    say
        Called with what is being done.
    """
    records = []
    for work in (work for work in WORKS if work.name in NAMES):
        timed = work.tiny() if settings.quick else work
        say(f"{timed.title}: register tiles")
        model = fixed_model(timed, timed.network())
        raw = raw_input(model, timed.frame()[:1])
        run = {"threads": 1, "count_clipped": False, "narrow": True}
        calls = {
            name: partial(Engine(model.graph, Options(tiles=tiles)).run, [raw], **run)
            for name, tiles in shapes(host_tiles()).items()
        }
        wanted = calls[BUILT_IN]().outputs[0]
        for name, call in calls.items():
            if not np.array_equal(call().outputs[0], wanted):
                raise AssertionError(f"{timed.title} differs with tiles {name!r}")
        seconds = best_times(calls, settings)
        records.append({"name": timed.name, "title": timed.title, "input": list(timed.shape),
                        "seconds": seconds})  # fmt: skip
    return records
