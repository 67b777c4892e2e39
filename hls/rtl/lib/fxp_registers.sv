// The AXI4-Lite register file of a core; docs/rtl.md lists the registers.
module fxp_registers #(
  parameter logic [31:0] Version       = '0,
  parameter int MaxWidth      = 16,
  parameter int MaxHeight     = 16,
  parameter int InitialWidth  = 16,
  parameter int InitialHeight = 16
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [7:0]  awaddr_i,
  input  logic        awvalid_i,
  output logic        awready_o,
  input  logic [31:0] wdata_i,
  input  logic [3:0]  wstrb_i,
  input  logic        wvalid_i,
  output logic        wready_o,
  output logic [1:0]  bresp_o,
  output logic        bvalid_o,
  input  logic        bready_i,
  input  logic [7:0]  araddr_i,
  input  logic        arvalid_i,
  output logic        arready_o,
  output logic [31:0] rdata_o,
  output logic [1:0]  rresp_o,
  output logic        rvalid_o,
  input  logic        rready_i,
  // Size of the next frame.
  output logic [15:0] width_o,
  output logic [15:0] height_o,
  // Events.
  input  logic        started_i,
  input  logic        finished_i,
  input  logic        malformed_i,
  input  logic [3:0]  errors_i
);
  localparam logic [31:0] Identity = 32'h66787031;
  logic [31:0] frames, malformed_frames, begun;
  logic [4:0] status;
  logic busy;

  logic [5:0] write_index, read_index;
  assign write_index = awaddr_i[7:2];
  assign read_index = araddr_i[7:2];

  // ---- Writes: address and data are taken together, checked, and then take effect -------------
  logic write, captured, checked;
  logic [31:0] old, merged, word;
  logic [5:0] index;
  assign bresp_o = 2'b00;
  assign awready_o = wready_o;
  assign write = awvalid_i && wvalid_i && wready_o;
  always_comb begin
    case (write_index)
      6'd2:    old = {16'd0, width_o};
      6'd3:    old = {16'd0, height_o};
      default: old = '0;
    endcase
  end
  for (genvar b = 0; b < 4; b++) begin : gen_byte
    assign merged[8*b+:8] = wstrb_i[b] ? wdata_i[8*b+:8] : old[8*b+:8];
  end

  logic width_fits, height_fits, refused;
  always_ff @(posedge clk_i) begin
    if (write) begin
      index <= write_index;
      word <= merged;
    end
    width_fits <= word >= 32'd1 && word <= 32'(MaxWidth);
    height_fits <= word >= 32'd1 && word <= 32'(MaxHeight);
  end
  assign refused = checked && ((index == 6'd2 && !width_fits) || (index == 6'd3 && !height_fits));

  logic [4:0] cleared;
  assign cleared = (checked && index == 6'd4) ? word[4:0] : 5'd0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wready_o <= 1'b0;
      captured <= 1'b0;
      checked <= 1'b0;
      bvalid_o <= 1'b0;
      width_o <= 16'(InitialWidth);
      height_o <= 16'(InitialHeight);
      status <= '0;
      frames <= '0;
      malformed_frames <= '0;
      begun <= '0;
      busy <= 1'b0;
    end else begin
      // Ready for one clock, when address and data are there and the last write is answered.
      wready_o <= awvalid_i && wvalid_i && !wready_o && !captured && !checked &&
                  (!bvalid_o || bready_i);
      captured <= write;
      checked <= captured;
      if (checked) bvalid_o <= 1'b1;
      else if (bready_i) bvalid_o <= 1'b0;
      if (checked && index == 6'd2 && width_fits) width_o <= word[15:0];
      if (checked && index == 6'd3 && height_fits) height_o <= word[15:0];
      status <= (status & ~cleared) | {refused, errors_i};
      if (finished_i) frames <= frames + 32'd1;
      if (started_i) begun <= begun + 32'd1;
      if (malformed_i) malformed_frames <= malformed_frames + 32'd1;
      busy <= begun != frames;
    end
  end

  // ---- Reads ----------------------------------------------------------------------------------
  assign rresp_o = 2'b00;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      arready_o <= 1'b0;
      rvalid_o <= 1'b0;
    end else begin
      arready_o <= arvalid_i && !arready_o && (!rvalid_o || rready_i);
      if (arvalid_i && arready_o) rvalid_o <= 1'b1;
      else if (rready_i) rvalid_o <= 1'b0;
    end
  end
  always_ff @(posedge clk_i) begin
    if (arvalid_i && arready_o) begin
      case (read_index)
        6'd0:    rdata_o <= Identity;
        6'd1:    rdata_o <= Version;
        6'd2:    rdata_o <= {16'd0, width_o};
        6'd3:    rdata_o <= {16'd0, height_o};
        6'd4:    rdata_o <= {23'd0, busy, 3'd0, status};
        6'd5:    rdata_o <= frames;
        6'd6:    rdata_o <= malformed_frames;
        6'd7:    rdata_o <= {16'(MaxHeight), 16'(MaxWidth)};
        default: rdata_o <= '0;
      endcase
    end
  end

  logic unused_address;
  assign unused_address = ^{awaddr_i[1:0], araddr_i[1:0]};

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  logic past_b, past_r;
  logic [31:0] past_data;
  always_ff @(posedge clk_i) begin
    past_b <= rst_ni && bvalid_o && !bready_i;
    past_r <= rst_ni && rvalid_o && !rready_i;
    past_data <= rdata_o;
  end
  always_comb begin
    if (!started) assume (!past_b && !past_r);
    if (started) begin
      if (checked) assert (width_fits == (word >= 32'd1 && word <= 32'(MaxWidth)));
      if (checked) assert (height_fits == (word >= 32'd1 && word <= 32'(MaxHeight)));
      assert (wready_o + captured + checked <= 1);
      assert (width_o >= 16'd1 && width_o <= 16'(MaxWidth));
      assert (height_o >= 16'd1 && height_o <= 16'(MaxHeight));
      if (past_b) assert (bvalid_o);
      if (past_r) assert (rvalid_o && rdata_o == past_data);
    end
  end
`endif
endmodule
