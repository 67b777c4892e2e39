// YCbCr 4:2:2 to 4:4:4: pixels in even columns bring Cb, those in odd ones Cr, and both of a pair get
// both. The pixel left of the first and that right of the last must repeat them.
module fxp_chroma #(
  parameter int Width = 8
) (
  input  logic               clk_i,
  // Tags of the pixel in the middle.
  input  logic [5:0]         tags_i,
  // Left, middle and right pixel, each luma below chroma.
  input  logic [6*Width-1:0] taps_i,
  // Cr, Y, Cb from the low bits up, a clock later.
  output logic [3*Width-1:0] data_o
);
  logic after_odd, odd;  // the column after the last one, and this column
  logic [Width-1:0] left, luma, middle, right;
  assign left = taps_i[1*Width+:Width];
  assign luma = taps_i[2*Width+:Width];
  assign middle = taps_i[3*Width+:Width];
  assign right = taps_i[5*Width+:Width];
  assign odd = after_odd && !tags_i[fxp_pkg::FirstColumn];
  always_ff @(posedge clk_i) begin
    if (tags_i[fxp_pkg::Valid]) after_odd <= !odd;
    data_o <= odd ? {left, luma, middle} : {middle, luma, right};
  end

  logic unused;
  assign unused = ^{tags_i, taps_i};

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  // Columns of a line, counted from its first pixel.
  logic [7:0] column;
  logic begun = 1'b0;
  logic past_begun, past_odd;
  logic [6*Width-1:0] past;
  always_ff @(posedge clk_i) begin
    past <= taps_i;
    past_odd <= !tags_i[fxp_pkg::FirstColumn] && column[0];
    past_begun <= tags_i[fxp_pkg::Valid] && (begun || tags_i[fxp_pkg::FirstColumn]);
    if (tags_i[fxp_pkg::Valid]) begin
      column <= tags_i[fxp_pkg::FirstColumn] ? 8'd1 : column + 8'd1;
      if (tags_i[fxp_pkg::FirstColumn]) begun <= 1'b1;
    end
  end
  always_comb if (started) begin
    if (begun) assert (after_odd == column[0]);
    if (past_begun) begin
      assert (data_o[Width+:Width] == past[2*Width+:Width]);
      assert (data_o[2*Width+:Width] == (past_odd ? past[Width+:Width] : past[3*Width+:Width]));
      assert (data_o[0+:Width] == (past_odd ? past[3*Width+:Width] : past[5*Width+:Width]));
    end
  end else assume (!past_begun);
`endif
endmodule
