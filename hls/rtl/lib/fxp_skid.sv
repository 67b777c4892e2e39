// Two places that decouple a handshake: ready_o comes from a register.
module fxp_skid #(
  parameter int Width = 8
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             valid_i,
  output logic             ready_o,
  input  logic [Width-1:0] data_i,
  output logic             valid_o,
  input  logic             ready_i,
  output logic [Width-1:0] data_o
);
  logic [Width-1:0] spare;
  logic spare_valid, taken, moves, spare_next;

  assign taken = valid_i && ready_o;
  assign moves = ready_i || !valid_o;
  assign spare_next = !moves && (spare_valid || taken);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      ready_o <= 1'b0;
      valid_o <= 1'b0;
      spare_valid <= 1'b0;
    end else begin
      ready_o <= !spare_next;
      spare_valid <= spare_next;
      if (moves) valid_o <= spare_valid || taken;
    end
  end

  always_ff @(posedge clk_i) begin
    if (moves) data_o <= spare_valid ? spare : data_i;
    if (ready_o) spare <= data_i;
  end
endmodule
