"""Registers inside the multiplier blocks of the ECP5: netlists do the same as before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from module_bench import simulate
from netlist_bench import write_netlist

from fxp.hls.synth import TARGETS, synthesize
from fxp.hls.synth.multiplier_registers import pack_multiplier_registers

# Two that can be packed: one with a factor that others read as well, one with a constant. One whose
# product waits; one with a reset before it; one whose product is read twice; one without registers.
PRODUCTS = """module products (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic enable_i,
  input  logic [7:0] a_i,
  input  logic [6:0] b_i,
  output logic [7:0] a_o,
  output logic [14:0] plain_o,
  output logic [17:0] constant_o,
  output logic [14:0] held_o,
  output logic [14:0] cleared_o,
  output logic [14:0] shared_o,
  output logic shared_sign_o,
  output logic [15:0] wires_o
);
  logic signed [7:0] a, shared_a, cleared_a, held_a;
  logic signed [6:0] b, shared_b, cleared_b, held_b;
  logic [7:0] unsigned_a;
  logic signed [14:0] shared;
  assign a_o = a;
  assign shared = shared_a * shared_b;
  assign shared_sign_o = shared[14];
  assign wires_o = a_i * (a_i ^ 8'd85);
  always_ff @(posedge clk_i) begin
    a <= a_i;
    b <= b_i;
    plain_o <= a * b;
    unsigned_a <= ~a_i;
    constant_o <= 18'(unsigned_a) * 18'd599;
    if (enable_i) held_o <= held_a * held_b;
    held_a <= a_i + 8'd1;
    held_b <= b_i + 7'd1;
    cleared_a <= rst_ni ? a_i + 8'd3 : '0;
    cleared_b <= b_i + 7'd3;
    cleared_o <= cleared_a * cleared_b;
    shared_a <= a_i + 8'd5;
    shared_b <= b_i + 7'd5;
    shared_o <= shared;
  end
endmodule
"""
# What the maker's manual says about the block, as far as it is used.
BLOCK = """module MULT18X18D (
  {inputs},
  input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0,
  output {outputs}
);
  parameter REG_INPUTA_CLK = "NONE";
  parameter REG_INPUTB_CLK = "NONE";
  parameter REG_OUTPUT_CLK = "NONE";
  wire signed [18:0] a_in = {{SIGNEDA & A17, {a}}};
  wire signed [18:0] b_in = {{SIGNEDB & B17, {b}}};
  reg signed [18:0] a_kept, b_kept;
  wire signed [18:0] a = REG_INPUTA_CLK == "CLK0" ? a_kept : a_in;
  wire signed [18:0] b = REG_INPUTB_CLK == "CLK0" ? b_kept : b_in;
  wire signed [35:0] product = a * b;
  reg signed [35:0] product_kept;
  always @(posedge CLK0) begin
    if (RST0) a_kept <= 0; else if (CE0) a_kept <= a_in;
    if (RST0) b_kept <= 0; else if (CE0) b_kept <= b_in;
    if (RST0) product_kept <= 0; else if (CE0) product_kept <= product;
  end
  assign {{{p}}} = REG_OUTPUT_CLK == "CLK0" ? product_kept : product;
endmodule
"""
REGISTERS = ("REG_INPUTA_CLK", "REG_INPUTB_CLK", "REG_OUTPUT_CLK")


def block() -> str:
    def bits(letter: str, count: int) -> str:
        return ", ".join(f"{letter}{index}" for index in reversed(range(count)))

    inputs = ", ".join(f"input {bits(letter, 18)}" for letter in "ABC")
    return BLOCK.format(
        inputs=inputs, outputs=bits("P", 36), a=bits("A", 18), b=bits("B", 18), p=bits("P", 36)
    )


def test_packed_netlists_do_the_same(tmp_path: Path):
    (tmp_path / "products.sv").write_text(PRODUCTS)
    (tmp_path / "block.v").write_text(block())
    synthesize(tmp_path, ["products.sv"], "products", TARGETS["ecp5-85k"], netlist="netlist.json")
    design = json.loads((tmp_path / "netlist.json").read_text())
    module = design["modules"]["products"]
    saved = pack_multiplier_registers(module)
    multipliers = [cell for cell in module["cells"].values() if cell["type"] == "MULT18X18D"]
    used = sorted("".join("01"[name in cell["parameters"]] for name in REGISTERS)
                  for cell in multipliers)  # fmt: skip
    # Inside: both factors, or the product.
    assert used == ["000", "001", "110", "110", "111", "111"]
    # Factors: one of 7 bits, as the other stays for its reader, a single one of 8, two of 8 and 7.
    assert saved == 7 + 8 + 15 + 15 + (15 + 18 + 15)
    write_netlist(tmp_path, module, "products", "denser", ("block.v",))
    random = np.random.default_rng(1)
    clocks = 400
    inputs = {
        name: (bits, random.integers(0, 1 << bits, clocks).tolist())
        for name, bits in {"rst_ni": 1, "enable_i": 1, "a_i": 8, "b_i": 7}.items()
    }
    outputs = {"a_o": 8, "plain_o": 15, "constant_o": 18, "held_o": 15, "cleared_o": 15,
               "shared_o": 15, "shared_sign_o": 1, "wires_o": 16}  # fmt: skip
    want = simulate(tmp_path, "products", {}, inputs, outputs)
    got = simulate(tmp_path, "denser", {}, inputs, outputs)
    for name in outputs:
        assert got[name][20:] == want[name][20:]
        assert None not in want[name][20:]
        assert len(set(want[name])) > 1
