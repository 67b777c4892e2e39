// Pixels as they come back from a compressed line, and their codes for the line memories behind.
//
// Groups of eight neighbouring pixels of a row, the last one shorter, have a header, {shift, base}
// for each channel; every pixel has its own delta. A pixel leaves Lag = 7 beats and Latency = 12
// clocks late, when its group is complete, with the header of the group beside it. Rows of any
// length may follow each other: the headers of up to eight short ones wait in a queue.
module fxp_line_codec #(
  parameter int   Channels  = 1,
  parameter int   Width     = 14,
  parameter int   BaseBits  = 12,
  parameter int   DeltaBits = 5,
  parameter logic Signed    = 1'b0
) (
  input  logic                                clk_i,
  input  logic                                rst_ni,
  input  logic [5:0]                          tags_i,
  input  logic [Channels*Width-1:0]           data_i,
  output logic [5:0]                          tags_o,
  output logic [Channels*Width-1:0]           data_o,
  output logic [Channels*DeltaBits-1:0]       delta_o,
  output logic [Channels*(BaseBits+4)-1:0]    header_o
);
  localparam int Lag = 7;
  localparam int HeaderBits = BaseBits + 4;
  // Clocks at which the header of a group is complete, and at which queue and pixels are read.
  localparam int Pushed = 3;
  localparam int Popped = Pushed + 1;
  localparam int Read = Popped + 1;
  // Beats that may wait: the lag, those of the clocks in between, and a margin.
  localparam int Depth = 16;

  // ---- Where groups begin and end ------------------------------------------------------------
  // After reset a few beats may come before the first row; they belong to no group.
  logic valid, began, placed;
  logic [2:0] place, next_place;
  logic starts, ends;
  assign valid = tags_i[fxp_pkg::Valid];
  assign placed = tags_i[fxp_pkg::FirstColumn] || began;
  assign place = tags_i[fxp_pkg::FirstColumn] ? 3'd0 : next_place;
  assign starts = placed && place == 3'd0;
  assign ends = placed && (place == 3'd7 || tags_i[fxp_pkg::LastColumn]);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      began <= 1'b0;
      next_place <= '0;
    end else if (valid) begin
      began <= placed;
      next_place <= place + 3'd1;
    end
  end

  // The beat that leaves: whether it begins a group, and whether there is one at all.
  logic [Lag-1:0] past_starts, past_beats;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      past_starts <= '0;
      past_beats <= '0;
    end else if (valid) begin
      past_starts <= {past_starts[Lag-2:0], starts};
      past_beats <= {past_beats[Lag-2:0], 1'b1};
    end
  end

  logic [Pushed-1:0] push;
  logic [Popped+1:0] pop;
  logic [Read-1:0] read;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      push <= '0;
      pop <= '0;
      read <= '0;
    end else begin
      push <= {push[Pushed-2:0], valid && ends};
      pop <= {pop[Popped:0], valid && past_starts[Lag-1]};
      read <= {read[Read-2:0], valid && past_beats[Lag-1]};
    end
  end

  logic [5:0] late_tags;
  logic [6*12-1:0] tags_at;
  fxp_tag_delay #(.Lines(0), .Pixels(Lag)) u_lag (
    .clk_i, .rst_ni, .tags_i, .tags_o(late_tags)
  );
  fxp_tags #(.Clocks(11)) u_tags (.clk_i, .rst_ni, .tags_i(late_tags), .taps_o(tags_at));
  assign tags_o = tags_at[6*11+:6];
  logic unused_tags;
  assign unused_tags = ^tags_at;

  // ---- Headers -------------------------------------------------------------------------------
  logic [Channels*Width-1:0] offset;
  logic [Channels*HeaderBits-1:0] headers, queued, header;
  for (genvar c = 0; c < Channels; c++) begin : gen_header
    logic [Width-1:0] value, smallest, largest, span;
    logic [BaseBits-1:0] smallest_base, base;
    logic [3:0] shift;
    assign value = data_i[c*Width+:Width] ^ (Width'(Signed) << (Width - 1));
    assign offset[c*Width+:Width] = value;
    always_ff @(posedge clk_i) begin
      if (valid) begin
        if (starts || value < smallest) smallest <= value;
        if (starts || value > largest) largest <= value;
      end
    end

    assign smallest_base = smallest[Width-1-:BaseBits];
    always_ff @(posedge clk_i) begin
      base <= smallest_base;
      span <= largest - (Width'(smallest_base) << (Width - BaseBits));
    end

    always_comb begin
      shift = 4'd0;
      for (int b = DeltaBits; b < Width; b++) begin
        if (span[b]) shift = 4'(b - DeltaBits + 1);
      end
    end
    always_ff @(posedge clk_i) headers[c*HeaderBits+:HeaderBits] <= {shift, base};
  end

  fxp_lag_buffer #(.Width(Channels * HeaderBits), .Depth(Depth)) u_headers (
    .clk_i, .rst_ni, .write_i(push[Pushed-1]), .data_i(headers), .read_i(pop[Popped-1]),
    .data_o(queued)
  );
  always_ff @(posedge clk_i) if (pop[Popped+1]) header <= queued;

  // ---- Deltas --------------------------------------------------------------------------------
  logic [Channels*Width-1:0] waited;
  logic [Channels*DeltaBits-1:0] deltas;
  logic [Channels*HeaderBits-1:0] delta_header;
  fxp_lag_buffer #(.Width(Channels * Width), .Depth(Depth)) u_pixels (
    .clk_i, .rst_ni, .write_i(valid), .data_i(offset), .read_i(read[Read-1]), .data_o(waited)
  );
  fxp_delay #(.Width(Channels * HeaderBits), .Clocks(3)) u_delta_header (
    .clk_i, .data_i(header), .data_o(delta_header)
  );
  for (genvar c = 0; c < Channels; c++) begin : gen_delta
    logic [BaseBits-1:0] base;
    logic [3:0] shift;
    logic [Width-1:0] distance;
    // The delta with one more bit behind the point, by which it is rounded.
    logic [Width:0] doubled, shifted;
    logic [DeltaBits-1:0] truncated, delta;
    logic half, unused_bits;
    assign base = header[c*HeaderBits+:BaseBits];
    always_ff @(posedge clk_i) begin
      shift <= header[c*HeaderBits+BaseBits+:4];
      distance <= waited[c*Width+:Width] - (Width'(base) << (Width - BaseBits));
    end

    assign doubled = {distance, 1'b0};
    assign shifted = doubled >> shift;
    always_ff @(posedge clk_i) {truncated, half} <= shifted[DeltaBits:0];
    assign unused_bits = ^shifted;

    always_ff @(posedge clk_i) delta <= truncated + DeltaBits'(half && !(&truncated));
    assign deltas[c*DeltaBits+:DeltaBits] = delta;
  end

  // ---- What comes back -----------------------------------------------------------------------
  fxp_line_decode #(
    .Fields(Channels), .Width(Width), .BaseBits(BaseBits), .DeltaBits(DeltaBits), .Signed(Signed)
  ) u_decode (
    .clk_i, .header_i(delta_header), .delta_i(deltas), .data_o
  );
  fxp_delay #(.Width(Channels * DeltaBits), .Clocks(2)) u_delta (
    .clk_i, .data_i(deltas), .data_o(delta_o)
  );
  fxp_delay #(.Width(Channels * HeaderBits), .Clocks(2)) u_header (
    .clk_i, .data_i(delta_header), .data_o(header_o)
  );

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // Whole rows, of any lengths, and before the first one beats without a place.
  logic in_row;
  always_ff @(posedge clk_i) begin
    if (!rst_ni)    in_row <= 1'b0;
    else if (valid) begin
      in_row <= !tags_i[fxp_pkg::LastColumn] && (tags_i[fxp_pkg::FirstColumn] || in_row);
    end
  end
  always_comb begin
    if (valid) begin
      if (began) assume (tags_i[fxp_pkg::FirstColumn] == !in_row);
      else if (!tags_i[fxp_pkg::FirstColumn]) assume (!tags_i[fxp_pkg::LastColumn]);
    end
  end

  // Both queues hold what is read from them, and have room for what is written.
  logic [5:0] stored_headers, stored_pixels;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      stored_headers <= '0;
      stored_pixels <= '0;
    end else begin
      stored_headers <= stored_headers + 6'(push[Pushed-1]) - 6'(pop[Popped-1]);
      stored_pixels <= stored_pixels + 6'(valid) - 6'(read[Read-1]);
    end
  end
  always_comb begin
    if (started && rst_ni) begin
      if (pop[Popped-1]) assert (stored_headers != '0);
      if (push[Pushed-1]) assert (stored_headers < 6'(Depth));
      if (read[Read-1]) assert (stored_pixels != '0);
      if (valid) assert (stored_pixels < 6'(Depth));
    end
  end
`endif
endmodule
