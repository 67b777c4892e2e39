// Line memories and column registers: a beat of one pixel becomes a beat of all taps of a kernel.
//
// The beat that leaves stands for the pixel PadBottom lines and PadRight pixels before the one that
// came in. Taps outside of its frame are Fill, also where frames follow each other without a gap; or,
// with another Border of fxp_pkg::border_e, they repeat pixels of the frame. A mirrored pixel must be
// inside the frame and the window.
// Field (row * KernelColumns + column) * Channels + channel of taps_o is a tap. Every row on tags_i
// has equally many beats; `real`, first and last row are the same for all beats of a row.
//
// With DeltaBits, a beat of data_i holds behind its pixel the deltas and the headers that
// fxp_line_codec gives, and the line memories store these instead of the pixel.
module fxp_window #(
  parameter int Channels        = 1,
  parameter int Width           = 8,
  parameter int KernelRows      = 3,
  parameter int KernelColumns   = 3,
  parameter int DilationRows    = 1,
  parameter int DilationColumns = 1,
  parameter int PadTop          = 1,
  parameter int PadLeft         = 1,
  parameter int MaxWidth        = 16,
  parameter logic [Width-1:0] Fill = '0,
  parameter int Border          = fxp_pkg::Constant,
  parameter int DeltaBits       = 0,
  parameter int HeaderBits      = 0,
  parameter logic Signed        = 1'b0
) (
  input  logic                                                clk_i,
  input  logic                                                rst_ni,
  input  logic [5:0]                                          tags_i,
  input  logic [Channels*(Width+DeltaBits+HeaderBits)-1:0]    data_i,
  output logic [5:0]                                          tags_o,
  output logic [KernelRows*KernelColumns*Channels*Width-1:0]  taps_o
);
  localparam int Bits = Channels * Width;
  localparam int Lines = DilationRows * (KernelRows - 1);
  localparam int Columns = DilationColumns * (KernelColumns - 1);
  localparam int PadBottom = Lines - PadTop;
  localparam int PadRight = Columns - PadLeft;
  // What a line memory keeps of each pixel; the headers are kept apart, one for eight pixels.
  localparam int StoredBits = (DeltaBits == 0) ? Bits : Channels * DeltaBits;
  localparam int StoredHeaderBits = (DeltaBits == 0) ? 1 : Channels * HeaderBits;
  localparam int DecodeClocks = (DeltaBits == 0) ? 0 : 2;
  // Addresses come from a register: they reach all memories of a line, which is a long way.
  localparam int AddressClocks = (Lines == 0) ? 0 : 1;
  // Clocks until all lines of a column are read. The masks are made one clock earlier.
  localparam int BorderClocks = (Border == fxp_pkg::Constant) ? 0 : 1;
  localparam int Clocks =
      ((Lines == 0) ? 1 : AddressClocks + 2 * Lines + DecodeClocks) + BorderClocks;
  localparam int AddressBits = (MaxWidth == 1) ? 1 : $clog2(MaxWidth);
  // Past rows and columns whose tags are kept; at least one, so that no vector is empty.
  localparam int PastRows = (Lines == 0) ? 1 : Lines;
  localparam int PastColumns = (Columns == 0) ? 1 : Columns;

  // The tap that one `distance` from the centre repeats, on the side that `sign` tells, if the last
  // pixel of the frame on that side is `near` from the centre.
  function automatic int repeated(int near, int distance, int centre_tap, int sign);
    int beyond;
    beyond = distance - near;
    if (Border == fxp_pkg::Replicate) repeated = centre_tap + sign * near;
    else if (Border == fxp_pkg::Reflect) repeated = centre_tap + sign * (near - beyond);
    else repeated = centre_tap + sign * (near - beyond + 1);
  endfunction
  // Only in frames too small for the border could a tap lie outside of the window.
  function automatic int clipped(int index, int count);
    clipped = (index < 0) ? 0 : (index >= count) ? count - 1 : index;
  endfunction
  localparam int RowBits = (KernelRows == 1) ? 1 : $clog2(KernelRows);
  localparam int ColumnBits = (KernelColumns == 1) ? 1 : $clog2(KernelColumns);

  logic [6*(Clocks+1)-1:0] tags_at;
  fxp_tags #(.Clocks(Clocks)) u_tags (.clk_i, .rst_ni, .tags_i, .taps_o(tags_at));

  // ---- Lines --------------------------------------------------------------------------------
  logic [Channels*(Width+DeltaBits+HeaderBits)-1:0] newest;
  fxp_delay #(
    .Width(Channels * (Width + DeltaBits + HeaderBits)), .Clocks(AddressClocks)
  ) u_newest (.clk_i, .data_i, .data_o(newest));
  if (Lines > 0) begin : gen_lines
    // After reset a few beats may come before the first row, as many as a path is late in pixels.
    logic [AddressBits-1:0] column, next_column, first_address;
    assign column = tags_i[fxp_pkg::FirstColumn] ? '0 : next_column;
    always_ff @(posedge clk_i) begin
      if (!rst_ni)        next_column <= '0;
      else if (tags_i[fxp_pkg::Valid]) begin
        next_column <= tags_i[fxp_pkg::LastColumn] ? '0 : column + 1'b1;
      end
    end
    always_ff @(posedge clk_i) first_address <= column;
    for (genvar l = 0; l < Lines; l++) begin : gen_line
      logic [AddressBits-1:0] address;
      logic [StoredBits-1:0] incoming, older;
      logic [StoredHeaderBits-1:0] older_header;
      fxp_delay #(.Width(AddressBits), .Clocks(2 * l)) u_address (
        .clk_i, .data_i(first_address), .data_o(address)
      );
      if (l == 0) begin : gen_first
        assign incoming = newest[((DeltaBits == 0) ? 0 : Bits)+:StoredBits];
      end else begin : gen_next
        assign incoming = gen_line[l-1].older;
      end
      fxp_line_memory #(
        .Width(StoredBits), .Depth(MaxWidth), .AddressBits(AddressBits)
      ) u_memory (
        .clk_i, .enable_i(tags_at[12*l+6]), .address_i(address), .data_i(incoming), .data_o(older)
      );
      if (DeltaBits == 0) begin : gen_pixels
        assign older_header = 1'b0;
        logic unused_header;
        assign unused_header = older_header;
      end else begin : gen_codes
        // The first pixel of a group reads the old header and writes the new one.
        localparam int HeaderDepth = (MaxWidth + 7) / 8;
        localparam int HeaderAddressBits = (HeaderDepth == 1) ? 1 : $clog2(HeaderDepth);
        logic [StoredHeaderBits-1:0] incoming_header;
        logic [HeaderAddressBits-1:0] group;
        logic first;
        if (AddressBits > 3) begin : gen_groups
          assign group = address[AddressBits-1:3];
          assign first = address[2:0] == 3'd0;
        end else begin : gen_group
          assign group = '0;
          assign first = address == '0;
        end
        if (l == 0) begin : gen_first
          assign incoming_header = newest[Bits+StoredBits+:StoredHeaderBits];
        end else begin : gen_next
          assign incoming_header = gen_line[l-1].older_header;
        end
        fxp_line_memory #(
          .Width(StoredHeaderBits), .Depth(HeaderDepth), .AddressBits(HeaderAddressBits)
        ) u_headers (
          .clk_i, .enable_i(tags_at[12*l+6] && first), .address_i(group),
          .data_i(incoming_header), .data_o(older_header)
        );
      end
    end
  end

  // ---- Which taps lie inside the frame ------------------------------------------------------
  // One clock before the taps are complete.
  logic [5:0] early;
  assign early = tags_at[6*(Clocks-1)+:6];

  // Tags of the row that comes in (index 0) and those before it.
  logic [PastRows:0] reals, first_rows, last_rows;
  logic [PastRows-1:0] past_reals, past_first_rows, past_last_rows;
  assign reals = {past_reals, early[fxp_pkg::Real]};
  assign first_rows = {past_first_rows, early[fxp_pkg::FirstRow]};
  assign last_rows = {past_last_rows, early[fxp_pkg::LastRow]};
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      past_reals <= '0;
      past_first_rows <= '0;
      past_last_rows <= '0;
    end else if (early[fxp_pkg::Valid] && early[fxp_pkg::LastColumn]) begin
      past_reals <= reals[PastRows-1:0];
      past_first_rows <= first_rows[PastRows-1:0];
      past_last_rows <= last_rows[PastRows-1:0];
    end
  end

  logic [KernelRows-1:0] rows_inside;
  for (genvar k = 0; k < KernelRows; k++) begin : gen_row_inside
    if (k * DilationRows < PadTop) begin : gen_above
      assign rows_inside[k] = ~|first_rows[PadBottom+:PadTop-k*DilationRows];
    end else if (k * DilationRows > PadTop) begin : gen_below
      assign rows_inside[k] = ~|last_rows[Lines-k*DilationRows+1+:k*DilationRows-PadTop];
    end else begin : gen_centre
      assign rows_inside[k] = 1'b1;
    end
  end

  // The centre comes PadRight beats later.
  localparam int InfoBits = KernelRows + 3;
  logic [InfoBits-1:0] info, centre;
  assign info = {rows_inside, last_rows[PadBottom], first_rows[PadBottom], reals[PadBottom]};
  if (PadRight == 0) begin : gen_now
    assign centre = info;
  end else begin : gen_later
    logic [PadRight*InfoBits-1:0] past;
    logic [(PadRight+1)*InfoBits-1:0] all;
    assign all = {past, info};
    always_ff @(posedge clk_i) begin
      if (!rst_ni)       past <= '0;
      else if (early[fxp_pkg::Valid]) past <= all[PadRight*InfoBits-1:0];
    end
    assign centre = all[PadRight*InfoBits+:InfoBits];
  end

  logic [PastColumns:0] first_columns, last_columns;
  logic [PastColumns-1:0] past_first_columns, past_last_columns;
  assign first_columns = {past_first_columns, early[fxp_pkg::FirstColumn]};
  assign last_columns = {past_last_columns, early[fxp_pkg::LastColumn]};
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      past_first_columns <= '0;
      past_last_columns <= '0;
    end else if (early[fxp_pkg::Valid]) begin
      past_first_columns <= first_columns[PastColumns-1:0];
      past_last_columns <= last_columns[PastColumns-1:0];
    end
  end

  logic [KernelColumns-1:0] columns_inside;
  for (genvar k = 0; k < KernelColumns; k++) begin : gen_column_inside
    if (k * DilationColumns < PadLeft) begin : gen_left
      assign columns_inside[k] = ~|first_columns[PadRight+:PadLeft-k*DilationColumns];
    end else if (k * DilationColumns > PadLeft) begin : gen_right
      assign columns_inside[k] =
          ~|last_columns[Columns-k*DilationColumns+1+:k*DilationColumns-PadLeft];
    end else begin : gen_centre
      assign columns_inside[k] = 1'b1;
    end
  end

  logic [KernelRows*KernelColumns-1:0] keep;
  for (genvar r = 0; r < KernelRows; r++) begin : gen_inside
    always_ff @(posedge clk_i) begin
      keep[r*KernelColumns+:KernelColumns] <= {KernelColumns{centre[3+r]}} & columns_inside;
    end
  end

  // Not every kernel looks at every tag.
  logic unused_tags;
  assign unused_tags = ^{keep, reals, first_rows, last_rows, first_columns, last_columns, tags_at};

  // ---- Which taps they repeat otherwise ------------------------------------------------------
  // Tap t is Offset from the centre. If the border lies Near taps before the centre, a tap beyond it
  // repeats the one at -2 * Near - Offset, or one nearer with the edge itself.
  if (Border != fxp_pkg::Constant) begin : gen_border
    for (genvar t = 0; t < KernelRows; t++) begin : gen_from_row
      logic [RowBits-1:0] source;
      always_comb begin
        source = RowBits'(t);
        // The nearest border counts, the others are those of earlier frames.
        for (int near = PadTop - t - 1; near >= 0; near--) begin
          if (first_rows[PadBottom+near]) begin
            source = RowBits'(clipped(repeated(near, PadTop - t, PadTop, -1), KernelRows));
          end
        end
        for (int near = t - PadTop - 1; near >= 0; near--) begin
          if (last_rows[PadBottom-near]) begin
            source = RowBits'(clipped(repeated(near, t - PadTop, PadTop, 1), KernelRows));
          end
        end
      end
    end
    for (genvar t = 0; t < KernelColumns; t++) begin : gen_from_column
      logic [ColumnBits-1:0] source, chosen;
      always_comb begin
        source = ColumnBits'(t);
        for (int near = PadLeft - t - 1; near >= 0; near--) begin
          if (first_columns[PadRight+near]) begin
            source = ColumnBits'(clipped(repeated(near, PadLeft - t, PadLeft, -1), KernelColumns));
          end
        end
        for (int near = t - PadLeft - 1; near >= 0; near--) begin
          if (last_columns[PadRight-near]) begin
            source = ColumnBits'(clipped(repeated(near, t - PadLeft, PadLeft, 1), KernelColumns));
          end
        end
      end
      always_ff @(posedge clk_i) chosen <= source;
    end
  end

  logic [5:0] centre_tags;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      centre_tags <= '0;
      tags_o <= '0;
    end else begin
      centre_tags <= {
        last_columns[PadRight], first_columns[PadRight], centre[2], centre[1], centre[0],
        early[fxp_pkg::Valid]
      };
      tags_o <= centre_tags;
    end
  end

  // ---- Columns and taps ---------------------------------------------------------------------
  logic complete, unused_complete;
  assign complete = tags_at[6*Clocks];
  assign unused_complete = complete;  // a single column has no past

  logic [KernelRows*Bits-1:0] rows_aligned;
  logic unused_rows;
  assign unused_rows = ^rows_aligned;
  for (genvar r = 0; r < KernelRows; r++) begin : gen_row
    localparam int Back = Lines - r * DilationRows;
    logic [Bits-1:0] aligned, now;
    if (Back == 0) begin : gen_newest
      fxp_delay #(.Width(Bits), .Clocks(Clocks - BorderClocks - AddressClocks)) u_align (
        .clk_i, .data_i(newest[Bits-1:0]), .data_o(aligned)
      );
    end else begin : gen_older
      logic [Bits-1:0] pixel;
      if (DeltaBits == 0) begin : gen_pixel
        assign pixel = gen_lines.gen_line[Back-1].older;
      end else begin : gen_decode
        fxp_line_decode #(
          .Fields(Channels), .Width(Width), .BaseBits(HeaderBits - 4),
          .DeltaBits(DeltaBits), .Signed(Signed)
        ) u_decode (
          .clk_i, .header_i(gen_lines.gen_line[Back-1].older_header),
          .delta_i(gen_lines.gen_line[Back-1].older), .data_o(pixel)
        );
      end
      fxp_delay #(
        .Width(Bits),
        .Clocks(Clocks - BorderClocks - AddressClocks - 2 * Back - DecodeClocks)
      ) u_align (
        .clk_i, .data_i(pixel), .data_o(aligned)
      );
    end
    assign rows_aligned[r*Bits+:Bits] = aligned;
    if (Border == fxp_pkg::Constant) begin : gen_as_it_is
      assign now = aligned;
    end else begin : gen_repeated
      always_ff @(posedge clk_i) begin
        now <= rows_aligned[32'(gen_border.gen_from_row[r].source)*Bits+:Bits];
      end
    end
    for (genvar c = 0; c < Columns; c++) begin : gen_past
      logic [Bits-1:0] value;
      if (c == 0) begin : gen_first
        always_ff @(posedge clk_i) if (complete) value <= now;
      end else begin : gen_next
        always_ff @(posedge clk_i) if (complete) value <= gen_past[c-1].value;
      end
    end
    logic [KernelColumns*Bits-1:0] values;
    logic unused_columns;
    assign unused_columns = ^values;
    for (genvar k = 0; k < KernelColumns; k++) begin : gen_tap
      localparam int ColumnsBack = Columns - k * DilationColumns;
      localparam int Index = r * KernelColumns + k;
      logic [Bits-1:0] value, tap;
      if (ColumnsBack == 0) begin : gen_present
        assign value = now;
      end else begin : gen_before
        assign value = gen_past[ColumnsBack-1].value;
      end
      assign values[k*Bits+:Bits] = value;
      if (Border == fxp_pkg::Constant) begin : gen_filled
        // Outside of the frame the register is reset, which costs no logic.
        always_ff @(posedge clk_i) begin
          if (!keep[Index]) tap <= {Channels{Fill}};
          else              tap <= value;
        end
      end else begin : gen_chosen
        always_ff @(posedge clk_i) begin
          tap <= values[32'(gen_border.gen_from_column[k].chosen)*Bits+:Bits];
        end
      end
      assign taps_o[Index*Bits+:Bits] = tap;
    end
  end

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // Frames of one width and any height, one after another or with rows between that are not real.
  localparam int ColumnBits = $clog2(MaxWidth + 1);
  localparam int Beats = Lines * MaxWidth + Columns + 1;
  localparam int FrameBits = $clog2(Beats + 1);
  localparam int BeatBits = 6 + FrameBits + ColumnBits + Bits;
  (* anyconst *) logic [ColumnBits-1:0] width;
  logic [ColumnBits-1:0] at_column;
  logic [FrameBits-1:0] frame, past_frame;
  logic [2:0] past_row;  // real, first and last
  logic starts;
  assign starts = tags_i[fxp_pkg::FirstRow] && tags_i[fxp_pkg::FirstColumn];
  assign frame = past_frame + FrameBits'(starts);
  // A pixel is inside a window if it is of the same frame and as many columns away as its tap.
  logic [(Beats-1)*BeatBits-1:0] past_beats;
  logic [Beats*BeatBits-1:0] beats;
  assign beats = {past_beats, data_i[Bits-1:0], at_column, frame, tags_i};
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      at_column <= '0;
      past_frame <= '0;
      past_row <= '0;
      past_beats <= '0;
    end else if (tags_i[fxp_pkg::Valid]) begin
      at_column <= tags_i[fxp_pkg::LastColumn] ? '0 : at_column + 1'b1;
      past_frame <= frame;
      past_row <= tags_i[3:1];
      past_beats <= beats[0+:(Beats-1)*BeatBits];
    end
  end
  always_comb begin
    assume (width >= 1 && int'(width) <= MaxWidth);
    if (tags_i[fxp_pkg::Valid]) begin
      assume (tags_i[fxp_pkg::FirstColumn] == (at_column == '0));
      assume (tags_i[fxp_pkg::LastColumn] == (at_column == width - 1'b1));
      if (at_column != '0) begin
        assume (tags_i[3:1] == past_row);
      end else begin
        if (past_row[0] && !past_row[2])
          assume (tags_i[fxp_pkg::Real] && !tags_i[fxp_pkg::FirstRow]);
        else assume (tags_i[fxp_pkg::FirstRow] == tags_i[fxp_pkg::Real]);
        if (!tags_i[fxp_pkg::Real]) assume (!tags_i[fxp_pkg::LastRow]);
      end
    end
  end

  // What has to come out, as soon as the last beat is in, and with it some clocks later.
  localparam int Taps = KernelRows * KernelColumns;
  logic [BeatBits-1:0] middle;
  logic [Taps*Bits-1:0] wanted;
  assign middle = beats[(PadBottom*int'(width)+PadRight)*BeatBits+:BeatBits];
  for (genvar r = 0; r < KernelRows; r++) begin : gen_formal_row
    for (genvar c = 0; c < KernelColumns; c++) begin : gen_tap
      localparam int Right = c * DilationColumns - PadLeft;
      logic [BeatBits-1:0] beat;
      logic inside;
      assign beat = beats[
          ((Lines-r*DilationRows)*int'(width)+Columns-c*DilationColumns)*BeatBits+:BeatBits];
      assign inside = beat[1] && beat[6+:FrameBits] == middle[6+:FrameBits] &&
          int'(beat[6+FrameBits+:ColumnBits]) == int'(middle[6+FrameBits+:ColumnBits]) + Right;
      assign wanted[(r*KernelColumns+c)*Bits+:Bits] =
          inside ? beat[6+FrameBits+ColumnBits+:Bits] : '0;
    end
  end
  logic [(Clocks+1)*(Taps*Bits+6)-1:0] later;
  logic [Taps*Bits+5:0] now_wanted;
  assign now_wanted = later[Clocks*(Taps*Bits+6)+:Taps*Bits+6];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) later <= '0;
    else later <= (later << (Taps * Bits + 6)) | {wanted, middle[5:1], tags_i[fxp_pkg::Valid]};
  end
  always_comb begin
    if (started) begin
      assert (tags_o[fxp_pkg::Valid] == now_wanted[0]);
      if (now_wanted[0]) assert (tags_o[fxp_pkg::Real] == now_wanted[1]);
      if (now_wanted[0] && now_wanted[1]) begin
        assert (tags_o == now_wanted[5:0]);
        assert (taps_o == now_wanted[6+:Taps*Bits]);
      end
    end
  end
  for (genvar l = 0; l < Lines; l++) begin : gen_formal_line
    always_comb begin
      if (started && tags_at[12*l]) assert (int'(gen_lines.gen_line[l].address) < MaxWidth);
    end
  end
`endif
endmodule
