// One line of pixels: reads what an address held before the beat that writes it, two clocks later.
//
// One address for both, old data read while new data is written: any block RAM can do that, and
// lines of a single pixel need no special case.
module fxp_line_memory #(
  parameter int Width       = 8,
  parameter int Depth       = 16,
  parameter int AddressBits = 4
) (
  input  logic                   clk_i,
  input  logic                   enable_i,
  input  logic [AddressBits-1:0] address_i,
  input  logic [Width-1:0]       data_i,
  output logic [Width-1:0]       data_o
);
  logic [Width-1:0] memory [0:Depth-1];
  logic [Width-1:0] read;

  always_ff @(posedge clk_i) begin
    if (enable_i) begin
      read <= memory[address_i];
      memory[address_i] <= data_i;
    end
  end

  always_ff @(posedge clk_i) data_o <= read;
endmodule
