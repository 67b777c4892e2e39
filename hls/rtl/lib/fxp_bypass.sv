// Copies of the input in place of the network's result, with the same latency and no lag.
//
// The mode changes between frames, when all beats of the last one have left the windows; it comes
// here as late as the beats that follow it. Copies fields hold one pixel each.
module fxp_bypass #(
  parameter int Width  = 8,   // of an input pixel
  parameter int Copies = 1,
  parameter int Clocks = 3    // latency of the network
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic                    bypass_i,
  input  logic [5:0]              source_tags_i,
  input  logic [Width-1:0]        source_data_i,
  input  logic [5:0]              tags_i,
  input  logic [Copies*Width-1:0] data_i,
  output logic [5:0]              tags_o,
  output logic [Copies*Width-1:0] data_o
);
  logic [Width+5:0] late;
  if (Clocks < 3) begin : gen_registers
    fxp_delay #(
      .Width(Width + 6), .Clocks(Clocks)
    ) u_late (
      .clk_i, .data_i({source_tags_i, source_data_i}), .data_o(late)
    );
  end else begin : gen_memory
    // Every place is read, then written, once in Clocks - 2 clocks; the reading takes two more.
    localparam int Depth = Clocks - 2;
    localparam int AddressBits = (Depth == 1) ? 1 : $clog2(Depth);
    logic [AddressBits-1:0] address;
    always_ff @(posedge clk_i) begin
      if (!rst_ni)                                 address <= '0;
      else if (address == AddressBits'(Depth - 1)) address <= '0;
      else                                         address <= address + 1'b1;
    end
    fxp_line_memory #(
      .Width(Width + 6), .Depth(Depth), .AddressBits(AddressBits)
    ) u_late (
      .clk_i, .enable_i(1'b1), .address_i(address), .data_i({source_tags_i, source_data_i}),
      .data_o(late)
    );
  end

  // After a reset the network's result is chosen for as long as the memory holds what was before.
  logic [Clocks:0] bypass;
  always_comb bypass[0] = bypass_i;
  for (genvar c = 0; c < Clocks; c++) begin : gen_clock
    always_ff @(posedge clk_i) begin
      if (!rst_ni) bypass[c+1] <= 1'b0;
      else         bypass[c+1] <= bypass[c];
    end
  end
  assign tags_o = bypass[Clocks] ? late[Width+:6] : tags_i;
  assign data_o = bypass[Clocks] ? {Copies{late[Width-1:0]}} : data_i;
endmodule
