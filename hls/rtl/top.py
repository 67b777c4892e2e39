"""The text of a core's top: ports, wires, instances and constants, nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping

from fxp.hls.rtl.core import Core
from fxp.hls.rtl.literals import identifier
from fxp.hls.rtl.planning import Assignment, CorePlan, Cost, ModuleInstance, Path, PlannedValue

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
    lag = stream.path.lag
    outer_clock = {"clk_i": "aclk", "rst_ni": "aresetn"}
    clock = {"clk_i": "aclk", "rst_ni": "core_rst_n"}
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
                "Scale": core.scale,
                "Bypass": _flag(core.bypass),
                "BusErrors": _flag(core.bus_errors),
            }
        ),
        {
            **outer_clock,
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
            "irq_o": "irq",
            "enable_o": "enable",
            "bypass_o": "bypass_wanted",
            "restart_o": "restart",
            "restarting_i": "restarting",
            "core_rst_ni": "core_rst_n",
            "started_i": "started",
            "finished_i": "finished",
            "malformed_i": "malformed",
            "errors_i": "errors",
        },
        Cost(registers=32 * 5 + 80, adders=3),
    )  # fmt: skip
    restart = ModuleInstance(
        "fxp_restart",
        "u_restart",
        {},
        {
            **outer_clock,
            "request_i": "restart",
            "busy_o": "restarting",
            "core_rst_no": "core_rst_n",
            "in_ready_i": "pixel_ready",
            "in_ready_o": "s_axis_tready",
            "out_valid_i": "result_tvalid",
            "out_valid_o": "m_axis_tvalid",
            "out_ready_i": "m_axis_tready",
            "out_ready_o": "result_tready",
        },
        Cost(registers=3),
    )
    sequencer = ModuleInstance(
        "fxp_sequencer",
        "u_sequencer",
        _texts(
            {
                "Width": pixel,
                "LagLines": lag.lines,
                "LagPixels": lag.pixels,
                "Fold": core.fold,
                **initial,
            }
        ),
        {
            **clock,
            "tvalid_i": "s_axis_tvalid",
            "tready_o": "pixel_ready",
            "tuser_i": "s_axis_tuser",
            "tlast_i": "s_axis_tlast",
            "tdata_i": "pixel_in",
            "width_i": "frame_width",
            "height_i": "frame_height",
            "enable_i": "enable",
            "bypass_i": "bypass_wanted",
            "bypass_o": "bypass",
            "room_i": "room",
            "tags_o": "sequencer_tags",
            "data_o": "sequencer_data",
            "started_o": "started",
            "malformed_o": "malformed",
            "errors_o": "errors",
        },
        Cost(registers=3 * pixel + 240, adders=6),
    )
    clocks = stream.latency
    depth = fifo_depth(clocks)
    tags, data = plan.tags(stream.path, clocks), stream.wire
    chosen: list[ModuleInstance] = []
    if core.bypass:
        tags, data = "chosen_tags", "chosen_data"
        chosen.append(_bypass(core, plan, output, clock))
    blocks = ModuleInstance(
        "fxp_output",
        "u_output",
        _texts(
            {
                "Fields": stream.fields,
                "Width": stream.width,
                "Signed": _flag(stream.signed),
                "Bytes": core.output.bytes,
                "PipelineClocks": clocks,
                "Depth": depth,
            }
        ),
        {
            **clock,
            "tags_i": tags,
            "data_i": data,
            "room_o": "room",
            **_stream_out("block" if core.raster else RESULT),
        },
        Cost(registers=3 * (stream.bits + 3) + 40, memory_bits=depth * (stream.bits + 3), adders=4),
    )
    ends = [registers, restart, sequencer, *chosen, blocks]
    if not core.raster:
        return ends
    pixel_bytes = core.output.bytes * core.output.channels
    line = -(-core.max_width // core.scale) * core.scale**3 * pixel_bytes * 8
    raster = ModuleInstance(
        "fxp_raster",
        "u_raster",
        _texts({"Scale": core.scale, "Bytes": pixel_bytes, "MaxWidth": core.max_width}),
        {**clock, **_stream_in("block"), **_stream_out(RESULT), "tkeep_o": "m_axis_tkeep"},
        Cost(
            registers=8 * pixel_bytes * core.scale**2 * (2 * core.scale + 1) + 90,
            memory_bits=2 * line,
        ),
    )
    return [*ends, raster]


RESULT = "result"
"""The stream whose valid and ready go through the gate of the reset by a register."""
_SIGNALS = ("tdata", "tvalid", "tready", "tuser", "tlast", "frame_last")


def _stream_out(name: str) -> dict[str, str]:
    """Ports of a module that drives a stream."""
    return {
        f"{signal}_{'i' if signal == 'tready' else 'o'}": _signal(name, signal)
        for signal in _SIGNALS
    }


def _stream_in(name: str) -> dict[str, str]:
    """Ports of a module that takes a stream."""
    return {
        f"{signal}_{'o' if signal == 'tready' else 'i'}": _signal(name, signal)
        for signal in _SIGNALS
    }


def _signal(stream: str, signal: str) -> str:
    if stream == RESULT and signal in ("tdata", "tuser", "tlast"):
        return f"m_axis_{signal}"
    if stream == RESULT and signal == "frame_last":
        return signal
    return f"{stream}_{signal}"


def _bypass(
    core: Core, plan: CorePlan, output: PlannedValue, clock: dict[str, str]
) -> ModuleInstance:
    stream = output.stream
    clocks = stream.latency
    pixel = core.input.channels * core.input.width
    return ModuleInstance(
        "fxp_bypass",
        "u_bypass",
        _texts({"Width": pixel, "Copies": stream.bits // pixel, "Clocks": clocks}),
        {
            **clock,
            "bypass_i": "bypass",
            "source_tags_i": "sequencer_tags",
            "source_data_i": "sequencer_data",
            "tags_i": plan.tags(stream.path, clocks),
            "data_i": stream.wire,
            "tags_o": "chosen_tags",
            "data_o": "chosen_data",
        },
        Cost(registers=clocks + 2 * pixel + 12, memory_bits=max(0, clocks - 2) * (pixel + 6)),
    )


def fifo_depth(clocks: int) -> int:
    """Beats of the output FIFO: room for twice what a pipeline of so many clocks holds."""
    return 1 << (2 * clocks + 32 - 1).bit_length()


def _flag(value: bool) -> str:
    return "1'b1" if value else "1'b0"


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
        ("output", 1, "irq"),
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
        "logic [15:0] frame_width, frame_height;",
        "logic [3:0] errors;",
        "logic started, finished, malformed, room, frame_last;",
        "logic core_rst_n, restart, restarting, enable, bypass_wanted, bypass;",
        "logic pixel_ready, result_tvalid, result_tready;",
        f"assign pixel_in = {{{', '.join(fields)}}};",
    ]
    if not core.bypass:
        lines += ["logic unused_bypass;", "assign unused_bypass = bypass;"]
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
                    "rst_ni": "core_rst_n",
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
    if core.bypass:
        lines += [
            f"{INDENT}logic [5:0] chosen_tags;",
            f"{INDENT}logic [{output.stream.bits - 1}:0] chosen_data;",
        ]
    for item in end_instances(core, plan, output):
        lines += _instance(item)
    lines += [
        "",
        f"{INDENT}assign finished = m_axis_tvalid && m_axis_tready && frame_last;",
    ]
    return lines
