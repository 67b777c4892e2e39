// One of many values, chosen in two clocks: first within groups by the low bits of the index, then
// among the groups. Groups of eight take the fewest look-up tables of four inputs. Latency 2.
module fxp_choose #(
  parameter int Width  = 8,
  parameter int Values = 4,
  localparam int IndexBits = (Values < 2) ? 1 : $clog2(Values)
) (
  input  logic                    clk_i,
  input  logic [IndexBits-1:0]    index_i,
  input  logic [Values*Width-1:0] values_i,
  output logic [Width-1:0]        value_o
);
  localparam int LowBits = (IndexBits < 3) ? IndexBits : (IndexBits > 8) ? IndexBits - 5 : 3;
  localparam int Group = 1 << LowBits;
  localparam int Groups = (Values + Group - 1) / Group;

  logic [Groups*Group*Width-1:0] padded;
  assign padded = (Groups * Group * Width)'(values_i);

  logic [Groups*Width-1:0] of_groups;
  for (genvar g = 0; g < Groups; g++) begin : gen_group
    logic [Group*Width-1:0] values;
    assign values = padded[g*Group*Width+:Group*Width];
    always_ff @(posedge clk_i) begin
      of_groups[g*Width+:Width] <= values[int'(index_i[LowBits-1:0])*Width+:Width];
    end
  end

  if (IndexBits > LowBits) begin : gen_high
    logic [IndexBits-LowBits-1:0] high;
    always_ff @(posedge clk_i) begin
      high <= index_i[IndexBits-1:LowBits];
      value_o <= of_groups[int'(high)*Width+:Width];
    end
  end else begin : gen_one_group
    always_ff @(posedge clk_i) value_o <= of_groups;
  end

`ifdef FORMAL
  // The value of two clocks ago, if the index was one.
  logic [1:0] clocks = '0;
  logic [IndexBits-1:0] index, earlier_index;
  logic [Values*Width-1:0] values, earlier_values;
  always_ff @(posedge clk_i) begin
    clocks <= {clocks[0], 1'b1};
    {earlier_index, index} <= {index, index_i};
    {earlier_values, values} <= {values, values_i};
  end
  always_comb begin
    if (&clocks && int'(earlier_index) < Values) begin
      assert (value_o == earlier_values[int'(earlier_index)*Width+:Width]);
    end
  end
`endif
endmodule
