"""Networks for events: quality against the camera's frames, time and memory of a step.

``python -m benchmarks.events --data DIR`` prints the tables and writes docs/benchmarks/events.md.
DIR holds the released weights and recordings of events with frames.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

import fxp
from benchmarks.events.scores import Score, mean_score, nearest, score
from benchmarks.events.speed import Speed, measure
from benchmarks.events.speed import row as speed_row
from benchmarks.events.speed import table as speed_table
from benchmarks.report import environment, markdown_table, publish
from benchmarks.speed.versus import fixed_model
from benchmarks.speed.works import WORKS
from fxp.formats import dequantize
from fxp.models.common.data import data_folder
from fxp.models.events import (
    EventReader,
    by_count,
    fixed_grid,
    float_grid,
    load,
    load_float,
    load_released,
)
from fxp.models.events.fixed import MODELS, SHIPPED
from fxp.models.events.windows import Window

NETWORKS = (
    ("FireNet", "firenet", "firenet_evreal"),
    ("FireNet, trained by others", "firenet", "firenet_cista_authors"),
    ("CISTA-TC", "cista-tc", "cista_tc"),
)
"""Title, name, and file of the weights."""
LPIPS_REASON = (
    "LPIPS is not given: the wheel of the package lpips holds the weights of its last layers only, "
    "and loads those of the network below them from the Internet"
)
SPEEDS = (
    ("CISTA-TC", (240, 180)),
    ("FireNet", (240, 180)),
    ("FireNet", (640, 480)),
)
"""Title of the network, and width and height, of the steps that are timed."""
UNTRAINED = "e2vid"
"""A network that is timed without released weights, of `benchmarks.speed`."""
SHOWN = 6
"""Windows of calibration, the first of the recording."""
PART = 96
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


RECORDINGS = (
    Recording("slider_depth", "ecd_slider_depth.npz", (240, 180), 5000),
    Recording("cups", "davis346_cups.npz", (346, 260), 15_000),
)


def calibrated(
    network: Any, recording: Recording, windows: Sequence[Window]
) -> tuple[fxp.FixedModel, NDArray[np.float32]]:
    """Quantize a network on the middle of the first windows; also returns their whole grids.

    Parameters
    ----------
    network
        The float network.
    recording
        Where the windows come from.
    windows
        At least `SHOWN`, or all there are.
    """
    width, height = recording.size
    top, left = (height - PART) // 2, (width - PART) // 2
    grids = np.stack([float_grid(window.events, recording.size) for window in windows[:SHOWN]])
    model = fxp.quantize(
        network,
        [torch.from_numpy(grids[..., top : top + PART, left : left + PART].copy())],
        states=network.state_pairs(),
        initial_states=network.initial_states(PART, PART),
        effort="fast",
    )
    return model, grids


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
    network: Any,
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
        model, _ = calibrated(network, recording, shown)
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


def networks(data: Path) -> Iterator[tuple[str, Any, fxp.FixedModel | None]]:
    """Return title, float network and fixed-point model of all that are measured.

    The models of released weights are None: they are quantized for each recording. Shipped networks
    are those whose weights lie in the package.

    Parameters
    ----------
    data
        Folder of the released weights.
    """
    for title, name, weights in NETWORKS:
        yield title, load_released(name, data / "weights" / f"{weights}.npz"), None
    for name in SHIPPED:
        if MODELS.weights_path(name).exists():
            yield f"shipped {name}", load_float(name), load(name)


def scores(data: Path, windows: int | None) -> tuple[list[list[str]], list[float]]:
    """Return the rows of the table of quality, and fixed minus float in dB for released weights.

    Parameters
    ----------
    data
        Folder of weights and recordings.
    windows
        Windows at most of each recording; None for all.
    """
    rows, differences = [], []
    for title, network, model in track(list(networks(data)), "quality"):
        for recording in RECORDINGS:
            first, second, count = measured(network, recording, data / "events", windows, model)
            difference = second.psnr - first.psnr
            if model is None:
                differences.append(difference)
            figures = [
                f"{value:.{digits}f}"
                for pair, digits in zip(zip(first, second, strict=True), (4, 2, 3), strict=True)
                for value in pair
            ]
            rows.append([title, recording.name, str(count), *figures, "-", f"{difference:+.3f}"])
            print(*rows[-1], flush=True)
    return rows, differences


def speeds(data: Path) -> list[tuple[str, tuple[int, int], Speed]]:
    """Return title, width and height, and what was measured, of every step that is timed.

    Parameters
    ----------
    data
        Folder of weights and recordings.
    """
    files = {title: (name, weights) for title, name, weights in NETWORKS}
    recording = RECORDINGS[0]
    windows = windows_of(recording, data / "events", SHOWN)
    found = []
    for title, size in track(SPEEDS, "speed"):
        name, weights = files[title]
        network = load_released(name, data / "weights" / f"{weights}.npz")
        model, grids = calibrated(network, recording, windows)
        # A larger sensor is filled by reflection.
        missing = [(0, wanted - side) for wanted, side in zip(size, recording.size, strict=True)]
        grid = np.pad(grids[-1], ((0, 0), *reversed(missing)), "symmetric")
        found.append((title, size, measure(network, model, grid)))
        print(*speed_row(*found[-1]), flush=True)
    work = next(work for work in WORKS if work.name == UNTRAINED)
    network = work.network()
    _, height, width = work.shape
    speed = measure(network, fixed_model(work, network), work.frame()[-1])
    found.append(("E2VID, untrained", (width, height), speed))
    print(*speed_row(*found[-1]), flush=True)
    return found


def main() -> None:
    """Measure, print and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.events", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--windows", type=int, help="only so many windows; no page then")
    parser.add_argument("--only", choices=("quality", "speed"), help="one part; no page then")
    arguments = parser.parse_args()
    data = data_folder(arguments.data)
    rows, differences, timed = [], [], []
    if arguments.only != "quality":
        timed = speeds(data)
    if arguments.only != "speed":
        print(LPIPS_REASON)
        rows, differences = scores(data, arguments.windows)
    if arguments.windows is not None or arguments.only is not None:
        return
    header = ("network", "recording", "frames", "MSE float", "fixed", "PSNR float", "fixed",
              "SSIM float", "fixed", "LPIPS", "difference dB")  # fmt: skip
    body = (
        "## Quality\n\n"
        "Released weights on real recordings, in float32 and quantized with the defaults but "
        f"without refinements, on {SHOWN} windows of a part of {PART}x{PART} pixels. Shipped "
        "networks are the models of the package. Fixed point "
        "takes the integer voxel grid too. Each frame of the camera is compared with the "
        "window that ends nearest to the middle of its exposure. Pictures are stretched from their "
        "smallest to their largest value, frames between their 1st and 99th percentile, and the "
        "histograms of both are equalized, as in the paper on CISTA-TC. The frames of *cups* are "
        f"blurred by their exposure of 104 ms. {LPIPS_REASON}.\n\n"
        f"{markdown_table(header, rows)}\n\n"
        "## Time and memory of a step\n\n"
        "One step on one thread, with the states as inputs and outputs, against the same network "
        "in float32; the best of several turns. Memory is what a process of its own grows by in "
        "two steps, after the model is loaded.\n\n"
        f"{speed_table([speed_row(*item) for item in timed])}\n\n"
        f"{environment('fxp', 'torch', 'onnxruntime', 'numpy')}"
    )
    worst = f"{min(differences):+.3f}"
    ratios = ", ".join(f"{speed.ratio:.2f}×" for _, _, speed in timed)
    summary = [
        ("dB against the camera's frames, fixed minus float, worst of 3 networks", worst),
        ("speed against ONNX Runtime float32: CISTA-TC, FireNet twice, E2VID", ratios),
    ]
    print(f"wrote {publish('events', 'Video from events', body, summary=summary)}")


if __name__ == "__main__":
    main()
