// Some rows and columns of a raster: the tags of beats that remain. Strides, crops and poolings are
// windows or sums over all positions, of which this module lets every step-th one pass.
//
// Row r remains if r = FirstRow + n * RowStep, as far as RowTail rows before the end of the frame;
// columns likewise. Rows that are not real all remain, so that they move on what waits behind. The
// size of the raster, less one, does not change while beats of a frame are under way. Latency 1.
module fxp_select #(
  parameter int FirstRow    = 0,
  parameter int RowStep     = 1,
  parameter int RowTail     = 0,
  parameter int FirstColumn = 0,
  parameter int ColumnStep  = 1,
  parameter int ColumnTail  = 0
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [15:0] columns_i,
  input  logic [15:0] rows_i,
  input  logic [5:0]  tags_i,
  output logic [5:0]  tags_o,
  // The size of what remains, less one.
  output logic [15:0] columns_o,
  output logic [15:0] rows_o
);
  // Ends, one for each axis: the last position that may remain; negative if none does.
  logic signed [17:0] last_column, last_row;
  always_ff @(posedge clk_i) begin
    last_column <= $signed({2'b0, columns_i}) - 18'(ColumnTail);
    last_row <= $signed({2'b0, rows_i}) - 18'(RowTail);
  end
  assign columns_o = 16'((32'(columns_i) - 32'(FirstColumn + ColumnTail)) / 32'(ColumnStep));
  assign rows_o = 16'((32'(rows_i) - 32'(FirstRow + RowTail)) / 32'(RowStep));

  logic first_column, keep_column, ends_column;
  fxp_select_axis #(.First(FirstColumn), .Step(ColumnStep)) u_columns (
    .clk_i, .rst_ni, .last_i(last_column),
    .restart_i(tags_i[fxp_pkg::FirstColumn]), .move_i(tags_i[fxp_pkg::Valid]),
    .first_o(first_column), .keep_o(keep_column), .ends_o(ends_column)
  );
  logic first_row, keep_row, ends_row;
  fxp_select_axis #(.First(FirstRow), .Step(RowStep)) u_rows (
    .clk_i, .rst_ni, .last_i(last_row),
    .restart_i(tags_i[fxp_pkg::FirstRow]),
    .move_i(tags_i[fxp_pkg::Valid] && tags_i[fxp_pkg::LastColumn]),
    .first_o(first_row), .keep_o(keep_row), .ends_o(ends_row)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      tags_o <= '0;
    end else begin
      tags_o <= {
        ends_column,
        first_column,
        tags_i[fxp_pkg::Real] && ends_row,
        tags_i[fxp_pkg::Real] && first_row,
        tags_i[fxp_pkg::Real],
        tags_i[fxp_pkg::Valid] && keep_column && (keep_row || !tags_i[fxp_pkg::Real])
      };
    end
  end
  logic unused_tags;
  assign unused_tags = tags_i[fxp_pkg::LastRow];

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // Frames of one size, one after another or with rows between that are not real.
  (* anyconst *) logic [15:0] columns, rows;
  logic [15:0] column, row;
  logic real_row, idle;
  always_comb begin
    assume (columns < 16'd5 && rows < 16'd5);
    assume (columns_i == columns && rows_i == rows);
    // The limits are registers.
    if (!idle) assume (!tags_i[fxp_pkg::Valid]);
    if (tags_i[fxp_pkg::Valid]) begin
      assume (tags_i[fxp_pkg::FirstColumn] == (column == 16'd0));
      assume (tags_i[fxp_pkg::LastColumn] == (column == columns));
      if (column != 16'd0 || row != 16'd0) begin
        assume (tags_i[fxp_pkg::Real] == (real_row || row != 16'd0));
      end
      assume (tags_i[fxp_pkg::FirstRow] == (tags_i[fxp_pkg::Real] && row == 16'd0));
      assume (tags_i[fxp_pkg::LastRow] == (tags_i[fxp_pkg::Real] && row == rows));
    end
  end
  logic wanted_valid, wanted_first_column, wanted_last_column, wanted_first_row, wanted_last_row;
  logic wanted_real;
  // Row `place` of what remains, and whether it is the last one.
  logic row_inside, column_inside;
  assign row_inside = row >= 16'(FirstRow) && int'(row) + RowTail <= int'(rows) &&
      (int'(row) - FirstRow) % RowStep == 0;
  assign column_inside = column >= 16'(FirstColumn) && int'(column) + ColumnTail <= int'(columns) &&
      (int'(column) - FirstColumn) % ColumnStep == 0;
  always_ff @(posedge clk_i) begin
    idle <= rst_ni;
    wanted_valid <= rst_ni && tags_i[fxp_pkg::Valid] && column_inside &&
                    (row_inside || !tags_i[fxp_pkg::Real]);
    wanted_real <= tags_i[fxp_pkg::Real];
    wanted_first_column <= column == 16'(FirstColumn);
    wanted_last_column <= int'(column) + ColumnStep + ColumnTail > int'(columns);
    wanted_first_row <= tags_i[fxp_pkg::Real] && row == 16'(FirstRow);
    wanted_last_row <= tags_i[fxp_pkg::Real] && int'(row) + RowStep + RowTail > int'(rows);
    if (!rst_ni) begin
      column <= '0;
      row <= '0;
      real_row <= 1'b0;
    end else if (tags_i[fxp_pkg::Valid]) begin
      column <= tags_i[fxp_pkg::LastColumn] ? '0 : column + 16'd1;
      real_row <= tags_i[fxp_pkg::Real] && !tags_i[fxp_pkg::LastColumn];
      if (tags_i[fxp_pkg::LastColumn] && tags_i[fxp_pkg::Real]) begin
        row <= tags_i[fxp_pkg::LastRow] ? '0 : row + 16'd1;
      end
    end
  end
  always_comb begin
    if (started) begin
      assert (tags_o[fxp_pkg::Valid] == wanted_valid);
      if (wanted_valid) begin
        assert (tags_o[fxp_pkg::Real] == wanted_real);
        assert (tags_o[fxp_pkg::FirstRow] == wanted_first_row);
        assert (tags_o[fxp_pkg::LastRow] == wanted_last_row);
        assert (tags_o[fxp_pkg::FirstColumn] == wanted_first_column);
        assert (tags_o[fxp_pkg::LastColumn] == wanted_last_column);
      end
    end
  end
`endif
endmodule
