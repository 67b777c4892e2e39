"""Drift over many steps: fixed point against float, and float32 against float64.

All see the same events. A network may amplify any difference, so what fixed point loses from the
first step to the last is judged by what float32 loses.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

import fxp
from benchmarks.events.quality import calibrated
from benchmarks.report import markdown_table
from fxp.formats import dequantize
from fxp.imaging.colour import luma
from fxp.imaging.files import image_paths, read_image
from fxp.imaging.metrics import psnr
from fxp.model.clipping import harmless_clipping
from fxp.models.events import Camera, Events, between, by_count, fixed_grid, float_grid, simulate
from fxp.models.events.events import Size
from fxp.models.events.networks import StepNetwork
from fxp.quantization.error_growth import ALLOWED_LOSS
from fxp.support.errors import ArgumentError

STEPS: Final = 500
SIDE: Final = 64
"""Height and width of the part of the sensor, and of what calibration sees of a larger one."""
GRANULE: Final = 8
"""Heights and widths are multiples of this, as the networks need them."""
VIDEO: Final = "esim_536fps"
"""Folder of frames from which events are simulated."""
INTERVAL: Final = 1866
"""Microseconds from one of its frames to the next."""
FRAMES: Final = 2
"""Its frames for each step."""
CALIBRATION: Final = 40
"""Steps that formats are chosen on, the first of the stream."""


@dataclass(frozen=True)
class Stream:
    """Events in windows.

    Attributes
    ----------
    title
        Where they come from.
    windows
        Events of each step.
    size
        Width and height of the sensor.
    truth
        What the camera sees at the end of each step, from 0 to 1; empty if that is not known.
    """

    title: str
    windows: Sequence[Events]
    size: Size
    truth: Sequence[NDArray[np.float64]] = ()


@dataclass(frozen=True)
class Drift:
    """PSNR in dB at every step, with a peak of 1.

    Attributes
    ----------
    fixed, float32
        Against the float64 network.
    quality, quality_float32
        Of fixed point and of float32 against the true pictures, minus that of float64; empty
        without these.
    clipped
        Share of clipped values by name, where clipping changes what is computed from them.
    """

    fixed: tuple[float, ...]
    float32: tuple[float, ...]
    quality: tuple[float, ...]
    quality_float32: tuple[float, ...]
    clipped: dict[str, float]

    @property
    def losses(self) -> tuple[float, float]:
        """How many dB fixed point and float32 lose from the first step to the last."""
        return self.fixed[0] - self.fixed[-1], self.float32[0] - self.float32[-1]

    @property
    def holds(self) -> bool:
        """Whether fixed point loses at most `ALLOWED_LOSS` more than float32."""
        fixed, single = self.losses
        return fixed <= max(single, 0.0) + ALLOWED_LOSS


def _middle(size: Size, side: int | None) -> tuple[slice, slice]:
    """Return columns and rows of the middle of a sensor; all but a remainder without a side."""
    lengths = [length // GRANULE * GRANULE if side is None else side for length in size]
    if any(taken > length for taken, length in zip(lengths, size, strict=True)):
        raise ArgumentError(f"a part of {side} pixels is larger than the sensor, {size}")
    starts = [(length - taken) // 2 for length, taken in zip(size, lengths, strict=True)]
    columns, rows = (
        slice(start, start + taken) for start, taken in zip(starts, lengths, strict=True)
    )
    return columns, rows


def to_and_fro(
    frames: Sequence[NDArray[np.uint8]], steps: int, *, side: int | None = SIDE
) -> Stream:
    """Simulate a camera that sees a video forward and backward, again and again.

    Parameters
    ----------
    frames
        Grey frames, of which the middle is taken.
    steps
        Windows, of `FRAMES` frames each.
    side
        Height and width of the part; None for all that the networks take.
    """
    height, width = frames[0].shape
    columns, rows = _middle((width, height), side)
    parts = [frame[rows, columns] for frame in frames]
    cycle = [*parts, *parts[-2:0:-1]]
    shown = [
        (number * INTERVAL, cycle[number % len(cycle)]) for number in range(FRAMES * steps + 1)
    ]
    end = FRAMES * steps * INTERVAL
    # An event at the end completes the last window.
    events = [*simulate(shown, Camera(noise=0.1, seed=1)), Events.of([end], [0], [0], [1])]
    ends = range(0, end + 1, FRAMES * INTERVAL)
    windows = [window.events for window in islice(between(events, ends), steps)]
    truth = [shown[FRAMES * (number + 1)][1] / 255 for number in range(steps)]
    height, width = parts[0].shape
    return Stream("simulated from a video", windows, (width, height), truth)


def video_stream(data: Path, steps: int = STEPS, side: int | None = SIDE) -> Stream:
    """Return events simulated from the frames of `VIDEO`.

    Parameters
    ----------
    data
        The data folder.
    steps
        Windows.
    side
        As for `to_and_fro`.
    """
    frames = [luma(read_image(path)) for path in image_paths(data / "video" / VIDEO)]
    return to_and_fro(frames, steps, side=side)


def middle_part(
    recording: Events, size: Size, steps: int, title: str, *, side: int | None = SIDE
) -> Stream:
    """Cut the middle out of a recording, and divide its events into windows of equal number.

    Parameters
    ----------
    recording
        All events.
    size
        Width and height of the sensor.
    steps
        Windows.
    title
        What the stream is called.
    side
        As for `to_and_fro`.

    Raises
    ------
    ArgumentError
        If there are fewer events than steps.
    """
    columns, rows = _middle(size, side)
    inside = (recording.x >= columns.start) & (recording.x < columns.stop)
    inside &= (recording.y >= rows.start) & (recording.y < rows.stop)
    x, y = recording.x[inside] - columns.start, recording.y[inside] - rows.start
    part = Events.of(recording.t[inside], x, y, recording.p[inside])
    if len(part) < steps:
        raise ArgumentError(f"{title} has {len(part)} events there, fewer than {steps} steps")
    windows = [window.events for window in islice(by_count([part], len(part) // steps), steps)]
    return Stream(title, windows, (columns.stop - columns.start, rows.stop - rows.start))


def quantized(network: StepNetwork, stream: Stream) -> fxp.FixedModel:
    """Quantize a network on the middle of a stream's first steps.

    Parameters
    ----------
    network
        In eval mode.
    stream
        The events.
    """
    shown = stream.windows[:CALIBRATION]
    return calibrated(network, stream.size, shown, min(SIDE, *stream.size))[0]


@torch.inference_mode()
def drift(network: StepNetwork, model: fxp.FixedModel, stream: Stream) -> Drift:
    """Run a stream in fixed point with integer voxel grids, in float32 and in float64.

    Parameters
    ----------
    network
        In eval mode, float32.
    model
        Its fixed-point model.
    stream
        The events.
    """
    width, height = stream.size
    double = copy.deepcopy(network).double()
    running = model.stream()
    taken = model.graph.inputs[0].format
    given = model.graph.values[model.graph.outputs[0]].format
    assert taken is not None
    assert given is not None
    narrow = network.initial_states(height, width)
    wide = [state.double() for state in narrow]
    fixed, single, quality, quality_float32 = [], [], [], []
    for number, events in enumerate(stream.windows):
        grid = torch.from_numpy(float_grid(events, stream.size))[None]
        narrow_picture, *narrow = network(grid, *narrow)
        wide_picture, *wide = double(grid.double(), *wide)
        raw = running.step_raw(fixed_grid(events, stream.size, taken)[None])
        found = dequantize(np.asarray(raw), given)[0, 0]
        exact = wide_picture[0, 0].numpy()
        less_exact = narrow_picture[0, 0].double().numpy()
        fixed.append(psnr(exact, found))
        single.append(psnr(exact, less_exact))
        if stream.truth:
            best, second, third = (
                psnr(stream.truth[number], np.clip(picture, 0, 1))
                for picture in (exact, found, less_exact)
            )
            quality.append(second - best)
            quality_float32.append(third - best)
    harmless = harmless_clipping(model.graph)
    shares = running.running_clipped.shares
    clipped = {name: share for name, share in shares.items() if name not in harmless}
    return Drift(tuple(fixed), tuple(single), tuple(quality), tuple(quality_float32), clipped)


def row(title: str, stream: Stream, found: Drift) -> list[str]:
    """Return a row of the table of `table`.

    Parameters
    ----------
    title
        Of the network.
    stream, found
        The events, and what was measured.
    """
    shown = sorted({0, 99, len(found.fixed) - 1} & set(range(len(found.fixed))))
    levels = [
        " / ".join(_level(curve[step]) for step in shown) for curve in (found.fixed, found.float32)
    ]
    fixed, single = found.losses
    worst = [
        f"{min(levels):+.3f}" if levels else "" for levels in (found.quality, found.quality_float32)
    ]
    clipped = f"{max(found.clipped.values(), default=0):.3%}"
    what = [title, stream.title, "{}×{}".format(*stream.size), str(len(found.fixed))]
    return [*what, *levels, f"{fixed:.1f}", f"{single:.1f}", *worst, clipped]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the table of drift as Markdown, from what `row` gives."""
    header = (
        "network", "events", "size", "steps", "fixed, dB at step 1 / 100 / last", "float32",
        "fixed loses", "float32 loses", "quality, worst step", "that of float32", "clipped most",
    )  # fmt: skip
    return markdown_table(header, rows)


def _level(level: float) -> str:
    return f"{level:.1f}" if math.isfinite(level) else "exact"
