"""The modules at both ends of a core: registers, input, and what brings results into a stream."""

from __future__ import annotations

from collections.abc import Mapping

from fxp.hls.rtl.core import Core
from fxp.hls.rtl.planning import SIZE, CorePlan, Cost, ModuleInstance, PlannedValue


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
    outer_clock = {"clk_i": "aclk", "rst_ni": "aresetn"}
    clock = {"clk_i": "aclk", "rst_ni": "core_rst_n"}
    initial = {"InitialWidth": core.initial_width, "InitialHeight": core.initial_height}
    registers = ModuleInstance(
        "fxp_registers",
        "u_registers",
        _texts(
            {
                "Version": f"32'h{core.version:08x}",
                "MinWidth": core.smallest[1],
                "MinHeight": core.smallest[0],
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
                "DrainClocks": stream.latency if core.steps else 0,
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
    pixel_bytes = core.output.bytes * core.output.channels
    if core.raster:
        width = plan.width(stream.path.raster)
        line = -(-width // core.scale) * core.scale**3 * pixel_bytes * 8
        into = "whole" if core.serialized else RESULT
        keep = "whole_tkeep" if core.serialized else "result_tkeep"
        raster = ModuleInstance(
            "fxp_raster",
            "u_raster",
            _texts({"Scale": core.scale, "Bytes": pixel_bytes, "MaxWidth": width}),
            {**clock, **_stream_in("block"), **_stream_out(into), "tkeep_o": keep},
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
            "u_serializer",
            _texts({"Parts": core.scale**2 // core.beat_pixels, "Bytes": part}),
            {
                **clock,
                **_stream_in("whole"),
                "tkeep_i": "whole_tkeep",
                **_stream_out(RESULT),
                "tkeep_o": "result_tkeep",
            },
            Cost(registers=9 * part + 8),
        )
        ends.append(serializer)
    return ends


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
    if stream == RESULT and signal in ("tuser", "tlast"):
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
