// Multiplies negative fields by their slope, the others by 2**SlopeFrac. Latency 3.
module fxp_prelu #(
  parameter int Fields     = 1,
  parameter int InWidth    = 14,
  parameter int SlopeWidth = 10,
  parameter int SlopeFrac  = 8,
  parameter int OutWidth   = 24,
  parameter logic [Fields*SlopeWidth-1:0] Slopes = '0
) (
  input  logic                       clk_i,
  input  logic [Fields*InWidth-1:0]  data_i,
  output logic [Fields*OutWidth-1:0] data_o
);
  localparam int ProductWidth = InWidth + SlopeWidth;
  localparam int ShiftedWidth = InWidth + SlopeFrac;
  localparam int Wide = (ProductWidth > OutWidth) ? ProductWidth : OutWidth;
  localparam int Widest = (ShiftedWidth > Wide) ? ShiftedWidth : Wide;
  for (genvar f = 0; f < Fields; f++) begin : gen_field
    localparam logic signed [SlopeWidth-1:0] Slope = Slopes[f*SlopeWidth+:SlopeWidth];
    logic signed [InWidth-1:0] value, operand, kept;
    logic signed [ProductWidth-1:0] product;
    logic signed [Widest-1:0] chosen;
    logic [OutWidth-1:0] out;
    assign value = data_i[f*InWidth+:InWidth];
    always_ff @(posedge clk_i) begin
      operand <= value;
      product <= ProductWidth'(operand) * ProductWidth'(Slope);
      kept <= operand;
    end
    assign chosen = kept[InWidth-1] ? Widest'(product) : Widest'(kept) <<< SlopeFrac;
    always_ff @(posedge clk_i) out <= chosen[OutWidth-1:0];
    assign data_o[f*OutWidth+:OutWidth] = out;
    logic unused_high;
    assign unused_high = ^chosen;
  end
endmodule
