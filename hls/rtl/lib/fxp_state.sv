// Values of a state, beside the pixels: for the first frame after reset the initial one, for every
// later frame what a stream brings, which is what the frame before left.
module fxp_state #(
  parameter int               Width   = 8,
  parameter logic [Width-1:0] Initial = '0
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             tvalid_i,
  output logic             tready_o,
  input  logic [Width-1:0] tdata_i,
  // There is a value for the next pixel; it is taken, as the last one of a frame.
  output logic             valid_o,
  input  logic             take_i,
  input  logic             end_i,
  // The value that was taken last.
  output logic [Width-1:0] data_o
);
  logic first, valid;
  logic [Width-1:0] data;
  fxp_skid #(
    .Width(Width)
  ) u_skid (
    .clk_i, .rst_ni,
    .valid_i(tvalid_i), .ready_o(tready_o), .data_i(tdata_i),
    .valid_o(valid), .ready_i(take_i && !first), .data_o(data)
  );
  assign valid_o = first || valid;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) first <= 1'b1;
    else if (take_i && end_i) first <= 1'b0;
  end
  always_ff @(posedge clk_i) if (take_i) data_o <= first ? Initial : data;

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // Nothing is taken that is not there. Then what the stream gave comes out in order, behind the
  // initial values of one frame.
  logic [3:0] given, taken;
  logic past_take, past_first, ended;
  logic [Width-1:0] values [0:15];
  always_ff @(posedge clk_i) begin
    past_take <= rst_ni && take_i;
    past_first <= first;
    if (!rst_ni) begin
      given <= '0;
      taken <= '0;
      ended <= 1'b0;
    end else begin
      if (take_i && end_i) ended <= 1'b1;
      if (tvalid_i && tready_o) begin
        values[given] <= tdata_i;
        given <= given + 4'd1;
      end
      if (take_i && !first) taken <= taken + 4'd1;
    end
  end
  always_comb begin
    if (!valid_o) assume (!take_i);
    if (!started) assume (!past_take);
    if (started) begin
      assert (first == !ended);
      if (past_take && past_first) assert (data_o == Initial);
      if (past_take && !past_first) assert (data_o == values[taken - 4'd1]);
    end
  end
`endif
endmodule
