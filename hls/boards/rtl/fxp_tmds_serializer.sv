// Words of ten bits for four pins, the low bit first, two bits in each of the five fast clocks of a
// pixel. Both clocks come from one PLL; the words are taken in the middle of their pixel.
module fxp_tmds_serializer (
  input  logic        pixel_clk_i,
  input  logic        rst_ni,       // of the pixel clock
  input  logic        fast_clk_i,
  input  logic [39:0] words_i,
  output logic [3:0]  pins_o
);
  logic toggle;
  logic [2:0] seen;
  always_ff @(posedge pixel_clk_i) begin
    if (!rst_ni) toggle <= 1'b0;
    else         toggle <= !toggle;
  end
  always_ff @(posedge fast_clk_i) seen <= {seen[1:0], toggle};

  for (genvar p = 0; p < 4; p++) begin : gen_pin
    logic [9:0] shift;
    always_ff @(posedge fast_clk_i) begin
      shift <= (seen[2] != seen[1]) ? words_i[10*p+:10] : {2'b00, shift[9:2]};
    end
    ODDRX1F u_pin (
      .SCLK(fast_clk_i), .RST(1'b0), .D0(shift[0]), .D1(shift[1]), .Q(pins_o[p])
    );
  end
endmodule
