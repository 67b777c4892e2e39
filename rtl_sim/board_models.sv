// Primitives of the ECP5 that designs of boards use, as far as they use them, for simulation.

// A PLL whose input already is the fast clock, which the simulation makes.
module EHXPLLL #(
  parameter int    CLKI_DIV = 1, CLKFB_DIV = 1, CLKOP_DIV = 1, CLKOS_DIV = 5,
  parameter int    CLKOP_CPHASE = 0, CLKOP_FPHASE = 0, CLKOS_CPHASE = 0, CLKOS_FPHASE = 0,
  parameter        FEEDBK_PATH = "CLKOP", CLKOP_ENABLE = "ENABLED", CLKOS_ENABLE = "ENABLED"
) (
  input  logic CLKI, CLKFB, RST, STDBY, PHASESEL0, PHASESEL1, PHASEDIR, PHASESTEP, PHASELOADREG,
  input  logic PLLWAKESYNC, ENCLKOP, ENCLKOS,
  output logic CLKOP, CLKOS, LOCK
);
  localparam int Ratio = CLKOS_DIV / CLKOP_DIV;
  // Counters that hold any number at first come into their range.
  logic [3:0] count;
  logic [7:0] locking;
  assign CLKOP = CLKI;
  always_ff @(posedge CLKI) begin
    count <= (count >= 4'(Ratio - 1)) ? 4'd0 : count + 4'd1;
    CLKOS <= count < 4'(Ratio / 2);
    locking <= (locking == '1) ? locking : locking + 8'd1;
  end
  assign LOCK = locking == '1;
endmodule

// D0 while the clock is high, then D1.
module ODDRX1F (
  input  logic SCLK, RST, D0, D1,
  output logic Q
);
  logic high, low;
  always_ff @(posedge SCLK) begin
    high <= D0 && !RST;
    low <= D1 && !RST;
  end
  assign Q = SCLK ? high : low;
endmodule
