// Registers by a serial port: eight bits, no parity, one stop bit, Divider clocks for each.
//
// "R" and an address are answered by four bytes, the low one first; "W", an address and four bytes by
// "K", or by "E" if the registers answer with an error. Anything else is passed over.
module fxp_uart_registers #(
  parameter int Divider = 217
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        rx_i,
  output logic        tx_o,
  output logic [7:0]  awaddr_o,
  output logic        awvalid_o,
  input  logic        awready_i,
  output logic [31:0] wdata_o,
  output logic [3:0]  wstrb_o,
  output logic        wvalid_o,
  input  logic        wready_i,
  input  logic [1:0]  bresp_i,
  input  logic        bvalid_i,
  output logic        bready_o,
  output logic [7:0]  araddr_o,
  output logic        arvalid_o,
  input  logic        arready_i,
  input  logic [31:0] rdata_i,
  input  logic        rvalid_i,
  output logic        rready_o
);
  localparam int TimeBits = $clog2(2 * Divider);

  // ---- Bytes in ---------------------------------------------------------------------------------
  logic [2:0] line;  // against metastability
  logic [TimeBits-1:0] rx_time;
  logic [3:0] rx_bits;  // still to come, the start bit included
  logic [7:0] rx_byte;
  logic rx_done;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      line <= 3'b111;
      rx_bits <= '0;
      rx_done <= 1'b0;
    end else begin
      line <= {line[1:0], rx_i};
      rx_done <= 1'b0;
      if (rx_bits == '0) begin
        if (!line[2]) begin
          rx_bits <= 4'd10;
          rx_time <= TimeBits'(Divider / 2);
        end
      end else if (rx_time != '0) begin
        rx_time <= rx_time - 1'b1;
      end else begin
        rx_time <= TimeBits'(Divider - 1);
        // The start bit may have been a spike; the stop bit is no data.
        rx_bits <= (rx_bits == 4'd10 && line[2]) ? '0 : rx_bits - 4'd1;
        if (rx_bits != 4'd1) rx_byte <= {line[2], rx_byte[7:1]};
        rx_done <= rx_bits == 4'd2;
      end
    end
  end

  // ---- Bytes out --------------------------------------------------------------------------------
  logic [9:0] tx_shift;
  logic [3:0] tx_bits;
  logic [TimeBits-1:0] tx_time;
  logic tx_ready, send;
  logic [7:0] send_byte;
  assign tx_ready = tx_bits == '0;
  assign tx_o = tx_shift[0];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      tx_shift <= '1;
      tx_bits <= '0;
    end else if (tx_ready) begin
      if (send) begin
        tx_shift <= {1'b1, send_byte, 1'b0};
        tx_bits <= 4'd10;
        tx_time <= TimeBits'(Divider - 1);
      end
    end else if (tx_time != '0) begin
      tx_time <= tx_time - 1'b1;
    end else begin
      tx_time <= TimeBits'(Divider - 1);
      tx_shift <= {1'b1, tx_shift[9:1]};
      tx_bits <= tx_bits - 4'd1;
    end
  end

  // ---- Commands ---------------------------------------------------------------------------------
  typedef enum logic [2:0] {Idle, Address, Data, Write, Read, Answer} state_e;
  state_e state;
  logic writes;
  logic [2:0] left;
  logic [31:0] word;
  assign wdata_o = word;
  assign wstrb_o = 4'hf;
  assign araddr_o = awaddr_o;
  assign send_byte = word[7:0];
  assign send = state == Answer && tx_ready;
  assign bready_o = 1'b1;
  assign rready_o = 1'b1;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state <= Idle;
      awvalid_o <= 1'b0;
      wvalid_o <= 1'b0;
      arvalid_o <= 1'b0;
    end else begin
      if (awready_i) awvalid_o <= 1'b0;
      if (wready_i) wvalid_o <= 1'b0;
      if (arready_i) arvalid_o <= 1'b0;
      case (state)
        Idle: if (rx_done && (rx_byte == "R" || rx_byte == "W")) begin
          writes <= rx_byte == "W";
          state <= Address;
        end
        Address: if (rx_done) begin
          awaddr_o <= rx_byte;
          left <= 3'd4;
          arvalid_o <= !writes;
          state <= writes ? Data : Read;
        end
        Data: if (rx_done) begin
          word <= {rx_byte, word[31:8]};
          left <= left - 3'd1;
          if (left == 3'd1) begin
            awvalid_o <= 1'b1;
            wvalid_o <= 1'b1;
            state <= Write;
          end
        end
        Write: if (bvalid_i) begin
          word <= (bresp_i == 2'b00) ? 32'("K") : 32'("E");
          left <= 3'd1;
          state <= Answer;
        end
        Read: if (rvalid_i) begin
          word <= rdata_i;
          state <= Answer;
        end
        Answer: if (tx_ready) begin
          word <= word >> 8;
          left <= left - 3'd1;
          if (left == 3'd1) state <= Idle;
        end
        default: state <= Idle;
      endcase
    end
  end
endmodule
