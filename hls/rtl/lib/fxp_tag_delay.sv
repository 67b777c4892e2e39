// Tags as a window of Lines lines and Pixels pixels delays them. Latency 1.
module fxp_tag_delay #(
  parameter int Lines  = 1,
  parameter int Pixels = 0
) (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic [5:0] tags_i,
  output logic [5:0] tags_o
);
  // Real, first and last row of the row Lines before.
  logic [2:0] row;
  if (Lines == 0) begin : gen_same_row
    assign row = tags_i[3:1];
  end else begin : gen_rows
    logic [3*Lines-1:0] past;
    logic [3*(Lines+1)-1:0] all;
    assign all = {past, tags_i[3:1]};
    always_ff @(posedge clk_i) begin
      if (!rst_ni)                     past <= '0;
      else if (tags_i[fxp_pkg::Valid] && tags_i[fxp_pkg::LastColumn]) past <= all[3*Lines-1:0];
    end
    assign row = all[3*Lines+:3];
  end
  // Both and the column tags of the beat Pixels before.
  logic [4:0] beat;
  if (Pixels == 0) begin : gen_same_beat
    assign beat = {tags_i[5:4], row};
  end else begin : gen_beats
    logic [5*Pixels-1:0] past;
    logic [5*(Pixels+1)-1:0] all;
    assign all = {past, tags_i[5:4], row};
    always_ff @(posedge clk_i) begin
      if (!rst_ni)        past <= '0;
      else if (tags_i[fxp_pkg::Valid]) past <= all[5*Pixels-1:0];
    end
    assign beat = all[5*Pixels+:5];
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) tags_o <= '0;
    else         tags_o <= {beat, tags_i[fxp_pkg::Valid]};
  end
endmodule
