"""Where the integers of a core and of the engine differ first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fxp.executors.execution import Result
from fxp.formats import IntArray
from fxp.hls.rtl.core import Core, Tap
from fxp.model import FixedModel
from fxp.rtl_sim.packing import (
    TapBeats,
    as_image,
    blocks_to_image,
    image_to_blocks,
    output_flags,
    output_image,
)
from fxp.rtl_sim.script import Log, StreamLog

OUTPUT_STREAM = "output stream"
"""Stands for a layer where the stream itself is wrong: beats missing, marked wrongly, too many."""


@dataclass(frozen=True)
class CoreDifference:
    """The first integer that differs, in the first layer that has one.

    Attributes
    ----------
    layer
        Name of the value in the graph, or `OUTPUT_STREAM`.
    frame, channel, row, column
        Where, counted from zero, in that value; None where it has no place.
    expected, got
        What the engine and the core computed; None where the core gave nothing or unknown bits.
    detail
        What is wrong, in words.
    """

    layer: str
    detail: str
    frame: int | None = None
    channel: int | None = None
    row: int | None = None
    column: int | None = None
    expected: int | None = None
    got: int | None = None

    def __str__(self) -> str:
        if self.row is None:
            place = "" if self.frame is None else f" of frame {self.frame}"
            return f"{self.layer}{place}: {self.detail}"
        return (
            f"{self.layer}: frame {self.frame}, channel {self.channel}, row {self.row}, column "
            f"{self.column}: {self.detail}"
        )


def engine_results(
    model: FixedModel, frames: Sequence[IntArray], *, keep_values: bool = False
) -> list[Result]:
    """Return what the engine computes of every frame, each from the states that the last one left.

    Parameters
    ----------
    model
        The model.
    frames
        Raw integers ``(C, H, W)``.
    keep_values
        Whether results hold every value.
    """
    results: list[Result] = []
    for frame in frames:
        states = results[-1].states if results else None
        results.append(model.run(frame, states=states, keep_values=keep_values, narrow=True))
    return results


def output_difference(
    core: Core, log: StreamLog, frames: Sequence[IntArray], expected: Sequence[NDArray]
) -> CoreDifference | None:
    """Return where what came out of ``m_axis`` differs first from what the engine computed.

    Parameters
    ----------
    core
        The core.
    log
        What came out of the stream.
    frames
        What went in, raw integers ``(C, H, W)``.
    expected
        What the engine computed of each, raw integers ``(C, rows, columns)``.
    """
    first = 0
    for number, (frame, wanted) in enumerate(zip(frames, expected, strict=True)):
        height, width = frame.shape[1:]
        flags = output_flags(core, height, width)
        beats = slice(first, first + len(flags))
        first += len(flags)
        data = log.data[beats]
        if len(data) < len(flags):
            # The flags and pixels that did come are wrong only later, if at all.
            text = f"{len(data)} of {len(flags)} beats came out"
            return CoreDifference(OUTPUT_STREAM, text, frame=number)
        try:
            keep = None if log.keep is None else log.keep[beats]
            got = output_image(core, data, keep, height, width)
        except ValueError as error:
            return CoreDifference(OUTPUT_STREAM, str(error), frame=number)
        difference = image_difference(core.output.name, number, wanted, got)
        if difference is not None:
            return difference
        wrong = np.flatnonzero(log.flags[beats] != flags)
        if len(wrong):
            text = f"tuser or tlast of beat {wrong[0]} is wrong"
            return CoreDifference(OUTPUT_STREAM, text, frame=number)
    if len(log.data) > first:
        return CoreDifference(OUTPUT_STREAM, f"{len(log.data) - first} beats too many came out")
    return None


def image_difference(
    layer: str, frame: int, expected: NDArray, got: IntArray
) -> CoreDifference | None:
    """Return the first difference of two images in raster order.

    Parameters
    ----------
    layer
        Name of the value.
    frame
        Number of the frame.
    expected
        Raw integers of the engine, ``(C, H, W)``.
    got
        Raw integers of the core, of the same shape.
    """
    places = np.argwhere((expected != got).transpose(1, 2, 0))
    if not len(places):
        return None
    row, column, channel = map(int, places[0])
    wanted, found = int(expected[channel, row, column]), int(got[channel, row, column])
    text = f"expected {wanted}, got {found} ({len(places):,} of {got.size:,} differ)"
    return CoreDifference(layer, text, frame, channel, row, column, wanted, found)


def results_difference(
    core: Core, log: Log, frames: Sequence[IntArray], computed: Sequence[Result]
) -> CoreDifference | None:
    """Return the first difference of the first stream of results that has one.

    Parameters
    ----------
    core
        The core.
    log
        What came out of it.
    frames
        What went in, raw integers ``(C, H, W)``.
    computed
        What the engine computed of each.
    """
    # Beside the outputs leaves what each state becomes.
    expected = [(*each.outputs, *each.states.values()) for each in computed]
    streams = zip(core.results.values(), log.results, zip(*expected, strict=True), strict=True)
    for result, seen, values in streams:
        difference = output_difference(result, seen, frames, [as_image(value) for value in values])
        if difference is not None:
            return difference
    return None


def layer_difference(
    core: Core, shown: Sequence[TapBeats], values: Sequence[Mapping[str, NDArray]]
) -> CoreDifference | None:
    """Return the first difference in the first layer, in graph order, that has one.

    Parameters
    ----------
    core
        The core.
    shown
        What each of ``core.taps`` showed.
    values
        What the engine computed for every frame, by name.
    """
    for tap, beats in zip(core.taps, shown, strict=True):
        difference = _tap_difference(tap, beats, [as_image(each[tap.value]) for each in values])
        if difference is not None:
            return difference
    return None


def _tap_difference(
    tap: Tap, beats: TapBeats, expected: Sequence[NDArray]
) -> CoreDifference | None:
    first = 0
    for number, wanted in enumerate(expected):
        channels, height, width = wanted.shape
        height, width = height // tap.scale, width // tap.scale
        fields = beats.fields[first : first + height * width]
        first += height * width
        missing = height * width - len(fields)
        # What did not come is compared with itself.
        blocks = image_to_blocks(wanted, tap.scale)
        filled = np.concatenate([fields, blocks[len(fields) :]])
        got = blocks_to_image(filled.reshape(-1), channels, tap.scale, height, width)
        difference = image_difference(tap.value, number, wanted, got)
        if difference is not None:
            return difference
        if missing:
            what = "unknown bits" if beats.unknown else "nothing"
            return CoreDifference(
                tap.value, f"{what} from pixel {len(fields)} of {height * width} on", number
            )
    if len(beats.fields) > first:
        return CoreDifference(tap.value, f"{len(beats.fields) - first} pixels too many")
    return None
