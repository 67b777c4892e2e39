"""From the design of a board to its bitstream: yosys, nextpnr, ecppack."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from fxp.hls.boards.boards import PLACER
from fxp.hls.boards.design import BoardDesign
from fxp.hls.synth.block_ram_registers import pack_block_ram_registers
from fxp.hls.synth.multiplier_registers import pack_multiplier_registers
from fxp.hls.synth.synthesis import synthesize
from fxp.hls.synth.targets import TARGETS, Resources
from fxp.hls.synth.tools import SynthesisError, run_synthesis_tool
from fxp.support.progress import Progress

NETLIST = "netlist.json"


@dataclass(frozen=True)
class Bitstream:
    """A bitstream and what it took.

    Attributes
    ----------
    path
        The file for the board.
    board
        Name of the board.
    resources
        What the design needs of the device.
    available
        What the device has.
    clocks
        For each clock the frequency that is needed and the one that is reached, in MHz.
    seed
        Of the placer.
    seconds
        From the first tool to the last.
    """

    path: Path
    board: str
    resources: Resources
    available: Resources
    clocks: Mapping[str, tuple[float, float]]
    seed: int
    seconds: float

    @property
    def met(self) -> bool:
        """Whether every clock is fast enough."""
        return all(reached >= needed for needed, reached in self.clocks.values())


def build_bitstream(
    folder: str | PathLike[str],
    *,
    seed: int = 1,
    timeout_s: float = 7200,
    progress: Progress | None = None,
) -> Bitstream:
    """Synthesize, place, route and pack the design that `emit_board` wrote.

    Parameters
    ----------
    folder
        The design; all results are written there, the bitstream as ``<top>.bit``.
    seed
        Of the placer.
    timeout_s
        Time limit in seconds for each tool.
    progress
        Told which tool begins, of how many.

    Raises
    ------
    SynthesisError
        If a tool is missing or fails, or the design does not fit the device.
    ValueError
        If the folder holds no design, or its description is damaged.
    """
    place = Path(folder)
    design = BoardDesign.read(place)
    device = TARGETS[design.target]
    assert device.placer is not None
    say = progress or (lambda done, total, text: None)
    start = time.monotonic()
    say(0, 3, "yosys")
    result = synthesize(
        place, design.sources, design.top, device, netlist=NETLIST, timeout_s=timeout_s
    )
    lacking = device.lacking(result.total)
    if lacking:
        raise SynthesisError(
            f"the design does not fit {design.board}: {', '.join(lacking)}; a smaller network, "
            "fewer bits, or multipliers shared with fold need less"
        )
    netlist = json.loads((place / NETLIST).read_text(encoding="utf-8"))
    pack_multiplier_registers(netlist["modules"][design.top])
    pack_block_ram_registers(netlist["modules"][design.top])
    (place / NETLIST).write_text(json.dumps(netlist), encoding="utf-8")
    say(1, 3, "nextpnr")
    arguments = [device.placer, "--package", design.package, "--speed", str(design.speed),
                 "--seed", str(seed), "--json", NETLIST, "--lpf", design.constraints,
                 "--report", "placement.json", "--textcfg", f"{design.top}.config",
                 "--timing-allow-fail"]  # fmt: skip
    run_synthesis_tool(PLACER, arguments, place, timeout_s)
    say(2, 3, "ecppack")
    bitstream = f"{design.top}.bit"
    run_synthesis_tool(
        "ecppack", ["--compress", f"{design.top}.config", bitstream], place, timeout_s
    )
    report = json.loads((place / "placement.json").read_text(encoding="utf-8"))
    clocks = {
        name.removeprefix("$glbnet$"): (round(clock["constraint"], 1), round(clock["achieved"], 1))
        for name, clock in report["fmax"].items()
    }
    return Bitstream(place / bitstream, design.board, result.total, device.available, clocks, seed,
                     round(time.monotonic() - start, 1))  # fmt: skip
