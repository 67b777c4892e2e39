"""The module around a core in every simulation: its ports, and files of what the taps show."""

from __future__ import annotations

from fxp.hls.rtl.core import Core

TOP = "fxp_bench"
TAPS, WAVEFORM = "taps", "waveform"
"""Options of a simulation, ``+taps`` and ``+waveform=FILE``."""
ADDRESS_BITS, REGISTER_BITS = 8, 32

Ports = list[tuple[str, str, int]]


def ports_of(core: Core) -> Ports:
    """Return direction, name and width in bits of every port of a core."""
    into = 8 * core.input.beat_bytes()
    streams = [
        ("input", "aclk", 1),
        ("input", "aresetn", 1),
        ("input", "s_axis_tdata", into),
        ("input", "s_axis_tvalid", 1),
        ("output", "s_axis_tready", 1),
        ("input", "s_axis_tuser", 1),
        ("input", "s_axis_tlast", 1),
    ]
    for prefix, result in core.results.items():
        out = result.output.beat_bytes(result.beat_pixels)
        streams += [
            ("output", f"{prefix}_tdata", 8 * out),
            ("output", f"{prefix}_tvalid", 1),
            ("input", f"{prefix}_tready", 1),
            ("output", f"{prefix}_tuser", 1),
            ("output", f"{prefix}_tlast", 1),
        ]
        if result.has_keep:
            streams.append(("output", f"{prefix}_tkeep", out))
    for state in core.states:
        streams += [
            ("input", f"{state.stream}_tdata", 8 * state.port.beat_bytes(state.scale**2)),
            ("input", f"{state.stream}_tvalid", 1),
            ("output", f"{state.stream}_tready", 1),
        ]
    registers = [
        ("input", "awaddr", ADDRESS_BITS),
        ("input", "awvalid", 1),
        ("output", "awready", 1),
        ("input", "wdata", REGISTER_BITS),
        ("input", "wstrb", REGISTER_BITS // 8),
        ("input", "wvalid", 1),
        ("output", "wready", 1),
        ("output", "bresp", 2),
        ("output", "bvalid", 1),
        ("input", "bready", 1),
        ("input", "araddr", ADDRESS_BITS),
        ("input", "arvalid", 1),
        ("output", "arready", 1),
        ("output", "rdata", REGISTER_BITS),
        ("output", "rresp", 2),
        ("output", "rvalid", 1),
        ("input", "rready", 1),
    ]
    axil = [(way, f"s_axil_{name}", bits) for way, name, bits in registers]
    return [*streams, *axil, ("output", "irq", 1)]


def tap_file(number: int) -> str:
    """Name of the file with the beats of a tap, one hexadecimal number per line."""
    return f"tap_{number}.hex"


def wrapper(core: Core) -> str:
    """Return SystemVerilog of the module `TOP` around a core."""
    ports = ports_of(core)
    declared = ",\n".join(
        f"  {way} wire {f'[{bits - 1}:0] ' if bits > 1 else ''}{name}" for way, name, bits in ports
    )
    connected = ",\n".join(f"    .{name}({name})" for _, name, _ in ports)
    files = "\n".join(f"  integer tap_{number};" for number in range(len(core.taps)))
    opened = "\n".join(
        f'      tap_{number} = $fopen("{tap_file(number)}", "w");'
        for number in range(len(core.taps))
    )
    written = "\n".join(
        f"      if (core.{tap.wire}_valid && core.{tap.wire}_real) "
        f'$fwrite(tap_{number}, "%h\\n", core.{tap.wire}_data);'
        for number, tap in enumerate(core.taps)
    )
    return f"""`timescale 1ns/1ns
module {TOP} (
{declared}
);
  {core.top} core (
{connected}
  );

  reg taps;
{files}
  initial begin
    taps = $test$plusargs("{TAPS}") != 0;
    if (taps) begin
{opened}
    end
  end
  // The reset reaches the core some clocks later than its port.
  always @(posedge aclk) begin
    if (taps && aresetn) begin
{written}
    end
  end

`ifndef VERILATOR
  reg [8*1024-1:0] waveform;
  initial begin
    if ($value$plusargs("{WAVEFORM}=%s", waveform)) begin
      $dumpfile(waveform);
      $dumpvars(0, {TOP});
    end
  end
`endif
endmodule
"""


def control_file(core: Core) -> str:
    """Return what tells Verilator which wires cocotb must reach: the ports of `TOP` alone."""
    lines = [
        f'public_flat_{"rw" if way == "input" else "rd"} -module "{TOP}" -var "{name}"'
        for way, name, _ in ports_of(core)
    ]
    return "\n".join(["`verilator_config", *lines, ""])
