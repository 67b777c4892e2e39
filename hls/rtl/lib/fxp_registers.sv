// The AXI4-Lite register file of a core; docs/rtl.md lists the registers.
module fxp_registers #(
  parameter logic [31:0] Version       = '0,
  parameter int MinWidth      = 1,
  parameter int MinHeight     = 1,
  // Powers of two, and which remainders by them a size may have.
  parameter int WidthPeriod   = 1,
  parameter logic [WidthPeriod-1:0] WidthsTaken = '1,
  parameter int HeightPeriod  = 1,
  parameter logic [HeightPeriod-1:0] HeightsTaken = '1,
  parameter int MaxWidth      = 16,
  parameter int MaxHeight     = 16,
  parameter int InitialWidth  = 16,
  parameter int InitialHeight = 16,
  parameter int Scale         = 1,
  // Whether there is a bypass, and whether accesses without effect are answered with SLVERR.
  parameter logic Bypass    = 1'b0,
  parameter logic BusErrors = 1'b0
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
  output logic        irq_o,
  // Size of the next frame.
  output logic [15:0] width_o,
  output logic [15:0] height_o,
  // Whether it may start, and without the network.
  output logic        enable_o,
  output logic        bypass_o,
  // Demands a reset of the core, which goes on; the core is in reset.
  output logic        restart_o,
  input  logic        restarting_i,
  input  logic        core_rst_ni,
  // Events.
  input  logic        started_i,
  input  logic        finished_i,
  input  logic        malformed_i,
  input  logic [3:0]  errors_i
);
  // ---- generated from hls/rtl/register_map.py -------------------------------------------------
  localparam logic [5:0] IdWord = 6'd0;
  localparam logic [5:0] VersionWord = 6'd1;
  localparam logic [5:0] WidthWord = 6'd2;
  localparam logic [5:0] HeightWord = 6'd3;
  localparam logic [5:0] StatusWord = 6'd4;
  localparam logic [5:0] FramesWord = 6'd5;
  localparam logic [5:0] ErrorsWord = 6'd6;
  localparam logic [5:0] LimitsWord = 6'd7;
  localparam logic [5:0] ControlWord = 6'd8;
  localparam int ControlEnableBit = 0;
  localparam int ControlBypassBit = 1;
  localparam int ControlResetBit = 2;
  localparam logic [5:0] SizeWord = 6'd9;
  localparam logic [5:0] InterruptEnableWord = 6'd10;
  localparam int InterruptEnableFrameDoneBit = 0;
  localparam int InterruptEnableErrorBit = 1;
  localparam logic [5:0] InterruptStatusWord = 6'd11;
  localparam logic [5:0] FeaturesWord = 6'd12;
  // ---- end of what is generated ---------------------------------------------------------------
  localparam logic [31:0] Identity = 32'h66787031;
  localparam logic [1:0] Okay = 2'b00, SlaveError = 2'b10;
  logic [31:0] frames, malformed_frames, begun;
  logic [4:0] status;
  logic [1:0] interrupt_enable, interrupts;
  logic busy;

  logic [5:0] write_index, read_index;
  assign write_index = awaddr_i[7:2];
  assign read_index = araddr_i[7:2];

  // ---- Writes: address and data are taken together, checked, and then take effect -------------
  logic write, captured, checked;
  logic [31:0] old, merged, word;
  logic [5:0] index;
  assign awready_o = wready_o;
  assign write = awvalid_i && wvalid_i && wready_o;
  always_comb begin
    case (write_index)
      WidthWord:           old = {16'd0, width_o};
      HeightWord:          old = {16'd0, height_o};
      SizeWord:            old = {height_o, width_o};
      ControlWord:         old = {30'd0, bypass_o, enable_o};
      InterruptEnableWord: old = {30'd0, interrupt_enable};
      default:             old = '0;
    endcase
  end
  for (genvar b = 0; b < 4; b++) begin : gen_byte
    assign merged[8*b+:8] = wstrb_i[b] ? wdata_i[8*b+:8] : old[8*b+:8];
  end

  function automatic logic is_width(input logic [15:0] size);
    is_width = size >= 16'(MinWidth) && size <= 16'(MaxWidth) &&
               1'(WidthsTaken >> (size & 16'(WidthPeriod - 1)));
  endfunction
  function automatic logic is_height(input logic [15:0] size);
    is_height = size >= 16'(MinHeight) && size <= 16'(MaxHeight) &&
                1'(HeightsTaken >> (size & 16'(HeightPeriod - 1)));
  endfunction

  // Whether the halves of a word are sizes.
  logic low_is_width, low_is_height, high_is_height, high_is_zero;
  always_ff @(posedge clk_i) begin
    if (write) begin
      index <= write_index;
      word <= merged;
    end
    low_is_width <= is_width(word[15:0]);
    low_is_height <= is_height(word[15:0]);
    high_is_height <= is_height(word[31:16]);
    high_is_zero <= word[31:16] == 16'd0;
  end
  logic set_width, set_height, set_size, refused, has_effect;
  logic [1:0] events;
  assign set_width = checked && index == WidthWord && low_is_width && high_is_zero;
  assign set_height = checked && index == HeightWord && low_is_height && high_is_zero;
  assign set_size = checked && index == SizeWord && low_is_width && high_is_height;
  assign refused = checked && (index == WidthWord || index == HeightWord || index == SizeWord) &&
                   !(set_width || set_height || set_size);
  assign has_effect = set_width || set_height || set_size || index == StatusWord ||
                      index == ControlWord || index == InterruptEnableWord ||
                      index == InterruptStatusWord;
  assign events[InterruptEnableFrameDoneBit] = finished_i;
  assign events[InterruptEnableErrorBit] = refused || errors_i != 4'd0;

  logic [4:0] cleared;
  logic [1:0] acknowledged;
  assign cleared = (checked && index == StatusWord) ? word[4:0] : 5'd0;
  assign acknowledged = (checked && index == InterruptStatusWord) ? word[1:0] : 2'd0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      wready_o <= 1'b0;
      captured <= 1'b0;
      checked <= 1'b0;
      bvalid_o <= 1'b0;
      bresp_o <= Okay;
      width_o <= 16'(InitialWidth);
      height_o <= 16'(InitialHeight);
      enable_o <= 1'b1;
      bypass_o <= 1'b0;
      restart_o <= 1'b0;
      interrupt_enable <= '0;
      irq_o <= 1'b0;
    end else begin
      // Ready for one clock, when address and data are there and the last write is answered.
      wready_o <= awvalid_i && wvalid_i && !wready_o && !captured && !checked &&
                  (!bvalid_o || bready_i);
      captured <= write;
      checked <= captured;
      if (checked) begin
        bvalid_o <= 1'b1;
        bresp_o <= (BusErrors && !has_effect) ? SlaveError : Okay;
      end else if (bready_i) begin
        bvalid_o <= 1'b0;
      end
      if (set_width || set_size) width_o <= word[15:0];
      if (set_height) height_o <= word[15:0];
      else if (set_size) height_o <= word[31:16];
      if (checked && index == ControlWord) begin
        enable_o <= word[ControlEnableBit];
        bypass_o <= Bypass && word[ControlBypassBit];
      end
      restart_o <= checked && index == ControlWord && word[ControlResetBit];
      if (checked && index == InterruptEnableWord) interrupt_enable <= word[1:0];
      irq_o <= |(interrupts & interrupt_enable);
    end
  end

  // What a reset of the core forgets.
  always_ff @(posedge clk_i) begin
    if (!rst_ni || !core_rst_ni) begin
      status <= '0;
      interrupts <= '0;
      frames <= '0;
      malformed_frames <= '0;
      begun <= '0;
      busy <= 1'b0;
    end else begin
      status <= (status & ~cleared) | {refused, errors_i};
      interrupts <= (interrupts & ~acknowledged) | events;
      if (finished_i) frames <= frames + 32'd1;
      if (started_i) begun <= begun + 32'd1;
      if (malformed_i) malformed_frames <= malformed_frames + 32'd1;
      busy <= begun != frames;
    end
  end

  // ---- Reads ----------------------------------------------------------------------------------
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
      rresp_o <= Okay;
      case (read_index)
        IdWord:              rdata_o <= Identity;
        VersionWord:         rdata_o <= Version;
        WidthWord:           rdata_o <= {16'd0, width_o};
        HeightWord:          rdata_o <= {16'd0, height_o};
        StatusWord:          rdata_o <= {23'd0, busy, 3'd0, status};
        FramesWord:          rdata_o <= frames;
        ErrorsWord:          rdata_o <= malformed_frames;
        LimitsWord:          rdata_o <= {16'(MaxHeight), 16'(MaxWidth)};
        ControlWord:         rdata_o <= {29'd0, restart_o || restarting_i, bypass_o, enable_o};
        SizeWord:            rdata_o <= {height_o, width_o};
        InterruptEnableWord: rdata_o <= {30'd0, interrupt_enable};
        InterruptStatusWord: rdata_o <= {30'd0, interrupts};
        FeaturesWord:        rdata_o <= {16'd0, 8'(Scale), 6'd0, BusErrors, Bypass};
        default: begin
          rdata_o <= '0;
          rresp_o <= BusErrors ? SlaveError : Okay;
        end
      endcase
    end
  end

  logic unused_address;
  assign unused_address = ^{awaddr_i[1:0], araddr_i[1:0]};

`ifdef FORMAL
  logic started = 1'b0;
  always_ff @(posedge clk_i) started <= 1'b1;
  always_comb if (!started) assume (!rst_ni);

  logic past_b, past_r, past_pair;
  logic [31:0] past_data, past_size;
  logic [3:0] past_responses;
  always_ff @(posedge clk_i) begin
    past_b <= rst_ni && bvalid_o && !bready_i;
    past_r <= rst_ni && rvalid_o && !rready_i;
    past_data <= rdata_o;
    past_responses <= {bresp_o, rresp_o};
    past_pair <= rst_ni && checked && index == SizeWord;
    past_size <= word;
  end
  always_comb begin
    if (!started) assume (!past_b && !past_r && !past_pair);
    if (started) begin
      if (checked) begin
        assert (low_is_width == is_width(word[15:0]));
        assert (low_is_height == is_height(word[15:0]));
        assert (high_is_height == is_height(word[31:16]));
        assert (high_is_zero == (word[31:16] == 16'd0));
      end
      assert (wready_o + captured + checked <= 1);
      if (wready_o || captured || checked) assert (!bvalid_o);
      assert (width_o >= 16'(MinWidth) && width_o <= 16'(MaxWidth));
      assert (height_o >= 16'(MinHeight) && height_o <= 16'(MaxHeight));
      assert (WidthsTaken[width_o % WidthPeriod]);
      assert (HeightsTaken[height_o % HeightPeriod]);
      if (past_b) assert (bvalid_o && bresp_o == past_responses[3:2]);
      if (past_r) assert (rvalid_o && rdata_o == past_data && rresp_o == past_responses[1:0]);
      // Both sizes of one word, or neither.
      if (past_pair && past_size != {height_o, width_o}) begin
        assert (past_size[15:0] < 16'(MinWidth) || past_size[15:0] > 16'(MaxWidth) ||
                past_size[31:16] < 16'(MinHeight) || past_size[31:16] > 16'(MaxHeight) ||
                !WidthsTaken[past_size[15:0] % WidthPeriod] ||
                !HeightsTaken[past_size[31:16] % HeightPeriod]);
      end
      if (!Bypass) assert (!bypass_o);
    end
  end
`endif
endmodule
