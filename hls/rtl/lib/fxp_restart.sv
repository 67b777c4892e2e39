// Reset of a core by a register: it waits until an offered beat is taken, so that the rules of
// AXI4-Stream hold, then closes all streams and resets what is between them for a clock. A stream of
// results that offers nothing any more stays closed until the last one does.
module fxp_restart #(
  parameter int Inputs  = 1,
  parameter int Outputs = 1
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic request_i,
  output logic busy_o,
  // Reset of everything between the streams.
  output logic core_rst_no,
  // The streams that come in: the ready of the core inside, and outside.
  input  logic [Inputs-1:0]  in_ready_i,
  output logic [Inputs-1:0]  in_ready_o,
  // The streams of results: valid of the core inside and outside, ready of the receiver and inside.
  input  logic [Outputs-1:0] out_valid_i,
  output logic [Outputs-1:0] out_valid_o,
  input  logic [Outputs-1:0] out_ready_i,
  output logic [Outputs-1:0] out_ready_o
);
  logic pending, closed, close;
  logic [Outputs-1:0] silent, shut;
  assign silent = shut | ~out_valid_i | out_ready_i;
  assign close = pending && !closed && silent == '1;
  assign busy_o = pending || closed;
  assign in_ready_o = closed ? '0 : in_ready_i;
  assign out_valid_o = closed ? '0 : out_valid_i & ~shut;
  assign out_ready_o = closed ? '0 : out_ready_i & ~shut;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      pending <= 1'b0;
      closed <= 1'b1;
      core_rst_no <= 1'b0;
      shut <= '0;
    end else begin
      pending <= request_i || (pending && !close);
      // Open again when the reset has taken effect.
      closed <= close || (closed && !core_rst_no);
      core_rst_no <= !close;
      shut <= (pending && !closed && !close) ? silent : '0;
    end
  end

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // The core inside keeps an offer until it is taken or the core is reset, and offers nothing then.
  logic past_core_reset;
  logic [Outputs-1:0] past_inside, past_outside;
  always_ff @(posedge clk_i) begin
    past_inside <= core_rst_no ? out_valid_i & ~out_ready_o : '0;
    past_core_reset <= !core_rst_no;
    past_outside <= rst_ni ? out_valid_o & ~out_ready_i : '0;
  end
  always_comb begin
    if (!started) assume (past_inside == '0 && past_outside == '0 && !past_core_reset);
    assume ((past_inside & ~out_valid_i) == '0);
    if (past_core_reset) assume (out_valid_i == '0);
    if (started) begin
      // So does the core as seen from outside, whenever the request comes.
      assert ((past_outside & ~out_valid_o) == '0);
      // What is taken or given is so on both sides.
      assert ((in_ready_o & in_ready_i) == in_ready_o);
      assert ((out_valid_i & out_ready_o) == (out_valid_o & out_ready_i));
      if (!core_rst_no) assert (closed && in_ready_o == '0 && out_valid_o == '0);
      // A stream is closed before the others only while they still offer something.
      if (shut != '0) assert (pending && !closed && shut != '1);
    end
  end
`endif
endmodule
