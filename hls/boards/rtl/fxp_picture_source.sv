// Frames without end, one pixel per clock if they are taken: a picture from a block memory, repeated
// over the frame, or without a picture (PictureWidth 0) a test pattern.
//
// Channel c of the pattern is (column ^ row) + 37 * c modulo 256, in the highest eight bits.
module fxp_picture_source #(
  parameter int Width         = 320,
  parameter int Height        = 240,
  parameter int Channels      = 1,
  parameter int ChannelBits   = 8,
  parameter int ChannelBytes  = 1,
  parameter int PictureWidth  = 0,
  parameter int PictureHeight = 0,
  parameter     PictureFile   = ""
) (
  input  logic                               clk_i,
  input  logic                               rst_ni,
  output logic [8*ChannelBytes*Channels-1:0] tdata_o,
  output logic                               tvalid_o,
  input  logic                               tready_i,
  output logic                               tuser_o,
  output logic                               tlast_o
);
  logic [15:0] column, row;
  logic last_column, last_row, moves, valid, first, last;
  logic [Channels*ChannelBits-1:0] word;
  assign moves = !tvalid_o || tready_i;
  assign last_column = column == 16'(Width - 1);
  assign last_row = row == 16'(Height - 1);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      column <= '0;
      row <= '0;
      valid <= 1'b0;
      tvalid_o <= 1'b0;
    end else if (moves) begin
      column <= last_column ? '0 : column + 16'd1;
      if (last_column) row <= last_row ? '0 : row + 16'd1;
      valid <= 1'b1;
      tvalid_o <= valid;
    end
  end
  always_ff @(posedge clk_i) begin
    if (moves) begin
      first <= column == '0 && row == '0;
      last <= last_column;
      tuser_o <= first;
      tlast_o <= last;
      for (int c = 0; c < Channels; c++) begin
        tdata_o[8*ChannelBytes*c+:8*ChannelBytes] <=
            (8 * ChannelBytes)'(word[ChannelBits*c+:ChannelBits]);
      end
    end
  end

  if (PictureWidth == 0) begin : gen_pattern
    for (genvar c = 0; c < Channels; c++) begin : gen_channel
      logic [7:0] value;
      assign value = (column[7:0] ^ row[7:0]) + 8'(37 * c);
      if (ChannelBits >= 8) begin : gen_wide
        always_ff @(posedge clk_i) begin
          if (moves) word[ChannelBits*c+:ChannelBits] <= ChannelBits'(value) << (ChannelBits - 8);
        end
      end else begin : gen_narrow
        always_ff @(posedge clk_i) begin
          if (moves) word[ChannelBits*c+:ChannelBits] <= value[7-:ChannelBits];
        end
      end
    end
  end else begin : gen_picture
    localparam int Pixels = PictureWidth * PictureHeight;
    localparam int AddressBits = (Pixels == 1) ? 1 : $clog2(Pixels);
    logic [Channels*ChannelBits-1:0] picture [0:Pixels-1];
    initial $readmemh(PictureFile, picture);
    // Where the row of the picture begins, and the pixel in it.
    logic [AddressBits-1:0] start, address;
    logic [15:0] place, line;
    logic ends_line, ends_picture;
    assign ends_line = place == 16'(PictureWidth - 1);
    assign ends_picture = line == 16'(PictureHeight - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        start <= '0;
        address <= '0;
        place <= '0;
        line <= '0;
      end else if (moves) begin
        if (last_column) begin
          place <= '0;
          if (last_row || ends_picture) begin
            start <= '0;
            address <= '0;
            line <= '0;
          end else begin
            start <= start + AddressBits'(PictureWidth);
            address <= start + AddressBits'(PictureWidth);
            line <= line + 16'd1;
          end
        end else begin
          place <= ends_line ? '0 : place + 16'd1;
          address <= ends_line ? start : address + 1'b1;
        end
      end
    end
    always_ff @(posedge clk_i) if (moves) word <= picture[address];
  end
endmodule
