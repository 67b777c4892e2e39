"""Kinds of pipeline stages, placed and routed on an ECP5."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fxp import Format, Graph, Quantization
from fxp.graph import Constant, Node, Value, ops
from fxp.graph.extents import Extent
from fxp.hls.line_compression import compress_lines
from fxp.hls.rtl.core import Multipliers
from fxp.hls.rtl.emit import LIBRARY, emit_rtl, library_sources
from fxp.hls.synth import TARGETS, place
from fxp.hls.synth.harness import ports_of
from fxp.model import FixedModel
from fxp.models import sr

Record = dict[str, Any]
MODEL = "kimsr_x2"
TARGET_MEGAHERTZ = 150
ATTEMPTS = 3
"""Seeds of the placer, until the aim is reached."""
LONGEST_LINE = 1920


@dataclass(frozen=True)
class LayerStage:
    """Some outputs of a layer of KimSR as a core of its own, with its sequencer and registers."""

    node: str
    outputs: int
    multipliers: Multipliers
    fold: int = 1
    compressed: bool = False

    def build(self, folder: Path) -> tuple[list[str], str, dict[str, int | str]]:
        """Emit the core and return its sources, top and parameters."""
        model = FixedModel(layer_graph(self.node, self.outputs))
        core = emit_rtl(compress_lines(model) if self.compressed else model, folder,
                        max_width=LONGEST_LINE, multipliers=self.multipliers, fold=self.fold,
                        name="layer")  # fmt: skip
        return list(core.sources), core.top, {}


@dataclass(frozen=True)
class ModuleStage:
    """A module of the library with the parameters it has in KimSR."""

    name: str
    parameters: dict[str, int | str]

    def build(self, folder: Path) -> tuple[list[str], str, dict[str, int | str]]:
        """Copy the library and return sources, module and parameters."""
        for source in library_sources():
            (folder / source).write_bytes((LIBRARY / source).read_bytes())
        return library_sources(), self.name, self.parameters


STAGES: dict[str, LayerStage | ModuleStage] = {
    "3x3 layer 1→4, dsp": LayerStage("head", 4, "dsp"),
    "depthwise 3x3 ×4, dsp": LayerStage("body.depthwise", 4, "dsp"),
    "depthwise 3x3 ×4, dsp, compressed lines": LayerStage(
        "body.depthwise", 4, "dsp", compressed=True
    ),
    "pointwise 16→4, dsp": LayerStage("tail.pointwise", 4, "dsp"),
    "requantize ×16": ModuleStage(
        "fxp_requantize",
        {"Fields": 16, "InWidth": 26, "OutWidth": 14, "OutSigned": "1'b0",
         "Shifts": "{16{8'sd12}}"},
    ),
    "lag buffer 448 × 35": ModuleStage("fxp_lag_buffer", {"Width": 448, "Depth": 35}),
    "raster formatter": ModuleStage(
        "fxp_raster", {"Scale": 2, "Bytes": 1, "MaxWidth": LONGEST_LINE}
    ),
    "depthwise 1x5 ×4, dsp": LayerStage("residual1.depthwise", 4, "dsp"),
    "3x3 layer 1→4, dsp, 3 clocks per pixel": LayerStage("head", 4, "dsp", fold=3),
    "3x3 layer 1→4, shift_add": LayerStage("head", 4, "shift_add"),
    "depthwise 3x3 ×4, shift_add": LayerStage("body.depthwise", 4, "shift_add"),
    "pointwise 16→4, shift_add": LayerStage("tail.pointwise", 4, "shift_add"),
    "depthwise 1x5 ×4, shift_add": LayerStage("residual1.depthwise", 4, "shift_add"),
}  # fmt: skip
"""Stages to place, by name."""


def layer_graph(name: str, outputs: int) -> Graph:
    """Return the first outputs of a convolution of KimSR, rounded to 14 bits after a ReLU."""
    graph = sr.load(MODEL).graph
    node = graph.node(name)
    source = graph.operand(node.inputs[0]).formats[0]
    weight = graph.constants_by_name[node.inputs[1]]
    data = weight.data[:outputs]
    formats = weight.formats[:outputs]
    assert isinstance(node.op, ops.Conv2d)
    depthwise = node.op.groups > 1
    op = ops.Conv2d(padding=node.op.padding, groups=outputs if depthwise else 1)
    channels = outputs if depthwise else data.shape[1]
    height, width = Extent("H"), Extent("W")
    wide = Quantization(Format(40, source.frac + max(form.frac for form in formats)))
    narrow = Quantization(Format(14, 12, signed=False))
    return Graph(
        "layer",
        (Value("image", (channels, height, width), source),),
        (Node("conv", op, ("image", "weight"), wide), Node("relu", ops.Relu(), ("conv",), narrow)),
        ("relu",),
        (Constant("weight", data, formats),),
    )


def place_stage(name: str, folder: Path, timeout_s: float) -> Record:
    """Synthesize, place and route a stage.

    Parameters
    ----------
    name
        Name of the stage, a key of `STAGES`.
    folder
        Where sources and results go.
    timeout_s
        Seconds for each tool.
    """
    sources, top, parameters = STAGES[name].build(folder)
    target = TARGETS["ecp5-85k"]
    text = "\n".join((folder / source).read_text(encoding="utf-8") for source in sources)
    ports = ports_of(text, top, parameters)
    placement = place(folder, sources, top, ports, parameters=parameters,
                      megahertz=TARGET_MEGAHERTZ, attempts=ATTEMPTS,
                      timeout_s=timeout_s)  # fmt: skip
    return {"placement": asdict(placement), "device": target.device}
