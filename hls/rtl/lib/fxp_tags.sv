// The tags of a beat at every clock of a pipeline: taps_o[6*n +: 6] is n clocks late.
// fxp_pkg::tag_e names the six bits.
module fxp_tags #(
  parameter int Clocks = 1
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic [5:0]              tags_i,
  output logic [6*(Clocks+1)-1:0] taps_o
);
  assign taps_o[5:0] = tags_i;
  if (Clocks == 0) begin : gen_wire
    logic unused_ports;
    assign unused_ports = ^{clk_i, rst_ni};
  end
  for (genvar c = 0; c < Clocks; c++) begin : gen_clock
    logic [5:0] tags;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) tags <= '0;
      else         tags <= taps_o[6*c+:6];
    end
    assign taps_o[6*(c+1)+:6] = tags;
  end
endmodule
