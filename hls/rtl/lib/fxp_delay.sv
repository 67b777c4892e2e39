// A value some clocks later. Registers without reset, so that tools may use shift register memory.
module fxp_delay #(
  parameter int Width  = 1,
  parameter int Clocks = 1
) (
  input  logic             clk_i,
  input  logic [Width-1:0] data_i,
  output logic [Width-1:0] data_o
);
  if (Clocks == 0) begin : gen_wire
    logic unused_clk;
    assign unused_clk = clk_i;
    assign data_o = data_i;
  end else begin : gen_registers
    for (genvar c = 0; c < Clocks; c++) begin : gen_clock
      logic [Width-1:0] value;
      if (c == 0) begin : gen_first
        always_ff @(posedge clk_i) value <= data_i;
      end else begin : gen_next
        always_ff @(posedge clk_i) value <= gen_clock[c-1].value;
      end
    end
    assign data_o = gen_clock[Clocks-1].value;
  end
endmodule
