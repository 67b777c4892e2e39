// Pixels of an earlier path wait for those of a later one: a circular memory that real beats of the
// one write and real beats of the other read, two clocks before they need the data.
//
// Both paths carry the same pixels in the same order, so no width or lag has to be known here.
module fxp_lag_buffer #(
  parameter int Width = 8,
  parameter int Depth = 16
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             write_i,
  input  logic [Width-1:0] data_i,
  input  logic             read_i,
  output logic [Width-1:0] data_o
);
  localparam int AddressBits = (Depth < 2) ? 1 : $clog2(Depth);
  localparam logic [AddressBits-1:0] Last = AddressBits'(Depth - 1);

  logic [Width-1:0] memory [0:Depth-1];
  logic [AddressBits-1:0] write_address, read_address;
  logic [Width-1:0] read;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_address <= '0;
      read_address <= '0;
    end else begin
      if (write_i) write_address <= (write_address == Last) ? '0 : write_address + 1'b1;
      if (read_i)  read_address <= (read_address == Last) ? '0 : read_address + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (write_i) memory[write_address] <= data_i;
    read <= memory[read_address];
  end

  always_ff @(posedge clk_i) data_o <= read;
endmodule
