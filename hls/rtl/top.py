"""The text of a core's top: ports, wires, instances and constants, nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from fxp.hls.rtl.core import Core
from fxp.hls.rtl.literals import identifier
from fxp.hls.rtl.planning import SIZE, CorePlan
from fxp.hls.rtl.streams import Assignment, Cost, ModuleInstance, Path, PlannedValue

INDENT = "  "


def render_top(core: Core, plan: CorePlan, output: PlannedValue) -> str:
    """Return the SystemVerilog of the top module.

    Parameters
    ----------
    core
        What the core is.
    plan
        Its modules and wires.
    output
        The value that leaves it.
    """
    return "\n".join(
        [
            f"// {core.name}: streaming core, emitted by fxp. Do not edit.",
            f"module {core.top} (",
            *_ports(core),
            ");",
            *_input(core),
            *_wires(plan),
            *_paths(plan.paths),
            *_values(plan),
            *_items(plan),
            *_ends(core, plan, output),
            "endmodule",
            "",
        ]
    )


def end_instances(core: Core, plan: CorePlan, output: PlannedValue) -> list[ModuleInstance]:
    """Return the modules at both ends of the core.

    Parameters
    ----------
    core
        What the core is.
    plan
        Its modules and wires.
    output
        The value that leaves it.
    """
    pixel = core.input.channels * core.input.width
    stream = output.stream
    lag = stream.path.input_lag
    clock = {"clk_i": "aclk", "rst_ni": "aresetn"}
    initial = {"InitialWidth": core.initial_width, "InitialHeight": core.initial_height}
    registers = ModuleInstance(
        "fxp_registers",
        "u_registers",
        _texts(
            {
                "Version": f"32'h{core.version:08x}",
                "MaxWidth": core.max_width,
                "MaxHeight": core.max_height,
                **initial,
            }
        ),
        {
            **clock,
            **{
                f"{name}_{direction}": f"s_axil_{name}"
                for direction, names in {
                    "i": ("awaddr", "awvalid", "wdata", "wstrb", "wvalid", "bready", "araddr",
                          "arvalid", "rready"),
                    "o": ("awready", "wready", "bresp", "bvalid", "arready", "rdata", "rresp",
                          "rvalid"),
                }.items()
                for name in names
            },
            "width_o": "frame_width",
            "height_o": "frame_height",
            "started_i": "started",
            "finished_i": "finished",
            "malformed_i": "malformed",
            "errors_i": "errors",
        },
        Cost(registers=32 * 5 + 60, adders=3),
    )  # fmt: skip
    sequencer = ModuleInstance(
        "fxp_sequencer",
        "u_sequencer",
        _texts(
            {
                "Width": pixel,
                "LagLines": lag.lines,
                "LagPixels": lag.pixels,
                "Fold": core.fold,
                "DrainClocks": stream.latency if stream.path.raster.steps else 0,
                **initial,
            }
        ),
        {
            **clock,
            "tvalid_i": "s_axis_tvalid",
            "tready_o": "s_axis_tready",
            "tuser_i": "s_axis_tuser",
            "tlast_i": "s_axis_tlast",
            "tdata_i": "pixel_in",
            "width_i": "frame_width",
            "height_i": "frame_height",
            "room_i": "room",
            "tags_o": "sequencer_tags",
            "data_o": "sequencer_data",
            "columns_o": SIZE[0],
            "rows_o": SIZE[1],
            "started_o": "started",
            "malformed_o": "malformed",
            "errors_o": "errors",
        },
        Cost(registers=3 * pixel + 240, adders=6),
    )
    clocks = stream.latency
    depth = fifo_depth(clocks)
    signals = ("tdata", "tvalid", "tready", "tuser", "tlast")
    blocks = ModuleInstance(
        "fxp_output",
        "u_output",
        _texts(
            {
                "Fields": stream.fields,
                "Width": stream.width,
                "Signed": "1'b1" if stream.signed else "1'b0",
                "Bytes": core.output.bytes,
                "PipelineClocks": clocks,
                "Depth": depth,
            }
        ),
        {
            **clock,
            "tags_i": plan.tags(stream.path, clocks),
            "data_i": stream.wire,
            "room_o": "room",
            **{
                f"{name}_{'i' if name == 'tready' else 'o'}": (
                    f"block_{name}" if core.raster else f"m_axis_{name}"
                )
                for name in signals
            },
            "frame_last_o": "block_frame_last" if core.raster else "frame_last",
        },
        Cost(registers=3 * (stream.bits + 3) + 40, memory_bits=depth * (stream.bits + 3), adders=4),
    )
    if not core.raster:
        return [registers, sequencer, blocks]
    pixel_bytes = core.output.bytes * core.output.channels
    width = plan.width(stream.path.raster)
    line = -(-width // core.scale) * core.scale**3 * pixel_bytes * 8
    raster = ModuleInstance(
        "fxp_raster",
        "u_raster",
        _texts({"Scale": core.scale, "Bytes": pixel_bytes, "MaxWidth": width}),
        {
            **clock,
            **{f"{name}_{'o' if name == 'tready' else 'i'}": f"block_{name}" for name in signals},
            "frame_last_i": "block_frame_last",
            **{f"{name}_{'i' if name == 'tready' else 'o'}": f"m_axis_{name}" for name in signals},
            "tkeep_o": "m_axis_tkeep",
            "frame_last_o": "frame_last",
        },
        Cost(
            registers=8 * pixel_bytes * core.scale**2 * (2 * core.scale + 1) + 90,
            memory_bits=2 * line,
        ),
    )
    return [registers, sequencer, blocks, raster]


def fifo_depth(clocks: int) -> int:
    """Beats of the output FIFO: room for twice what a pipeline of so many clocks holds."""
    return 1 << (2 * clocks + 32 - 1).bit_length()


def _texts(parameters: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in parameters.items()}


def _ports(core: Core) -> list[str]:
    in_bits = 8 * core.input.bytes * core.input.channels
    out_bits = 8 * core.output.bytes * core.output.channels * core.scale**2
    ports = [
        ("input ", 1, "aclk"),
        ("input ", 1, "aresetn"),
        ("input ", in_bits, "s_axis_tdata"),
        ("input ", 1, "s_axis_tvalid"),
        ("output", 1, "s_axis_tready"),
        ("input ", 1, "s_axis_tuser"),
        ("input ", 1, "s_axis_tlast"),
        ("output", out_bits, "m_axis_tdata"),
        *([("output", out_bits // 8, "m_axis_tkeep")] if core.raster else []),
        ("output", 1, "m_axis_tvalid"),
        ("input ", 1, "m_axis_tready"),
        ("output", 1, "m_axis_tuser"),
        ("output", 1, "m_axis_tlast"),
        ("input ", 8, "s_axil_awaddr"),
        ("input ", 1, "s_axil_awvalid"),
        ("output", 1, "s_axil_awready"),
        ("input ", 32, "s_axil_wdata"),
        ("input ", 4, "s_axil_wstrb"),
        ("input ", 1, "s_axil_wvalid"),
        ("output", 1, "s_axil_wready"),
        ("output", 2, "s_axil_bresp"),
        ("output", 1, "s_axil_bvalid"),
        ("input ", 1, "s_axil_bready"),
        ("input ", 8, "s_axil_araddr"),
        ("input ", 1, "s_axil_arvalid"),
        ("output", 1, "s_axil_arready"),
        ("output", 32, "s_axil_rdata"),
        ("output", 2, "s_axil_rresp"),
        ("output", 1, "s_axil_rvalid"),
        ("input ", 1, "s_axil_rready"),
    ]
    lines = [f"{INDENT}{way} logic {_range(bits)}{name}," for way, bits, name in ports]
    lines[-1] = lines[-1].rstrip(",")
    return lines


def _range(bits: int, *, always: bool = False) -> str:
    return f"[{bits - 1}:0] " if bits > 1 or always else ""


def _input(core: Core) -> list[str]:
    port = core.input
    bits = port.channels * port.width
    fields = [
        f"s_axis_tdata[{8 * port.bytes * c}+:{port.width}]" for c in reversed(range(port.channels))
    ]
    lines = [
        f"logic {_range(bits, always=True)}pixel_in, sequencer_data;",
        "logic [5:0] sequencer_tags;",
        f"logic [15:0] {', '.join(SIZE)};",
        "logic [15:0] frame_width, frame_height;",
        "logic [3:0] errors;",
        "logic started, finished, malformed, room, frame_last;",
        f"assign pixel_in = {{{', '.join(fields)}}};",
    ]
    if port.width < 8 * port.bytes:
        lines += ["logic unused_input;", "assign unused_input = ^s_axis_tdata;"]
    return ["", *(INDENT + line for line in lines)]


def _wires(plan: CorePlan) -> list[str]:
    lines = [
        f"{INDENT}logic {_range(bits, always=not _is_flag(name))}{name};"
        for name, bits in plan.wires.items()
    ]
    return ["", *lines]


def _is_flag(name: str) -> bool:
    """Whether a wire is a single bit and not a bus of one."""
    return name.rsplit("_", 1)[-1].rstrip("0123456789") in ("write", "read")


def _paths(paths: Iterable[Path]) -> list[str]:
    lines = ["", f"{INDENT}// Tags of all values of one lag."]
    for path in paths:
        lines.append(f"{INDENT}logic [{6 * (path.clocks + 1) - 1}:0] {path.name}_tags;")
        lines += _instance(
            ModuleInstance(
                "fxp_tags",
                f"u_{path.name}",
                {"Clocks": str(path.clocks)},
                {
                    "clk_i": "aclk",
                    "rst_ni": "aresetn",
                    "tags_i": path.source,
                    "taps_o": f"{path.name}_tags",
                },
            )
        )
    return lines


def _values(plan: CorePlan) -> list[str]:
    """Wires by which a test bench finds the values of the graph."""
    lines = ["", f"{INDENT}// The values of the graph, for test benches."]
    unused = []
    for base, planned in value_wires(plan):
        stream = planned.stream
        clocks = stream.latency - stream.path.latency
        lines += [
            f"{INDENT}logic {base}_valid, {base}_real;",
            f"{INDENT}logic [{stream.bits - 1}:0] {base}_data;",
            f"{INDENT}assign {base}_valid = {stream.path.name}_tags[{6 * clocks}];",
            f"{INDENT}assign {base}_real = {stream.path.name}_tags[{6 * clocks + 1}];",
            f"{INDENT}assign {base}_data = {stream.wire};",
        ]
        unused += [f"{base}_valid", f"{base}_real", f"^{base}_data"]
    unused += [f"^{codes.wire}" for codes in plan.codes.values()]
    unused += [f"^{path.name}_tags" for path in plan.paths]
    unused += [f"^{wire}" for path in plan.paths for wire in path.size]
    lines += [f"{INDENT}logic unused_values;", f"{INDENT}assign unused_values = ^{{"]
    lines += textwrap.wrap(
        ", ".join(unused), 92, initial_indent=INDENT * 2, subsequent_indent=INDENT * 2
    )
    return [*lines, f"{INDENT}}};"]


def value_wires(plan: CorePlan) -> list[tuple[str, PlannedValue]]:
    """Return the base names of the wires of every value that is on wires as it is."""
    return [
        (scope_name(index, planned.value), planned)
        for index, planned in enumerate(plan.values)
        if planned.exact
    ]


def scope_name(index: int, value: str) -> str:
    """Prefix of the wires of the value of that index."""
    return f"v{index}_{identifier(value)}"


def _items(plan: CorePlan) -> list[str]:
    lines: list[str] = []
    for item in plan.items:
        if isinstance(item, ModuleInstance):
            lines += _instance(item)
        elif isinstance(item, Assignment):
            lines += [*_wrapped(f"assign {item.wire} = ", item.value, ";")]
        else:
            lines += ["", f"{INDENT}// {item}"]
    return lines


def _wrapped(head: str, value: str, tail: str) -> list[str]:
    line = f"{INDENT}{head}{value}{tail}"
    if len(line) <= 100 or " " not in value:
        return [line]
    return textwrap.wrap(
        line, 98, initial_indent="", subsequent_indent=INDENT * 3, break_long_words=False
    )


def _instance(item: ModuleInstance) -> list[str]:
    lines = [f"{INDENT}{item.module}"]
    if item.parameters:
        lines[0] += " #("
        parameters = [f".{name}({value})" for name, value in item.parameters.items()]
        lines += _listed(parameters)
        lines.append(f"{INDENT}) {item.name} (")
    else:
        lines[0] += f" {item.name} ("
    ports = [f".{name}({value})" for name, value in item.ports.items()]
    lines += _listed(ports)
    lines.append(f"{INDENT});")
    return lines


def _listed(entries: list[str]) -> list[str]:
    """Entries separated by commas, as many to a line as fit."""
    lines: list[str] = []
    current = ""
    for index, entry in enumerate(entries):
        text = entry + ("," if index < len(entries) - 1 else "")
        if current and len(current) + 1 + len(text) > 96:
            lines.append(INDENT * 2 + current)
            current = text
        else:
            current = f"{current} {text}" if current else text
    return [*lines, INDENT * 2 + current]


def _ends(core: Core, plan: CorePlan, output: PlannedValue) -> list[str]:
    lines = ["", f"{INDENT}// Registers, input and output."]
    if core.raster:
        bits = 8 * core.output.bytes * core.output.channels * core.scale**2
        lines += [
            f"{INDENT}logic [{bits - 1}:0] block_tdata;",
            f"{INDENT}logic block_tvalid, block_tready, block_tuser, block_tlast;",
            f"{INDENT}logic block_frame_last;",
        ]
    for item in end_instances(core, plan, output):
        lines += _instance(item)
    lines += [
        "",
        f"{INDENT}assign finished = m_axis_tvalid && m_axis_tready && frame_last;",
    ]
    return lines
