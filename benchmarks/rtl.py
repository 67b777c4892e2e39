"""A whole video frame through the emitted core of KimSR, compared with the engine bit for bit.

``python -m benchmarks.rtl`` runs 1920×1080 to 3840×2160 in the compiled model and writes the table
to the docs: some minutes on two cores.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from typing import Annotated

import numpy as np
import skimage.data
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp.imaging.colour import luma
from hls import emit_rtl
from models import sr
from rtl_sim import FrameResult, find_simulator, full_frame

SIZE = 1920, 1080
CLOCKS_PER_FRAME = 2200 * 1125
"""Of 1080p video with its blanking."""
LINE_MEMORIES, RESIDUALS = "fxp_window", "fxp_lag_buffer"
"""Modules of a core that hold lines of a value, and pixels that wait for another path."""
_ROW = re.compile(r"\| `\w+` \((\w+)\) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|")


@dataclass(frozen=True)
class Resources:
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
    def read(cls, folder: Path) -> Resources:
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


def page(result: FrameResult, resources: Resources, width: int, processor_seconds: float) -> str:
    """Return the body of the page."""
    lines = resources.memory[LINE_MEMORIES]
    residuals = resources.memory[RESIDUALS]
    rest = resources.memory.total() - lines - residuals
    latency = result.latency_clocks
    rows = [
        ["Output equal to the engine's", "all" if result.bit_exact else f"NO: {result.difference}"],
        ["Clocks from the first pixel in to the last block out", f"{result.clocks:,}"],
        ["Clocks of a 1080p frame with blanking", f"{CLOCKS_PER_FRAME:,}"],
        ["Clocks per pixel taken", f"{result.input_clocks / result.pixels:.6f}"],
        ["Latency, clocks", f"{latency:,}"],
        ["Latency, lines", f"{latency / width:.2f}"],
        ["Line memories, Mbit", f"{lines / 1e6:.3f}"],
        ["Memories of residual paths, Mbit", f"{residuals / 1e6:.3f}"],
        ["Output FIFO, Mbit", f"{rest / 1e6:.3f}"],
        ["Multipliers", f"{resources.multipliers:,}"],
        ["Adders", f"{resources.adders:,}"],
        ["Register bits", f"{resources.registers:,}"],
        ["Compiling and simulating, seconds on the clock", f"{result.seconds:.0f}"],
        ["The same, seconds of processor time", f"{processor_seconds:.0f}"],
    ]
    core = result.core
    scale = core.scale
    height = result.pixels // width
    return (
        f"`{core.top}` ({core.multipliers}), one frame of {width}×{height} to "
        f"{scale * width}×{scale * height}, a mosaic of photographs, in the model that Verilator "
        f"compiles. Resources are those of the data sheet, before synthesis.\n\n"
        f"{markdown_table(('', core.name), rows)}\n\n"
        f"{find_simulator('verilator')}. {environment('fxp', 'numpy')}"
    )


def main(
    width: Annotated[int, typer.Option(min=1, help="Pixels per line.")] = SIZE[0],
    height: Annotated[int, typer.Option(min=1, help="Lines.")] = SIZE[1],
    multipliers: Annotated[str, typer.Option(help="dsp or shift_add.")] = "dsp",
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = ROOT / "docs" / "benchmarks",
) -> None:
    """Run the frame, print the table, and publish it if the output is right."""
    model = sr.load("kimsr_x2")
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    with tempfile.TemporaryDirectory() as name, bar:
        task = bar.add_task("", total=None)
        folder = Path(name) / "core"
        emit_rtl(
            model, folder, max_width=width, max_height=height,
            multipliers=multipliers,  # type: ignore[arg-type]
        )  # fmt: skip
        result = full_frame(
            model, mosaic(width, height), core=folder,
            progress=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total or None
            ),
        )  # fmt: skip
        used = getrusage(RUSAGE_CHILDREN)
        body = page(result, Resources.read(folder), width, used.ru_utime + used.ru_stime)
    print(body)
    if not result.bit_exact:
        raise typer.Exit(1)
    print(f"wrote {write_page(out, 'rtl', 'A whole frame through the streaming core', body)}")


if __name__ == "__main__":
    typer.run(main)
