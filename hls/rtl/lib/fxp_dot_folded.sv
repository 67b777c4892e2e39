// Weighted sums as fxp_dot, with each multiplier shared by Fold weights: a beat at most every Fold
// clocks. Latency: Fold + 5 + clog2(multipliers of an output).
//
// In phase p, multiplier m of an output works on product p * Multipliers + m. The weights come so,
// phase by phase, and output by output in a phase: tools need minutes to reorder a large layer.
module fxp_dot_folded #(
  parameter int Taps        = 3,
  parameter int Channels    = 1,
  parameter int Groups      = 1,
  parameter int Outputs     = 1,
  parameter int Fold        = 2,
  parameter int DataWidth   = 8,
  parameter logic DataSigned = 1'b0,
  parameter int WeightWidth = 10,
  parameter int SumWidth    = 20,
  parameter logic [Fold*Outputs*((Taps*(Channels/Groups)+Fold-1)/Fold)*WeightWidth-1:0]
      Weights = '0,
  parameter logic [Outputs*SumWidth-1:0] Biases = '0
) (
  input  logic                               clk_i,
  input  logic                               rst_ni,
  input  logic                               valid_i,
  input  logic [Taps*Channels*DataWidth-1:0] taps_i,
  output logic [Outputs*SumWidth-1:0]        sums_o
);
  localparam int Inputs = Channels / Groups;
  localparam int Products = Taps * Inputs;
  localparam int Multipliers = (Products + Fold - 1) / Fold;
  localparam int Levels = $clog2(Multipliers);
  localparam int FactorWidth = DataWidth + (DataSigned ? 0 : 1);
  localparam int ProductWidth = FactorWidth + WeightWidth;
  localparam int PhaseBits = (Fold < 2) ? 1 : $clog2(Fold);

  // ---- The beat is kept while its phases run --------------------------------------------------
  logic [Taps*Channels*DataWidth-1:0] taps;
  logic [PhaseBits-1:0] phase;
  logic first;
  always_ff @(posedge clk_i) if (valid_i) taps <= taps_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      phase <= '0;
      first <= 1'b0;
    end else begin
      first <= valid_i;
      if (valid_i) phase <= '0;
      else if (phase != PhaseBits'(Fold - 1)) phase <= phase + 1'b1;
    end
  end
  logic starts;
  fxp_delay #(.Width(1), .Clocks(Levels + 4)) u_first (.clk_i, .data_i(first), .data_o(starts));

  // ---- Operands, chosen by phase --------------------------------------------------------------
  for (genvar g = 0; g < Groups; g++) begin : gen_group
    for (genvar m = 0; m < Multipliers; m++) begin : gen_operand
      logic [Fold*DataWidth-1:0] choices;
      for (genvar p = 0; p < Fold; p++) begin : gen_phase
        localparam int Product = p * Multipliers + m;
        localparam int Field = (Product / Inputs) * Channels + g * Inputs + Product % Inputs;
        if (Product < Products) begin : gen_tap
          assign choices[p*DataWidth+:DataWidth] = taps[Field*DataWidth+:DataWidth];
        end else begin : gen_none
          assign choices[p*DataWidth+:DataWidth] = '0;
        end
      end
      logic [DataWidth-1:0] operand;
      fxp_choose #(.Width(DataWidth), .Values(Fold)) u_operand (
        .clk_i, .index_i(phase), .values_i(choices), .value_o(operand)
      );
    end
  end

  // ---- Weights of every phase -----------------------------------------------------------------
  localparam int RowBits = Outputs * Multipliers * WeightWidth;
  logic [RowBits-1:0] row;
  fxp_constants #(.RowBits(RowBits), .Rows(Fold), .Values(Weights)) u_weights (
    .clk_i, .index_i(phase), .row_o(row)
  );

  // ---- Products, their sum, and the sum of all phases -----------------------------------------
  for (genvar o = 0; o < Outputs; o++) begin : gen_output
    localparam int Group = o / (Outputs / Groups);
    for (genvar l = 0; l <= Levels; l++) begin : gen_level
      localparam int Nodes = (Multipliers + (1 << l) - 1) >> l;
      localparam int NodesBelow = (l == 0) ? 0 : (Multipliers + (1 << (l - 1)) - 1) >> (l - 1);
      localparam int Bits = (ProductWidth + l > SumWidth) ? SumWidth : ProductWidth + l;
      for (genvar n = 0; n < Nodes; n++) begin : gen_node
        logic signed [Bits-1:0] sum;
        if (l == 0) begin : gen_product
          // Both factors once more, close to the multiplier.
          logic signed [WeightWidth-1:0] weight;
          logic [DataWidth-1:0] operand;
          always_ff @(posedge clk_i) begin
            weight <= row[(o*Multipliers+n)*WeightWidth+:WeightWidth];
            operand <= gen_group[Group].gen_operand[n].operand;
          end
          logic signed [FactorWidth-1:0] factor;
          if (DataSigned) begin : gen_signed
            assign factor = operand;
          end else begin : gen_unsigned
            assign factor = {1'b0, operand};
          end
          logic signed [ProductWidth-1:0] product;
          assign product = ProductWidth'(factor) * ProductWidth'(weight);
          logic unused_product;  // high bits, where the proof needs fewer
          assign unused_product = ^product;
          always_ff @(posedge clk_i) sum <= Bits'(product);
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
    localparam logic signed [SumWidth-1:0] Bias = Biases[o*SumWidth+:SumWidth];
    logic signed [SumWidth-1:0] total;
    always_ff @(posedge clk_i) begin
      total <= (starts ? Bias : total) + SumWidth'(gen_level[Levels].gen_node[0].sum);
    end
    assign sums_o[o*SumWidth+:SumWidth] = total;
  end

`ifdef FORMAL
  // Beats come at most every Fold clocks; some clocks later their sums are there, whatever comes
  // between.
  localparam int Latency = Fold + 5 + Levels;
  logic started = 1'b0;
  logic [Latency-1:0] beats = '0;
  logic [Latency*Taps*Channels*DataWidth-1:0] past;
  logic [Taps*Channels*DataWidth-1:0] then;
  always_ff @(posedge clk_i) begin
    started <= 1'b1;
    beats <= rst_ni ? (beats << 1) | Latency'(valid_i) : '0;
    past <= (past << (Taps * Channels * DataWidth)) | taps_i;
  end
  assign then = past[(Latency-1)*Taps*Channels*DataWidth+:Taps*Channels*DataWidth];
  always_comb begin
    if (!started) assume (!rst_ni);
    if (valid_i) assume (beats[Fold-2:0] == '0);
    if (started) assert (int'(phase) < Fold);
  end
  function automatic logic [Outputs*Products*WeightWidth-1:0] by_output(int multipliers);
    for (int o = 0; o < Outputs; o++) begin
      for (int n = 0; n < Products; n++) begin
        by_output[(o*Products+n)*WeightWidth+:WeightWidth] =
            Weights[((n/multipliers*Outputs+o)*multipliers+n%multipliers)*WeightWidth+:WeightWidth];
      end
    end
  endfunction
  logic [Outputs*SumWidth-1:0] wanted;
  fxp_dot_reference #(
    .Taps(Taps), .Channels(Channels), .Groups(Groups), .Outputs(Outputs), .DataWidth(DataWidth),
    .DataSigned(DataSigned), .WeightWidth(WeightWidth), .SumWidth(SumWidth),
    .Weights(by_output(Multipliers)), .Biases(Biases)
  ) u_wanted (
    .taps_i(then), .sums_o(wanted)
  );
  always_comb if (beats[Latency-1]) assert (sums_o == wanted);
`endif
endmodule
