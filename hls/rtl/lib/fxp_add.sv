// Sum or difference of two operands of equal format, field by field. Latency 1.
module fxp_add #(
  parameter int Fields   = 1,
  parameter int Width    = 8,
  parameter logic Subtract = 1'b0
) (
  input  logic                    clk_i,
  input  logic [Fields*Width-1:0] left_i,
  input  logic [Fields*Width-1:0] right_i,
  output logic [Fields*Width-1:0] data_o
);
  for (genvar f = 0; f < Fields; f++) begin : gen_field
    logic [Width-1:0] sum;
    if (Subtract) begin : gen_difference
      always_ff @(posedge clk_i) sum <= left_i[f*Width+:Width] - right_i[f*Width+:Width];
    end else begin : gen_sum
      always_ff @(posedge clk_i) sum <= left_i[f*Width+:Width] + right_i[f*Width+:Width];
    end
    assign data_o[f*Width+:Width] = sum;
  end
endmodule
