// Pixels of an earlier path wait for those of a later one: a circular memory that real beats of the
// one write and real beats of the other read, two clocks before they need the data.
//
// Both paths carry the same pixels in the same order, so no width or lag has to be known here.
module fxp_lag_buffer #(
  parameter int Width = 8,
  parameter int Depth = 16
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  input  logic             write_i,
  input  logic [Width-1:0] data_i,
  input  logic             read_i,
  output logic [Width-1:0] data_o
);
  localparam int AddressBits = (Depth < 2) ? 1 : $clog2(Depth);
  localparam logic [AddressBits-1:0] Last = AddressBits'(Depth - 1);

  // Tools would spread a memory of a few dozen places over look-up tables.
  localparam Style = (Depth > 16) ? "block" : "auto";
  logic unused_style;
  assign unused_style = ^Style;

  // No place is read while it is written, so no logic has to keep what it held before.
  (* no_rw_check, ram_style = Style *) logic [Width-1:0] memory [0:Depth-1];
  logic [AddressBits-1:0] write_address, read_address;
  logic [Width-1:0] read;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_address <= '0;
      read_address <= '0;
    end else begin
      if (write_i) write_address <= (write_address == Last) ? '0 : write_address + 1'b1;
      if (read_i)  read_address <= (read_address == Last) ? '0 : read_address + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (write_i) memory[write_address] <= data_i;
    read <= memory[read_address];
  end

  always_ff @(posedge clk_i) data_o <= read;

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  // Addresses go round in step with what is stored.
  logic [AddressBits:0] stored;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) stored <= '0;
    else stored <= stored + (AddressBits + 1)'(write_i) - (AddressBits + 1)'(read_i);
  end
  always_comb begin
    if (stored == '0) assume (!read_i);
    if (stored == (AddressBits + 1)'(Depth)) assume (!write_i);
    if (started) begin
      assert (stored <= (AddressBits + 1)'(Depth));
      assert (!(write_i && read_i && write_address == read_address));
      assert ((AddressBits + 2)'(write_address) ==
              (AddressBits + 2)'(read_address) + (AddressBits + 2)'(stored) ||
              (AddressBits + 2)'(write_address) + (AddressBits + 2)'(Depth) ==
              (AddressBits + 2)'(read_address) + (AddressBits + 2)'(stored));
    end
  end

  // One place, any place: what is read is what was last written there.
  (* anyconst *) logic [AddressBits-1:0] place;
  logic [Width-1:0] written;
  logic read_1, read_2;
  logic [Width-1:0] expected_1, expected_2;
  always_ff @(posedge clk_i) begin
    if (write_i && write_address == place) written <= data_i;
    read_1 <= rst_ni && read_i && read_address == place;
    read_2 <= rst_ni && read_1;
    expected_1 <= written;
    expected_2 <= expected_1;
    if (!started) begin
      assume (memory[place] == written);
      assume (!read_1 && !read_2);
    end
  end
  always_comb begin
    assume (place <= Last);
    if (started) begin
      assert (write_address <= Last && read_address <= Last);
      assert (memory[place] == written);
      if (read_1) assert (read == expected_1);
      if (read_2) assert (data_o == expected_2);
    end
  end
`endif
endmodule
