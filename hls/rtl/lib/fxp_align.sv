// Wires only: appends zeros and repeats the sign, where that is all a change of format takes.
//
// Shifts holds 8 bits for each field: zeros to append. The result is proved to fit.
module fxp_align #(
  parameter int Fields   = 1,
  parameter int InWidth  = 8,
  parameter logic InSigned = 1'b1,
  parameter int OutWidth = 8,
  parameter logic [8*Fields-1:0] Shifts = '0
) (
  input  logic [Fields*InWidth-1:0]  data_i,
  output logic [Fields*OutWidth-1:0] data_o
);
  localparam int Widest = (InWidth > OutWidth) ? InWidth : OutWidth;
  for (genvar f = 0; f < Fields; f++) begin : gen_field
    localparam int Shift = int'(Shifts[8*f+:8]);
    logic [InWidth-1:0] value;
    logic [Widest-1:0] wide, shifted;
    assign value = data_i[f*InWidth+:InWidth];
    if (InSigned) begin : gen_signed
      assign wide = Widest'($signed(value));
    end else begin : gen_unsigned
      assign wide = Widest'(value);
    end
    assign shifted = wide << Shift;
    assign data_o[f*OutWidth+:OutWidth] = shifted[OutWidth-1:0];
    logic unused_high;
    assign unused_high = ^shifted;
  end
endmodule
