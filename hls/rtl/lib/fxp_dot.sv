// Weighted sums with constant weights: a multiplier per weight, then a tree of adders, each step
// behind a register, and each factor in a register of its own, close to its multiplier. Output o
// takes the channels of its group from every tap:
//
//   sum[o] = Biases[o] + sum over t, i of Weights[(o*Taps + t)*Inputs + i] * tap t, channel i
//
// with Inputs = Channels / Groups. Sums are modulo 2**SumWidth, which the final sum is proved to fit.
// Latency: 2 + clog2(leaves), where the leaves are Taps*Inputs products and, if any, the bias.
module fxp_dot #(
  parameter int Taps        = 1,
  parameter int Channels    = 1,
  parameter int Groups      = 1,
  parameter int Outputs     = 1,
  parameter int DataWidth   = 8,
  parameter logic DataSigned  = 1'b0,
  parameter int WeightWidth = 10,
  parameter int SumWidth    = 20,
  parameter logic HasBias     = 1'b0,
  parameter logic [Outputs*Taps*(Channels/Groups)*WeightWidth-1:0] Weights = '0,
  parameter logic [Outputs*SumWidth-1:0]                           Biases  = '0
) (
  input  logic                               clk_i,
  input  logic [Taps*Channels*DataWidth-1:0] taps_i,
  output logic [Outputs*SumWidth-1:0]        sums_o
);
  localparam int Inputs = Channels / Groups;
  localparam int Products = Taps * Inputs;
  localparam int Leaves = Products + (HasBias ? 1 : 0);
  localparam int Levels = $clog2(Leaves);
  localparam int FactorWidth = DataWidth + (DataSigned ? 0 : 1);
  localparam int ProductWidth = FactorWidth + WeightWidth;

  // Where weights are zero, nothing reads a tap, or even the clock.
  logic unused_inputs;
  assign unused_inputs = ^{taps_i, clk_i};

  for (genvar o = 0; o < Outputs; o++) begin : gen_output
    localparam int Group = o / (Outputs / Groups);
    for (genvar l = 0; l <= Levels; l++) begin : gen_level
      localparam int Nodes = (Leaves + (1 << l) - 1) >> l;
      localparam int NodesBelow = (l == 0) ? 0 : (Leaves + (1 << (l - 1)) - 1) >> (l - 1);
      for (genvar n = 0; n < Nodes; n++) begin : gen_node
        // The bias is the last leaf and may be as wide as the sum.
        localparam logic Full = (ProductWidth + l > SumWidth) || (HasBias && n == Nodes - 1);
        localparam int Bits = (Full || l == Levels) ? SumWidth : ProductWidth + l;
        logic signed [Bits-1:0] sum;
        if (l == 0 && n == Products) begin : gen_bias
          assign sum = Biases[o*SumWidth+:SumWidth];
        end else if (l == 0) begin : gen_product
          localparam int Field = (n / Inputs) * Channels + Group * Inputs + n % Inputs;
          localparam logic signed [WeightWidth-1:0] Weight =
              Weights[(o*Products+n)*WeightWidth+:WeightWidth];
          if (Weight == 0) begin : gen_zero
            assign sum = '0;
          end else begin : gen_multiplier
            logic signed [FactorWidth-1:0] factor;
            logic [DataWidth-1:0] operand;
            always_ff @(posedge clk_i) operand <= taps_i[Field*DataWidth+:DataWidth];
            if (DataSigned) begin : gen_signed
              assign factor = operand;
            end else begin : gen_unsigned
              assign factor = {1'b0, operand};
            end
            logic signed [ProductWidth-1:0] product;
            assign product = ProductWidth'(factor) * ProductWidth'(Weight);
            logic unused_product;  // high bits, where the proof needs fewer
            assign unused_product = ^product;
            always_ff @(posedge clk_i) sum <= Bits'(product);
          end
        end else if (2 * n + 1 < NodesBelow) begin : gen_sum
          always_ff @(posedge clk_i) begin
            sum <= Bits'(gen_level[l-1].gen_node[2*n].sum) +
                Bits'(gen_level[l-1].gen_node[2*n+1].sum);
          end
        end else begin : gen_single
          always_ff @(posedge clk_i) sum <= Bits'(gen_level[l-1].gen_node[2*n].sum);
        end
      end
    end
    assign sums_o[o*SumWidth+:SumWidth] = gen_level[Levels].gen_node[0].sum;
  end

`ifdef FORMAL
  // The sums of the taps of some clocks ago, product by product.
  localparam int Latency = 2 + Levels;
  logic [Latency-1:0] known = '0;
  logic [Latency*Taps*Channels*DataWidth-1:0] past;
  logic [Taps*Channels*DataWidth-1:0] then;
  always_ff @(posedge clk_i) begin
    known <= (known << 1) | Latency'(1);
    past <= (past << (Taps * Channels * DataWidth)) | taps_i;
  end
  assign then = past[(Latency-1)*Taps*Channels*DataWidth+:Taps*Channels*DataWidth];
  logic [Outputs*SumWidth-1:0] wanted;
  fxp_dot_reference #(
    .Taps(Taps), .Channels(Channels), .Groups(Groups), .Outputs(Outputs), .DataWidth(DataWidth),
    .DataSigned(DataSigned), .WeightWidth(WeightWidth), .SumWidth(SumWidth), .Weights(Weights),
    .Biases(HasBias ? Biases : '0)
  ) u_wanted (
    .taps_i(then), .sums_o(wanted)
  );
  always_comb if (known[Latency-1]) assert (sums_o == wanted);
`endif
endmodule
