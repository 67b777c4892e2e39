// Counts the positions of one axis and tells which of them remain; see fxp_select.
module fxp_select_axis #(
  parameter int First = 0,
  parameter int Step  = 1
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  // The last position that may remain.
  input  logic signed [17:0] last_i,
  // This position is 0; the next one begins behind it.
  input  logic               restart_i,
  input  logic               move_i,
  // This position is the first that remains, remains, is the last that remains.
  output logic               first_o,
  output logic               keep_o,
  output logic               ends_o
);
  localparam int PhaseBits = (Step < 2) ? 1 : $clog2(Step);
  logic [16:0] position, next_position;
  logic [PhaseBits-1:0] phase, next_phase;
  // The phase of First is 0.
  localparam int Start = (Step - First % Step) % Step;
  assign position = restart_i ? '0 : next_position;
  assign phase = restart_i ? PhaseBits'(Start) : next_phase;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      next_position <= '0;
      next_phase <= PhaseBits'(Start);
    end else if (move_i) begin
      next_position <= position + 1'b1;
      next_phase <= (phase == PhaseBits'(Step - 1)) ? '0 : phase + 1'b1;
    end
  end
  assign first_o = position == 17'(First);
  logic begun;
  if (First == 0) begin : gen_from_the_start
    assign begun = 1'b1;
  end else begin : gen_from_first
    assign begun = position >= 17'(First);
  end
  assign keep_o = begun && phase == '0 && $signed({1'b0, position}) <= last_i;
  assign ends_o = $signed({1'b0, position}) > last_i - 18'(Step);
endmodule
