// Weighted sums of a whole frame, each pixel with weights of its own: one beat for each frame.
//
// Weights come from a memory two clocks after the address, the pixel's number in its frame: field
// o * Inputs + i is the weight of channel i in output o. Sums are modulo 2**SumWidth, which the final
// sum is proved to fit. Rows that are not real give a beat that is not real, as in fxp_frame_total.
// Latency: 5 + clog2(Inputs).
module fxp_linear #(
  parameter int Inputs        = 1,
  parameter int Outputs       = 1,
  parameter int AddressBits   = 4,
  parameter int DataWidth     = 8,
  parameter logic DataSigned  = 1'b0,
  parameter int WeightWidth   = 8,
  parameter int SumWidth      = 20,
  parameter logic [Outputs*SumWidth-1:0] Biases = '0
) (
  input  logic                                  clk_i,
  input  logic                                  rst_ni,
  input  logic [5:0]                            tags_i,
  input  logic [Inputs*DataWidth-1:0]           data_i,
  output logic [AddressBits-1:0]                address_o,
  input  logic [Outputs*Inputs*WeightWidth-1:0] weights_i,
  output logic [5:0]                            tags_o,
  output logic [Outputs*SumWidth-1:0]           sums_o
);
  localparam int Levels = $clog2(Inputs);
  localparam int FactorWidth = DataWidth + (DataSigned ? 0 : 1);
  localparam int ProductWidth = FactorWidth + WeightWidth;
  // Clocks until the sum of a pixel's products is there.
  localparam int Clocks = 4 + Levels;

  logic [AddressBits-1:0] next_address;
  assign address_o =
      (tags_i[fxp_pkg::FirstRow] && tags_i[fxp_pkg::FirstColumn]) ? '0 : next_address;
  always_ff @(posedge clk_i) begin
    if (!rst_ni)                     next_address <= '0;
    else if (tags_i[fxp_pkg::Valid] && tags_i[fxp_pkg::Real]) next_address <= address_o + 1'b1;
  end

  logic [6*(Clocks+1)-1:0] tags_at;
  fxp_tags #(.Clocks(Clocks)) u_tags (.clk_i, .rst_ni, .tags_i, .taps_o(tags_at));
  logic [5:0] tags;
  assign tags = tags_at[6*Clocks+:6];
  logic unused_tags;
  assign unused_tags = ^tags_at;
  logic begins, ends;
  assign begins = tags[fxp_pkg::FirstRow] && tags[fxp_pkg::FirstColumn];
  assign ends = tags[fxp_pkg::LastColumn] && (tags[fxp_pkg::LastRow] || !tags[fxp_pkg::Real]);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) tags_o <= '0;
    else         tags_o <= {2'b11, {3{tags[fxp_pkg::Real]}}, tags[fxp_pkg::Valid] && ends};
  end

  logic [Inputs*DataWidth-1:0] data;
  fxp_delay #(.Width(Inputs * DataWidth), .Clocks(2)) u_data (.clk_i, .data_i, .data_o(data));

  for (genvar o = 0; o < Outputs; o++) begin : gen_output
    for (genvar l = 0; l <= Levels; l++) begin : gen_level
      localparam int Nodes = (Inputs + (1 << l) - 1) >> l;
      localparam int NodesBelow = (l == 0) ? 0 : (Inputs + (1 << (l - 1)) - 1) >> (l - 1);
      for (genvar n = 0; n < Nodes; n++) begin : gen_node
        logic signed [SumWidth-1:0] sum;
        if (l == 0) begin : gen_product
          logic [DataWidth-1:0] operand;
          logic signed [FactorWidth-1:0] factor;
          logic signed [WeightWidth-1:0] weight;
          logic signed [ProductWidth-1:0] product;
          always_ff @(posedge clk_i) begin
            operand <= data[n*DataWidth+:DataWidth];
            weight <= weights_i[(o*Inputs+n)*WeightWidth+:WeightWidth];
          end
          if (DataSigned) begin : gen_signed
            assign factor = operand;
          end else begin : gen_unsigned
            assign factor = {1'b0, operand};
          end
          assign product = ProductWidth'(factor) * ProductWidth'(weight);
          logic unused_product;
          assign unused_product = ^product;
          always_ff @(posedge clk_i) sum <= SumWidth'(product);
        end else if (2 * n + 1 < NodesBelow) begin : gen_sum
          always_ff @(posedge clk_i) begin
            sum <= gen_level[l-1].gen_node[2*n].sum + gen_level[l-1].gen_node[2*n+1].sum;
          end
        end else begin : gen_single
          always_ff @(posedge clk_i) sum <= gen_level[l-1].gen_node[2*n].sum;
        end
      end
    end
    logic signed [SumWidth-1:0] bias, carried, total;
    assign bias = Biases[o*SumWidth+:SumWidth];
    assign carried = begins ? bias : total;
    always_ff @(posedge clk_i) begin
      if (tags[fxp_pkg::Valid] && tags[fxp_pkg::Real]) begin
        total <= carried + gen_level[Levels].gen_node[0].sum;
      end
    end
    assign sums_o[o*SumWidth+:SumWidth] = total;
  end

`ifdef FORMAL
  // Frames of one to four beats in any shape, and any weights: the first output is the sum that one
  // gets without a pipeline, so many clocks later.
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  localparam int Places = 4;
  localparam int WordBits = Outputs * Inputs * WeightWidth;
  (* anyconst *) logic [Places*WordBits-1:0] memory;
  logic [1:0] address_1, address_2;
  always_ff @(posedge clk_i) begin
    address_1 <= address_o[1:0];
    address_2 <= address_1;
  end
  always_comb assume (weights_i == memory[32'(address_2)*WordBits+:WordBits]);

  logic starts, real_beat, last_beat;
  assign starts = tags_i[fxp_pkg::FirstRow] && tags_i[fxp_pkg::FirstColumn];
  assign real_beat = tags_i[fxp_pkg::Valid] && tags_i[fxp_pkg::Real];
  assign last_beat = tags_i[fxp_pkg::Valid] && tags_i[fxp_pkg::LastColumn] &&
      (tags_i[fxp_pkg::LastRow] || !tags_i[fxp_pkg::Real]);
  logic [2:0] count, place;
  assign place = starts ? 3'd0 : count;
  always_comb if (real_beat) assume (starts || (count != 3'd0 && count < 3'(Places)));

  logic signed [SumWidth-1:0] added, so_far;
  always_comb begin
    added = '0;
    for (int i = 0; i < Inputs; i++) begin
      added = added + SumWidth'($signed(memory[32'(place)*WordBits+i*WeightWidth+:WeightWidth])) *
          (DataSigned ? SumWidth'($signed(data_i[i*DataWidth+:DataWidth]))
                      : SumWidth'(data_i[i*DataWidth+:DataWidth]));
    end
  end
  logic [Clocks*SumWidth-1:0] later;
  logic [Clocks-1:0] known;
  logic [Clocks:0] ended;
  always_ff @(posedge clk_i) begin
    later <= (Clocks * SumWidth)'({later, so_far});
    if (!rst_ni) begin
      count <= '0;
      known <= '0;
      ended <= '0;
    end else begin
      known <= Clocks'({known, count != 3'd0});
      ended <= (Clocks + 1)'({ended, last_beat});
      if (real_beat) begin
        count <= place + 3'd1;
        so_far <= (starts ? $signed(Biases[SumWidth-1:0]) : so_far) + added;
      end
    end
  end
  always_comb begin
    if (started) begin
      assert (tags_o[fxp_pkg::Valid] == ended[Clocks]);
      if (known[Clocks-1]) begin
        assert (sums_o[SumWidth-1:0] == later[(Clocks-1)*SumWidth+:SumWidth]);
      end
    end
  end
`endif
endmodule
