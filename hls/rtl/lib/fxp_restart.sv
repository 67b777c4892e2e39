// Reset of a core by a register: it waits until an offered beat is taken, so that the rules of
// AXI4-Stream hold, then closes both streams and resets what is between them for a clock.
module fxp_restart (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic request_i,
  output logic busy_o,
  // Reset of everything between the streams.
  output logic core_rst_no,
  // The stream of pixels: the ready of the core inside, and outside.
  input  logic in_ready_i,
  output logic in_ready_o,
  // The stream of results: valid of the core inside and outside, ready of the receiver and inside.
  input  logic out_valid_i,
  output logic out_valid_o,
  input  logic out_ready_i,
  output logic out_ready_o
);
  logic pending, closed, close;
  assign close = pending && !closed && (!out_valid_i || out_ready_i);
  assign busy_o = pending || closed;
  assign in_ready_o = in_ready_i && !closed;
  assign out_valid_o = out_valid_i && !closed;
  assign out_ready_o = out_ready_i && !closed;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      pending <= 1'b0;
      closed <= 1'b1;
      core_rst_no <= 1'b0;
    end else begin
      pending <= request_i || (pending && !close);
      // Open again when the reset has taken effect.
      closed <= close || (closed && !core_rst_no);
      core_rst_no <= !close;
    end
  end

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // The core inside keeps an offer until it is taken or the core is reset, and offers nothing then.
  logic past_inside, past_core_reset, past_outside;
  always_ff @(posedge clk_i) begin
    past_inside <= out_valid_i && !out_ready_o && core_rst_no;
    past_core_reset <= !core_rst_no;
    past_outside <= rst_ni && out_valid_o && !out_ready_i;
  end
  always_comb begin
    if (!started) assume (!past_inside && !past_outside && !past_core_reset);
    if (past_inside) assume (out_valid_i);
    if (past_core_reset) assume (!out_valid_i);
    if (started) begin
      // So does the core as seen from outside, whenever the request comes.
      if (past_outside) assert (out_valid_o);
      // What is taken or given is so on both sides.
      assert ((in_ready_o && in_ready_i) == in_ready_o);
      assert ((out_valid_i && out_ready_o) == (out_valid_o && out_ready_i));
      if (!core_rst_no) assert (closed && !in_ready_o && !out_valid_o);
    end
  end
`endif
endmodule
