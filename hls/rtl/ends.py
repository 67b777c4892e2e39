"""The modules at both ends of a core: registers, input, and what brings results into a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fxp.hls.rtl.core import Core
from fxp.hls.rtl.literals import packed
from fxp.hls.rtl.planning import SIZE, CorePlan, Cost, ModuleInstance, PlannedValue
from fxp.hls.rtl.ports import flush_lag


def end_instances(core: Core, plan: CorePlan, output: PlannedValue) -> list[ModuleInstance]:
    """Return the modules at both ends of the core.

    Parameters
    ----------
    core
        What the core is.
    plan
        Its modules and wires.
    output
        The value that leaves it first; the plan has the others.
    """
    pixel = core.input.channels * core.input.width
    leaving = [output, *plan.more]
    lag = flush_lag(leaving)
    results = core.results
    reduced = any(result.steps for result in results.values())
    inputs = ["s_axis", *(state.stream for state in core.states)]
    accepted = ["pixel_ready", *(f"state{number}_ready" for number in range(len(core.states)))]
    offered = [RESULT + label(number) for number in range(len(results))]
    outer_clock = {"clk_i": "aclk", "rst_ni": "aresetn"}
    clock = {"clk_i": "aclk", "rst_ni": "core_rst_n"}
    initial = {"InitialWidth": core.initial_width, "InitialHeight": core.initial_height}
    rows, columns = (taken.checked for taken in core.taken)
    registers = ModuleInstance(
        "fxp_registers",
        "u_registers",
        _texts(
            {
                "Version": f"32'h{core.version:08x}",
                "MinWidth": core.smallest[1],
                "MinHeight": core.smallest[0],
                "WidthPeriod": columns.period,
                "WidthsTaken": f"{columns.period}'h{columns.mask:x}",
                "HeightPeriod": rows.period,
                "HeightsTaken": f"{rows.period}'h{rows.mask:x}",
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
        _texts({"Inputs": len(inputs), "Outputs": len(results)}),
        {
            **outer_clock,
            "request_i": "restart",
            "busy_o": "restarting",
            "core_rst_no": "core_rst_n",
            "in_ready_i": _joined(accepted),
            "in_ready_o": _joined(f"{name}_tready" for name in inputs),
            "out_valid_i": _joined(f"{name}_tvalid" for name in offered),
            "out_valid_o": _joined(f"{name}_tvalid" for name in results),
            "out_ready_i": _joined(f"{name}_tready" for name in results),
            "out_ready_o": _joined(f"{name}_tready" for name in offered),
        },
        Cost(registers=3 + len(results)),
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
                "DrainClocks": max(i.stream.latency for i in leaving) if reduced else 0,
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
            "room_i": " && ".join(f"room{label(number)}" for number in range(len(results))),
            "states_valid_i": " && ".join(
                [f"state{number}_valid" for number in range(len(core.states))] or ["1'b1"]
            ),
            "states_taken_o": "states_taken",
            "states_end_o": "states_end",
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
    ends = [registers, restart, sequencer, *_states(core, clock)]
    for number, (prefix, item) in enumerate(zip(results, leaving, strict=True)):
        ends += _result(results[prefix], plan, item, prefix, number, clock)
    if len(results) > 1:
        counted = ModuleInstance(
            "fxp_frames_done",
            "u_frames_done",
            _texts({"Streams": len(results)}),
            {
                **clock,
                "done_i": _joined(f"done{label(number)}" for number in range(len(results))),
                "done_o": "finished",
            },
            Cost(registers=16 * len(results)),
        )
        ends.append(counted)
    return ends


def label(number: int) -> str:
    """Return what the names of wires of a stream of results end with; the first has nothing."""
    return str(number) if number else ""


def _states(core: Core, clock: Mapping[str, str]) -> list[ModuleInstance]:
    """Return what takes the values of states from their streams."""
    instances = []
    for number, state in enumerate(core.states):
        fields, name = state.port.channels * state.scale**2, f"state{number}"
        bits = fields * state.port.width
        instances.append(
            ModuleInstance(
                "fxp_state",
                f"u_{name}",
                _texts(
                    {
                        "Width": bits,
                        "Initial": packed([state.reset] * fields, state.port.width),
                    }
                ),
                {
                    **clock,
                    "tvalid_i": f"{state.stream}_tvalid",
                    "tready_o": f"{name}_ready",
                    "tdata_i": f"{name}_in",
                    "valid_o": f"{name}_valid",
                    "take_i": "states_taken",
                    "end_i": "states_end",
                    "data_o": f"{name}_data",
                },
                Cost(registers=3 * bits + 4),
            )
        )
    return instances


def _result(
    core: Core,
    plan: CorePlan,
    item: PlannedValue,
    prefix: str,
    number: int,
    clock: dict[str, str],
) -> list[ModuleInstance]:
    """Return the modules that bring a result into its stream."""
    stream = item.stream
    clocks = stream.latency
    depth = fifo_depth(clocks)
    tags, data = plan.tags(stream.path, clocks), stream.wire
    ends: list[ModuleInstance] = []
    if core.bypass:
        tags, data = "chosen_tags", "chosen_data"
        ends.append(_bypass(core, plan, item, clock))
    end = label(number)

    def given(name: str) -> dict[str, str]:
        return _stream_out(name, prefix, end)

    def taken(name: str) -> dict[str, str]:
        return _stream_in(name, prefix, end)

    blocks = ModuleInstance(
        "fxp_output",
        f"u_output{end}",
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
            "room_o": f"room{end}",
            **given("block" if core.raster else RESULT),
        },
        Cost(registers=3 * (stream.bits + 3) + 40, memory_bits=depth * (stream.bits + 3), adders=4),
    )
    ends.append(blocks)
    pixel_bytes = core.output.bytes * core.output.channels
    if core.raster:
        width = plan.width(stream.path.raster)
        line = -(-width // core.scale) * core.scale**3 * pixel_bytes * 8
        into = "whole" if core.serialized else RESULT
        raster = ModuleInstance(
            "fxp_raster",
            f"u_raster{end}",
            _texts({"Scale": core.scale, "Bytes": pixel_bytes, "MaxWidth": width}),
            {**clock, **taken("block"), **given(into), "tkeep_o": f"{into}{end}_tkeep"},
            Cost(
                registers=8 * pixel_bytes * core.scale**2 * (2 * core.scale + 1) + 90,
                memory_bits=2 * line,
            ),
        )
        ends.append(raster)
    if core.serialized:
        part = core.beat_pixels * pixel_bytes
        serializer = ModuleInstance(
            "fxp_serializer",
            f"u_serializer{end}",
            _texts({"Parts": core.scale**2 // core.beat_pixels, "Bytes": part}),
            {
                **clock,
                **taken("whole"),
                "tkeep_i": f"whole{end}_tkeep",
                **given(RESULT),
                "tkeep_o": f"{RESULT}{end}_tkeep",
            },
            Cost(registers=9 * part + 8),
        )
        ends.append(serializer)
    return ends


def _joined(wires: Iterable[str]) -> str:
    """Return a vector of wires, the first in the lowest bit."""
    names = list(wires)
    return names[0] if len(names) == 1 else "{" + ", ".join(reversed(names)) + "}"


RESULT = "result"
"""The stream whose valid and ready go through the gate of the reset by a register."""
_SIGNALS = ("tdata", "tvalid", "tready", "tuser", "tlast", "frame_last")


def _stream_out(name: str, prefix: str, end: str) -> dict[str, str]:
    """Ports of a module that drives a stream."""
    return {
        f"{signal}_{'i' if signal == 'tready' else 'o'}": _signal(name, signal, prefix, end)
        for signal in _SIGNALS
    }


def _stream_in(name: str, prefix: str, end: str) -> dict[str, str]:
    """Ports of a module that takes a stream."""
    return {
        f"{signal}_{'o' if signal == 'tready' else 'i'}": _signal(name, signal, prefix, end)
        for signal in _SIGNALS
    }


def _signal(stream: str, signal: str, prefix: str, end: str) -> str:
    if stream == RESULT and signal in ("tuser", "tlast"):
        return f"{prefix}_{signal}"
    if stream == RESULT and signal == "frame_last":
        return signal + end
    return f"{stream}{end}_{signal}"


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
