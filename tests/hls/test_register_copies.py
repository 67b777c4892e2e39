"""Copies of registers that reach many others do the same, and none of them reaches more."""

from __future__ import annotations

import json
from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from module_bench import simulate
from netlist_bench import write_netlist

from fxp.hls.synth import TARGETS, synthesize
from fxp.hls.synth.register_copies import copy_registers

# Two words that a register enables and another one clears, one that is set, and one whose enable is
# also seen outside.
WORDS = """module words (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic enable_i,
  input  logic keep_i,
  input  logic [7:0] a_i,
  output logic [7:0] first_o,
  output logic [7:0] second_o,
  output logic [7:0] set_o,
  output logic seen_o,
  output logic [7:0] held_o
);
  logic enable, keep;
  always_ff @(posedge clk_i) begin
    enable <= rst_ni && enable_i;
    keep <= keep_i;
    if (!keep) first_o <= '0;
    else if (enable) first_o <= a_i;
    if (!keep) second_o <= '0;
    else if (enable) second_o <= ~a_i;
    if (!keep) set_o <= '1;
    else if (enable) set_o <= {a_i[3:0], a_i[7:4]};
    seen_o <= enable_i;
    if (seen_o) held_o <= a_i;
  end
endmodule
"""
OUTPUTS = {"first_o": 8, "second_o": 8, "set_o": 8, "seen_o": 1, "held_o": 8}


def kinds(module: dict[str, Any]) -> Counter[str]:
    return Counter(cell["type"] for cell in module["cells"].values())


def test_copied_registers_do_the_same(tmp_path: Path):
    (tmp_path / "words.sv").write_text(WORDS)
    synthesize(tmp_path, ["words.sv"], "words", TARGETS["ecp5-85k"], netlist="netlist.json")
    module = json.loads((tmp_path / "netlist.json").read_text())["modules"]["words"]
    before = kinds(module)
    assert copy_registers(deepcopy(module)) == 0
    # 24 registers have one enable and one reset, and 8 an enable that is seen outside as well.
    assert copy_registers(module, most=6) == 3 + 3 + 1
    assert kinds(module)["TRELLIS_FF"] == before["TRELLIS_FF"] + 7
    # Resets need no table that inverts them.
    assert kinds(module)["LUT4"] == before["LUT4"] - 1
    inverted = [cell["parameters"].get("LSRMUX") == "INV" for cell in module["cells"].values()]
    assert sum(inverted) == 24
    reached = Counter(
        cell["connections"][port][0]
        for cell in module["cells"].values()
        for port in ("CE", "LSR")
        if cell["type"] == "TRELLIS_FF" and port in cell["connections"]
    )
    assert sorted(reached[bit] for bit in reached if isinstance(bit, int)) == [4, 4] + [6] * 8
    write_netlist(tmp_path, module, "words", "copied")
    random = np.random.default_rng(1)
    clocks = 400
    inputs = {
        name: (bits, random.integers(0, 1 << bits, clocks).tolist())
        for name, bits in {"rst_ni": 1, "enable_i": 1, "keep_i": 1, "a_i": 8}.items()
    }
    want = simulate(tmp_path, "words", {}, inputs, OUTPUTS)
    got = simulate(tmp_path, "copied", {}, inputs, OUTPUTS)
    for name in OUTPUTS:
        assert got[name][20:] == want[name][20:], name
        assert None not in want[name][20:]
        assert len(set(want[name])) > 1
