// Blocks of Scale x Scale pixels into raster lines of the enlarged image, Scale**2 pixels per beat.
//
// Two lines of blocks are kept in turn: one is written while the lines of the other are read. The
// last beat of a line holds the pixels that are left, as tkeep says.
module fxp_raster #(
  parameter int Scale    = 2,
  parameter int Bytes    = 1,   // of a pixel
  parameter int MaxWidth = 16   // in blocks
) (
  input  logic                             clk_i,
  input  logic                             rst_ni,
  input  logic [8*Bytes*Scale*Scale-1:0]   tdata_i,
  input  logic                             tvalid_i,
  output logic                             tready_o,
  input  logic                             tuser_i,
  input  logic                             tlast_i,
  input  logic                             frame_last_i,
  output logic [8*Bytes*Scale*Scale-1:0]   tdata_o,
  output logic [Bytes*Scale*Scale-1:0]     tkeep_o,
  output logic                             tvalid_o,
  input  logic                             tready_i,
  output logic                             tuser_o,
  output logic                             tlast_o,
  output logic                             frame_last_o
);
  localparam int Word = 8 * Bytes * Scale;  // the pixels of one line of a block
  localparam int Depth = (MaxWidth + Scale - 1) / Scale;
  localparam int AddressBits = (Depth == 1) ? 1 : $clog2(Depth);
  localparam int PartBits = (Scale == 1) ? 1 : $clog2(Scale);
  localparam logic [PartBits-1:0] LastPart = PartBits'(Scale - 1);

  // What is known of the two kept lines.
  logic [1:0] full, begins_frame, ends_frame;
  logic [2*AddressBits-1:0] last_address;  // of a line's last beat
  logic [2*PartBits-1:0] last_part;        // and the last block in it

  // ---- Writing: block `part` of beat `write_address` ------------------------------------------
  logic write_line, read_line, write, first_block;
  logic [AddressBits-1:0] write_address, read_address;
  logic [PartBits-1:0] part, row;
  // A line may be overwritten behind the last reading of it, but not ended: what is known of the
  // line that is read must stay.
  assign tready_o = !full[write_line] || (read_line == write_line && row == LastPart &&
                                          read_address > write_address && !tlast_i);
  assign write = tvalid_i && tready_o;

  // ---- Reading: line `row` of the blocks ------------------------------------------------------
  logic read, line_done, row_done, moves, read_valid, kept_moves, kept_valid, out_moves;
  assign out_moves = !tvalid_o || tready_i;
  assign kept_moves = !kept_valid || out_moves;
  assign moves = !read_valid || kept_moves;
  assign read = full[read_line] && moves;
  assign row_done = read_address == last_address[int'(read_line)*AddressBits+:AddressBits];
  assign line_done = row_done && row == LastPart;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      full <= '0;
      write_line <= 1'b0;
      write_address <= '0;
      part <= '0;
      first_block <= 1'b1;
      read_line <= 1'b0;
      read_address <= '0;
      row <= '0;
      read_valid <= 1'b0;
      kept_valid <= 1'b0;
      tvalid_o <= 1'b0;
    end else begin
      if (write) begin
        first_block <= tlast_i;
        if (tlast_i) begin
          write_line <= !write_line;
          write_address <= '0;
          part <= '0;
        end else if (part == LastPart) begin
          write_address <= write_address + 1'b1;
          part <= '0;
        end else begin
          part <= part + 1'b1;
        end
      end
      if (read) begin
        read_address <= row_done ? '0 : read_address + 1'b1;
        if (row_done) row <= (row == LastPart) ? '0 : row + 1'b1;
        if (line_done) read_line <= !read_line;
      end
      for (int l = 0; l < 2; l++) begin
        if (write && tlast_i && write_line == l[0]) full[l] <= 1'b1;
        else if (read && line_done && read_line == l[0]) full[l] <= 1'b0;
      end
      if (moves) read_valid <= read;
      if (kept_moves) kept_valid <= read_valid;
      if (out_moves) tvalid_o <= kept_valid;
    end
  end

  // The start of the next line may be written before the end of the last one is read, so a line's
  // tags are kept until it is complete.
  logic starts_frame;
  always_ff @(posedge clk_i) begin
    if (write && first_block) starts_frame <= tuser_i;
    for (int l = 0; l < 2; l++) begin
      if (write && tlast_i && write_line == l[0]) begin
        begins_frame[l] <= first_block ? tuser_i : starts_frame;
        ends_frame[l] <= frame_last_i;
        last_address[l*AddressBits+:AddressBits] <= write_address;
        last_part[l*PartBits+:PartBits] <= part;
      end
    end
  end

  // ---- Memories: one for each place in a beat and line of a block ----------------------------
  logic [Scale*Scale*Word-1:0] words;  // [line of the block][place]
  for (genvar r = 0; r < Scale; r++) begin : gen_row
    for (genvar p = 0; p < Scale; p++) begin : gen_place
      // No place is read while it is written, so no logic has to keep what it held before.
      (* no_rw_check *) logic [Word-1:0] memory [0:2*Depth-1];
      logic [Word-1:0] word;
      localparam int AllBits = $clog2(2 * Depth);
      logic [AllBits-1:0] write_to, read_from;
      assign write_to = AllBits'(write_address) + (write_line ? AllBits'(Depth) : '0);
      assign read_from = AllBits'(read_address) + (read_line ? AllBits'(Depth) : '0);
      always_ff @(posedge clk_i) begin
        if (write && part == PartBits'(p)) memory[write_to] <= tdata_i[r*Word+:Word];
        if (read) word <= memory[read_from];
      end
      logic [Word-1:0] kept;
      always_ff @(posedge clk_i) if (kept_moves) kept <= word;
      assign words[(r*Scale+p)*Word+:Word] = kept;
    end
  end

  logic [PartBits-1:0] read_row, read_part, kept_row, kept_part;
  logic read_user, read_last, read_frame_last, kept_user, kept_last, kept_frame_last;
  always_ff @(posedge clk_i) begin
    if (read) begin
      read_row <= row;
      read_part <= row_done ? last_part[int'(read_line)*PartBits+:PartBits] : LastPart;
      read_user <= begins_frame[read_line] && row == '0 && read_address == '0;
      read_last <= row_done;
      read_frame_last <= line_done && ends_frame[read_line];
    end
    if (kept_moves) begin
      kept_row <= read_row;
      kept_part <= read_part;
      kept_user <= read_user;
      kept_last <= read_last;
      kept_frame_last <= read_frame_last;
    end
    if (out_moves) begin
      tuser_o <= kept_user;
      tlast_o <= kept_last;
      frame_last_o <= kept_frame_last;
      for (int p = 0; p < Scale; p++) begin
        tkeep_o[p*Scale*Bytes+:Scale*Bytes] <= {(Scale * Bytes) {p <= int'(kept_part)}};
        tdata_o[p*Word+:Word] <= (p <= int'(kept_part)) ?
            words[(int'(kept_row)*Scale+p)*Word+:Word] : '0;
      end
    end
  end

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni && !tvalid_i);

  // As many pixels leave as came: those that wait are where the counters say.
  localparam int Bits = $clog2(2 * (MaxWidth + 2) * Scale * Scale) + 1;
  logic [Bits-1:0] waiting, writing;
  logic [2*Bits-1:0] blocks, unread;
  assign writing = Bits'(write_address) * Bits'(Scale) + Bits'(part);
  for (genvar l = 0; l < 2; l++) begin : gen_formal_line
    assign blocks[l*Bits+:Bits] =
        Bits'(last_address[l*AddressBits+:AddressBits]) * Bits'(Scale) +
        Bits'(last_part[l*PartBits+:PartBits]) + Bits'(1);
    assign unread[l*Bits+:Bits] =
        !full[l] ? '0 : (read_line != l[0]) ? blocks[l*Bits+:Bits] * Bits'(Scale * Scale) :
        blocks[l*Bits+:Bits] * Bits'(Scale) * (Bits'(Scale) - Bits'(row)) -
        Bits'(read_address) * Bits'(Scale * Scale);
    always_comb begin
      if (started && full[l]) begin
        assert (last_part[l*PartBits+:PartBits] <= LastPart);
        assert (blocks[l*Bits+:Bits] <= Bits'(MaxWidth));
        if (read_line == l[0]) begin
          assert (read_address <= last_address[l*AddressBits+:AddressBits]);
        end
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) waiting <= '0;
    else begin
      waiting <= waiting + (write ? Bits'(Scale * Scale) : '0) -
                 ((tvalid_o && tready_i) ? Bits'($countones(tkeep_o) / Bytes) : '0);
    end
  end
  logic past_waits = 1'b0;
  logic [(8*Scale+1)*Bytes*Scale+2:0] offer, past_offer;
  assign offer = {tdata_o, tkeep_o, tuser_o, tlast_o, frame_last_o};
  always_ff @(posedge clk_i) begin
    past_waits <= rst_ni && tvalid_o && !tready_i;
    past_offer <= offer;
  end
  always_comb begin
    if (writing == Bits'(MaxWidth - 1)) assume (tlast_i);
    if (started) begin
      assert (waiting == writing * Bits'(Scale * Scale) + unread[0+:Bits] + unread[Bits+:Bits] +
              (read_valid ? (Bits'(read_part) + Bits'(1)) * Bits'(Scale) : '0) +
              (kept_valid ? (Bits'(kept_part) + Bits'(1)) * Bits'(Scale) : '0) +
              (tvalid_o ? Bits'($countones(tkeep_o) / Bytes) : '0));
      assert (writing < Bits'(MaxWidth) && part <= LastPart && row <= LastPart);
      assert (!(write && read && write_line == read_line && write_address == read_address));
      assert (first_block == (writing == '0));
      if (read_valid) assert (read_part <= LastPart);
      if (kept_valid) assert (kept_part <= LastPart);
      // Lines are written and read in turn; only behind the reader is one written again.
      if (full[0] == full[1]) assert (read_line == write_line);
      else assert (full[read_line] && read_line != write_line);
      if (!full[read_line]) assert (read_address == '0 && row == '0);
      if (full[write_line] && writing != '0) begin
        assert (row == LastPart && write_address <= read_address);
        if (part != '0) assert (write_address != read_address);
      end
      if (past_waits) assert (tvalid_o && offer == past_offer);
    end
  end

  // One place, any place: it is read once for each line of its blocks, then written again.
  (* anyconst *) logic place_line;
  (* anyconst *) logic [AddressBits-1:0] place;
  logic [PartBits:0] readings;
  logic reads, writes;
  assign reads = read && read_line == place_line && read_address == place;
  assign writes = write && write_line == place_line && write_address == place;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) readings <= '0;
    else if (write && tlast_i && write_line == place_line) begin
      readings <= (place <= write_address) ? (PartBits + 1)'(Scale) : '0;
    end else if (reads) readings <= readings - 1'b1;
  end
  always_comb begin
    assume (int'(place) < Depth);
    if (started) begin
      if (reads) assert (readings != '0);
      if (writes) assert (readings == '0);
      if (!full[place_line] || place > last_address[int'(place_line)*AddressBits+:AddressBits]) begin
        assert (readings == '0);
      end else if (read_line != place_line) begin
        assert (readings == (PartBits + 1)'(Scale));
      end else begin
        assert (readings == (PartBits + 1)'(Scale) - (PartBits + 1)'(row) -
                            (PartBits + 1)'(read_address > place));
      end
    end
  end
  logic past_reads;
  always_ff @(posedge clk_i) past_reads <= started && reads;
  for (genvar r = 0; r < Scale; r++) begin : gen_formal_row
    for (genvar p = 0; p < Scale; p++) begin : gen_place
      logic [Word-1:0] written, expected;
      logic [$clog2(2*Depth)-1:0] at;
      assign at = $clog2(2 * Depth)'(place) + (place_line ? $clog2(2 * Depth)'(Depth) : '0);
      always_ff @(posedge clk_i) begin
        if (writes && part == PartBits'(p)) written <= tdata_i[r*Word+:Word];
        expected <= written;
        if (!started) assume (gen_row[r].gen_place[p].memory[at] == written);
        if (!started) assume (!past_reads);
      end
      always_comb begin
        if (started) assert (gen_row[r].gen_place[p].memory[at] == written);
        if (started && past_reads) assert (gen_row[r].gen_place[p].word == expected);
      end
    end
  end
`endif
endmodule
