"""The one entry: a fixed-point model becomes a folder with a streaming core."""

from __future__ import annotations

import re
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

from fxp.graph import Graph
from fxp.hls.refusals import instead_of_core
from fxp.hls.rtl.adder_graph import LEVELS_PER_REGISTER
from fxp.hls.rtl.core import Core, Packing, Tap
from fxp.hls.rtl.data_sheet import HEADER, render_data_sheet
from fxp.hls.rtl.frame_sizes import (
    MAX_HEIGHT,
    bounds,
    initial_frame,
    is_fixed,
    sizes_for_c,
    taken_sizes,
)
from fxp.hls.rtl.layers import add_node
from fxp.hls.rtl.literals import identifier
from fxp.hls.rtl.packaging import (
    LICENSE,
    MARKUP_LICENSE,
    framed,
    render_core_file,
    render_file_list,
    render_ip_xact,
    render_lpf,
    render_xdc,
)
from fxp.hls.rtl.planning import CorePlan, Lag, PlannedValue, StreamingError
from fxp.hls.rtl.ports import (
    check_bypass,
    check_graph,
    check_states,
    check_streams,
    flush_lag,
    input_values,
    result_streams,
    result_values,
    state_streams,
    value_port,
)
from fxp.hls.rtl.register_map import render_c_header
from fxp.hls.rtl.rounding import folded_roundings
from fxp.hls.rtl.streams import MissingStageError, MultiplierWidthError
from fxp.hls.rtl.styles import LayerFolds, LayerMultipliers, LayerStyles
from fxp.hls.rtl.top import render_top, scope_name, value_wires
from fxp.model.sources import ModelSource, graph_of
from fxp.store import graph_digest
from fxp.support.files import replacing_folder
from fxp.support.progress import Progress

LIBRARY: Final = Path(__file__).parent / "lib"
PACKAGE: Final = "fxp_pkg.sv"
"""The source that all others need, so it comes first."""
MAX_SIZE: Final = 65535
"""Sizes are 16 bit registers."""


def emit_rtl(
    model: ModelSource,
    out_dir: str | PathLike[str],
    *,
    max_width: int,
    max_height: int = MAX_HEIGHT,
    initial_size: tuple[int, int] | None = None,
    pixels_per_clock: int = 1,
    multipliers: LayerMultipliers = "dsp",
    fold: LayerFolds = 1,
    levels_per_register: int = LEVELS_PER_REGISTER,
    register_shared: bool = False,
    raster: bool = False,
    pixels_per_beat: int | None = None,
    packing: Packing = "bytes",
    subsampled: bool = False,
    bypass: bool = False,
    bus_errors: bool = False,
    name: str | None = None,
    progress: Progress | None = None,
) -> Core:
    """Write a self-contained folder with a streaming core that computes what the engine computes.

    Parameters
    ----------
    model
        A quantized model, its integer graph, or the path of its ``.fxp`` file, with one image
        ``(C, H, W)`` as input. Every output has a stream of its own; a state has two, which bring
        what the frame before left and take what the next one needs.
    out_dir
        Folder to write; must not exist or be empty, or hold an earlier core, which is replaced.
    max_width, max_height
        Largest frame; the line memories are `max_width` pixels long.
    initial_size
        ``(width, height)`` after reset, the largest frame by default; the only size if a result
        depends on a whole frame, as that of a global pool or of `flatten`.
    pixels_per_clock
        Only 1.
    multipliers
        ``"dsp"``, a multiplier per weight, or ``"shift_add"``, shared adders without multipliers;
        for all layers, or a mapping from names of nodes, in which layers that are missing use
        ``"dsp"``.
    fold
        Weights that share a multiplier; the core then takes a pixel every `fold` clocks. For all
        layers, or a mapping from names of nodes, of which the largest number counts.
    levels_per_register
        Most shared adders on a way between two registers: more need fewer registers and reach a
        lower clock frequency. Without effect on multipliers.
    register_shared
        Whether a shared sum that several adders read is read from a register only. A large layer
        then takes a few more clocks and a third more registers, and no clock has two long ways.
    raster
        Whether the output is raster lines of the enlarged image instead of blocks.
    pixels_per_beat
        Raster lines with 1, 2 or 4 pixels in a beat instead of a whole block's; a divisor of the
        pixels of a block. The core then takes a pixel only as fast as its results leave.
    packing
        ``"bytes"``, every channel in whole bytes, or ``"ug934"``, as AXI4-Stream Video has it:
        channels side by side without padding, RGB in the order G, B, R from the low bits up, no
        ``tkeep``. Of all streams.
    subsampled
        Whether pixels come as YCbCr 4:2:2, with Y in the low bits and above it Cb in even columns,
        Cr in odd ones; both pixels of a pair get both. The network has the channels Cr, Y, Cb, as
        one of `fxp.models.sr.colour_chain` with ``source="ycbcr"``.
    bypass
        Whether a register can put enlarged copies of the input (nearest neighbour) in place of the
        network's result; input and output must have the same format, and as many channels or one
        at the input.
    bus_errors
        Whether accesses to registers without effect (writes to what is read-only, sizes out of
        range, addresses without a register) are answered with SLVERR instead of OKAY.
    name
        Name of the core, by default from the graph.
    progress
        Called with nodes done, nodes in all, and the name of the next one.

    Returns
    -------
    Core
        What was emitted, also in ``core.json`` of the folder.

    Raises
    ------
    StreamingError
        A `ValueError`, if the network cannot stream or an argument does not suit; nothing is
        written then.
    ArgumentTypeError
        If `model` is none of these.
    FormatError
        If the file of the model cannot be read.
    OSError
        If the folder cannot be written; an earlier core is then intact.
    """
    graph = graph_of(model)
    _check_arguments(max_width, max_height, pixels_per_clock)
    styles = LayerStyles(multipliers, fold)
    if not isinstance(levels_per_register, int) or levels_per_register < 1:
        raise StreamingError(f"levels_per_register must be at least 1, got {levels_per_register!r}")
    target = Path(out_dir)
    _check_target(target)
    name = identifier(graph.name if name is None else name).lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise StreamingError(f"{name!r} is no name for a core: it must begin with a letter")
    check_graph(graph)
    taken = taken_sizes(graph)
    width, height = initial_frame(graph, taken, initial_size, max_width, max_height)
    columns = graph.inputs[0].shape[2]
    if isinstance(columns, int):
        # No longer line ever comes.
        max_width = columns
    options: dict[str, Any] = {
        "name": name, "fold": fold, "multipliers": multipliers,
        "levels_per_register": levels_per_register, "register_shared": register_shared,
        "size": (height, width), "subsampled": subsampled, "progress": progress,
    }  # fmt: skip
    plan, output = plan_graph(graph, max_width=max_width, **options)
    if plan.one_size and width < max_width:
        # No longer line ever comes.
        plan, output = plan_graph(graph, max_width=width, **options)
    if plan.one_size:
        max_width, max_height, plan.smallest = width, height, (height, width)
    plan.smallest, (max_height, max_width) = bounds(
        graph, taken, plan.smallest, (max_height, max_width)
    )
    if height < plan.smallest[0] or width < plan.smallest[1]:
        raise StreamingError(
            f"frames of {width}x{height} are smaller than the network takes, "
            f"{plan.smallest[1]}x{plan.smallest[0]}: choose larger max_width, max_height or "
            "initial_size"
        )
    final, lag = output.stream, flush_lag([output, *plan.more])
    core = Core(
        name=name,
        top=f"{name}_core",
        sources=(),
        input=value_port(graph.inputs[0], packing, subsampled=subsampled),
        output=value_port(graph.values[output.value], packing),
        scale=final.scale,
        max_width=max_width,
        max_height=max_height,
        initial_width=width,
        initial_height=height,
        fold=styles.clocks,
        multipliers=styles.summary,
        raster=raster or pixels_per_beat is not None,
        version=int(graph_digest(graph)[:8], 16),
        latency_clocks=final.latency + 2,
        lag_lines=lag.lines,
        lag_pixels=lag.pixels,
        steps=final.path.raster.steps,
        smallest=plan.smallest,
        taken=taken,
        taps=tuple(_tap(base, planned) for base, planned in value_wires(plan)),
        pixels_per_beat=pixels_per_beat or 0,
        bypass=bypass,
        bus_errors=bus_errors,
        levels_per_register=levels_per_register,
        register_shared=register_shared,
        more=result_streams(graph, plan, packing, raster, pixels_per_beat),
        states=state_streams(graph, plan, packing),
    )
    if bypass:
        check_bypass(core)
    check_streams(core, packing, pixels_per_beat)
    _write(target, core, plan, output)
    return Core.read(target)


def plan_graph(
    graph: Graph,
    *,
    max_width: int,
    fold: LayerFolds = 1,
    multipliers: LayerMultipliers = "dsp",
    levels_per_register: int = LEVELS_PER_REGISTER,
    register_shared: bool = False,
    size: tuple[int, int] | None = None,
    subsampled: bool = False,
    name: str = "core",
    progress: Progress | None = None,
    advise: bool = True,
) -> tuple[CorePlan, PlannedValue]:
    """Return the plan of a core and its first output.

    Parameters
    ----------
    graph
        The integer graph.
    max_width
        Pixels of the longest line.
    fold
        Weights that share a multiplier, as for `emit_rtl`.
    multipliers
        ``"dsp"`` or ``"shift_add"``, as for `emit_rtl`.
    levels_per_register
        Most shared adders on a way between two registers.
    register_shared
        Whether a shared sum is read from a register only.
    size
        Rows and columns of frames after reset, the only ones if a result depends on whole frames;
        by default those of the graph, if it has a size.
    subsampled
        Whether the input is YCbCr 4:2:2, as for `emit_rtl`.
    name
        Name of the core, from which names of modules are made.
    progress
        Called with nodes done, nodes in all, and the name of the next one.
    advise
        Whether a refusal says what to do instead.

    Raises
    ------
    StreamingError
        If the graph cannot stream; the message names the node.
    """
    source = check_graph(graph)
    styles = LayerStyles(multipliers, fold)
    styles.check(graph)
    plan = CorePlan(name, max_width, levels_per_register=levels_per_register,
                    register_shared=register_shared)  # fmt: skip
    # A tree of multipliers has no free place for it.
    plan.folded = folded_roundings(
        graph, [node.name for node in graph.nodes if styles.of(node.name)[0] == "shift_add"]
    )
    _, rows, columns = source.shape
    if size is None and isinstance(rows, int) and isinstance(columns, int):
        size = (rows, columns)
    plan.size = size
    path = plan.new_path((Lag(),), 0, "sequencer_tags")
    plan.scope = scope_name(0, source.name)
    inputs = input_values(graph, plan, path, subsampled=subsampled)
    planned = {item.value: item for item in inputs}
    plan.values += inputs
    for item in inputs:
        plan.tags(item.stream.path, item.stream.latency)
    plan.states = [planned[state.value.name].stream for state in graph.states]
    for number, node in enumerate(graph.nodes):
        if progress is not None:
            progress(number, len(graph.nodes), node.name)
        where = f"node {node.name!r} ({node.op.name}) of {graph.name!r}"
        plan.scope = scope_name(len(plan.values), node.name)
        plan.multipliers, plan.fold = styles.of(node.name)
        plan.items.append(f"{node.name}: {node.op.name}")
        operands = [
            planned[name].stream if name in planned else graph.constants_by_name[name].data
            for name in node.inputs
        ]
        try:
            planned[node.name] = add_node(plan, graph, node, operands)
        except MultiplierWidthError as error:
            text, advice = f"{where}: {error.message}", error.advice
            if plan.one_size and plan.size is not None and not is_fixed(graph):
                high, wide = plan.size
                text = (
                    f"{where}: a result depends on a whole frame, and for frames of {wide}x{high} "
                    f"it {error.message}"
                )
                advice = "give the size of your frames as initial_size"
            raise MultiplierWidthError(text, advice, node.name) from None
        except MissingStageError as error:
            advice = f"; {instead_of_core(graph, node.op.name)}" if advise else ""
            raise MissingStageError(f"{where}: {error}{advice}") from None
        except StreamingError as error:
            raise StreamingError(f"{where}: {error}") from None
        plan.values.append(planned[node.name])
        shape = graph.values[node.name].shape
        if len(shape) == 1 and not planned[node.name].stream.path.raster.one_beat:
            # A vector that still comes pixel by pixel is no image that test benches could compare.
            planned[node.name] = replace(planned[node.name], exact=False)
            plan.values[-1] = planned[node.name]
        # Test benches look at the tags of every value.
        plan.tags(planned[node.name].stream.path, planned[node.name].stream.latency)
    output, *plan.more = (planned[name] for name in result_values(graph))
    for item in (output, *plan.more):
        plan.tags(item.stream.path, item.stream.latency)
    check_states(graph, planned)
    return plan, output


def check_stream(graph: Graph, size: tuple[int, int]) -> None:
    """Raise `StreamingError` unless a core with multipliers takes frames of some rows and columns.

    Parameters
    ----------
    graph
        The integer graph.
    size
        Rows and columns.
    """
    height, width = size
    initial_frame(graph, taken_sizes(graph), (width, height), width, height)
    plan, _ = plan_graph(graph, max_width=width, size=size, advise=False)
    if height < plan.smallest[0] or width < plan.smallest[1]:
        raise StreamingError(f"frames of {width}x{height} are smaller than the network takes")


def _check_arguments(max_width: int, max_height: int, pixels_per_clock: int) -> None:
    for what, value in (("max_width", max_width), ("max_height", max_height)):
        if not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
            raise StreamingError(f"{what} must be 1 to {MAX_SIZE}, got {value!r}")
    if pixels_per_clock != 1:
        raise StreamingError(f"pixels_per_clock must be 1, got {pixels_per_clock!r}")


def _tap(base: str, planned: PlannedValue) -> Tap:
    stream, form = planned.stream, planned.format
    return Tap(planned.value, base, stream.fields, form.width, form.frac, form.signed, stream.scale)


def library_sources() -> list[str]:
    """Return the files of the library, in an order in which tools can read them."""
    return sorted((path.name for path in LIBRARY.glob("*.sv")),
                  key=lambda name: (name != PACKAGE, name))  # fmt: skip


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise StreamingError(f"{target} is not a folder")
    if target.is_dir() and any(target.iterdir()) and not (target / "core.json").is_file():
        raise StreamingError(
            f"{target} is not empty and holds no earlier core: name another folder"
        )


def _write(target: Path, core: Core, plan: CorePlan, output: PlannedValue) -> None:
    """Write a folder beside the target, then put it in its place."""
    library = library_sources()
    top = f"{core.top}.sv"
    sources = (
        *(f"rtl/{name}" for name in library),
        *(f"rtl/{name}.sv" for name in plan.modules),
        f"rtl/{top}",
    )
    content = {**core.__dict__, "sources": sources}
    core = Core(**content)
    top_text = render_top(core, plan, output)
    texts = {
        **{f"rtl/{name}": framed((LIBRARY / name).read_text(encoding="utf-8")) for name in library},
        **{f"rtl/{name}.sv": framed(text) for name, text in plan.modules.items()},
        f"rtl/{top}": framed(top_text),
        f"{core.name}.f": render_file_list(sources),
        "core.json": core.to_json(),
        "README.md": MARKUP_LICENSE + render_data_sheet(core, plan, output),
        HEADER: render_c_header(constants=sizes_for_c(core), license_name=LICENSE),
        f"{core.name}.xdc": render_xdc(core),
        f"{core.name}.lpf": render_lpf(core),
        f"{core.name}.core": render_core_file(core),
        "component.xml": render_ip_xact(core, top_text),
    }
    with replacing_folder(target) as folder:
        (folder / "rtl").mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
