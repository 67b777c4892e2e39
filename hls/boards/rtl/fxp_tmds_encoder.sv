// A channel of DVI 1.0: eight bits become ten with few edges and as many ones as zeros on average;
// in the blanking, two control bits become one of four tokens. Latency 2.
module fxp_tmds_encoder (
  input  logic       clk_i,
  input  logic       rst_ni,
  input  logic       active_i,
  input  logic [7:0] data_i,
  input  logic [1:0] control_i,
  output logic [9:0] word_o
);
  // ---- Fewest edges ----------------------------------------------------------------------------
  logic [3:0] ones;
  logic by_xnor;
  logic [8:0] edges, few;
  always_comb begin
    ones = '0;
    for (int i = 0; i < 8; i++) ones = ones + 4'(data_i[i]);
  end
  assign by_xnor = ones > 4'd4 || (ones == 4'd4 && !data_i[0]);
  assign edges[0] = data_i[0];
  for (genvar i = 1; i < 8; i++) begin : gen_bit
    assign edges[i] = edges[i-1] ^ data_i[i] ^ by_xnor;
  end
  assign edges[8] = !by_xnor;

  logic active;
  logic [1:0] control;
  always_ff @(posedge clk_i) begin
    few <= edges;
    active <= active_i;
    control <= control_i;
  end

  // ---- Balance: ones sent so far, less zeros ----------------------------------------------------
  logic signed [4:0] disparity, excess;  // of all words, and of eight bits
  logic signed [4:0] next;
  logic invert;
  logic [9:0] word;
  always_comb begin
    excess = -5'sd8;
    for (int i = 0; i < 8; i++) if (few[i]) excess = excess + 5'sd2;
    if (disparity == 5'sd0 || excess == 5'sd0) begin
      invert = !few[8];
      next = invert ? disparity - excess : disparity + excess;
    end else begin
      invert = (disparity > 5'sd0) == (excess > 5'sd0);
      next = invert ? disparity - excess + (few[8] ? 5'sd2 : 5'sd0)
                    : disparity + excess - (few[8] ? 5'sd0 : 5'sd2);
    end
    word = {invert, few[8], few[7:0] ^ {8{invert}}};
    if (!active) begin
      next = 5'sd0;
      case (control)
        2'b00:   word = 10'b1101010100;
        2'b01:   word = 10'b0010101011;
        2'b10:   word = 10'b0101010100;
        default: word = 10'b1010101011;
      endcase
    end
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) disparity <= '0;
    else         disparity <= next;
    word_o <= word;
  end
endmodule
