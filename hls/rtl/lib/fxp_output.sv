// Real beats into a FIFO, and from there to AXI4-Stream, every field in whole bytes.
//
// room_o falls in time for all beats that may still be under way: PipelineClocks of them.
module fxp_output #(
  parameter int Fields         = 1,
  parameter int Width          = 8,
  parameter logic Signed         = 1'b0,
  parameter int Bytes          = 1,
  parameter int PipelineClocks = 16,
  parameter int Depth          = 64
) (
  input  logic                      clk_i,
  input  logic                      rst_ni,
  input  logic [5:0]                tags_i,
  input  logic [Fields*Width-1:0]   data_i,
  output logic                      room_o,
  output logic [8*Bytes*Fields-1:0] tdata_o,
  output logic                      tvalid_o,
  input  logic                      tready_i,
  output logic                      tuser_o,
  output logic                      tlast_o,
  // The beat is the last one of its frame.
  output logic                      frame_last_o
);
  localparam int Bits = Fields * Width + 3;
  localparam int AddressBits = $clog2(Depth);
  localparam logic [AddressBits-1:0] LastAddress = AddressBits'(Depth - 1);
  // Two clocks pass until a beat counts, two more until the sequencer heeds the answer.
  localparam logic [AddressBits:0] Threshold = (AddressBits + 1)'(Depth - PipelineClocks - 6);

  // No place is read while it is written, so no logic has to keep what it held before.
  (* no_rw_check *) logic [Bits-1:0] memory [0:Depth-1];
  logic [Bits-1:0] in, read, out;
  logic write, write_next, read_enable, read_valid, read_moves;
  logic [AddressBits-1:0] write_address, read_address;
  logic [AddressBits:0] stored;

  // The frame's first pixel and its last, and the last of a line.
  always_ff @(posedge clk_i) begin
    in <= {
      tags_i[fxp_pkg::LastColumn] && tags_i[fxp_pkg::LastRow],
      tags_i[fxp_pkg::LastColumn],
      tags_i[fxp_pkg::FirstColumn] && tags_i[fxp_pkg::FirstRow],
      data_i
    };
  end
  assign write_next = tags_i[fxp_pkg::Valid] && tags_i[fxp_pkg::Real];
  assign read_moves = !read_valid || !tvalid_o || tready_i;
  assign read_enable = stored != '0 && read_moves;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write <= 1'b0;
      write_address <= '0;
      read_address <= '0;
      stored <= '0;
      read_valid <= 1'b0;
      tvalid_o <= 1'b0;
      room_o <= 1'b0;
    end else begin
      write <= write_next;
      if (write) write_address <= (write_address == LastAddress) ? '0 : write_address + 1'b1;
      if (read_enable) read_address <= (read_address == LastAddress) ? '0 : read_address + 1'b1;
      if (write && !read_enable) stored <= stored + 1'b1;
      else if (!write && read_enable) stored <= stored - 1'b1;
      if (read_moves) read_valid <= read_enable;
      if (!tvalid_o || tready_i) tvalid_o <= read_valid;
      room_o <= stored < Threshold;
    end
  end

  always_ff @(posedge clk_i) begin
    if (write) memory[write_address] <= in;
    if (read_enable) read <= memory[read_address];
  end
  always_ff @(posedge clk_i) if (!tvalid_o || tready_i) out <= read;

  assign {frame_last_o, tlast_o, tuser_o} = out[Bits-1-:3];
  for (genvar f = 0; f < Fields; f++) begin : gen_field
    if (Signed) begin : gen_signed
      assign tdata_o[8*Bytes*f+:8*Bytes] = (8 * Bytes)'($signed(out[f*Width+:Width]));
    end else begin : gen_unsigned
      assign tdata_o[8*Bytes*f+:8*Bytes] = (8 * Bytes)'(out[f*Width+:Width]);
    end
  end

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // The core behind the sequencer: beats come for so many clocks after room falls, and no longer.
  localparam int Grace = PipelineClocks + 2;
  logic [AddressBits:0] low;  // clocks without room
  always_ff @(posedge clk_i) begin
    if (!rst_ni || room_o) low <= '0;
    else if (low != '1) low <= low + 1'b1;
  end
  always_comb if (!room_o && low >= (AddressBits + 1)'(Grace)) assume (!write_next);
  logic [Bits-1:0] past_out;
  logic past_waits;
  always_ff @(posedge clk_i) begin
    past_out <= out;
    past_waits <= rst_ni && tvalid_o && !tready_i;
  end
  always_comb begin
    if (started) begin
      assert (stored <= (AddressBits + 1)'(Depth));
      assert (!(write && read_enable && write_address == read_address));
      // In its words: what is stored, and what may still come.
      if (room_o) assert (stored <= Threshold);
      else if (low <= (AddressBits + 1)'(Grace)) assert (stored <= Threshold + 1 + low);
      else assert (stored + {{AddressBits{1'b0}}, write} <=
                   Threshold + 2 + (AddressBits + 1)'(Grace));
      assert ((AddressBits + 1)'(write_address) - (AddressBits + 1)'(read_address) == stored ||
              (AddressBits + 1)'(write_address) + (AddressBits + 1)'(Depth) ==
              (AddressBits + 1)'(read_address) + stored);
      assert (write_address <= LastAddress && read_address <= LastAddress);
      if (past_waits) assert (tvalid_o && out == past_out);
    end
    if (!started) assume (!past_waits);
  end
`endif
endmodule
