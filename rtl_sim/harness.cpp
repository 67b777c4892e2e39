// Streams whole frames through a core as fast as the compiled model runs, and records what comes out.
//
// Compiled with INPUT_BYTES, OUTPUT_BYTES and KEEP_BYTES of the streams, and with the addresses of
// registers, FXP_SIZE and FXP_STATUS. Arguments: input file, output file, width, height, frames, per cent of stalled clocks of source and sink, seed, patience in
// clocks. The output file has for every beat its data, its keep bytes and a byte of flags (1 tuser,
// 2 tlast). Prints one JSON object; on stderr, now and then, how many beats came out.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr uint64_t kReport = 1u << 16;

struct Timing {
    uint64_t first_in = 0, last_in = 0, first_out = 0, last_out = 0;
};

class Random {  // Marsaglia's xorshift64
public:
    explicit Random(uint64_t seed) : state_(seed * 2654435769u + 88172645463325252ull) {}
    bool percent(unsigned chance) {
        if (!chance) return false;
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return (state_ >> 32) % 100 < chance;
    }

private:
    uint64_t state_;
};

class Harness {
public:
    Harness(int argc, char** argv) : context_(new VerilatedContext) {
        context_->commandArgs(argc, argv);
        top_.reset(new Vtop(context_.get()));
    }
    ~Harness() { top_->final(); }

    Vtop& top() { return *top_; }
    uint64_t clock() const { return clock_; }

    // Outputs follow the inputs; then `edge` is the clock edge.
    void settle() {
        top_->aclk = 0;
        top_->eval();
    }
    void edge() {
        top_->aclk = 1;
        top_->eval();
        ++clock_;
    }
    void reset() {
        top_->aresetn = 0;
        for (int i = 0; i < 4; ++i) {
            settle();
            edge();
        }
        top_->aresetn = 1;
    }
    bool write(uint32_t address, uint32_t value) {
        top_->s_axil_awaddr = address;
        top_->s_axil_wdata = value;
        top_->s_axil_wstrb = 0xF;
        top_->s_axil_awvalid = top_->s_axil_wvalid = top_->s_axil_bready = 1;
        for (int i = 0; i < 1000; ++i) {
            settle();
            const bool address_taken = top_->s_axil_awready, value_taken = top_->s_axil_wready;
            const bool answered = top_->s_axil_bvalid;
            edge();
            if (address_taken) top_->s_axil_awvalid = 0;
            if (value_taken) top_->s_axil_wvalid = 0;
            if (answered) {
                top_->s_axil_bready = 0;
                return true;
            }
        }
        return false;
    }
    uint32_t read(uint32_t address) {
        top_->s_axil_araddr = address;
        top_->s_axil_arvalid = top_->s_axil_rready = 1;
        for (int i = 0; i < 1000; ++i) {
            settle();
            const bool taken = top_->s_axil_arready, answered = top_->s_axil_rvalid;
            const uint32_t value = top_->s_axil_rdata;
            edge();
            if (taken) top_->s_axil_arvalid = 0;
            if (answered) {
                top_->s_axil_rready = 0;
                return value;
            }
        }
        return ~0u;
    }

private:
    std::unique_ptr<VerilatedContext> context_;
    std::unique_ptr<Vtop> top_;
    uint64_t clock_ = 0;
};

int fail(const char* what) {
    std::fprintf(stderr, "error: %s\n", what);
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 11) return fail("ten arguments are needed");
    std::FILE* input = std::fopen(argv[1], "rb");
    std::FILE* output = std::fopen(argv[2], "wb");
    if (!input || !output) return fail("cannot open the files");
    const uint64_t width = std::strtoull(argv[3], nullptr, 10);
    const uint64_t height = std::strtoull(argv[4], nullptr, 10);
    const uint64_t frames = std::strtoull(argv[5], nullptr, 10);
    const uint64_t frame_beats = std::strtoull(argv[6], nullptr, 10);
    const unsigned idle = std::atoi(argv[7]), busy = std::atoi(argv[8]);
    const uint64_t seed = std::strtoull(argv[9], nullptr, 10);
    const uint64_t patience = std::strtoull(argv[10], nullptr, 10);
    Random source(2 * seed + 1), sink(2 * seed + 2);

    const uint64_t pixels = width * height;
    std::vector<uint8_t> data(pixels * frames * INPUT_BYTES);
    if (std::fread(data.data(), 1, data.size(), input) != data.size())
        return fail("the input is too short");
    std::vector<Timing> timing(frames);

    Harness harness(argc, argv);
    Vtop& top = harness.top();
    top.s_axis_tvalid = top.m_axis_tready = 0;
    top.s_axil_awvalid = top.s_axil_wvalid = top.s_axil_bready = 0;
    top.s_axil_arvalid = top.s_axil_rready = 0;
    harness.reset();
    if (!harness.write(FXP_SIZE, height << 16 | width))
        return fail("the registers do not answer");

    uint64_t taken = 0, produced = 0, moved = harness.clock();
    bool offering = false;
    uint8_t record[OUTPUT_BYTES + KEEP_BYTES + 1];
    while (produced < frames * frame_beats && harness.clock() - moved < patience) {
        if (!offering && taken < frames * pixels && !source.percent(idle)) {
            offering = true;
            std::memcpy(&top.s_axis_tdata, &data[taken * INPUT_BYTES], INPUT_BYTES);
            top.s_axis_tuser = taken % pixels == 0;
            top.s_axis_tlast = taken % width == width - 1;
        }
        top.s_axis_tvalid = offering;
        top.m_axis_tready = !sink.percent(busy);
        harness.settle();
        const bool in = top.s_axis_tvalid && top.s_axis_tready;
        const bool out = top.m_axis_tvalid && top.m_axis_tready;
        if (in) {
            Timing& frame = timing[taken / pixels];
            if (taken % pixels == 0) frame.first_in = harness.clock();
            frame.last_in = harness.clock();
            ++taken;
            offering = false;
        }
        if (out) {
            std::memcpy(record, &top.m_axis_tdata, OUTPUT_BYTES);
#if KEEP_BYTES
            std::memcpy(record + OUTPUT_BYTES, &top.m_axis_tkeep, KEEP_BYTES);
#endif
            record[OUTPUT_BYTES + KEEP_BYTES] = top.m_axis_tuser | top.m_axis_tlast << 1;
            std::fwrite(record, 1, sizeof record, output);
            Timing& frame = timing[produced / frame_beats];
            if (produced % frame_beats == 0) frame.first_out = harness.clock();
            frame.last_out = harness.clock();
            ++produced;
            if (produced % kReport == 0) std::fprintf(stderr, "%llu\n", (unsigned long long)produced);
        }
        if (in || out) moved = harness.clock();
        harness.edge();
    }
    if (std::fclose(output)) return fail("cannot write the output");
    top.s_axis_tvalid = 0;
    std::printf("{\"taken\": %llu, \"produced\": %llu, \"status\": %u, \"frames\": [",
                (unsigned long long)taken, (unsigned long long)produced, harness.read(FXP_STATUS));
    for (uint64_t i = 0; i < frames; ++i) {
        const Timing& t = timing[i];
        std::printf("%s[%llu, %llu, %llu, %llu]", i ? ", " : "", (unsigned long long)t.first_in,
                    (unsigned long long)t.last_in, (unsigned long long)t.first_out,
                    (unsigned long long)t.last_out);
    }
    std::printf("]}\n");
    return 0;
}
