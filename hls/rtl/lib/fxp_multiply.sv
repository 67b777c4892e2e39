// Products of the fields of two operands, each in a register of its own before the multiplier and
// behind it. The product is modulo 2**OutWidth, which it is proved to fit. Latency 3.
module fxp_multiply #(
  parameter int Fields     = 1,
  parameter int LeftWidth  = 8,
  parameter int RightWidth = 8,
  parameter int OutWidth   = 16
) (
  input  logic                         clk_i,
  input  logic [Fields*LeftWidth-1:0]  left_i,
  input  logic [Fields*RightWidth-1:0] right_i,
  output logic [Fields*OutWidth-1:0]   data_o
);
  localparam int ProductWidth = LeftWidth + RightWidth;
  for (genvar f = 0; f < Fields; f++) begin : gen_field
    logic signed [LeftWidth-1:0] left;
    logic signed [RightWidth-1:0] right;
    logic signed [ProductWidth-1:0] product;
    logic [OutWidth-1:0] out;
    always_ff @(posedge clk_i) begin
      left <= left_i[f*LeftWidth+:LeftWidth];
      right <= right_i[f*RightWidth+:RightWidth];
      product <= ProductWidth'(left) * ProductWidth'(right);
      out <= OutWidth'(product);
    end
    assign data_o[f*OutWidth+:OutWidth] = out;
    logic unused_high;
    assign unused_high = ^product;

`ifdef FORMAL
    logic [2:0] known = 3'b000;
    logic [3*(LeftWidth+RightWidth)-1:0] past;
    logic signed [LeftWidth-1:0] left_then;
    logic signed [RightWidth-1:0] right_then;
    always_ff @(posedge clk_i) begin
      known <= {known[1:0], 1'b1};
      past <= {past[0+:2*(LeftWidth+RightWidth)], right_i[f*RightWidth+:RightWidth],
               left_i[f*LeftWidth+:LeftWidth]};
    end
    assign {right_then, left_then} = past[2*(LeftWidth+RightWidth)+:LeftWidth+RightWidth];
    always_comb begin
      if (known[2]) assert (out == OutWidth'(left_then) * OutWidth'(right_then));
    end
`endif
  end
endmodule
