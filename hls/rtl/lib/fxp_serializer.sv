// Beats of several pixels into beats of fewer: Parts beats for each, less those without a pixel.
//
// tkeep_i marks the pixels of a beat, from the low bits up; the last beat of a line may be partly
// kept, and so may then be the last beat that leaves.
module fxp_serializer #(
  parameter int Parts = 4,
  parameter int Bytes = 1   // of the pixels of a beat that leaves
) (
  input  logic                     clk_i,
  input  logic                     rst_ni,
  input  logic [8*Bytes*Parts-1:0] tdata_i,
  input  logic [Bytes*Parts-1:0]   tkeep_i,
  input  logic                     tvalid_i,
  output logic                     tready_o,
  input  logic                     tuser_i,
  input  logic                     tlast_i,
  input  logic                     frame_last_i,
  output logic [8*Bytes-1:0]       tdata_o,
  output logic [Bytes-1:0]         tkeep_o,
  output logic                     tvalid_o,
  input  logic                     tready_i,
  output logic                     tuser_o,
  output logic                     tlast_o,
  output logic                     frame_last_o
);
  localparam int PartBits = (Parts == 1) ? 1 : $clog2(Parts);
  logic [PartBits-1:0] part;
  logic [Parts:0] kept;  // whether a part has a pixel
  logic moves, last_part;
  for (genvar p = 0; p < Parts; p++) begin : gen_part
    assign kept[p] = tkeep_i[p*Bytes];
  end
  assign kept[Parts] = 1'b0;
  assign last_part = !kept[int'(part)+1];
  assign moves = !tvalid_o || tready_i;
  assign tready_o = moves && last_part;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      part <= '0;
      tvalid_o <= 1'b0;
    end else if (moves) begin
      tvalid_o <= tvalid_i;
      if (tvalid_i) part <= last_part ? '0 : part + 1'b1;
    end
  end
  always_ff @(posedge clk_i) begin
    if (moves) begin
      tdata_o <= tdata_i[int'(part)*8*Bytes+:8*Bytes];
      tkeep_o <= tkeep_i[int'(part)*Bytes+:Bytes];
      tuser_o <= tuser_i && part == '0;
      tlast_o <= tlast_i && last_part;
      frame_last_o <= frame_last_i && last_part;
    end
  end

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // Pixels are kept from the low bits up, at least one; an offer stands until it is taken.
  logic past_waits_in, past_waits_out;
  logic [9*Bytes*Parts+2:0] offer, past_offer;
  logic [9*Bytes+2:0] out, past_out;
  assign offer = {tdata_i, tkeep_i, tuser_i, tlast_i, frame_last_i};
  assign out = {tdata_o, tkeep_o, tuser_o, tlast_o, frame_last_o};
  always_ff @(posedge clk_i) begin
    past_waits_in <= rst_ni && tvalid_i && !tready_o;
    past_offer <= offer;
    past_waits_out <= rst_ni && tvalid_o && !tready_i;
    past_out <= out;
  end
  // Bytes that left, and that came, of the beat that is being taken apart.
  localparam int Bits = $clog2(2 * Bytes * Parts + 1) + 1;
  logic [Bits-1:0] sent;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || (tvalid_i && tready_o)) sent <= '0;
    else if (tvalid_i && moves) sent <= sent + Bits'($countones(tkeep_i[int'(part)*Bytes+:Bytes]));
  end
  always_comb begin
    if (!started) assume (!past_waits_in && !past_waits_out);
    if (past_waits_in) assume (tvalid_i && offer == past_offer);
    assume (tkeep_i[0] && (tkeep_i & (tkeep_i + 1'b1)) == '0);
    if (started) begin
      assert (int'(part) < Parts);
      if (tvalid_i && part != '0) assert (kept[part]);
      if (part != '0) assert (past_waits_in);
      assert (sent == Bits'(part) * Bits'(Bytes));
      // With the last part all bytes of the beat have left.
      if (tvalid_i && tready_o) begin
        assert (sent + Bits'($countones(tkeep_i[int'(part)*Bytes+:Bytes])) ==
                Bits'($countones(tkeep_i)));
      end
      if (past_waits_out) assert (tvalid_o && out == past_out);
    end
  end
`endif
endmodule
