// Two places that decouple a handshake: ready_o comes from a register.
module fxp_skid #(
  parameter int Width = 8
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
  logic [Width-1:0] spare;
  logic spare_valid, taken, moves, spare_next;

  assign taken = valid_i && ready_o;
  assign moves = ready_i || !valid_o;
  assign spare_next = !moves && (spare_valid || taken);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ready_o <= 1'b0;
      valid_o <= 1'b0;
      spare_valid <= 1'b0;
    end else begin
      ready_o <= !spare_next;
      spare_valid <= spare_next;
      if (moves) valid_o <= spare_valid || taken;
    end
  end

  always_ff @(posedge clk_i) begin
    if (moves) data_o <= spare_valid ? spare : data_i;
    if (ready_o) spare <= data_i;
  end

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // A queue of two: what goes in comes out once, in order.
  logic [Width-1:0] first, second;
  logic [1:0] waiting = 2'd0;
  logic leaves;
  assign leaves = valid_o && ready_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      waiting <= 2'd0;
    end else begin
      waiting <= waiting + {1'b0, taken} - {1'b0, leaves};
      if (leaves) first <= second;
      if (taken && (waiting == 2'd0 || (waiting == 2'd1 && leaves))) first <= data_i;
      else if (taken) second <= data_i;
    end
  end
  always_comb begin
    if (started) begin
      assert (valid_o == (waiting != 2'd0));
      assert (spare_valid == (waiting == 2'd2));
      assert (waiting != 2'd3);
      if (waiting == 2'd2) assert (!ready_o);
      if (waiting != 2'd0) assert (data_o == first);
      if (waiting == 2'd2) assert (spare == second);
    end
  end
`endif
endmodule
