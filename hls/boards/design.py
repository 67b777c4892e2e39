"""The design of a board: a core and what surrounds it, as a folder of sources and constraints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from fxp.formats import FormatError, IntArray, check_raw
from fxp.graph import Graph, Value
from fxp.hls.boards.boards import (
    BOARDS,
    MODES,
    Board,
    VideoMode,
    check_device,
    pll_dividers,
)
from fxp.hls.rtl.core import Core
from fxp.hls.rtl.emit import emit_rtl, plan_graph
from fxp.hls.rtl.packaging import framed
from fxp.hls.rtl.styles import LayerFolds, LayerStyles
from fxp.model.sources import ModelSource, model_of
from fxp.support.errors import ArgumentError, ArgumentTypeError
from fxp.support.files import replacing_folder

SHELL: Final = Path(__file__).parent / "rtl"
CORE, PICTURE, DESCRIPTION = "core", "picture.hex", "board.json"
BAUD: Final = 115_200
FIFO_PIXELS: Final = 512
CORE_OPTIONS: Final = (
    "multipliers", "fold", "levels_per_register", "register_shared", "bypass", "bus_errors", "name",
    "progress",
)  # fmt: skip
"""Options of `fxp.hls.emit_rtl` that are free on a board."""
DECIDED: Final = (
    "max_width", "max_height", "initial_size", "pixels_per_clock", "raster", "pixels_per_beat",
    "packing", "subsampled",
)  # fmt: skip
"""Those that follow from the picture and the monitor."""
_TOP: Final = SHELL / "board_top.sv.template"
_AGAIN: Final = "write the design again"
_LEAST_DIVIDER, _BAUD_ERROR = 8, 0.02
"""Clocks of a bit at least, and how far its length may be off: ten bits follow each other."""


@dataclass(frozen=True)
class BoardDesign:
    """A design for a board.

    Attributes
    ----------
    board
        Name of the board.
    target, package, speed
        Its device.
    mode
        What its monitor shows.
    top
        Module name of the top.
    sources
        SystemVerilog files in compile order, relative to the folder.
    constraints
        File with pins and clocks.
    picture
        Width and height of the picture in block memory; zeros for the test pattern.
    baud
        Bits in a second of the serial port.
    """

    board: str
    target: str
    package: str
    speed: int
    mode: VideoMode
    top: str
    sources: tuple[str, ...]
    constraints: str
    picture: tuple[int, int]
    baud: int

    @property
    def uart_divider(self) -> int:
        """Pixel clocks for each bit of the serial port."""
        return round(self.mode.megahertz * 1e6 / self.baud)

    @classmethod
    def read(cls, folder: str | PathLike[str]) -> BoardDesign:
        """Read the description in a folder that `emit_board` wrote.

        Raises
        ------
        ValueError
            If the folder holds none, or it is damaged.
        """
        path = Path(folder) / DESCRIPTION
        if not path.is_file():
            raise ArgumentError(f"{folder} holds no design of a board: there is no {DESCRIPTION}")
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            content["mode"] = VideoMode(**content["mode"])
            for name in ("sources", "picture"):
                content[name] = tuple(content[name])
            design = cls(**content)
            check_device(design.target, design.package, design.speed)
            _check_baud(design.baud, design.mode)
            names = (design.board, design.top, design.constraints, *design.sources)
            if not all(isinstance(name, str) for name in names):
                raise TypeError("a name is no text")
        except KeyError as error:
            raise ArgumentError(f"{path} is damaged: {error} is missing; {_AGAIN}") from None
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"{path} is damaged: {error}; {_AGAIN}") from None
        return design


def emit_board(
    model: ModelSource,
    out_dir: str | PathLike[str],
    *,
    board: str | Board = "ulx3s-85f",
    mode: str | VideoMode = "640x480",
    picture: IntArray | None = None,
    baud: int = BAUD,
    **options: Any,
) -> BoardDesign:
    """Write a folder with a whole design: picture, core, monitor, serial port.

    A picture or a test pattern goes through the core without end; the monitor shows the result. The
    core runs at the pixel clock. All its registers can be reached by the serial port, see
    `fxp.hls.driver.SerialRegisters`.

    Parameters
    ----------
    model
        A model that `fxp.hls.emit_rtl` takes; one or three channels of eight unsigned bits go to
        the monitor.
    out_dir
        Folder to write; must not exist or be empty, or hold an earlier design, which is replaced,
        with all that was built of it.
    board
        A name of `BOARDS`, or a board.
    mode
        A name of `MODES`, or a mode; its sides must be multiples of the model's scale.
    picture
        Raw integers ``(C, H, W)`` of the model's input for the block memory, not larger than the
        frame, over which it is repeated; the test pattern by default.
    baud
        Bits in a second of the serial port.
    options
        Arguments of `fxp.hls.emit_rtl`, those in `CORE_OPTIONS`: `multipliers`, `fold`,
        `levels_per_register`, `register_shared`, `bypass`, `bus_errors`, `name`, `progress`.

    Raises
    ------
    ValueError
        If the model, the board and the mode do not suit each other, or an argument is none of
        these; nothing is written then.
    OSError
        If the folder cannot be written; an earlier design is then intact.
    """
    _check_options(options)
    chosen = BOARDS.get(board) if isinstance(board, str) else board
    shown = MODES.get(mode) if isinstance(mode, str) else mode
    if chosen is None:
        raise ArgumentError(f"unknown board {board!r}; there are {', '.join(BOARDS)}")
    if shown is None:
        raise ArgumentError(f"unknown video mode {mode!r}; there are {', '.join(MODES)}")
    dividers = pll_dividers(chosen.megahertz, shown.megahertz)
    _check_baud(baud, shown)
    folder = Path(out_dir)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DESCRIPTION).is_file():
        raise ArgumentError(f"{folder} is not empty and holds no design: name another folder")
    fixed = model_of(model)
    frame = frame_size(fixed.graph, shown, options.get("fold", 1))
    if picture is not None:
        picture = _checked_picture(picture, fixed.graph.inputs[0], frame)
    size = (0, 0) if picture is None else (picture.shape[2], picture.shape[1])
    with replacing_folder(folder) as new:
        core = emit_rtl(
            fixed, new / CORE, max_width=frame[0], max_height=frame[1], initial_size=frame,
            pixels_per_beat=1, **options,
        )  # fmt: skip
        top = f"{core.name}_board"
        shell = sorted(path.name for path in SHELL.glob("*.sv"))
        sources = (
            *(f"{CORE}/{source}" for source in core.sources),
            *(f"rtl/{name}" for name in shell),
            f"rtl/{top}.sv",
        )
        design = BoardDesign(chosen.name, chosen.target, chosen.package, chosen.speed, shown, top,
                             sources, f"{chosen.name}.lpf", size, baud)  # fmt: skip
        text = _TOP.read_text(encoding="utf-8")
        for key, value in _values(core, design, chosen, dividers).items():
            text = text.replace(f"@{key}@", str(value))
        texts = {
            **{f"rtl/{name}": framed((SHELL / name).read_text(encoding="utf-8")) for name in shell},
            f"rtl/{top}.sv": framed(text),
            design.constraints: chosen.constraints(),
            DESCRIPTION: json.dumps(asdict(design), indent=2) + "\n",
        }
        if picture is not None:
            texts[PICTURE] = _hexadecimal(picture, core)
        (new / "rtl").mkdir()
        for name, content in texts.items():
            (new / name).write_text(content, encoding="utf-8")
    return design


def _check_options(options: Mapping[str, object]) -> None:
    taken = f"options of the core are {', '.join(CORE_OPTIONS)}"
    for name in options:
        if name in DECIDED:
            raise ArgumentError(
                f"{name} follows from the picture and the monitor of a board; {taken}"
            )
        if name not in CORE_OPTIONS:
            raise ArgumentError(f"there is no option {name!r}; {taken}")


def _check_baud(baud: int, mode: VideoMode) -> None:
    most = int(mode.megahertz * 1e6 / _LEAST_DIVIDER)
    if not isinstance(baud, int) or not 1 <= baud <= most:
        raise ArgumentError(
            f"baud must be an integer from 1 to {most} at a pixel clock of {mode.megahertz:g} MHz, "
            f"not {baud!r}"
        )
    exact = mode.megahertz * 1e6 / baud
    if abs(round(exact) - exact) > _BAUD_ERROR * exact:
        raise ArgumentError(
            f"a bit of {baud} baud takes {exact:.2f} clocks of {mode.megahertz:g} MHz, too far "
            "from a whole number; choose a lower baud"
        )


def frame_size(graph: Graph, mode: VideoMode, folds: LayerFolds = 1) -> tuple[int, int]:
    """Return width and height of the frames that the core of a design takes.

    Parameters
    ----------
    graph
        The integer graph.
    mode
        What the monitor shows.
    folds
        Weights that share a multiplier, as for `fxp.hls.emit_rtl`.

    Raises
    ------
    ArgumentError
        If the model and the mode do not suit each other.
    """
    fold = LayerStyles("dsp", folds).clocks
    plan, output = plan_graph(graph, max_width=mode.width, fold=folds)
    result = output.stream
    if plan.more:
        raise ArgumentError(
            f"{graph.name!r} has several outputs or keeps states; the design of a board has one "
            "stream of results and no memory of frames"
        )
    scale = result.scale
    rows, columns = (scale * count for count in result.path.raster.size(mode.height, mode.width))
    factor = rows // mode.height
    whole = factor > 0 and (rows, columns) == (factor * mode.height, factor * mode.width)
    if result.path.raster.steps and whole:
        raise ArgumentError(
            f"{graph.name!r} leaves rows and columns out on the way and enlarges the rest again, "
            f"so blocks of {scale}x{scale} pixels come with a part of the input's lines only; the "
            "design of a board needs a core in which every pixel of the input brings results"
        )
    if result.path.raster.steps:
        raise ArgumentError(
            f"{graph.name!r} leaves rows and columns of its input out; a monitor needs a model "
            "whose output is as large as the input, or larger by a whole factor"
        )
    form, channels = output.format, result.fields // scale**2
    if (form.width, form.signed) != (8, False) or channels not in (1, 3):
        raise ArgumentError(
            f"a monitor takes one or three channels of 8 unsigned bits, not {channels} of {form}: "
            "quantize with output_format=Format(8, 8, signed=False)"
        )
    if mode.width % scale or mode.height % scale:
        raise ArgumentError(
            f"a model that enlarges {scale} times cannot fill {mode.name}: both sides must be "
            f"multiples of {scale}"
        )
    width, height = mode.width // scale, mode.height // scale
    most = pixel_clocks(mode, width)
    if fold > most:
        raise ArgumentError(
            f"with fold={fold} a line takes {fold * width} clocks, and the monitor shows it in "
            f"{scale * mode.columns}: fold can be at most {most}"
        )
    return width, height


def pixel_clocks(mode: VideoMode, width: int) -> int:
    """Return the clocks that there are for each pixel of the core's input.

    A line of the core must be computed while its enlarged lines are shown.

    Parameters
    ----------
    mode
        What the monitor shows.
    width
        Pixels of a line of the core's input.
    """
    return mode.width // width * mode.columns // width


def _checked_picture(picture: IntArray, source: Value, frame: tuple[int, int]) -> IntArray:
    form = source.format
    assert form is not None
    wanted = f"the picture must have the shape ({source.shape[0]}, H, W)"
    try:
        array = np.asarray(picture)
    except ValueError as error:
        raise ArgumentError(f"{wanted}: {error}") from None
    if array.ndim != 3 or len(array) != source.shape[0]:
        raise ArgumentError(f"{wanted}, not {array.shape}")
    if not array.size:
        raise ArgumentError(f"the picture has no pixels: its shape is {array.shape}")
    if array.shape[2] > frame[0] or array.shape[1] > frame[1]:
        raise ArgumentError(
            f"the picture of {array.shape[2]}x{array.shape[1]} is larger than the frames that "
            f"the core takes, {frame[0]}x{frame[1]}"
        )
    try:
        return check_raw(array, form)
    except (ArgumentTypeError, FormatError) as error:
        raise ArgumentError(
            f"the picture must be raw integers of the model's input, {form}, from {form.min_raw} "
            f"to {form.max_raw}, as fxp.formats.quantize makes them of real values: {error}"
        ) from None


def _values(
    core: Core, design: BoardDesign, board: Board, dividers: tuple[int, int, int]
) -> dict[str, object]:
    """Return what the template of the top leaves open."""
    mode = design.mode
    red, green, blue = (0, 0, 0) if core.output.channels == 1 else (0, 8, 16)
    return {
        "top": design.top,
        "core": core.top,
        "board": board.name,
        "mode": mode.name,
        "feedback": dividers[0],
        "fast_divider": dividers[1],
        "pixel_divider": dividers[2],
        "fast_phase": dividers[1] - 1,
        "pixel_phase": dividers[2] - 1,
        "in_bits": 8 * core.input.beat_bytes(),
        "out_bits": 8 * core.output.beat_bytes(),
        "red": red,
        "green": green,
        "blue": blue,
        "frame_width": core.max_width,
        "frame_height": core.max_height,
        "channels": core.input.channels,
        "channel_bits": core.input.width,
        "channel_bytes": core.input.bytes,
        "picture_width": design.picture[0],
        "picture_height": design.picture[1],
        "picture_file": PICTURE,
        "uart_divider": design.uart_divider,
        "fifo": FIFO_PIXELS,
        **{name: getattr(mode, name) for name in (
            "width", "height", "h_front", "h_sync", "h_back", "v_front", "v_sync", "v_back")},
        "positive": "1'b1" if mode.positive else "1'b0",
    }  # fmt: skip


def _hexadecimal(picture: IntArray, core: Core) -> str:
    """Return a picture as words of a memory, the first channel in the low bits."""
    width = core.input.width
    pixels = picture.astype(object).transpose(1, 2, 0).reshape(-1, len(picture))
    mask = (1 << width) - 1
    words = [
        sum((int(value) & mask) << width * place for place, value in enumerate(pixel))
        for pixel in pixels
    ]
    return "".join(f"{word:x}\n" for word in words)


def board_frame(core: Core, picture: IntArray | None) -> IntArray:
    """Return the frame ``(C, H, W)`` of raw integers that goes into the core of a design.

    Parameters
    ----------
    core
        The core.
    picture
        What was given to `emit_board`.
    """
    width, height = core.max_width, core.max_height
    if picture is not None:
        rows, columns = np.arange(height) % picture.shape[1], np.arange(width) % picture.shape[2]
        return picture[:, rows][:, :, columns].astype(np.int64)
    port = core.input
    row, column = np.mgrid[:height, :width]
    channels = np.arange(port.channels)[:, None, None]
    values = ((column ^ row)[None] + 37 * channels) & 0xFF
    bits = port.width
    raw = values << bits - 8 if bits >= 8 else values >> 8 - bits
    return np.where(port.signed & (raw >> bits - 1 == 1), raw - (1 << bits), raw)
