"""The whole design of a board in Verilator, up to the pins of its video connector."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from fxp.formats import IntArray
from fxp.hls.boards.design import CORE, PICTURE, BoardDesign, board_frame
from fxp.hls.rtl.core import Core
from fxp.model.sources import ModelSource, model_of
from fxp.rtl_sim.build import compiled, recipe, runtime_folder, watched_count, working_folder
from fxp.rtl_sim.script import Bytes
from fxp.rtl_sim.simulators import SimulatorError, find_simulator, make_model, run_compiler
from fxp.rtl_sim.wrapper import TOP
from fxp.support.processes import run_process
from fxp.support.progress import Progress

MONITOR, MODELS = (Path(__file__).with_name(name) for name in ("board.cpp", "board_models.sv"))
_READ_IDENTITY = bytes([ord("R"), 0x00])


@dataclass(frozen=True)
class MonitorResult:
    """What a monitor showed.

    Attributes
    ----------
    bit_exact
        Whether every frame equals what the engine computes, and nothing else was wrong.
    pictures
        Frames ``(N, H, W, 3)`` of 8 bits: red, green, blue.
    different
        Bytes of all frames that differ from the engine's.
    faults
        What else was wrong, in words.
    clocks
        Pixel clocks simulated.
    seconds
        Of compilation and simulation.
    """

    bit_exact: bool
    pictures: Bytes
    different: int
    faults: tuple[str, ...]
    clocks: int
    seconds: float

    def __str__(self) -> str:
        count, height, width, _ = self.pictures.shape
        what = f"{count} frame{'s' if count != 1 else ''} of {width}x{height}"
        where = f"{self.clocks:,} pixel clocks, {self.seconds:.0f} s"
        if self.bit_exact:
            return f"the monitor shows what the engine computes: {what} ({where})"
        said = [*self.faults] + ([f"{self.different:,} bytes differ"] if self.different else [])
        return f"DIFFERENT: {'; '.join(said)} ({what}; {where})"


def simulate_board(
    model: ModelSource,
    folder: str | PathLike[str],
    *,
    picture: IntArray | None = None,
    frames: int = 1,
    work_dir: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> MonitorResult:
    """Simulate the design in a folder and compare what a monitor shows with the engine.

    The whole top runs: clocks, picture, core, queue, timing, encoders and the registers at the
    pins. A program decodes the pins as a monitor does, and reads a register by the serial port.

    Parameters
    ----------
    model
        What the core computes.
    folder
        What `fxp.hls.boards.emit_board` wrote.
    picture
        What was given to `emit_board`.
    frames
        Frames to look at.
    work_dir
        Folder where the compiled program is kept; nothing is kept by default.
    progress
        Told how many frames were shown, of how many, and what is being done.

    Raises
    ------
    ValueError
        If the folder holds no design.
    SimulatorError
        If Verilator is missing, or fails.
    """
    started = time.perf_counter()
    place = Path(folder)
    design, core = BoardDesign.read(place), Core.read(place / CORE)
    say = progress or (lambda done, total, text: None)
    with working_folder(work_dir) as work:
        say(0, 0, "compiling the whole design")
        program = _build(place, design, work)
        with tempfile.TemporaryDirectory(dir=work, prefix="run_") as name:
            run = Path(name)
            if design.picture != (0, 0):
                shutil.copy(place / PICTURE, run)
            answer = _run(program, design, frames, run, say)
            shown = np.fromfile(run / "pictures", np.uint8)
    mode = design.mode
    pictures = shown.reshape(-1, mode.height, mode.width, 3)
    expected = expected_picture(model, core, picture)
    different = int(np.count_nonzero(pictures != expected))
    faults = _faults(answer, frames)
    return MonitorResult(
        bit_exact=not different and not faults,
        pictures=pictures,
        different=different,
        faults=faults,
        clocks=answer["words"],
        seconds=time.perf_counter() - started,
    )


def expected_picture(model: ModelSource, core: Core, picture: IntArray | None) -> Bytes:
    """Return the picture ``(H, W, 3)`` that the engine computes for a design.

    Parameters
    ----------
    model
        What the core computes.
    core
        The core of the design.
    picture
        What was given to `emit_board`.
    """
    output = model_of(model).run(board_frame(core, picture), narrow=True).outputs[0]
    image = output.transpose(1, 2, 0).astype(np.uint8)
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image


def _faults(answer: dict, frames: int) -> tuple[str, ...]:
    identity = (0x66787031).to_bytes(4, "little").hex()
    said = {
        f"{answer['recorded']} of {frames} frames were shown": answer["recorded"] != frames,
        f"{answer['broken']} words are no TMDS": answer["broken"] != 0,
        f"{answer['odd_lines']} lines or frames have another length": answer["odd_lines"] != 0,
        "the first frame was dark, as its pixels came too late": answer["dark"] != 0,
        # The first word comes at any time.
        f"words are not ten bits long {answer['slips']} times": answer["slips"] > 1,
        "a pixel came too late": bool(answer["leds"] & 2),
        f"the serial port gave {answer['received'] or 'nothing'} for the register ID": (
            answer["received"] != identity
        ),
    }
    return tuple(text for text, wrong in said.items() if wrong)


def _build(place: Path, design: BoardDesign, work: Path) -> Path:
    simulator = find_simulator("verilator")
    sources = [(place / source).absolute() for source in design.sources]

    def make(folder: Path) -> Path:
        command = [
            simulator.program, "--cc", "--exe", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style",
            "--x-assign", "fast", "--x-initial", "fast", "--threads", "1",
            "--top-module", design.top,
            "--prefix", "Vtop", "-o", TOP, "-Mdir", folder, MONITOR, MODELS, *sources,
        ]  # fmt: skip
        run_compiler(command, folder, simulator.environment)
        make_model(
            simulator, folder, runtime=runtime_folder(simulator, work, "harness 1"), optimize="-O1"
        )
        return folder / TOP

    content = [str(simulator), MONITOR.read_bytes(), MODELS.read_bytes(), recipe()]
    content += [Path(__file__).read_bytes(), *(source.read_bytes() for source in sources)]
    return compiled(work, "board", content, make) / TOP


def _run(program: Path, design: BoardDesign, frames: int, run: Path, say: Progress) -> dict:
    mode = design.mode
    arguments = ["pictures", mode.width, mode.height, frames, mode.columns * mode.rows,
                 design.uart_divider]  # fmt: skip
    log, report = run / "monitor.log", run / "frames"
    command = [program, *map(str, arguments), _READ_IDENTITY.hex()]
    say(0, frames, "simulating")
    with watched_count(report, lambda done: say(done, frames, "simulating")):
        done = run_process(command, run, output=log)
    lines = log.read_text(errors="replace").splitlines()
    if done.code or not lines:
        raise SimulatorError(f"the monitor failed: {lines[-1] if lines else 'it left no log'}")
    return json.loads(next(line for line in reversed(lines) if line.startswith("{")))
