"""The data sheet of a core."""

from __future__ import annotations

from collections.abc import Iterable

from fxp.hls.rtl.core import Core, StreamPort
from fxp.hls.rtl.ends import end_instances
from fxp.hls.rtl.frame_sizes import size_text
from fxp.hls.rtl.planning import CorePlan, Cost, ModuleInstance, PlannedValue
from fxp.hls.rtl.register_map import table_rows

HEADER = "fxp_registers.h"
"""File with the registers for programs in C."""


def core_cost(core: Core, plan: CorePlan, output: PlannedValue) -> Cost:
    """Sum of all modules.

    Parameters
    ----------
    core
        What the core is.
    plan
        Its modules and wires.
    output
        The value that leaves it first.
    """
    total = Cost(registers=sum(6 * path.clocks for path in plan.paths))
    for item in (*plan.items, *end_instances(core, plan, output)):
        if isinstance(item, ModuleInstance):
            total += item.cost
    return total


def render_data_sheet(core: Core, plan: CorePlan, output: PlannedValue) -> str:
    """Return the data sheet in Markdown.

    Parameters
    ----------
    core
        What the core is.
    plan
        Its modules and wires.
    output
        The value that leaves it first.
    """
    total = core_cost(core, plan, output)
    pixels = f"{core.scale}x{core.scale} pixels" if core.scale > 1 else "pixel"
    lines = [
        f"# {core.name}",
        "",
        f"Streaming core `{core.top}`, emitted by fxp from the integer graph with SHA-256 "
        f"{core.version:08x}…",
        "",
        *_table(
            ("Property", "Value"),
            [
                ("Largest frame", f"{core.max_width} x {core.max_height} pixels"),
                ("Smallest frame", f"{core.smallest[1]} x {core.smallest[0]} pixels"),
                ("Width", size_text(core.smallest[1], core.max_width, core.taken[1])),
                ("Height", size_text(core.smallest[0], core.max_height, core.taken[0])),
                ("Output of the largest frame", _output_frame(core)),
                ("Frame after reset", f"{core.initial_width} x {core.initial_height} pixels"),
                ("Rate", "1 pixel per clock" if core.fold == 1
                 else f"1 pixel every {core.fold} clocks"),
                ("Output per input pixel", f"{core.scale**2} ({pixels})"),
                ("Lag", f"{core.lag_lines} lines and {core.lag_pixels} pixels"),
                ("Pipeline", f"{core.latency_clocks} clocks to the output FIFO"),
                ("Weighted sums", _weighted_sums(core)),
                ("Bypass", "nearest neighbour, by a register" if core.bypass else "none"),
                ("Accesses to registers without effect",
                 "answered with SLVERR" if core.bus_errors else "answered with OKAY"),
                ("Line memories", f"{_line_memory_bits(plan):,} bits"),
            ],
        ),
        "",
        "## Streams",
        "",
        *_table(
            ("Port", "Value", "Channels", "Format", "Bytes per channel", "Per beat"),
            [
                _stream("s_axis", core.input, "1 pixel"),
                *(
                    _stream(prefix, result.output, _output_beat(result))
                    for prefix, result in core.results.items()
                ),
                *(
                    _stream(state.stream, state.port, f"one of `{state.result}`")
                    for state in core.states
                ),
            ],
        ),
        "",
        *_states(core),
        f"{_packing(core)} `tuser` marks the first beat of a "
        "frame, `tlast` the last beat of a line. `s_axil` is AXI4-Lite, 32 bit.",
        "",
        *_table(
            ("Address", "Register", "Access", "Content"),
            table_rows(core.version),
        ),
        "",
        f"`MAX_WIDTH` is {core.max_width}, `MAX_HEIGHT` {core.max_height}. "
        f"`{HEADER}` has the same for C.",
        "",
        "A size written takes effect at a later start of frame. A line or frame cut short is "
        "filled with zeros, what is too much is dropped; the next frame is whole again.",
        "",
        "## Resources before synthesis",
        "",
        "Multipliers are weights that are not zero; registers are those written down, before tools "
        "remove or merge any.",
        "",
        *_resources(core, plan, output, total),
        "",
        "## Values",
        "",
        *_table(
            ("Value", "Format", "Channels", "Block", "Lag", "Clocks"),
            [
                (
                    planned.value,
                    str(planned.format),
                    str(planned.stream.channels),
                    f"{planned.stream.scale}x{planned.stream.scale}",
                    f"{planned.stream.path.lag.lines} lines, "
                    f"{planned.stream.path.lag.pixels} pixels",
                    str(planned.stream.latency),
                )
                for planned in plan.values
            ],
        ),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _output_frame(core: Core) -> str:
    rows, columns = core.beats(core.max_height, core.max_width)
    return f"{columns * core.scale} x {rows * core.scale} pixels"


def _weighted_sums(core: Core) -> str:
    if core.multipliers == "dsp":
        return "multipliers"
    both = "multipliers, and " if core.multipliers == "mixed" else ""
    return (
        f"{both}shared shifts and additions, at most {core.levels_per_register} adders between "
        f"registers{', shared sums from registers only' if core.register_shared else ''}"
    )


def _line_memory_bits(plan: CorePlan) -> int:
    return sum(
        item.cost.memory_bits
        for item in plan.items
        if isinstance(item, ModuleInstance) and item.module == "fxp_window"
    )


def _resources(core: Core, plan: CorePlan, output: PlannedValue, total: Cost) -> list[str]:
    rows = []
    instances = [item for item in plan.items if isinstance(item, ModuleInstance)]
    for item in (*instances, *end_instances(core, plan, output)):
        cost = item.cost
        if cost != Cost():
            rows.append(_cost_row(f"`{item.name[2:]}` ({item.module})", cost))
    tags = Cost(registers=sum(6 * path.clocks for path in plan.paths))
    rows.append(_cost_row("tags", tags))
    rows.append(_cost_row("**Sum**", total))
    return _table(("Module", "Multipliers", "Adders", "Register bits", "Memory bits"), rows)


def _cost_row(name: str, cost: Cost) -> tuple[str, ...]:
    figures = (cost.multipliers, cost.adders, cost.registers, cost.memory_bits)
    return (name, *(f"{figure:,}" for figure in figures))


def _stream(name: str, port: StreamPort, beat: str) -> tuple[str, ...]:
    sign = "signed" if port.signed else "unsigned"
    form = f"{sign}, {port.width} bits, {port.frac} fraction bits"
    return name, port.name, str(port.channels), form, str(port.bytes), beat


def _states(core: Core) -> list[str]:
    """Say how states are to be kept."""
    if not core.states:
        return []
    pairs = ", ".join(f"`{state.result}` to `{state.stream}`" for state in core.states)
    return [
        f"A memory keeps every frame of {pairs}, and gives it back in the same order. The first "
        "frame after a reset takes none, so that the memory must be empty then. All frames until "
        "the next reset have one size.",
        "",
    ]


def _packing(core: Core) -> str:
    if not core.input.packed:
        return "Channels begin at the low bits, the first one lowest, each in whole bytes."
    orders = [
        f"{name} {', '.join(map(str, port.order))}"
        for name, port in (
            ("s_axis", core.input),
            *((prefix, result.output) for prefix, result in core.results.items()),
        )
    ]
    return (
        "Channels lie side by side without padding (UG934), zeros above the highest; from the low "
        f"bits up the channels of {' and of '.join(orders)}."
    )


def _output_beat(core: Core) -> str:
    side = core.scale
    if side == 1:
        return "1 pixel"
    if core.serialized or core.pixels_per_beat:
        count = core.beat_pixels
        return f"{count} pixel{'s' if count > 1 else ''} of an enlarged line"
    if core.raster and core.output.packed:
        return f"{side**2} pixels of an enlarged line"
    if core.raster:
        return f"{side**2} pixels of an enlarged line; `tkeep` marks those of the last beat"
    return f"block of {side}x{side} pixels, row by row"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]
