// A queue in a block memory, with a register behind it.
module fxp_fifo #(
  parameter int Width = 8,
  parameter int Depth = 512   // a power of two
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             valid_i,
  output logic             ready_o,
  input  logic [Width-1:0] data_i,
  output logic             valid_o,
  input  logic             ready_i,
  output logic [Width-1:0] data_o
);
  localparam int AddressBits = $clog2(Depth);
  // No place is read while it is written, so no logic has to keep what it held before.
  (* no_rw_check *) logic [Width-1:0] memory [0:Depth-1];
  logic [AddressBits:0] written, read;
  logic [Width-1:0] word;
  logic write, fetch, fetched, moves;
  assign write = valid_i && ready_o;
  assign moves = !valid_o || ready_i;
  assign fetch = written != read && (!fetched || moves);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      written <= '0;
      read <= '0;
      ready_o <= 1'b0;
      fetched <= 1'b0;
      valid_o <= 1'b0;
    end else begin
      if (write) written <= written + 1'b1;
      if (fetch) read <= read + 1'b1;
      // One place stays free, for the word that comes while this falls.
      ready_o <= (AddressBits + 1)'(written - read) < (AddressBits + 1)'(Depth - 1);
      if (!fetched || moves) fetched <= fetch;
      if (moves) valid_o <= fetched;
    end
  end
  always_ff @(posedge clk_i) begin
    if (write) memory[written[AddressBits-1:0]] <= data_i;
    if (fetch) word <= memory[read[AddressBits-1:0]];
    if (moves) data_o <= word;
  end

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // Never more than it holds; an offer stands until it is taken.
  logic [AddressBits:0] stored;
  assign stored = written - read;
  logic past_waits;
  logic [Width-1:0] past_data;
  always_ff @(posedge clk_i) begin
    past_waits <= rst_ni && valid_o && !ready_i;
    past_data <= data_o;
  end
  always_comb begin
    if (!started) assume (!past_waits);
    if (started) begin
      assert (stored <= (AddressBits + 1)'(Depth));
      if (ready_o) assert (stored < (AddressBits + 1)'(Depth));
      if (past_waits) assert (valid_o && data_o == past_data);
    end
  end
`endif
endmodule
