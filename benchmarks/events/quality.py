"""Quality of networks for events against the camera's frames, in float and in fixed point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

import fxp
from benchmarks.events.scores import Score, mean_score, nearest, score
from benchmarks.report import markdown_table
from fxp.formats import dequantize
from fxp.models.events import (
    EventReader,
    Events,
    by_count,
    fixed_grid,
    float_grid,
    load,
    load_float,
    load_released,
)
from fxp.models.events.events import Size
from fxp.models.events.fixed import MODELS, SHIPPED
from fxp.models.events.networks import StepNetwork
from fxp.models.events.windows import Window

RELEASED: Final = {
    "FireNet": ("firenet", "firenet_evreal"),
    "FireNet, trained by others": ("firenet", "firenet_cista_authors"),
    "CISTA-TC": ("cista-tc", "cista_tc"),
}
"""Name, and file of the weights, of networks whose authors released these, by title."""
LPIPS_REASON: Final = (
    "LPIPS is not given: the wheel of the package lpips holds the weights of its last layers only, "
    "and loads those of the network below them from the Internet"
)
SHOWN: Final = 6
"""Windows of calibration, the first of the recording."""
PART: Final = 96
"""Height and width of the part of the sensor that calibration sees."""


@dataclass(frozen=True)
class Recording:
    """A recording with frames.

    Attributes
    ----------
    name
        Title.
    file
        In the folder of recordings.
    size
        Width and height of the sensor.
    events
        Events of a window.
    """

    name: str
    file: str
    size: tuple[int, int]
    events: int

    def frames(self, folder: Path) -> tuple[NDArray[np.uint8], list[int]]:
        """Return the camera's frames, and the middles of their exposures in microseconds."""
        with np.load(folder / self.file) as stored:
            if "frame_t_us" in stored:
                return stored["frame"], stored["frame_t_us"].tolist()
            return stored["frame"], stored["frame_exposure_us"].mean(1).round().astype(int).tolist()


RECORDINGS: Final = (
    Recording("slider_depth", "ecd_slider_depth.npz", (240, 180), 5000),
    Recording("cups", "davis346_cups.npz", (346, 260), 15_000),
)


def calibrated(
    network: StepNetwork, size: Size, windows: Sequence[Events], part: int
) -> tuple[fxp.FixedModel, NDArray[np.float32]]:
    """Quantize with the defaults, but without refinements, on the middle of the sensor.

    Parameters
    ----------
    network
        In eval mode.
    size
        Width and height of the sensor.
    windows
        The events that are shown.
    part
        Height and width of the middle.

    Returns
    -------
    fxp.FixedModel
        The model, for all sizes that the network takes.
    numpy.ndarray
        The whole grids of the windows, ``(T, bins, H, W)``.
    """
    width, height = size
    top, left = (height - part) // 2, (width - part) // 2
    grids = np.stack([float_grid(events, size) for events in windows])
    model = fxp.quantize(
        network,
        [torch.from_numpy(grids[..., top : top + part, left : left + part].copy())],
        states=network.state_pairs(),
        initial_states=network.initial_states(part, part),
        effort="fast",
    )
    return model, grids


def shown_first(
    network: StepNetwork, recording: Recording, windows: Sequence[Window]
) -> tuple[fxp.FixedModel, NDArray[np.float32]]:
    """Quantize a network on the first `SHOWN` windows of a recording, as `calibrated` does.

    Parameters
    ----------
    network, recording, windows
        What is quantized, and the recording with its windows.
    """
    shown = [window.events for window in windows[:SHOWN]]
    return calibrated(network, recording.size, shown, PART)


def windows_of(recording: Recording, folder: Path, most: int | None = None) -> list[Window]:
    """Return the windows of a recording.

    Parameters
    ----------
    recording
        The recording.
    folder
        Of the recordings.
    most
        Windows at most; None for all.
    """
    with EventReader(folder / recording.file, size=recording.size) as reader:
        return list(islice(by_count(reader, recording.events), most))


def measured(
    network: StepNetwork,
    recording: Recording,
    folder: Path,
    windows: int | None,
    model: fxp.FixedModel | None = None,
) -> tuple[Score, Score, int]:
    """Return the scores of a network in float and in fixed point, and the number of frames.

    Parameters
    ----------
    network
        The float network.
    recording
        What it reconstructs.
    folder
        Of the recordings.
    windows
        Windows at most; None for all.
    model
        The fixed-point network; by default it is quantized on the first windows.
    """
    width, height = recording.size
    shown = windows_of(recording, folder, windows)
    frames, times = recording.frames(folder)
    if model is None:
        model, _ = shown_first(network, recording, shown)
    (source,), result = model.graph.inputs, model.graph.values[model.graph.outputs[0]]
    assert source.format is not None
    assert result.format is not None
    stream = model.stream(count_clipped=False)
    states = network.initial_states(height, width)
    pictures: list[tuple[NDArray, NDArray]] = []
    for window in shown:
        grid = torch.from_numpy(float_grid(window.events, recording.size))[None]
        with torch.inference_mode():
            picture, *states = network(grid, *states)
        raw = fixed_grid(window.events, recording.size, source.format)
        fixed = dequantize(np.asarray(stream.step_raw(raw[None])), result.format)
        pictures.append((picture[0, 0].numpy(), fixed[0, 0]))
    pairs = nearest([window.end for window in shown], times)
    floats, fixeds = (
        mean_score(score(pictures[window][kind], frames[frame]) for window, frame in pairs)
        for kind in range(2)
    )
    return floats, fixeds, len(pairs)


def released(title: str, data: Path) -> StepNetwork:
    """Load a network of `RELEASED`.

    Parameters
    ----------
    title
        Of the network.
    data
        Folder with a folder of weights.
    """
    name, weights = RELEASED[title]
    return load_released(name, data / "weights" / f"{weights}.npz")


def titles() -> list[str]:
    """Return the titles of all networks: released ones, and shipped ones whose weights are here."""
    shipped = [name for name in SHIPPED if MODELS.weights_path(name).exists()]
    return [*RELEASED, *(f"shipped {name}" for name in shipped)]


def network_of(title: str, data: Path) -> tuple[StepNetwork, fxp.FixedModel | None]:
    """Return a float network, and its fixed-point model if that ships.

    Parameters
    ----------
    title
        One of `titles`.
    data
        Folder of the released weights.
    """
    if title in RELEASED:
        return released(title, data), None
    name = title.removeprefix("shipped ")
    return load_float(name), load(name)


def row(title: str, recording: str, scores: tuple[Score, Score], frames: int) -> list[str]:
    """Return a row of the table of `table`.

    Parameters
    ----------
    title, recording
        Network and recording.
    scores
        In float and in fixed point.
    frames
        Number of frames that were compared.
    """
    figures = [
        f"{value:.{digits}f}"
        for pair, digits in zip(zip(*scores, strict=True), (4, 2, 3), strict=True)
        for value in pair
    ]
    first, second = scores
    return [title, recording, str(frames), *figures, "-", f"{second.psnr - first.psnr:+.3f}"]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the table of quality as Markdown, from what `row` gives."""
    header = ("network", "recording", "frames", "MSE float", "fixed", "PSNR float", "fixed",
              "SSIM float", "fixed", "LPIPS", "difference dB")  # fmt: skip
    return markdown_table(header, rows)
