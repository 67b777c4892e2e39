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

`ifdef FORMAL
    logic [2:0] known = 3'b000;
    logic [3*InWidth-1:0] past;
    logic signed [InWidth-1:0] then;
    always_ff @(posedge clk_i) begin
      known <= {known[1:0], 1'b1};
      past <= {past[0+:2*InWidth], value};
    end
    assign then = past[2*InWidth+:InWidth];
    always_comb begin
      if (known[2]) begin
        if (then < 0) assert (out == OutWidth'(then) * OutWidth'(Slope));
        else assert (out == OutWidth'(then) * OutWidth'(1 << SlopeFrac));
      end
    end
`endif
  end
endmodule
