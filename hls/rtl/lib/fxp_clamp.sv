// Clips signed fields to Low and High: ReLU, ReLU6, clamp. Latency 1.
module fxp_clamp #(
  parameter int Fields = 1,
  parameter int Width  = 8,
  parameter logic signed [Width-1:0] Low  = '0,
  parameter logic signed [Width-1:0] High = {1'b0, {(Width - 1) {1'b1}}}
) (
  input  logic                    clk_i,
  input  logic [Fields*Width-1:0] data_i,
  output logic [Fields*Width-1:0] data_o
);
  localparam logic HasLow = Low != {1'b1, {(Width - 1) {1'b0}}};
  localparam logic HasHigh = High != {1'b0, {(Width - 1) {1'b1}}};
  for (genvar f = 0; f < Fields; f++) begin : gen_field
    logic signed [Width-1:0] value, clipped;
    logic below, above;
    assign value = data_i[f*Width+:Width];
    if (!HasLow) begin : gen_no_low
      assign below = 1'b0;
    end else if (Low == 0) begin : gen_low_zero
      assign below = value[Width-1];
    end else begin : gen_low
      assign below = value < Low;
    end
    if (HasHigh) begin : gen_high
      assign above = value > High;
    end else begin : gen_no_high
      assign above = 1'b0;
    end
    always_ff @(posedge clk_i) clipped <= below ? Low : above ? High : value;
    assign data_o[f*Width+:Width] = clipped;
  end
endmodule
