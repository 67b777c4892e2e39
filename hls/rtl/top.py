"""The text of a core's top: ports, wires, instances and constants, nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from fxp.hls.rtl.core import Core, StateStream, StreamPort
from fxp.hls.rtl.ends import end_instances, label
from fxp.hls.rtl.literals import identifier
from fxp.hls.rtl.planning import SIZE, CorePlan
from fxp.hls.rtl.streams import Assignment, ModuleInstance, Path, PlannedValue

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
        The value that leaves it first.
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


def _ports(core: Core) -> list[str]:
    in_bits = 8 * core.input.beat_bytes()
    ports = [
        ("input ", 1, "aclk"),
        ("input ", 1, "aresetn"),
        ("input ", in_bits, "s_axis_tdata"),
        ("input ", 1, "s_axis_tvalid"),
        ("output", 1, "s_axis_tready"),
        ("input ", 1, "s_axis_tuser"),
        ("input ", 1, "s_axis_tlast"),
        *(port for prefix in core.results for port in _result_ports(core, prefix)),
        *(port for state in core.states for port in _state_ports(state)),
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


def _result_ports(core: Core, prefix: str) -> list[tuple[str, int, str]]:
    result = core.results[prefix]
    bits = 8 * result.output.beat_bytes(result.beat_pixels)
    return [
        ("output", bits, f"{prefix}_tdata"),
        *([("output", bits // 8, f"{prefix}_tkeep")] if result.has_keep else []),
        ("output", 1, f"{prefix}_tvalid"),
        ("input ", 1, f"{prefix}_tready"),
        ("output", 1, f"{prefix}_tuser"),
        ("output", 1, f"{prefix}_tlast"),
    ]


def _state_ports(state: StateStream) -> list[tuple[str, int, str]]:
    return [
        ("input ", 8 * state.port.beat_bytes(state.scale**2), f"{state.stream}_tdata"),
        ("input ", 1, f"{state.stream}_tvalid"),
        ("output", 1, f"{state.stream}_tready"),
    ]


def _range(bits: int, *, always: bool = False) -> str:
    return f"[{bits - 1}:0] " if bits > 1 or always else ""


def _input(core: Core) -> list[str]:
    port = core.input
    bits = port.channels * port.width
    lines = [
        f"logic {_range(bits, always=True)}pixel_in, sequencer_data;",
        "logic [5:0] sequencer_tags;",
        f"logic [15:0] {', '.join(SIZE)};",
        "logic [15:0] frame_width, frame_height;",
        "logic [3:0] errors;",
        "logic started, finished, malformed, states_taken, states_end;",
        "logic core_rst_n, restart, restarting, enable, bypass_wanted, bypass, pixel_ready;",
        *_wrapped_fields("pixel_in", "s_axis", port, 1),
    ]
    for number, state in enumerate(core.states):
        name, pixels = f"state{number}", state.scale**2
        bits = pixels * state.port.channels * state.port.width
        lines += [
            f"logic {_range(bits, always=True)}{name}_in, {name}_data;",
            f"logic {name}_ready, {name}_valid;",
            *_wrapped_fields(f"{name}_in", state.stream, state.port, pixels),
        ]
    if not core.states:
        lines += ["logic unused_states;", "assign unused_states = states_taken && states_end;"]
    if not core.bypass:
        lines += ["logic unused_bypass;", "assign unused_bypass = bypass;"]
    return ["", *(INDENT + line for line in lines)]


def _wrapped_fields(wire: str, stream: str, port: StreamPort, pixels: int) -> list[str]:
    """Bring the fields of a stream to a bus, in the order of the graph."""
    pitch = port.width if port.packed else 8 * port.bytes
    fields = [
        f"{stream}_tdata[{pitch * (pixel * port.channels + port.order.index(c))}+:{port.width}]"
        for pixel in reversed(range(pixels))
        for c in reversed(range(port.channels))
    ]
    lines = [
        line.removeprefix(INDENT)
        for line in _wrapped(f"assign {wire} = {{", ", ".join(fields), "};")
    ]
    if len(fields) * port.width < 8 * port.beat_bytes(pixels):
        lines += [f"logic unused_{wire};", f"assign unused_{wire} = ^{stream}_tdata;"]
    return lines


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
        tags, place = f"{stream.path.name}_tags", 6 * clocks
        lines += [
            f"{INDENT}logic {base}_valid, {base}_real;",
            f"{INDENT}logic [{stream.bits - 1}:0] {base}_data;",
            f"{INDENT}assign {base}_valid = {tags}[{place} + fxp_pkg::Valid];",
            f"{INDENT}assign {base}_real = {tags}[{place} + fxp_pkg::Real];",
            f"{INDENT}assign {base}_data = {stream.wire};",
        ]
        unused += [f"{base}_valid", f"{base}_real", f"^{base}_data"]
    # Not every tap of a window is read where a border made it larger.
    unused += [f"^{taps.wire}" for taps in plan.windows.values()]
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
    for number, result in enumerate(core.results.values()):
        lines += _result_wires(result, label(number))
    if core.bypass:
        lines += [
            f"{INDENT}logic [5:0] chosen_tags;",
            f"{INDENT}logic [{output.stream.bits - 1}:0] chosen_data;",
        ]
    for item in end_instances(core, plan, output):
        lines += _instance(item)
    for number, (prefix, result) in enumerate(core.results.items()):
        end = label(number)
        done = f"done{end}" if core.more else "finished"
        lines += [
            "",
            *_result(result, prefix, end),
            f"{INDENT}assign {done} = {prefix}_tvalid && {prefix}_tready && frame_last{end};",
        ]
    return lines


def _result_wires(core: Core, end: str) -> list[str]:
    pixel = 8 * core.output.bytes * core.output.channels
    whole = pixel * core.scale**2
    lines = [f"logic room{end}, frame_last{end}, result{end}_tvalid, result{end}_tready;"]
    if core.more:
        lines.append(f"logic done{end};")
    for name in ("block",) * core.raster + ("whole",) * core.serialized:
        stream = f"{name}{end}"
        lines += [
            f"logic [{whole - 1}:0] {stream}_tdata;",
            f"logic {stream}_tvalid, {stream}_tready, {stream}_tuser, {stream}_tlast;",
            f"logic {stream}_frame_last;",
        ]
    if core.serialized:
        lines.append(f"logic [{whole // 8 - 1}:0] whole{end}_tkeep;")
    lines.append(f"logic [{pixel * core.beat_pixels - 1}:0] result{end}_tdata;")
    if core.raster:
        lines.append(f"logic [{pixel * core.beat_pixels // 8 - 1}:0] result{end}_tkeep;")
    return [INDENT + line for line in lines]


def _result(core: Core, prefix: str, end: str) -> list[str]:
    """Bring the fields of a result, in whole bytes, to its port."""
    port = core.output
    data, keep = f"result{end}_tdata", f"result{end}_tkeep"
    lines = []
    if not port.packed:
        lines.append(f"{INDENT}assign {prefix}_tdata = {data};")
    else:
        fields = [
            f"{data}[{8 * port.bytes * (pixel * port.channels + channel)}+:{port.width}]"
            for pixel in range(core.beat_pixels)
            for channel in port.order
        ]
        padding = 8 * port.beat_bytes(core.beat_pixels) - len(fields) * port.width
        zeros = [f"{padding}'d0"] if padding else []
        joined = ", ".join([*zeros, *reversed(fields)])
        lines += _wrapped(f"assign {prefix}_tdata = ", f"{{{joined}}}", ";")
        if port.width < 8 * port.bytes:
            lines += [
                f"{INDENT}logic unused_result{end};",
                f"{INDENT}assign unused_result{end} = ^{data};",
            ]
    if core.has_keep:
        lines.append(f"{INDENT}assign {prefix}_tkeep = {keep};")
    elif core.raster:
        lines += [
            f"{INDENT}logic unused_keep{end};",
            f"{INDENT}assign unused_keep{end} = ^{keep};",
        ]
    return lines
