// Pixels from the codes of fxp_line_codec: base + (delta << shift), at most the largest value.
// Latency 2.
//
// A field of header_i is {shift, base}; the base is the high BaseBits bits of a value. Values are
// offset binary inside, so that the smallest one is zero.
module fxp_line_decode #(
  parameter int   Fields    = 1,
  parameter int   Width     = 14,
  parameter int   BaseBits  = 12,
  parameter int   DeltaBits = 5,
  parameter logic Signed    = 1'b0
) (
  input  logic                             clk_i,
  input  logic [Fields*(BaseBits+4)-1:0]   header_i,
  input  logic [Fields*DeltaBits-1:0]      delta_i,
  output logic [Fields*Width-1:0]          data_o
);
  for (genvar f = 0; f < Fields; f++) begin : gen_field
    logic [3:0] shift;
    logic [BaseBits-1:0] base;
    logic [Width-1:0] shifted;
    logic [Width:0] sum;
    logic [Width-1:0] value;

    assign shift = header_i[f*(BaseBits+4)+BaseBits+:4];
    always_ff @(posedge clk_i) begin
      base <= header_i[f*(BaseBits+4)+:BaseBits];
      shifted <= Width'(delta_i[f*DeltaBits+:DeltaBits]) << shift;
    end

    assign sum = ((Width + 1)'(base) << (Width - BaseBits)) + (Width + 1)'(shifted);
    always_ff @(posedge clk_i) value <= sum[Width-1:0] | {Width{sum[Width]}};

    assign data_o[f*Width+:Width] = value ^ (Width'(Signed) << (Width - 1));
  end
endmodule
