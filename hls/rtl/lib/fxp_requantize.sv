// Raw integers to another format: shift, one rounding, one overflow. Latency 2, but 1 where nothing
// is added to round.
//
// Shifts holds 8 signed bits for each field: positive drops bits, negative appends zeros. The caller
// limits it to -(OutWidth + 1) to InWidth + 1, beyond which the result no longer depends on it.
// Rounding is one of fxp_pkg::rounding_e, Overflow one of fxp_pkg::overflow_e.
module fxp_requantize #(
  parameter int Fields    = 1,
  parameter int InWidth   = 20,
  parameter int OutWidth  = 14,
  parameter logic OutSigned = 1'b1,
  parameter int Rounding  = fxp_pkg::HalfUp,
  parameter int Overflow  = fxp_pkg::Saturate,
  parameter logic [8*Fields-1:0] Shifts = '0
) (
  input  logic                       clk_i,
  input  logic [Fields*InWidth-1:0]  data_i,
  output logic [Fields*OutWidth-1:0] data_o
);
  // Bits that hold the magnitude of the result.
  localparam int Magnitude = OutWidth - (OutSigned ? 1 : 0);

  for (genvar f = 0; f < Fields; f++) begin : gen_field
    localparam logic signed [7:0] Shift = Shifts[8*f+:8];
    localparam int Right = (Shift > 0) ? int'(Shift) : 0;
    localparam int Left = (Shift < 0) ? -int'(Shift) : 0;
    // Wide enough for the sum and the append, and for the bits that overflow looks at.
    localparam int SumBits = InWidth + 2;
    localparam int ShiftedBits = InWidth + 2 + Left;
    localparam int Bits = (ShiftedBits > OutWidth + 2) ? ShiftedBits : OutWidth + 2;

    logic signed [InWidth-1:0] value;
    assign value = data_i[f*InWidth+:InWidth];

    logic signed [Bits-1:0] rounded;
    localparam logic Floor = Rounding == fxp_pkg::Floor;
    if (Right == 0) begin : gen_left
      if (Floor) begin : gen_wire
        assign rounded = Bits'(value) <<< Left;
      end else begin : gen_register
        always_ff @(posedge clk_i) rounded <= Bits'(value) <<< Left;
      end
    end else begin : gen_right
      logic below_zero, odd;
      assign below_zero = value[InWidth-1];
      if (Right < InWidth) begin : gen_bit
        assign odd = value[Right];
      end else begin : gen_sign
        assign odd = below_zero;
      end
      logic unused_bits;
      assign unused_bits = ^{below_zero, odd};
      logic signed [SumBits-1:0] constant;
      logic carry;
      localparam logic signed [SumBits-1:0] Half = SumBits'(1) << (Right - 1);
      if (Rounding == fxp_pkg::Floor) begin : gen_floor
        assign constant = '0;
        assign carry = 1'b0;
      end else if (Rounding == fxp_pkg::ToZero) begin : gen_to_zero
        assign constant = below_zero ? (Half <<< 1) - SumBits'(1) : '0;
        assign carry = 1'b0;
      end else if (Rounding == fxp_pkg::HalfUp) begin : gen_half_up
        assign constant = Half;
        assign carry = 1'b0;
      end else if (Rounding == fxp_pkg::HalfDown) begin : gen_half_down
        assign constant = Half - SumBits'(1);
        assign carry = 1'b0;
      end else begin : gen_half_by_value
        assign constant = Half - SumBits'(1);
        assign carry = (Rounding == fxp_pkg::HalfAway)   ? !below_zero :
                       (Rounding == fxp_pkg::HalfToZero) ? below_zero : odd;
      end
      logic signed [SumBits-1:0] sum;
      assign sum = SumBits'(value) + constant + SumBits'({1'b0, carry});
      if (Floor) begin : gen_wire
        assign rounded = Bits'(sum >>> Right);
      end else begin : gen_register
        always_ff @(posedge clk_i) rounded <= Bits'(sum >>> Right);
      end
    end

    logic negative, above, below;
    logic [OutWidth-1:0] kept, result;
    assign negative = rounded[Bits-1];
    assign kept = rounded[OutWidth-1:0];
    assign above = !negative && |rounded[Bits-2:Magnitude];
    if (OutSigned) begin : gen_below_signed
      // Symmetric saturation also moves the smallest code.
      localparam logic Symmetric = (Overflow == fxp_pkg::SaturateSymmetric);
      if (OutWidth == 1) begin : gen_sign_only
        assign below = negative && (Symmetric || !(&rounded[Bits-2:Magnitude]));
      end else begin : gen_wider
        assign below = negative && (!(&rounded[Bits-2:Magnitude]) ||
                                    (Symmetric && ~|rounded[OutWidth-2:0]));
      end
    end else begin : gen_below_unsigned
      assign below = negative;
    end
    localparam logic [OutWidth-1:0] Highest =
        OutSigned ? {OutWidth{1'b1}} >> 1 : {OutWidth{1'b1}};
    localparam logic [OutWidth-1:0] Lowest =
        !OutSigned ? '0 :
        (Overflow == fxp_pkg::SaturateSymmetric) ? ~Highest + OutWidth'(1) : ~Highest;
    if (Overflow <= fxp_pkg::SaturateSymmetric) begin : gen_saturate
      assign result = above ? Highest : below ? Lowest : kept;
    end else if (Overflow == fxp_pkg::SaturateToZero) begin : gen_saturate_to_zero
      assign result = (above || below) ? '0 : kept;
    end else if (Overflow == fxp_pkg::WrapSignMagnitude) begin : gen_sign_magnitude
      assign result = kept ^ {OutWidth{rounded[OutWidth] != rounded[OutWidth-1]}};
    end else begin : gen_wrap
      assign result = kept;
    end
    logic unused_overflow;
    assign unused_overflow = ^{above, below, rounded};
    logic [OutWidth-1:0] out;
    always_ff @(posedge clk_i) out <= result;
    assign data_o[f*OutWidth+:OutWidth] = out;

`ifdef FORMAL
    // In the words of the specification: how far the exact value lies above the rounded one, in
    // units of the bits that are dropped, and which values stand for themselves.
    localparam int Wide = Bits + Right + 1;
    localparam logic signed [Wide-1:0] Step = Wide'(1) <<< Right;
    localparam logic signed [Wide-1:0] MaxRaw = (Wide'(1) <<< Magnitude) - Wide'(1);
    localparam logic signed [Wide-1:0] MinRaw =
        !OutSigned ? '0 : (Overflow == fxp_pkg::SaturateSymmetric) ? -MaxRaw : -MaxRaw - Wide'(1);
    logic [1:0] known = 2'b00;
    logic signed [InWidth-1:0] past, exact;
    logic signed [Bits-1:0] past_rounded;
    logic signed [Wide-1:0] above_rounded, integer_in, integer_out;
    logic from_above, from_below, even;
    always_ff @(posedge clk_i) begin
      known <= {known[0], 1'b1};
      past <= value;
      past_rounded <= rounded;
    end
    assign exact = Floor ? value : past;
    assign above_rounded = (Wide'(exact) <<< Left) - (Wide'(rounded) <<< Right);
    assign integer_in = Wide'(past_rounded);
    if (OutSigned) begin : gen_signed_out
      assign integer_out = Wide'($signed(out));
    end else begin : gen_unsigned_out
      assign integer_out = Wide'(out);
    end
    // Whether halves may come down to `rounded`, or go up to it.
    assign even = !rounded[0];
    assign from_above = Rounding == fxp_pkg::HalfDown ||
                        (Rounding == fxp_pkg::HalfAway && exact < 0) ||
                        (Rounding == fxp_pkg::HalfToZero && exact >= 0) ||
                        (Rounding == fxp_pkg::HalfEven && even);
    assign from_below = Rounding == fxp_pkg::HalfUp ||
                        (Rounding == fxp_pkg::HalfAway && exact >= 0) ||
                        (Rounding == fxp_pkg::HalfToZero && exact < 0) ||
                        (Rounding == fxp_pkg::HalfEven && even);
    always_comb begin
      if (known[0]) begin
        if (Right == 0) begin
          assert (above_rounded == 0);
        end else if (Rounding == fxp_pkg::Floor) begin
          assert (above_rounded >= 0 && above_rounded < Step);
        end else if (Rounding == fxp_pkg::ToZero) begin
          assert (above_rounded > -Step && above_rounded < Step);
          assert ((exact < 0) ? above_rounded <= 0 : above_rounded >= 0);
        end else begin
          assert (2 * above_rounded >= -Step && 2 * above_rounded <= Step);
          if (2 * above_rounded == Step) assert (from_above);
          if (2 * above_rounded == -Step) assert (from_below);
        end
      end
      if (known[1]) begin
        if (integer_in >= MinRaw && integer_in <= MaxRaw) assert (integer_out == integer_in);
        if (Overflow <= fxp_pkg::SaturateToZero) begin
          assert (integer_out >= MinRaw && integer_out <= MaxRaw);
        end
        if (Overflow <= fxp_pkg::SaturateSymmetric) begin
          if (integer_in > MaxRaw) assert (integer_out == MaxRaw);
          if (integer_in < MinRaw) assert (integer_out == MinRaw);
        end
        if (Overflow == fxp_pkg::SaturateToZero) begin
          if (integer_in > MaxRaw || integer_in < MinRaw) assert (out == '0);
        end
        if (Overflow == fxp_pkg::Wrap || Overflow == fxp_pkg::NoOverflow) begin
          assert (out == past_rounded[OutWidth-1:0]);
        end
        if (Overflow == fxp_pkg::WrapSignMagnitude) begin
          assert (out[OutWidth-1] == past_rounded[OutWidth]);
          assert (out == past_rounded[OutWidth-1:0] || out == ~past_rounded[OutWidth-1:0]);
        end
      end
    end
`endif
  end
endmodule
