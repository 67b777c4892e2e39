"""Registers behind block memories move into them where, and only where, that changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fxp.hls.synth import TARGETS, synthesize
from fxp.hls.synth.block_ram_registers import pack_block_ram_registers

# A memory with a register behind it; one whose register waits; one that is also read directly.
MEMORIES = """module memories (
  input  logic clk_i,
  input  logic enable_i,
  input  logic [10:0] address_i,
  input  logic [7:0] data_i,
  output logic [7:0] plain_o,
  output logic [7:0] held_o,
  output logic [7:0] shared_o,
  output logic [7:0] direct_o
);
  logic [7:0] plain [0:2047];
  logic [7:0] held [0:2047];
  logic [7:0] shared [0:2047];
  logic [7:0] plain_read, held_read, shared_read;
  always_ff @(posedge clk_i) begin
    plain_read <= plain[address_i];
    plain[address_i] <= data_i;
    held_read <= held[address_i];
    held[address_i] <= ~data_i;
    shared_read <= shared[address_i];
    shared[address_i] <= data_i + 8'd1;
    plain_o <= plain_read;
    if (enable_i) held_o <= held_read;
    shared_o <= shared_read;
  end
  assign direct_o = shared_read;
endmodule
"""


def bits(module: dict[str, Any], port: str) -> list[int]:
    return module["ports"][port]["bits"]


def test_registers_move_only_where_nothing_changes(tmp_path: Path):
    (tmp_path / "memories.sv").write_text(MEMORIES)
    synthesize(tmp_path, ["memories.sv"], "memories", TARGETS["ecp5-85k"], netlist="netlist.json")
    module = json.loads((tmp_path / "netlist.json").read_text())["modules"]["memories"]
    registers = sum(cell["type"] == "TRELLIS_FF" for cell in module["cells"].values())
    assert pack_block_ram_registers(module) == 8
    cells = module["cells"].values()
    assert sum(cell["type"] == "TRELLIS_FF" for cell in cells) == registers - 8
    memories = [cell for cell in cells if cell["type"] == "DP16KD"]
    assert len(memories) == 3
    modes = [sorted(cell["parameters"][f"REGMODE_{port}"] for port in "AB") for cell in memories]
    assert sorted(modes) == [["NOREG", "NOREG"], ["NOREG", "NOREG"], ["NOREG", "OUTREG"]]
    (packed,) = [cell for cell in memories if "OUTREG" in cell["parameters"].values()]
    # The memory gives the output itself now, and its register is always enabled.
    driven = {bit for port, bit_list in packed["connections"].items() if port.startswith("DO")
              for bit in bit_list}  # fmt: skip
    assert set(bits(module, "plain_o")) <= driven
    port = next(port for port in "AB" if packed["parameters"][f"REGMODE_{port}"] == "OUTREG")
    assert packed["connections"][f"OCE{port}"] == ["1"]
