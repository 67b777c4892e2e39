// Pixels of a stream at the places where a monitor expects them.
//
// A frame is shown if its first pixel waits when the monitor's frame begins; what else waits then is
// dropped. If a pixel is missing, the rest of the frame is black and underflow_o is set for good.
module fxp_video_output (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [23:0] tdata_i,   // red in the low bits, then green, then blue
  input  logic        tvalid_i,
  output logic        tready_o,
  input  logic        tuser_i,
  input  logic        active_i,
  input  logic        hsync_i,
  input  logic        vsync_i,
  input  logic        frame_i,
  output logic [23:0] pixel_o,
  output logic        active_o,
  output logic        hsync_o,
  output logic        vsync_o,
  output logic        locked_o,
  output logic        underflow_o
);
  logic take, shown;
  assign shown = locked_o && active_i && tvalid_i;
  // A frame that begins waits for the monitor; pixels that nobody waits for go.
  assign take = shown || (!locked_o && !tuser_i);
  assign tready_o = take;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      locked_o <= 1'b0;
      underflow_o <= 1'b0;
      active_o <= 1'b0;
      pixel_o <= '0;
    end else begin
      if (frame_i) locked_o <= tvalid_i && tuser_i;
      else if (locked_o && active_i && !tvalid_i) locked_o <= 1'b0;
      if (locked_o && active_i && !tvalid_i) underflow_o <= 1'b1;
      active_o <= active_i;
      pixel_o <= shown ? tdata_i : '0;
    end
    hsync_o <= hsync_i;
    vsync_o <= vsync_i;
  end
endmodule
