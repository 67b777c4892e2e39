"""A model of one op, and a hand-written folder that looks like its emitted core."""

from __future__ import annotations

from pathlib import Path

from fxp.formats import Format, Quantization
from fxp.graph import Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Relu
from fxp.hls.rtl.core import Core, StreamPort, Tap
from fxp.model import FixedModel

PIXEL = Format(8, 8, signed=False)
SOURCE = Path(__file__).with_name("stand_in.sv")


def model() -> FixedModel:
    shape = (1, Extent("H"), Extent("W"))
    node = Node("y", Relu(), ("x",), Quantization(PIXEL))
    return FixedModel(Graph("stand_in", (Value("x", shape, PIXEL),), (node,), ("y",)))


def write_core(folder: Path, fault: int = 0) -> Path:
    """Write the folder of a core that has one of the faults of `stand_in.sv`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = SOURCE.read_text().replace("parameter FAULT = 0", f"parameter FAULT = {fault}")
    (folder / SOURCE.name).write_text(text)

    def port(name: str) -> StreamPort:
        return StreamPort(name, 1, 8, 8, False, 1)

    def tap(name: str) -> Tap:
        return Tap(name, name, 1, 8, 8, False, 1)

    core = Core(
        name="stand_in", top="stand_in_core", sources=(SOURCE.name,), input=port("x"),
        output=port("y"), scale=1, max_width=64, max_height=64, initial_width=8, initial_height=8,
        fold=1, multipliers="dsp", raster=False, version=0, latency_clocks=1, lag_lines=0,
        lag_pixels=0, taps=(tap("x"), tap("y")),
    )  # fmt: skip
    (folder / "core.json").write_text(core.to_json())
    return folder
