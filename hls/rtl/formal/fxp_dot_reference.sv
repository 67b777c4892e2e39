// What fxp_dot and the modules like it must compute, product by product; for proofs alone.
module fxp_dot_reference #(
  parameter int Taps        = 1,
  parameter int Channels    = 1,
  parameter int Groups      = 1,
  parameter int Outputs     = 1,
  parameter int DataWidth   = 8,
  parameter logic DataSigned  = 1'b0,
  parameter int WeightWidth = 10,
  parameter int SumWidth    = 20,
  parameter logic [Outputs*Taps*(Channels/Groups)*WeightWidth-1:0] Weights = '0,
  parameter logic [Outputs*SumWidth-1:0]                           Biases  = '0
) (
  input  logic [Taps*Channels*DataWidth-1:0] taps_i,
  output logic [Outputs*SumWidth-1:0]        sums_o
);
  localparam int Inputs = Channels / Groups;
  localparam int Products = Taps * Inputs;
  for (genvar o = 0; o < Outputs; o++) begin : gen_output
    localparam int First = (o / (Outputs / Groups)) * Inputs;
    logic [(Products+1)*SumWidth-1:0] partial;
    assign partial[0+:SumWidth] = Biases[o*SumWidth+:SumWidth];
    for (genvar n = 0; n < Products; n++) begin : gen_product
      localparam int Field = (n / Inputs) * Channels + First + n % Inputs;
      logic signed [WeightWidth-1:0] weight;
      logic [DataWidth-1:0] value;
      logic signed [DataWidth:0] factor;
      assign weight = Weights[(o*Products+n)*WeightWidth+:WeightWidth];
      assign value = taps_i[Field*DataWidth+:DataWidth];
      assign factor = {DataSigned && value[DataWidth-1], value};
      assign partial[(n+1)*SumWidth+:SumWidth] =
          partial[n*SumWidth+:SumWidth] + SumWidth'(weight) * SumWidth'(factor);
    end
    assign sums_o[o*SumWidth+:SumWidth] = partial[Products*SumWidth+:SumWidth];
  end
endmodule
