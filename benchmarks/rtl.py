"""A whole video frame through the emitted core of KimSR, compared with the engine bit for bit.

``python -m benchmarks.rtl`` runs 1920×1080 to 3840×2160 in the compiled model and writes the table
to the docs: some minutes on two cores.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Annotated

import numpy as np
import skimage.data
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import orderly
from benchmarks.report import (
    Summary,
    check_readme,
    environment,
    markdown_table,
    publish,
    write_page,
)
from fxp.hls import compress_lines, emit_rtl
from fxp.hls.rtl.core import Multipliers
from fxp.imaging.colour import luma
from fxp.model import FixedModel
from fxp.models import sr
from fxp.rtl_sim import FrameResult, find_simulator, full_frame

SIZE = 1920, 1080
CLOCKS_PER_FRAME = 2200 * 1125
"""Of 1080p video with its blanking."""
MODEL = "kimsr_x2"
LINE_MEMORIES, CODECS, RESIDUALS = "fxp_window", "fxp_line_codec", "fxp_lag_buffer"
"""Modules of a core that hold lines, groups to encode, and pixels that wait for another path."""
_ROW = re.compile(r"\| `\w+` \((\w+)\) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|")


@dataclass(frozen=True)
class DataSheetFigures:
    """What the data sheet of a core says.

    Attributes
    ----------
    multipliers, adders, registers
        Of the whole core; registers in bits.
    memory
        Bits of memory by module.
    """

    multipliers: int
    adders: int
    registers: int
    memory: Counter[str]

    @classmethod
    def read(cls, folder: Path) -> DataSheetFigures:
        """Read the data sheet of an emitted core."""
        multipliers, adders, registers = 0, 0, 0
        memory: Counter[str] = Counter()
        for module, *numbers in _ROW.findall((folder / "README.md").read_text(encoding="utf-8")):
            counts = [int(number.replace(",", "")) for number in numbers]
            multipliers, adders = multipliers + counts[0], adders + counts[1]
            registers += counts[2]
            memory[module] += counts[3]
        return cls(multipliers, adders, registers, memory)


def mosaic(width: int, height: int) -> NDArray[np.uint8]:
    """Return the luma of photographs that ship with scikit-image, side by side and repeated."""
    photographs = [luma(getattr(skimage.data, name)()) for name in ("astronaut", "camera")]
    row = np.hstack(photographs)
    whole = np.vstack([row, row[:, ::-1]])
    return np.tile(whole, (-(-height // len(whole)), -(-width // whole.shape[1])))[:height, :width]


@dataclass(frozen=True)
class Measurement:
    """A core that was run, what it needs, and the processor time of compiler and simulation."""

    name: str
    result: FrameResult
    resources: DataSheetFigures
    processor_seconds: float

    def cells(self, width: int) -> list[str]:
        """Return the column of the table."""
        memory, result = self.resources.memory, self.result
        lines = memory[LINE_MEMORIES]
        latency = result.latency_cycles
        return [
            "all" if result.bit_exact else f"NO: {result.difference}",
            f"{result.cycles:,}",
            f"{result.input_cycles / result.pixels:.6f}",
            f"{latency:,}",
            f"{latency / width:.2f}",
            f"{lines / 1e6:.3f}",
            f"{memory[CODECS] / 1e6:.3f}",
            f"{memory[RESIDUALS] / 1e6:.3f}",
            f"{(memory.total() - lines - memory[CODECS] - memory[RESIDUALS]) / 1e6:.3f}",
            f"{self.resources.multipliers:,}",
            f"{self.resources.adders:,}",
            f"{self.resources.registers:,}",
            f"{result.seconds:.0f}",
            f"{self.processor_seconds:.0f}",
        ]


ROWS = (
    "Output equal to the engine's",
    "Clocks from the first pixel in to the last block out",
    "Clocks per pixel taken",
    "Latency, clocks",
    "Latency, lines",
    "Line memories, Mbit",
    "Codecs of compressed lines, Mbit",
    "Memories of residual paths, Mbit",
    "Output FIFO, Mbit",
    "Multipliers",
    "Adders",
    "Register bits",
    "Compiling and simulating, seconds on the clock",
    "The same, seconds of processor time",
)


def page(measured: Sequence[Measurement], width: int) -> str:
    """Return the body of the page."""
    columns = [item.cells(width) for item in measured]
    rows = [[heading, *cells] for heading, *cells in zip(ROWS, *columns, strict=True)]
    core = measured[0].result.core
    height = measured[0].result.pixels // width
    return (
        f"The core of `{MODEL}`, one frame of {width}×{height} to "
        f"{core.scale * width}×{core.scale * height}, a mosaic of photographs, in the model that "
        f"Verilator compiles; {CLOCKS_PER_FRAME:,} clocks make a 1080p frame with its blanking. "
        "Resources are those of the data sheet, before synthesis.\n\n"
        f"{markdown_table(('', *(item.name for item in measured)), rows)}\n\n"
        f"{find_simulator('verilator')}. {environment('fxp', 'numpy')}"
    )


def summary(measured: Sequence[Measurement], width: int) -> Summary:
    """Return the rows of the README: clocks, latency, memories and multipliers of a frame.

    Parameters
    ----------
    measured
        The cores that were run, at least one.
    width
        Pixels per line of the frame.
    """
    cells = [dict(zip(ROWS, item.cells(width), strict=True)) for item in measured]
    first, core = cells[0], measured[0].result.core
    height = measured[0].result.pixels // width
    frame = f"{width}×{height} to {core.scale * width}×{core.scale * height}"
    equal = ", ".join(dict.fromkeys(item["Output equal to the engine's"] for item in cells))
    memories = "; ".join(
        f"{item.name}: {cell['Line memories, Mbit']}"
        for item, cell in zip(measured, cells, strict=True)
    )
    return [
        (f"FPGA core, simulated, {frame}: outputs equal to the engine's", equal),
        ("Its clocks per pixel taken, and its latency",
         f"{first['Clocks per pixel taken']}; {first['Latency, lines']} lines"),
        ("Its line memories, Mbit", memories),
    ]  # fmt: skip


def measure(
    name: str, model: FixedModel, multipliers: Multipliers, width: int, height: int, bar: Progress
) -> Measurement:
    """Emit a core and run a frame through it.

    Parameters
    ----------
    name
        Heading of its column.
    model
        What the core computes.
    multipliers
        How it multiplies, see `fxp.hls.emit_rtl`.
    width, height
        Size of the frame in pixels.
    bar
        Where progress is shown.
    """
    task = bar.add_task(name, total=None)
    before = _children_seconds()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "core"
        emit_rtl(model, folder, max_width=width, max_height=height, multipliers=multipliers)
        result = full_frame(
            model, mosaic(width, height), core=folder,
            progress=lambda done, total, what: bar.update(
                task, description=f"{name}: {what}", completed=done, total=total or None
            ),
        )  # fmt: skip
        return Measurement(
            name, result, DataSheetFigures.read(folder), _children_seconds() - before
        )


def _children_seconds() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(
    width: Annotated[int, typer.Option(min=1, help="Pixels per line.")] = SIZE[0],
    height: Annotated[int, typer.Option(min=1, help="Lines.")] = SIZE[1],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the page, instead of the docs and the README.")
    ] = None,
) -> None:
    """Run the frame, print the table, and publish it if the output is right."""
    if out is None:
        check_readme()
    model = sr.load(MODEL)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        measured = [
            measure("dsp", model, "dsp", width, height, bar),
            measure("shift_add", model, "shift_add", width, height, bar),
            measure("dsp, compressed lines", compress_lines(model), "dsp", width, height, bar),
        ]
    body = page(measured, width)
    print(body)
    if not all(item.result.bit_exact for item in measured):
        raise typer.Exit(1)
    title = "A whole frame through the streaming core"
    if out:
        target = write_page(out, "rtl", title, body)
    else:
        target = publish("rtl", title, body, summary=summary(measured, width), headlines=2)
    print(f"wrote {target}")


if __name__ == "__main__":
    orderly.run(partial(typer.run, main))
