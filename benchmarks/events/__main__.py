"""Networks for events: quality against the camera's frames, drift, time and memory of a step.

``python -m benchmarks.events --data DIR`` measures what docs/benchmarks/events.json does not hold
yet with ``--missing``, or all of it, and writes docs/benchmarks/events.md after every figure, so
that a long run can be stopped and continued. DIR holds the released weights and recordings of
events with frames.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer

from benchmarks.events import drift, quality, speed
from benchmarks.report import ROOT, Summary, environment, publish, write_page
from benchmarks.speed.versus import fixed_model
from benchmarks.speed.works import WORKS
from fxp.cli.messages import one_line
from fxp.models.common.data import data_folder
from fxp.models.events import read_events

TITLE: Final = "Video from events"
SPEEDS: Final = (
    ("CISTA-TC", (240, 180)),
    ("FireNet", (240, 180)),
    ("FireNet", (640, 480)),
)
"""Title of the network, and width and height, of the steps that are timed."""
UNTRAINED: Final = "e2vid"
"""A network that is timed without released weights, of `benchmarks.speed`."""

Record = dict[str, Any]
"""The cells of a ``row``, the ``figure`` that the summary is made from, and ``seconds``."""
Work = tuple[str, Callable[[], Record]]
"""What is measured, and what measures it."""


class Part(StrEnum):
    """The parts of the benchmark."""

    QUALITY = "quality"
    DRIFT = "drift"
    SPEED = "speed"


Records = dict[str, dict[str, Record]]
"""By part, and by what is measured."""


def quality_works(data: Path, windows: int | None) -> Iterator[Work]:
    """Give every network on every recording.

    Parameters
    ----------
    data
        Folder of weights and recordings.
    windows
        Windows at most of each recording; None for all.
    """

    def work(title: str, recording: quality.Recording) -> Record:
        network, model = quality.network_of(title, data)
        *scores, frames = quality.measured(network, recording, data / "events", windows, model)
        first, second = scores
        row = quality.row(title, recording.name, (first, second), frames)
        return {"row": row, "figure": second.psnr - first.psnr}

    for title in quality.titles():
        for recording in quality.RECORDINGS:
            yield f"{title}, {recording.name}", partial(work, title, recording)


def drift_works(data: Path, steps: int, side: int | None) -> Iterator[Work]:
    """Give every network on events of a simulated camera and of a real one.

    Parameters
    ----------
    data
        Folder of weights, recordings and videos.
    steps
        Steps of each stream.
    side
        Height and width of the part of the sensor; None for all of it.
    """

    def real() -> drift.Stream:
        recording = quality.RECORDINGS[-1]
        events = read_events(data / "events" / recording.file, size=recording.size)
        return drift.middle_part(events, recording.size, steps, recording.name, side=side)

    def work(title: str, stream: Callable[[], drift.Stream]) -> Record:
        events = stream()
        network, model = quality.network_of(title, data)
        model = model or drift.quantized(network, events)
        found = drift.drift(network, model, events)
        fixed, single = found.losses
        return {"row": drift.row(title, events, found), "figure": fixed - max(single, 0.0)}

    streams = {"video": partial(drift.video_stream, data, steps, side), "recording": real}
    for title in quality.titles():
        for name, stream in streams.items():
            yield f"{title}, {name}", partial(work, title, stream)


def speed_works(data: Path) -> Iterator[Work]:
    """Give every step that is timed.

    Parameters
    ----------
    data
        Folder of weights and recordings.
    """

    def record(title: str, size: tuple[int, int], found: speed.Speed) -> Record:
        return {"row": speed.row(title, size, found), "figure": found.ratio}

    def trained(title: str, size: tuple[int, int]) -> Record:
        recording = quality.RECORDINGS[0]
        windows = quality.windows_of(recording, data / "events", quality.SHOWN)
        network = quality.released(title, data)
        model, grids = quality.shown_first(network, recording, windows)
        # A larger sensor is filled by reflection.
        missing = [(0, wanted - side) for wanted, side in zip(size, recording.size, strict=True)]
        grid = np.pad(grids[-1], ((0, 0), *reversed(missing)), "symmetric")
        return record(title, size, speed.measure(network, model, grid))

    def untrained() -> Record:
        work = next(work for work in WORKS if work.name == UNTRAINED)
        network = work.network()
        _, height, width = work.shape
        found = speed.measure(network, fixed_model(work, network), work.frame()[-1])
        return record("E2VID, untrained", (width, height), found)

    for title, size in SPEEDS:
        yield f"{title}, {size[0]}x{size[1]}", partial(trained, title, size)
    yield "E2VID", untrained


def page(records: Records) -> str:
    """Return the body of the page, with the parts that there are.

    Parameters
    ----------
    records
        What was measured.
    """
    sections = {
        Part.QUALITY: (
            "## Quality",
            "Released weights on real recordings, in float32 and quantized with the defaults but "
            f'`effort="fast"`, on {quality.SHOWN} windows of a part of '
            f"{quality.PART}x{quality.PART} pixels. Shipped networks are the models of the "
            "package. Fixed point takes the integer voxel grid too. Each frame of the camera is "
            "compared with the window that ends nearest to the middle of its exposure. Pictures "
            "are stretched from their smallest to their largest value, frames between their 1st "
            "and 99th percentile, and the histograms of both are equalized, as in the paper on "
            "CISTA-TC. The frames of *cups* are blurred by their exposure of 104 ms. "
            f"{quality.LPIPS_REASON}.",
            quality.table,
        ),
        Part.DRIFT: (
            "## Drift",
            "PSNR with a peak of 1 against the same network in float64, which sees the same "
            "events. *Loses* is the difference between the first step and the last. *Quality* is "
            "how much nearer fixed point, and then float32, is to the true pictures than float64, "
            "in dB, at its worst step: where float32 loses as much, the network amplifies any "
            "difference, and more bits do not help. *Clipped* is the highest share of any one "
            "value, where that changes a result. "
            f'Formats are chosen on the first {drift.CALIBRATION} steps, `effort="fast"`.',
            drift.table,
        ),
        Part.SPEED: (
            "## Time and memory of a step",
            "One step on one thread, with the states as inputs and outputs, against the same "
            "network in float32; the best of several turns. Memory is what a process of its own "
            "grows by in two steps, after the model is loaded.",
            speed.table,
        ),
    }
    found = []
    for part, (heading, text, table) in sections.items():
        if measured := records.get(part):
            rows = [record["row"] for record in measured.values()]
            seconds = sum(record["seconds"] for record in measured.values())
            found += [
                heading,
                text,
                table(rows),
                f"Measuring this took {seconds / 60:.0f} minutes.",
            ]
    found.append(environment("fxp", "torch", "onnxruntime", "numpy"))
    return "\n\n".join(found)


def summary(records: Records) -> Summary:
    """Return the rows of the README.

    Parameters
    ----------
    records
        As for `page`.
    """

    def figures(part: Part) -> list[float]:
        measured = records.get(part, {})
        return [item["figure"] for name, item in measured.items() if not name.startswith("shipped")]

    rows = []
    if found := figures(Part.QUALITY):
        what = "dB against the camera's frames, fixed minus float, worst of the released networks"
        rows.append((what, f"{min(found):+.3f}"))
    if found := figures(Part.DRIFT):
        what = "dB that fixed point loses over many steps of events beyond float32, worst and best"
        rows.append((what, f"{max(found):.1f}, {min(found):.1f}"))
    if found := figures(Part.SPEED):
        what = "speed of networks for events against ONNX Runtime float32"
        rows.append((what, ", ".join(f"{ratio:.2f}×" for ratio in found)))
    return rows


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of weights and recordings.")] = None,
    only: Annotated[list[Part] | None, typer.Option(help="A part; may be repeated.")] = None,
    name: Annotated[str, typer.Option(help="Only what has this in its name, as FireNet.")] = "",
    missing: Annotated[
        bool, typer.Option("--missing", help="Only what the JSON does not have.")
    ] = False,
    windows: Annotated[
        int | None, typer.Option(help="Only so many windows of a recording, for quality.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps, for drift.")] = drift.STEPS,
    side: Annotated[
        int, typer.Option(min=0, help="Part of the sensor, for drift; 0 = the whole sensor.")
    ] = drift.SIDE,
    out: Annotated[Path | None, typer.Option(help="Folder for page and JSON.")] = None,
) -> None:
    """Measure, and merge what is found with what the JSON holds.

    On one free core, quality takes about 20 minutes, drift 30 and speed 5. Every network is
    calibrated anew for each figure.
    """
    folder = data_folder(data)
    store = (out or ROOT / "docs" / "benchmarks") / "events.json"
    records: Records = json.loads(store.read_text(encoding="utf-8")) if store.exists() else {}
    parts = {
        Part.SPEED: speed_works(folder),
        Part.DRIFT: drift_works(folder, steps, side or None),
        Part.QUALITY: quality_works(folder, windows),
    }
    for part in only or parts:
        measured = records.setdefault(part, {})
        for title, work in parts[part]:
            if name not in title or (missing and title in measured):
                continue
            started = time.perf_counter()
            found = work()
            measured[title] = found | {"seconds": round(time.perf_counter() - started, 1)}
            print(part, *found["row"], f"{measured[title]['seconds']:.0f} s", flush=True)
            write(records, out)


def write(records: Records, out: Path | None) -> None:
    """Write page and JSON, to the documentation and the README if no folder is given.

    Parameters
    ----------
    records
        What was measured.
    out
        The folder.
    """
    if out is None:
        publish("events", TITLE, page(records), summary=summary(records), data=records)
    else:
        write_page(out, "events", TITLE, page(records), records)


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"error: {one_line(error)}")
