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

`ifdef FORMAL
  // One place, any place: what comes out is what the beat before wrote there.
  (* anyconst *) logic [AddressBits-1:0] place;
  logic started = 1'b0;
  logic [Width-1:0] written, expected_1, expected_2;
  logic read_1 = 1'b0, read_2 = 1'b0;
  always_ff @(posedge clk_i) begin
    started <= 1'b1;
    if (enable_i && address_i == place) written <= data_i;
    if (!started) assume (memory[place] == written);
    read_1 <= enable_i && address_i == place;
    read_2 <= read_1;
    expected_1 <= written;
    expected_2 <= expected_1;
  end
  always_comb begin
    assume (place < Depth);
    if (enable_i) assume (address_i < Depth);
    if (started) assert (memory[place] == written);
    if (read_1) assert (read == expected_1);
    if (read_2) assert (data_o == expected_2);
  end
`endif
endmodule
