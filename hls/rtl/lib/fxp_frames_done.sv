// Frames that are complete on all of several streams, which may run ahead of each other.
module fxp_frames_done #(
  parameter int Streams = 2
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  // A frame is complete on a stream; on all of them.
  input  logic [Streams-1:0] done_i,
  output logic               done_o
);
  logic [15:0] ahead [0:Streams-1];  // frames of a stream that are not complete on all
  logic [Streams-1:0] ready;
  for (genvar k = 0; k < Streams; k++) begin : gen_stream
    assign ready[k] = done_i[k] || ahead[k] != 16'd0;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) ahead[k] <= '0;
      else if (done_i[k] && !done_o) ahead[k] <= ahead[k] + 16'd1;
      else if (!done_i[k] && done_o) ahead[k] <= ahead[k] - 16'd1;
    end
  end
  assign done_o = ready == '1;

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // As many as on the stream that has fewest.
  logic [15:0] all;
  logic [15:0] each [0:Streams-1];
  logic [Streams-1:0] least;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) all <= '0;
    else if (done_o) all <= all + 16'd1;
  end
  for (genvar k = 0; k < Streams; k++) begin : gen_check
    assign least[k] = each[k] == all;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) each[k] <= '0;
      else if (done_i[k]) each[k] <= each[k] + 16'd1;
    end
    always_comb begin
      assume (each[k] < 16'd1000);
      if (started) assert (each[k] >= all && ahead[k] == each[k] - all);
    end
  end
  always_comb if (started) assert (least != '0);
`endif
endmodule
