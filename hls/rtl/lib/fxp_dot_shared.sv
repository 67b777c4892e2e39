// Weighted sums as fxp_dot, with one multiplier for Share outputs, which come one after another: a
// beat at most every Share * products clocks. Latency: Share * products + 5.
//
// Multiplier u works for the outputs from u * Share on: in step s on product s % products of output
// s / products. The weights come step by step, in every step multiplier by multiplier.
module fxp_dot_shared #(
  parameter int Taps        = 3,
  parameter int Channels    = 1,
  parameter int Groups      = 1,
  parameter int Outputs     = 2,
  parameter int Share       = 2,
  parameter int DataWidth   = 8,
  parameter logic DataSigned = 1'b0,
  parameter int WeightWidth = 10,
  parameter int SumWidth    = 20,
  parameter logic [Share*Taps*(Channels/Groups)*((Outputs+Share-1)/Share)*WeightWidth-1:0]
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
  localparam int Steps = Share * Products;
  localparam int Multipliers = (Outputs + Share - 1) / Share;
  localparam int FactorWidth = DataWidth + (DataSigned ? 0 : 1);
  localparam int ProductWidth = FactorWidth + WeightWidth;
  localparam int StepBits = (Steps < 2) ? 1 : $clog2(Steps);
  localparam int PlaceBits = (Products < 2) ? 1 : $clog2(Products);
  localparam int TurnBits = (Share < 2) ? 1 : $clog2(Share);

  // ---- The beat is kept while its steps run ---------------------------------------------------
  // A turn is the steps of one output, a place that of one product in it.
  logic [Taps*Channels*DataWidth-1:0] taps;
  logic [StepBits-1:0] step;
  logic [PlaceBits-1:0] place;
  logic [TurnBits-1:0] turn;
  logic running;
  always_ff @(posedge clk_i) if (valid_i) taps <= taps_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || valid_i) begin
      step <= '0;
      place <= '0;
      turn <= '0;
      running <= rst_ni;
    end else if (step == StepBits'(Steps - 1)) begin
      running <= 1'b0;
    end else begin
      step <= step + 1'b1;
      place <= (place == PlaceBits'(Products - 1)) ? '0 : place + 1'b1;
      if (place == PlaceBits'(Products - 1)) turn <= turn + 1'b1;
    end
  end
  logic starts;
  logic [TurnBits-1:0] started_turn;
  fxp_delay #(.Width(TurnBits + 1), .Clocks(4)) u_turn (
    .clk_i, .data_i({turn, running && place == '0}), .data_o({started_turn, starts})
  );

  // ---- Weights of every step ------------------------------------------------------------------
  localparam int RowBits = Multipliers * WeightWidth;
  logic [RowBits-1:0] row;
  fxp_constants #(.RowBits(RowBits), .Rows(Steps), .Values(Weights)) u_weights (
    .clk_i, .index_i(step), .row_o(row)
  );

  // ---- One multiplier and one sum for each Share outputs --------------------------------------
  for (genvar u = 0; u < Multipliers; u++) begin : gen_multiplier
    logic [Steps*DataWidth-1:0] operands;
    logic [Share*SumWidth-1:0] biases;
    for (genvar s = 0; s < Steps; s++) begin : gen_step
      localparam int Output = u * Share + s / Products;
      localparam int Product = s % Products;
      localparam int Group = Output / (Outputs / Groups);
      localparam int Field = (Product / Inputs) * Channels + Group * Inputs + Product % Inputs;
      if (Output < Outputs) begin : gen_product
        assign operands[s*DataWidth+:DataWidth] = taps[Field*DataWidth+:DataWidth];
      end else begin : gen_none
        assign operands[s*DataWidth+:DataWidth] = '0;
      end
    end
    for (genvar j = 0; j < Share; j++) begin : gen_bias
      if (u * Share + j < Outputs) begin : gen_output
        assign biases[j*SumWidth+:SumWidth] = Biases[(u*Share+j)*SumWidth+:SumWidth];
      end else begin : gen_none
        assign biases[j*SumWidth+:SumWidth] = '0;
      end
    end

    // Both factors once more, close to the multiplier.
    logic [DataWidth-1:0] chosen_operand, operand;
    logic signed [WeightWidth-1:0] weight;
    if (Groups == 1) begin : gen_same_operands
      // Every turn has the same.
      fxp_choose #(.Width(DataWidth), .Values(Products)) u_operand (
        .clk_i, .index_i(place), .values_i(operands[Products*DataWidth-1:0]),
        .value_o(chosen_operand)
      );
    end else begin : gen_own_operands
      fxp_choose #(.Width(DataWidth), .Values(Steps)) u_operand (
        .clk_i, .index_i(step), .values_i(operands), .value_o(chosen_operand)
      );
    end
    always_ff @(posedge clk_i) begin
      operand <= chosen_operand;
      weight <= row[u*WeightWidth+:WeightWidth];
    end
    logic signed [FactorWidth-1:0] factor;
    if (DataSigned) begin : gen_signed
      assign factor = operand;
    end else begin : gen_unsigned
      assign factor = {1'b0, operand};
    end
    localparam int Bits = (ProductWidth > SumWidth) ? SumWidth : ProductWidth;
    logic signed [ProductWidth-1:0] product;
    assign product = ProductWidth'(factor) * ProductWidth'(weight);
    logic unused_product;  // high bits, where the proof needs fewer
    assign unused_product = ^product;
    logic signed [Bits-1:0] term;
    always_ff @(posedge clk_i) term <= Bits'(product);

    // Sums of earlier turns move down when the next turn starts.
    logic signed [SumWidth-1:0] total, bias;
    logic [(Share-1)*SumWidth-1:0] earlier;
    logic [Share*SumWidth-1:0] sums;
    assign bias = biases[int'(started_turn)*SumWidth+:SumWidth];
    assign sums = {total, earlier};
    always_ff @(posedge clk_i) begin
      total <= (starts ? bias : total) + SumWidth'(term);
      if (starts) earlier <= sums[SumWidth+:(Share-1)*SumWidth];
    end
    for (genvar j = 0; j < Share; j++) begin : gen_sum
      if (u * Share + j < Outputs) begin : gen_output
        assign sums_o[(u*Share+j)*SumWidth+:SumWidth] = sums[j*SumWidth+:SumWidth];
      end
    end
  end

`ifdef FORMAL
  // Beats come at most every Steps clocks; some clocks later their sums are there, whatever comes
  // between.
  localparam int Latency = Steps + 5;
  logic begun = 1'b0;
  logic [Latency-1:0] beats = '0;
  logic [Latency*Taps*Channels*DataWidth-1:0] past;
  logic [Taps*Channels*DataWidth-1:0] then;
  always_ff @(posedge clk_i) begin
    begun <= 1'b1;
    beats <= rst_ni ? (beats << 1) | Latency'(valid_i) : '0;
    past <= (past << (Taps * Channels * DataWidth)) | taps_i;
  end
  assign then = past[(Latency-1)*Taps*Channels*DataWidth+:Taps*Channels*DataWidth];
  always_comb begin
    if (!begun) assume (!rst_ni);
    if (valid_i) assume (beats[Steps-2:0] == '0);
    if (begun) begin
      assert (int'(step) == int'(turn) * Products + int'(place));
      assert (int'(step) < Steps && int'(place) < Products);
    end
  end
  function automatic logic [Outputs*Products*WeightWidth-1:0] by_output(int share);
    for (int o = 0; o < Outputs; o++) begin
      for (int n = 0; n < Products; n++) begin
        by_output[(o*Products+n)*WeightWidth+:WeightWidth] =
            Weights[((o%share*Products+n)*Multipliers+o/share)*WeightWidth+:WeightWidth];
      end
    end
  endfunction
  logic [Outputs*SumWidth-1:0] wanted;
  fxp_dot_reference #(
    .Taps(Taps), .Channels(Channels), .Groups(Groups), .Outputs(Outputs), .DataWidth(DataWidth),
    .DataSigned(DataSigned), .WeightWidth(WeightWidth), .SumWidth(SumWidth),
    .Weights(by_output(Share)), .Biases(Biases)
  ) u_wanted (
    .taps_i(then), .sums_o(wanted)
  );
  always_comb if (beats[Latency-1]) assert (sums_o == wanted);
`endif
endmodule
