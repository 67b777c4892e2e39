// A monitor and a terminal for the design of a board: decodes the pins of its video connector, and
// talks to its registers by the serial port.
//
// Compiled with the top as Vtop. Arguments: output file, width, height, frames to record, words of a
// frame (blanking included), words of a bit of the serial port, bytes to send in hexadecimal. Writes
// for every frame width * height pixels of three bytes, red first. Prints one JSON object: how many
// words were no TMDS, how many lines had another length, the sizes seen, and the bytes received.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr int kTokens[4] = {0x354, 0x0AB, 0x154, 0x2AB};
constexpr int kLanes = 3;

// The control bits of a token, or -1.
int token(int word) {
    for (int i = 0; i < 4; ++i)
        if (kTokens[i] == word) return i;
    return -1;
}

int decode(int word) {
    int bits = word & 0xFF;
    if (word >> 9 & 1) bits ^= 0xFF;
    int byte = bits & 1;
    for (int i = 1; i < 8; ++i) {
        const int edge = (bits >> i ^ bits >> (i - 1)) & 1;
        byte |= (word >> 8 & 1 ? edge : !edge) << i;
    }
    return byte;
}

// Ten bits at a time of every lane; the words begin where the clock lane rises.
class Receiver {
public:
    // Takes the pins at one time; true when a word of every lane is complete.
    bool take(int pins) {
        for (int lane = 0; lane < 4; ++lane)
            shift_[lane] = (shift_[lane] >> 1 | (pins >> lane & 1) << 9) & 0x3FF;
        ++bits_;
        if (shift_[3] != 0x01F) return false;
        if (bits_ != 10) ++slips_;
        bits_ = 0;
        return true;
    }
    int word(int lane) const { return shift_[lane]; }
    int slips() const { return slips_; }

private:
    int shift_[4] = {0, 0, 0, 0};
    int bits_ = 0, slips_ = 0;
};

// Eight bits at a time, as a terminal sends and receives them.
class Terminal {
public:
    Terminal(const char* hexadecimal, int divider) : divider_(divider) {
        for (const char* at = hexadecimal; at[0] && at[1]; at += 2)
            out_.push_back(std::stoi(std::string(at, 2), nullptr, 16));
    }
    int send() {  // the level of the line in this clock
        if (next_ >= out_.size()) return 1;
        const int frame = 0x200 | out_[next_] << 1;
        const int level = frame >> bit_ & 1;
        if (++time_ == divider_) {
            time_ = 0;
            if (++bit_ == 10) {
                bit_ = 0;
                ++next_;
            }
        }
        return level;
    }
    void receive(int level) {
        if (wait_ > 0) {
            if (--wait_) return;
            if (left_ > 1) byte_ = byte_ >> 1 | level << 7;
            if (--left_ == 0) in_.push_back(byte_);
            else wait_ = divider_;
        } else if (!level) {
            left_ = 9;  // eight bits, and the stop bit
            byte_ = 0;
            wait_ = divider_ + divider_ / 2;
        }
    }
    const std::vector<int>& received() const { return in_; }

private:
    std::vector<int> out_, in_;
    int divider_;
    size_t next_ = 0;
    int bit_ = 0, time_ = 0, wait_ = 0, left_ = 0, byte_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 8) {
        std::fprintf(stderr, "Error: seven arguments are needed\n");
        return 2;
    }
    std::FILE* output = std::fopen(argv[1], "wb");
    if (!output) return 2;
    const int width = std::atoi(argv[2]), height = std::atoi(argv[3]), frames = std::atoi(argv[4]);
    const long long words_of_frame = std::atoll(argv[5]);
    Terminal terminal(argv[7], std::atoi(argv[6]));

    auto context = std::make_unique<VerilatedContext>();
    auto top = std::make_unique<Vtop>(context.get());
    top->clk_i = 0;
    top->uart_rx_i = 1;
    Receiver receiver;
    std::vector<uint8_t> picture;
    bool synchronized = false, was_active = false, in_pulse = false;
    int recorded = 0, broken = 0, odd_lines = 0, line = 0, dark = 0;
    long long words = 0;
    // The words before the first frame are of the start; an underflow would show as a dark frame.
    while (recorded < frames && words < (frames + 4) * words_of_frame) {
        bool complete = false;
        for (int half = 0; half < 2; ++half) {
            top->clk_i = !top->clk_i;
            top->eval();
            complete |= receiver.take(top->tmds_o);
        }
        if (!complete) continue;
        ++words;
        top->uart_rx_i = terminal.send();
        terminal.receive(top->uart_tx_o);
        const int control = token(receiver.word(0));
        const bool active = control < 0;
        const bool shows = top->led_o & 1;
        if (!active) {
            if (token(receiver.word(1)) != 0 || token(receiver.word(2)) != 0) broken += synchronized;
            // The vertical pulse, whichever level it has: a change of its bit between two frames.
            const bool pulse = control >> 1;
            if (pulse != in_pulse) {
                in_pulse = pulse;
                if (synchronized && !picture.empty()) {
                    if (picture.size() == size_t(3) * width * height) {
                        std::fwrite(picture.data(), 1, picture.size(), output);
                        ++recorded;
                        std::fprintf(stderr, "%d\n", recorded);
                    } else {
                        ++odd_lines;
                    }
                }
                picture.clear();
                synchronized = true;
            }
            if (was_active && line != width) odd_lines += synchronized;
            line = 0;
        } else if (synchronized) {
            if (!shows && picture.empty()) ++dark;
            for (int lane = kLanes - 1; lane >= 0; --lane) {
                if (token(receiver.word(lane)) >= 0) ++broken;
                picture.push_back(decode(receiver.word(lane)));
            }
            ++line;
        }
        was_active = active;
    }
    std::fclose(output);
    std::printf("{\"recorded\": %d, \"broken\": %d, \"odd_lines\": %d, \"dark\": %d, \"slips\": %d, "
                "\"leds\": %d, \"words\": %lld, \"received\": \"",
                recorded, broken, odd_lines, dark, receiver.slips(), int(top->led_o), words);
    for (int byte : terminal.received()) std::printf("%02x", byte);
    std::printf("\"}\n");
    return 0;
}
