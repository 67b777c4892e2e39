// Counts the pixels of a video mode, blanking included; every frame begins with its active lines.
module fxp_video_timing #(
  parameter int Width    = 640,
  parameter int HFront   = 16,
  parameter int HSync    = 96,
  parameter int HBack    = 48,
  parameter int Height   = 480,
  parameter int VFront   = 10,
  parameter int VSync    = 2,
  parameter int VBack    = 33,
  parameter logic HActiveHigh = 1'b0,
  parameter logic VActiveHigh = 1'b0
) (
  input  logic clk_i,
  input  logic rst_ni,
  output logic active_o,
  output logic hsync_o,
  output logic vsync_o,
  // One clock before the first active pixel of a frame.
  output logic frame_o
);
  localparam int Columns = Width + HFront + HSync + HBack;
  localparam int Rows = Height + VFront + VSync + VBack;
  logic [15:0] column, row;
  logic last_column, last_row;
  assign last_column = column == 16'(Columns - 1);
  assign last_row = row == 16'(Rows - 1);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      // In the blanking, so that the first frame is whole.
      column <= '0;
      row <= 16'(Height);
      active_o <= 1'b0;
      frame_o <= 1'b0;
      hsync_o <= !HActiveHigh;
      vsync_o <= !VActiveHigh;
    end else begin
      column <= last_column ? '0 : column + 16'd1;
      if (last_column) row <= last_row ? '0 : row + 16'd1;
      active_o <= column < 16'(Width) && row < 16'(Height);
      frame_o <= last_column && last_row;
      hsync_o <= (column >= 16'(Width + HFront) && column < 16'(Width + HFront + HSync)) ==
                 HActiveHigh;
      vsync_o <= (row >= 16'(Height + VFront) && row < 16'(Height + VFront + VSync)) ==
                 VActiveHigh;
    end
  end
endmodule
