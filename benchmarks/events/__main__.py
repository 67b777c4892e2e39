"""Quality of released networks for events against the frames of the camera.

``python -m benchmarks.events --data DIR`` prints the table and writes docs/benchmarks/events.md.
DIR holds the released weights and recordings of events with frames.
"""

from __future__ import annotations

import argparse
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
from benchmarks.report import environment, markdown_table, publish
from fxp.formats import dequantize
from fxp.models.common.data import data_folder
from fxp.models.events import EventReader, by_count, fixed_grid, float_grid, load_released

NETWORKS = (
    ("FireNet", "firenet", "firenet_evreal"),
    ("FireNet, trained by others", "firenet", "firenet_cista_authors"),
    ("CISTA-TC", "cista-tc", "cista_tc"),
)
"""Title, name, and file of the weights."""
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


def measured(
    network: Any, recording: Recording, folder: Path, windows: int | None
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
    """
    width, height = recording.size
    with EventReader(folder / recording.file, size=recording.size) as reader:
        shown = list(islice(by_count(reader, recording.events), windows))
    frames, times = recording.frames(folder)
    top, left = (height - PART) // 2, (width - PART) // 2
    grids = [float_grid(window.events, recording.size) for window in shown[:SHOWN]]
    part = np.stack(grids)[..., top : top + PART, left : left + PART]
    model = fxp.quantize(
        network,
        [torch.from_numpy(part)],
        states=network.state_pairs(),
        initial_states=network.initial_states(PART, PART),
        effort="fast",
    )
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


def main() -> None:
    """Measure, print and publish."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.events", description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--windows", type=int, help="only so many windows; no page then")
    arguments = parser.parse_args()
    data = data_folder(arguments.data)
    rows, differences = [], []
    for title, name, weights in track(NETWORKS, "networks"):
        network = load_released(name, data / "weights" / f"{weights}.npz")
        for recording in RECORDINGS:
            first, second, count = measured(network, recording, data / "events", arguments.windows)
            differences.append(second.psnr - first.psnr)
            figures = [
                f"{value:.{digits}f}"
                for pair, digits in zip(zip(first, second, strict=True), (4, 2, 3), strict=True)
                for value in pair
            ]
            rows.append([title, recording.name, str(count), *figures, f"{differences[-1]:+.3f}"])
            print(*rows[-1], flush=True)
    if arguments.windows is not None:
        return
    header = ("network", "recording", "frames", "MSE float", "fixed", "PSNR float", "fixed",
              "SSIM float", "fixed", "difference dB")  # fmt: skip
    body = (
        "Released weights on real recordings, in float32 and quantized with the defaults but "
        f"without refinements, on {SHOWN} windows of a part of {PART}x{PART} pixels. Fixed point "
        "takes the integer voxel grid too. Each frame of the camera is compared with the "
        "window that ends nearest to the middle of its exposure. Pictures are stretched from their "
        "smallest to their largest value, frames between their 1st and 99th percentile, and the "
        "histograms of both are equalized, as in the paper on CISTA-TC. The frames of *cups* are "
        f"blurred by their exposure of 104 ms.\n\n{markdown_table(header, rows)}\n\n"
        f"{environment('fxp', 'torch', 'numpy')}"
    )
    worst = f"{min(differences):+.3f}"
    summary = [("dB against the camera's frames, fixed minus float, worst of 3 networks", worst)]
    print(f"wrote {publish('events', 'Video from events', body, summary=summary)}")


if __name__ == "__main__":
    main()
