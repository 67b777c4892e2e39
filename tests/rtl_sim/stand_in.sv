// A core that passes pixels through, with the ports of emitted cores. FAULT breaks it on purpose, so
// that the benches can be tested: 1 changes data while it waits, 2 withdraws tvalid, 3 flips a bit of
// the result in pixel 5, 4 loses pixel 5, 5 offers unknown bits, 6 marks no end of line.
module stand_in_core #(
    parameter FAULT = 0
) (
    input  wire        aclk,
    input  wire        aresetn,
    input  wire [7:0]  s_axis_tdata,
    input  wire        s_axis_tvalid,
    output wire        s_axis_tready,
    input  wire        s_axis_tuser,
    input  wire        s_axis_tlast,
    output wire [7:0]  m_axis_tdata,
    output wire        m_axis_tvalid,
    input  wire        m_axis_tready,
    output wire        m_axis_tuser,
    output wire        m_axis_tlast,
    input  wire [7:0]  s_axil_awaddr,
    input  wire        s_axil_awvalid,
    output wire        s_axil_awready,
    input  wire [31:0] s_axil_wdata,
    input  wire [3:0]  s_axil_wstrb,
    input  wire        s_axil_wvalid,
    output wire        s_axil_wready,
    output wire [1:0]  s_axil_bresp,
    output reg         s_axil_bvalid,
    input  wire        s_axil_bready,
    input  wire [7:0]  s_axil_araddr,
    input  wire        s_axil_arvalid,
    output wire        s_axil_arready,
    output reg  [31:0] s_axil_rdata,
    output wire [1:0]  s_axil_rresp,
    output reg         s_axil_rvalid,
    input  wire        s_axil_rready,
    output wire        irq
);
  assign irq = 1'b0;
  reg [31:0] width, height;
  assign s_axil_awready = s_axil_awvalid && s_axil_wvalid && !s_axil_bvalid;
  assign s_axil_wready = s_axil_awready;
  assign s_axil_bresp = 2'b00;
  assign s_axil_arready = !s_axil_rvalid;
  assign s_axil_rresp = 2'b00;
  always @(posedge aclk) begin
    if (!aresetn) begin
      width <= 32'd8;
      height <= 32'd8;
      s_axil_bvalid <= 1'b0;
      s_axil_rvalid <= 1'b0;
    end else begin
      if (s_axil_awready) begin
        s_axil_bvalid <= 1'b1;
        if (s_axil_awaddr == 8'h08) width <= s_axil_wdata;
        if (s_axil_awaddr == 8'h0c) height <= s_axil_wdata;
      end else if (s_axil_bready) begin
        s_axil_bvalid <= 1'b0;
      end
      if (s_axil_arready && s_axil_arvalid) begin
        s_axil_rvalid <= 1'b1;
        s_axil_rdata <= s_axil_araddr == 8'h08 ? width : s_axil_araddr == 8'h0c ? height : 32'd0;
      end else if (s_axil_rready) begin
        s_axil_rvalid <= 1'b0;
      end
    end
  end

  wire x_valid = s_axis_tvalid && s_axis_tready;
  wire x_real = 1'b1;
  wire [7:0] x_data = s_axis_tdata;

  reg  [31:0] count;
  wire y_valid = x_valid && !(FAULT == 4 && count == 5);
  wire y_real = 1'b1;
  wire [7:0] y_data = FAULT == 3 && count == 5 ? x_data ^ 8'h10 : x_data;

  reg [9:0] memory[0:7];
  reg [3:0] head, tail;
  wire [9:0] front = memory[tail[2:0]];
  reg [1:0] waited;
  assign s_axis_tready = aresetn && (head - tail) < 4'd8;
  assign m_axis_tvalid = head != tail && !(FAULT == 2 && waited == 2'd2);
  assign m_axis_tdata = FAULT == 5 && front[0] ? 8'bx :
      FAULT == 1 && waited == 2'd2 ? front[7:0] ^ 8'h01 : front[7:0];
  assign m_axis_tuser = front[8];
  assign m_axis_tlast = front[9] && FAULT != 6;
  always @(posedge aclk) begin
    if (!aresetn) begin
      head <= 4'd0;
      tail <= 4'd0;
      count <= 32'd0;
      waited <= 2'd0;
    end else begin
      if (x_valid) count <= count + 32'd1;
      if (y_valid) begin
        memory[head[2:0]] <= {s_axis_tlast, s_axis_tuser, y_data};
        head <= head + 4'd1;
      end
      if (m_axis_tvalid && m_axis_tready) begin
        tail <= tail + 4'd1;
        waited <= 2'd0;
      end else if (m_axis_tvalid) begin
        waited <= waited + 2'd1;
      end
    end
  end
endmodule
