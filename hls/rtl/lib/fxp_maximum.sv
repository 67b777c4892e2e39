// The largest of all taps, channel by channel: a tree of comparisons, each level behind a register.
// Field t * Channels + c of taps_i is channel c of tap t. Latency: clog2(Taps).
module fxp_maximum #(
  parameter int Taps     = 4,
  parameter int Channels = 1,
  parameter int Width    = 8,
  parameter logic Signed = 1'b1
) (
  input  logic                           clk_i,
  input  logic [Taps*Channels*Width-1:0] taps_i,
  output logic [Channels*Width-1:0]      data_o
);
  localparam int Levels = $clog2(Taps);
  localparam int Bits = Channels * Width;
  if (Levels == 0) begin : gen_wire
    logic unused_clk;
    assign unused_clk = clk_i;
  end
  for (genvar l = 0; l <= Levels; l++) begin : gen_level
    localparam int Nodes = (Taps + (1 << l) - 1) >> l;
    localparam int NodesBelow = (l == 0) ? 0 : (Taps + (1 << (l - 1)) - 1) >> (l - 1);
    for (genvar n = 0; n < Nodes; n++) begin : gen_node
      logic [Bits-1:0] values;
      if (l == 0) begin : gen_tap
        assign values = taps_i[n*Bits+:Bits];
      end else if (2 * n + 1 < NodesBelow) begin : gen_pair
        for (genvar c = 0; c < Channels; c++) begin : gen_channel
          logic [Width-1:0] left, right;
          logic larger;
          assign left = gen_level[l-1].gen_node[2*n].values[c*Width+:Width];
          assign right = gen_level[l-1].gen_node[2*n+1].values[c*Width+:Width];
          if (Signed) begin : gen_signed
            assign larger = $signed(right) > $signed(left);
          end else begin : gen_unsigned
            assign larger = right > left;
          end
          always_ff @(posedge clk_i) values[c*Width+:Width] <= larger ? right : left;
        end
      end else begin : gen_single
        always_ff @(posedge clk_i) values <= gen_level[l-1].gen_node[2*n].values;
      end
    end
  end
  assign data_o = gen_level[Levels].gen_node[0].values;

`ifdef FORMAL
  // No tap of some clocks ago was larger, and one was as large.
  localparam int Depth = (Levels == 0) ? 1 : Levels;
  logic [Depth-1:0] known = '0;
  logic [Depth*Taps*Bits-1:0] past;
  logic [Taps*Bits-1:0] then;
  always_ff @(posedge clk_i) begin
    known <= (known << 1) | Depth'(1);
    past <= (past << (Taps * Bits)) | taps_i;
  end
  assign then = past[(Depth-1)*Taps*Bits+:Taps*Bits];
  for (genvar c = 0; c < Channels; c++) begin : gen_formal
    logic [Taps-1:0] larger, equal;
    for (genvar t = 0; t < Taps; t++) begin : gen_tap
      logic [Width-1:0] tap, out;
      assign tap = then[(t*Channels+c)*Width+:Width];
      assign out = data_o[c*Width+:Width];
      assign equal[t] = tap == out;
      assign larger[t] = Signed ? $signed(tap) > $signed(out) : tap > out;
    end
    always_comb if (known[Depth-1]) assert (larger == '0 && equal != '0);
  end
`endif
endmodule
