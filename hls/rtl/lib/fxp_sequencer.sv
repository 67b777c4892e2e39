// Pixels in, beats out: complete rows and frames whatever comes in, one beat per Fold clocks.
//
// A line that ends early is filled with zeros, as is the rest of a frame that another start of frame
// cuts off; pixels too many and pixels before a start of frame are dropped. Between frames it sends
// rows of beats that are not real, until all pixels have left the windows behind it: LagLines lines
// and LagPixels pixels. A frame may start at the end of any such row; a new size waits for the last.
//
// With every pixel of a frame, also one that is filled, it takes a value of each state; it sends none
// before they are there.
//
// A frame has the size and the mode that the registers hold when its first pixel is accepted. Without
// enable_i no first pixel is accepted; a frame that has begun is completed.
module fxp_sequencer #(
  parameter int Width         = 8,
  parameter int LagLines      = 1,
  parameter int LagPixels     = 1,
  parameter int Fold          = 1,
  // Clocks without a pixel before rows are flushed, so that short gaps cost nothing; at least 1.
  parameter int Patience      = 16,
  // Clocks without a beat before another size is active, as modules behind look at the size.
  parameter int DrainClocks   = 0,
  parameter int InitialWidth  = 16,
  parameter int InitialHeight = 16
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             tvalid_i,
  output logic             tready_o,
  input  logic             tuser_i,
  input  logic             tlast_i,
  input  logic [Width-1:0] tdata_i,
  input  logic [15:0]      width_i,
  input  logic [15:0]      height_i,
  input  logic             enable_i,
  input  logic             bypass_i,
  // Mode of the frame whose beats leave.
  output logic             bypass_o,
  // Whether the output has room for all that is under way.
  input  logic             room_i,
  // Whether every state has its value for the next pixel; the values are taken, with the last ones of
  // a frame.
  input  logic             states_valid_i,
  output logic             states_taken_o,
  output logic             states_end_o,
  output logic [5:0]       tags_o,
  output logic [Width-1:0] data_o,
  // The active size, less one; it changes when no beat is under way.
  output logic [15:0]      columns_o,
  output logic [15:0]      rows_o,
  // Events: a frame begins; a frame is malformed; short line, long line, early start, no start.
  output logic             started_o,
  output logic             malformed_o,
  output logic [3:0]       errors_o
);
  localparam int LineBits = (LagLines == 0) ? 1 : $clog2(LagLines + 1);
  localparam int PixelBits = (LagPixels == 0) ? 1 : $clog2(LagPixels + 1);
  localparam int Longest = (DrainClocks > Patience) ? DrainClocks : Patience;
  localparam int WaitBits = $clog2(Longest + 1);
  localparam int FoldBits = (Fold < 2) ? 1 : $clog2(Fold);

  // ---- Pixels, each first one with its size --------------------------------------------------
  logic valid, ready, user, last, resized, accept, differs, open, skid_ready, blocked;
  logic [Width-1:0] data;
  logic [15:0] width, height, seen_width, seen_height;
  logic bypass, seen_bypass;
  assign blocked = tvalid_i && tuser_i && !enable_i;
  assign open = enable_i || !tuser_i;
  assign tready_o = skid_ready && open;
  fxp_skid #(
    .Width(Width + 36)
  ) u_skid (
    .clk_i, .rst_ni,
    .valid_i(tvalid_i && open), .ready_o(skid_ready),
    .data_i({bypass_i, width_i, height_i, differs, tlast_i, tuser_i, tdata_i}),
    .valid_o(valid), .ready_i(ready),
    .data_o({bypass, width, height, resized, last, user, data})
  );
  assign accept = tvalid_i && tready_o && tuser_i;
  assign differs = width_i != seen_width || height_i != seen_height || bypass_i != seen_bypass;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      seen_width <= 16'(InitialWidth);
      seen_height <= 16'(InitialHeight);
      seen_bypass <= 1'b0;
    end else if (accept) begin
      seen_width <= width_i;
      seen_height <= height_i;
      seen_bypass <= bypass_i;
    end
  end

  // ---- State --------------------------------------------------------------------------------
  logic [15:0] columns, rows;  // of the active size, less one
  logic single_column, single_row;
  logic resize;  // the frame that waits has another size or mode
  logic loaded;  // which is active by now

  logic in_frame;   // a frame has begun and is not complete
  logic in_flush;   // a flush row has begun and is not complete
  logic fill_line, fill_frame, drop_line;
  logic lost;       // pixels without a start of frame are being dropped
  logic bad;        // this frame was counted as malformed

  // The next beat.
  logic first_column, last_column, first_row, last_row;
  logic [15:0] columns_left, rows_left;

  logic [LineBits-1:0] lines_to_flush;
  logic [PixelBits-1:0] pixels_to_flush;
  logic [WaitBits-1:0] waited;
  logic [FoldBits-1:0] pause;

  // ---- Decisions of this clock --------------------------------------------------------------
  logic may_send, boundary, flushed, candidate, start, take, fill, flush, load;
  logic early, drop, send, ends_frame;
  logic drained;
  if (DrainClocks == 0) begin : gen_at_once
    assign drained = 1'b1;
  end else begin : gen_drained
    assign drained = waited >= WaitBits'(DrainClocks);
  end
  assign may_send = room_i && pause == '0;
  assign boundary = !in_frame && !in_flush;
  assign flushed = lines_to_flush == '0 && pixels_to_flush == '0;
  assign resize = valid && user && resized && !loaded;
  assign candidate = valid && user && !resize && states_valid_i;
  assign load = boundary && resize && flushed && drained;
  assign start = boundary && candidate && may_send;
  assign take = in_frame && !fill_line && !fill_frame && !drop_line && valid && !user &&
                may_send && states_valid_i;
  assign fill = in_frame && (fill_line || fill_frame) && may_send && states_valid_i;
  assign flush = may_send && (in_flush ||
      (boundary && !flushed && !candidate && (resize || waited >= WaitBits'(Patience))));
  assign early = in_frame && !fill_line && !fill_frame && (valid ? user : blocked);
  assign drop = valid && !user && (drop_line || !in_frame);
  assign send = start || take || fill || flush;
  assign ends_frame = send && !flush && last_column && last_row;
  assign ready = start || take || drop;
  assign states_taken_o = start || take || fill;
  assign states_end_o = ends_frame;

  logic short_line, long_line, no_start, any_error;
  assign short_line = (start || take) && last && !last_column;
  assign long_line = (start || take) && !last && last_column;
  assign no_start = drop && !drop_line && !lost;
  assign any_error = short_line || long_line || early || no_start;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      in_frame <= 1'b0;
      in_flush <= 1'b0;
      fill_line <= 1'b0;
      fill_frame <= 1'b0;
      drop_line <= 1'b0;
      lost <= 1'b0;
      bad <= 1'b0;
      lines_to_flush <= '0;
      pixels_to_flush <= '0;
      waited <= '0;
      pause <= '0;
    end else begin
      if (start) in_frame <= 1'b1;
      if (ends_frame) in_frame <= 1'b0;
      if (flush) in_flush <= !last_column;

      if (short_line) fill_line <= 1'b1;
      if (fill && last_column) fill_line <= 1'b0;
      if (early) fill_frame <= 1'b1;
      if (ends_frame) fill_frame <= 1'b0;
      if (long_line) drop_line <= 1'b1;
      if (valid && drop_line && (user || last)) drop_line <= 1'b0;

      if (start) lost <= 1'b0;
      else if (no_start) lost <= 1'b1;
      if (any_error) bad <= 1'b1;
      else if (start) bad <= 1'b0;

      if (ends_frame) begin
        lines_to_flush <= LineBits'(LagLines);
        pixels_to_flush <= PixelBits'(LagPixels);
      end else if (flush) begin
        if (lines_to_flush != '0) begin
          if (last_column) lines_to_flush <= lines_to_flush - 1'b1;
        end else if (pixels_to_flush != '0) begin
          pixels_to_flush <= pixels_to_flush - 1'b1;
        end
      end

      if (send || !boundary) waited <= '0;
      else if (waited != WaitBits'(Longest)) waited <= waited + 1'b1;

      if (Fold > 1) begin
        if (send) pause <= FoldBits'(Fold - 1);
        else if (pause != '0) pause <= pause - 1'b1;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      columns <= 16'(InitialWidth - 1);
      rows <= 16'(InitialHeight - 1);
      single_column <= (InitialWidth == 1);
      single_row <= (InitialHeight == 1);
      loaded <= 1'b0;
      bypass_o <= 1'b0;
      first_column <= 1'b1;
      last_column <= (InitialWidth == 1);
      columns_left <= 16'(InitialWidth - 1);
      first_row <= 1'b1;
      last_row <= (InitialHeight == 1);
      rows_left <= 16'(InitialHeight - 1);
    end else begin
      if (load) loaded <= 1'b1;
      else if (start) loaded <= 1'b0;
      if (load) begin
        bypass_o <= bypass;
        columns <= width - 16'd1;
        rows <= height - 16'd1;
        single_column <= width == 16'd1;
        single_row <= height == 16'd1;
        last_column <= width == 16'd1;
        columns_left <= width - 16'd1;
        last_row <= height == 16'd1;
        rows_left <= height - 16'd1;
      end else if (send) begin
        first_column <= last_column;
        last_column <= last_column ? single_column : columns_left == 16'd1;
        columns_left <= last_column ? columns : columns_left - 16'd1;
        if (last_column && !flush) begin
          first_row <= last_row;
          last_row <= last_row ? single_row : rows_left == 16'd1;
          rows_left <= last_row ? rows : rows_left - 16'd1;
        end
      end
    end
  end

  // ---- Outputs ------------------------------------------------------------------------------
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      tags_o <= '0;
      started_o <= 1'b0;
      malformed_o <= 1'b0;
      errors_o <= '0;
    end else begin
      tags_o <= {last_column, first_column, last_row && !flush, first_row && !flush, !flush, send};
      started_o <= start;
      malformed_o <= any_error && (start || !bad);
      errors_o <= {no_start, early, long_line, short_line};
    end
  end
  assign columns_o = columns;
  assign rows_o = rows;
  always_ff @(posedge clk_i) data_o <= (start || take) ? data : '0;

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // Behind the sequencer rows and frames are whole, and no beat comes without room. No frame is taken
  // while the core is disabled.
  logic past_room, past_reset, past_states;
  logic [15:0] at_column, at_row, past_columns, past_rows;
  logic real_row;
  always_ff @(posedge clk_i) begin
    past_room <= room_i;
    past_states <= states_valid_i && states_taken_o;
    past_reset <= !rst_ni;
    past_columns <= columns;
    past_rows <= rows;
    if (!rst_ni) begin
      at_column <= '0;
      at_row <= '0;
    end else if (tags_o[fxp_pkg::Valid]) begin
      at_column <= tags_o[fxp_pkg::LastColumn] ? '0 : at_column + 16'd1;
      real_row <= tags_o[fxp_pkg::Real];
      if (tags_o[fxp_pkg::LastColumn] && tags_o[fxp_pkg::Real]) begin
        at_row <= tags_o[fxp_pkg::LastRow] ? '0 : at_row + 16'd1;
      end
    end
  end
  always_comb begin
    if (accept) assert (enable_i);
    assume (width_i >= 16'd1 && width_i <= 16'd3);
    assume (height_i >= 16'd1 && height_i <= 16'd3);
    if (started && rst_ni && !past_reset && tags_o[fxp_pkg::Valid]) begin
      assert (past_room);
      assert (tags_o[fxp_pkg::Real] == past_states);
      assert (tags_o[fxp_pkg::FirstColumn] == (at_column == 16'd0));
      assert (tags_o[fxp_pkg::LastColumn] == (at_column == past_columns));
      if (at_column != 16'd0) assert (tags_o[fxp_pkg::Real] == real_row);
      if (tags_o[fxp_pkg::Real]) assert (tags_o[fxp_pkg::FirstRow] == (at_row == 16'd0));
      if (tags_o[fxp_pkg::Real]) assert (tags_o[fxp_pkg::LastRow] == (at_row == past_rows));
      if (!tags_o[fxp_pkg::Real]) begin
        assert (at_row == 16'd0 && !tags_o[fxp_pkg::FirstRow] && !tags_o[fxp_pkg::LastRow]);
      end
      assert (at_column < 16'd3 && at_row < 16'd3);
    end
  end
`endif
endmodule
