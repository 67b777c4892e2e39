// A table of constants that is read row by row. Synthesis puts a long one into block memories, whose
// output is the second register. Latency 2.
module fxp_constants #(
  parameter int RowBits = 8,
  parameter int Rows    = 2,
  parameter logic [Rows*RowBits-1:0] Values = '0,
  localparam int IndexBits = (Rows < 2) ? 1 : $clog2(Rows)
) (
  input  logic                 clk_i,
  input  logic [IndexBits-1:0] index_i,
  output logic [RowBits-1:0]   row_o
);
  logic [RowBits-1:0] rows[Rows];
  initial begin
    for (int r = 0; r < Rows; r++) rows[r] = Values[r*RowBits+:RowBits];
  end
  logic [RowBits-1:0] read;
  always_ff @(posedge clk_i) begin
    read <= rows[index_i];
    row_o <= read;
  end
endmodule
