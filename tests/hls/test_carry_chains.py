"""First carries inside of the chains of the ECP5: netlists do the same, in fewer cells."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from module_bench import simulate
from netlist_bench import write_netlist

from fxp.hls.synth import TARGETS, synthesize
from fxp.hls.synth.carry_chains import pack_carry_chains

# Sums and differences of even and odd widths, a comparison, whose carry is read, and a counter.
SUMS = """module sums (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic [8:0] a_i,
  input  logic [8:0] b_i,
  output logic [8:0] odd_sum_o,
  output logic [7:0] even_sum_o,
  output logic [8:0] odd_difference_o,
  output logic [9:0] even_difference_o,
  output logic [8:0] constant_o,
  output logic [5:0] high_o,
  output logic less_o,
  output logic [6:0] count_o
);
  logic [7:0] high;
  assign high = a_i[7:0] + b_i[8:1];
  always_ff @(posedge clk_i) begin
    odd_sum_o <= a_i + b_i;
    even_sum_o <= a_i[8:1] + b_i[7:0];
    odd_difference_o <= a_i - b_i;
    even_difference_o <= {b_i, a_i[2]} - {a_i, b_i[4]};
    constant_o <= a_i + 9'd77;
    high_o <= high[7:2];
    less_o <= b_i[7:0] < a_i[8:1];
    count_o <= rst_ni ? count_o + 7'd1 : '0;
  end
endmodule
"""
OUTPUTS = {"odd_sum_o": 9, "even_sum_o": 8, "odd_difference_o": 9, "even_difference_o": 10,
           "constant_o": 9, "high_o": 6, "less_o": 1, "count_o": 7}  # fmt: skip


def test_packed_chains_do_the_same(tmp_path: Path):
    (tmp_path / "sums.sv").write_text(SUMS)
    synthesize(tmp_path, ["sums.sv"], "sums", TARGETS["ecp5-85k"], netlist="netlist.json")
    design = json.loads((tmp_path / "netlist.json").read_text())
    module = design["modules"]["sums"]
    added = pack_carry_chains(module)
    carries = [cell for cell in module["cells"].values() if cell["type"] == "CCU2C"]
    starts = [cell for cell in carries if cell["connections"]["CIN"][0] in ("0", "1", "x")]
    assert len(starts) == 8
    assert all(cell["connections"]["CIN"] == ["x"] for cell in starts)
    ends = [cell for cell in carries if cell["connections"]["COUT"] == ["x"]]
    assert len(ends) == 7  # not the comparison
    # A table only for chains of even width whose lowest sum is read.
    assert added == 2
    for cell in carries:  # yosys reads no outputs that are not connected
        for port in ("COUT", "S0", "S1"):
            if cell["connections"][port] == ["x"]:
                del cell["connections"][port]
    write_netlist(tmp_path, module, "sums", "chained")
    random = np.random.default_rng(1)
    clocks = 600
    inputs = {
        name: (bits, random.integers(0, 1 << bits, clocks).tolist())
        for name, bits in {"a_i": 9, "b_i": 9}.items()
    }
    inputs["rst_ni"] = (1, [0] * 3 + [1] * (clocks - 3))
    want = simulate(tmp_path, "sums", {}, inputs, OUTPUTS)
    got = simulate(tmp_path, "chained", {}, inputs, OUTPUTS)
    for name in OUTPUTS:
        assert got[name][5:] == want[name][5:], name
        assert None not in want[name][5:]
        assert len(set(want[name])) > 1
