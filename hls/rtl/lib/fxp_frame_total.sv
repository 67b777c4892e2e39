// The sum of a whole frame, or its largest value, channel by channel: one beat for each frame. Rows
// that are not real give a beat that is not real, so that they move on what waits behind. Latency 1.
module fxp_frame_total #(
  parameter int Channels     = 1,
  parameter int Width        = 8,
  parameter logic Signed     = 1'b1,
  parameter int TotalWidth   = 16,
  // The largest value instead of the sum.
  parameter logic Largest    = 1'b0
) (
  input  logic                           clk_i,
  input  logic                           rst_ni,
  input  logic [5:0]                     tags_i,
  input  logic [Channels*Width-1:0]      data_i,
  output logic [5:0]                     tags_o,
  output logic [Channels*TotalWidth-1:0] totals_o
);
  logic begins, ends;
  assign begins = tags_i[fxp_pkg::FirstRow] && tags_i[fxp_pkg::FirstColumn];
  assign ends = tags_i[fxp_pkg::LastColumn] && (tags_i[fxp_pkg::LastRow] || !tags_i[fxp_pkg::Real]);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) tags_o <= '0;
    else         tags_o <= {2'b11, {3{tags_i[fxp_pkg::Real]}}, tags_i[fxp_pkg::Valid] && ends};
  end

  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    logic [Width-1:0] field;
    logic signed [TotalWidth-1:0] value, total;
    assign field = data_i[c*Width+:Width];
    if (Signed) begin : gen_signed
      assign value = TotalWidth'($signed(field));
    end else begin : gen_unsigned
      assign value = TotalWidth'(field);
    end
    always_ff @(posedge clk_i) begin
      if (tags_i[fxp_pkg::Valid] && tags_i[fxp_pkg::Real]) begin
        if (begins)       total <= value;
        else if (Largest) total <= (value > total) ? value : total;
        else              total <= total + value;
      end
    end
    assign totals_o[c*TotalWidth+:TotalWidth] = total;
  end

`ifdef FORMAL
  // Frames of one to four beats in any shape: what has been added is what came since the first.
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);
  localparam int Most = 4;
  logic [Most*Width-1:0] past;
  logic [2:0] count;
  logic [5:0] past_tags;
  always_ff @(posedge clk_i) begin
    past_tags <= rst_ni ? tags_i : '0;
    if (!rst_ni) begin
      count <= '0;
    end else if (tags_i[fxp_pkg::Valid] && tags_i[fxp_pkg::Real]) begin
      count <= begins ? 3'd1 : count + 3'd1;
      past <= {past[0+:(Most-1)*Width], data_i[Width-1:0]};
    end
  end
  always_comb begin
    if (tags_i[fxp_pkg::Valid] && tags_i[fxp_pkg::Real]) begin
      assume (begins || (count != 3'd0 && count < 3'(Most)));
    end
  end
  logic signed [TotalWidth-1:0] wanted [0:Most];
  for (genvar n = 0; n < Most; n++) begin : gen_formal
    logic [Width-1:0] field;
    logic signed [TotalWidth-1:0] value;
    assign field = past[n*Width+:Width];
    assign value = Signed ? TotalWidth'($signed(field)) : TotalWidth'(field);
    // Of the n + 1 last beats.
    if (n == 0) begin : gen_one
      assign wanted[1] = value;
    end else begin : gen_more
      assign wanted[n+1] = Largest ? ((value > wanted[n]) ? value : wanted[n]) : wanted[n] + value;
    end
  end
  assign wanted[0] = '0;
  always_comb begin
    if (started) begin
      assert (tags_o[fxp_pkg::Valid] ==
              (past_tags[fxp_pkg::Valid] && past_tags[fxp_pkg::LastColumn] &&
               (past_tags[fxp_pkg::LastRow] || !past_tags[fxp_pkg::Real])));
      if (tags_o[fxp_pkg::Valid]) assert (tags_o[fxp_pkg::Real] == past_tags[fxp_pkg::Real]);
      if (count != 3'd0) assert ($signed(totals_o[TotalWidth-1:0]) == wanted[count]);
    end
  end
`endif
endmodule
