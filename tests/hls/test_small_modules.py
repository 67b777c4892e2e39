"""Registers, line memories and delays of the library against a few lines of Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from module_bench import Offers, simulate
from module_parts import FIRST_COLUMN, VALID

from fxp.hls.rtl.emit import PACKAGE, library_sources
from fxp.rtl_sim.script import ERRORS, FRAMES, HEIGHT, STATUS, WIDTH

IDENTITY, VERSION, LIMITS = 0x00, 0x04, 0x1C
CONTROL, SIZE, IRQ_ENABLE, IRQ_STATUS, FEATURES = 0x20, 0x24, 0x28, 0x2C, 0x30
FRAME_DONE, ERROR = 1, 2
MAX_WIDTH, MAX_HEIGHT, REVISION = 40, 16, 0x12345678


@dataclass
class Registers:
    """What the documentation says about the registers."""

    values: dict[int, int] = field(
        default_factory=lambda: {
            IDENTITY: 0x66787031, VERSION: REVISION, WIDTH: 30, HEIGHT: 9, STATUS: 0, FRAMES: 0,
            ERRORS: 0, LIMITS: MAX_HEIGHT << 16 | MAX_WIDTH, CONTROL: 1, SIZE: 9 << 16 | 30,
            IRQ_ENABLE: 0, IRQ_STATUS: 0, FEATURES: 2 << 8 | 0b11,
        }
    )  # fmt: skip
    begun: int = 0
    restart: bool = False

    def write(self, address: int, data: int, strobes: int) -> bool:
        """Whether the write had an effect."""
        address &= ~3
        lanes = sum(0xFF << 8 * byte for byte in range(4) if strobes >> byte & 1)
        if address in (STATUS, IRQ_STATUS):
            self.values[address] &= ~(data & lanes & (0x1F if address == STATUS else 3))
            return True
        data = data & lanes | self.values.get(address, 0) & ~lanes
        if address in (WIDTH, HEIGHT, SIZE):
            width, height = self.values[WIDTH], self.values[HEIGHT]
            wanted = {WIDTH: (data, height), HEIGHT: (width, data)}.get(
                address, (data & 0xFFFF, data >> 16)
            )
            if not (1 <= wanted[0] <= MAX_WIDTH and 1 <= wanted[1] <= MAX_HEIGHT):
                self.values[STATUS] |= 1 << 4
                self.values[IRQ_STATUS] |= ERROR
                return False
            self.values[WIDTH], self.values[HEIGHT] = wanted
            self.values[SIZE] = wanted[1] << 16 | wanted[0]
        elif address == CONTROL:
            self.values[CONTROL] = data & 3
            self.restart = bool(data & 4)
        elif address == IRQ_ENABLE:
            self.values[IRQ_ENABLE] = data & 3
        return address in (CONTROL, SIZE, WIDTH, HEIGHT, IRQ_ENABLE)

    def read(self, address: int) -> tuple[int, int]:
        """Content and response."""
        address &= ~3
        known = self.values.get(address)
        if known is None:
            return 0, 2
        return known | (4 if address == CONTROL and self.restart else 0), 0

    def happen(self, started: int, finished: int, malformed: int, errors: int) -> None:
        busy = self.begun != self.values[FRAMES]
        self.values[STATUS] = self.values[STATUS] & 0x1F | errors | busy << 8
        self.values[IRQ_STATUS] |= FRAME_DONE * finished | (ERROR if errors else 0)
        self.begun += started
        self.values[FRAMES] += finished
        self.values[ERRORS] += malformed


@pytest.mark.parametrize("chances", [(1, 1, 1, 1), (0.8, 0.3, 0.8, 0.3), (0.3, 1, 0.3, 1)])
def test_registers(chances, tmp_path):
    count = 1500
    random = np.random.default_rng(7)

    def coin(chance: float) -> list[int]:
        return (random.random(count) < chance).astype(int).tolist()

    addresses = [*range(0, 0x38, 4), WIDTH, WIDTH + 3, HEIGHT, STATUS, SIZE, 0x80]
    words = [0, 1, 5, MAX_HEIGHT, MAX_HEIGHT + 1, MAX_WIDTH, MAX_WIDTH + 1, 1 << 16, 0x1F, 1 << 31]
    words += [MAX_HEIGHT << 16 | MAX_WIDTH, MAX_HEIGHT + 1 << 16 | 3, 2 << 16 | 3, 5 << 16]
    strobes = [15, 15, 15, 1, 2, 0]
    offers, answers, asks, takes = chances
    writes = random.choice(addresses, count).tolist()
    data = random.choice(words, count).tolist()
    lanes = random.choice(strobes, count).tolist()
    reads = random.choice(addresses, count).tolist()
    address_valid, data_valid, bready = coin(offers), coin(offers), coin(answers)
    arvalid, rready = coin(asks), coin(takes)
    events = [coin(0.05), coin(0.05), coin(0.05)]
    errors = [
        bits * hit for bits, hit in zip(random.integers(0, 16, count), coin(0.1), strict=True)
    ]
    out = simulate(
        tmp_path,
        "fxp_registers",
        {"Version": f"32'h{REVISION:x}", "MaxWidth": MAX_WIDTH, "MaxHeight": MAX_HEIGHT,
         "InitialWidth": 30, "InitialHeight": 9, "Scale": 2, "Bypass": "1'b1",
         "BusErrors": "1'b1"},
        {
            "rst_ni": (1, [0, 0] + [1] * (count - 2)),
            "core_rst_ni": (1, [1] * count), "restarting_i": (1, [0] * count),
            "awaddr_i": (8, writes), "awvalid_i": (1, address_valid),
            "wdata_i": (32, data), "wstrb_i": (4, lanes), "wvalid_i": (1, data_valid),
            "bready_i": (1, bready), "araddr_i": (8, reads), "arvalid_i": (1, arvalid),
            "rready_i": (1, rready), "started_i": (1, events[0]), "finished_i": (1, events[1]),
            "malformed_i": (1, events[2]), "errors_i": (4, errors),
        },
        {"awready_o": 1, "wready_o": 1, "bresp_o": 2, "bvalid_o": 1, "arready_o": 1,
         "rdata_o": 32, "rresp_o": 2, "rvalid_o": 1, "width_o": 16, "height_o": 16,
         "enable_o": 1, "bypass_o": 1, "restart_o": 1, "irq_o": 1},
    )  # fmt: skip
    model = Registers()
    writing: list[tuple[int, int, int]] = []
    reading: list[tuple[int, int]] = []
    answering = showing = raised = False
    answered = shown = 0
    had_effect = True
    for t in range(2, count):
        model.restart = False
        before = model.values[IRQ_STATUS] & model.values[IRQ_ENABLE]
        # A write takes effect when its answer appears.
        if out["bvalid_o"][t] and not answering:
            had_effect = model.write(*writing.pop(0))
            answering, answered = True, answered + 1
        assert bool(out["bvalid_o"][t]) == answering
        if t > 2:
            model.happen(*(event[t - 1] for event in events), errors[t - 1])
        sizes = model.values[WIDTH], model.values[HEIGHT]
        assert (out["width_o"][t], out["height_o"][t]) == sizes
        settings = out["enable_o"][t], out["bypass_o"][t], out["restart_o"][t]
        control = model.values[CONTROL]
        assert settings == (control & 1, control >> 1, int(model.restart))
        # The wire follows a clock later.
        assert out["irq_o"][t] == (before != 0)
        raised |= before != 0
        if out["rvalid_o"][t] and not showing:
            showing, shown = True, shown + 1
        assert bool(out["rvalid_o"][t]) == showing
        if showing:
            assert (out["rdata_o"][t], out["rresp_o"][t]) == reading[0]
        if answering:
            assert out["bresp_o"][t] == (0 if had_effect else 2)
        assert out["awready_o"][t] == out["wready_o"][t]
        if address_valid[t] and data_valid[t] and out["wready_o"][t]:
            writing.append((writes[t], data[t], lanes[t]))
        if answering and bready[t]:
            answering = False
        if showing and rready[t]:
            showing = False
            reading.pop(0)
        if arvalid[t] and out["arready_o"][t]:
            reading.append(model.read(reads[t]))
        assert len(writing) <= 1
        assert len(reading) <= 1
    assert answered > 10
    assert shown > 50
    assert raised


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("used", [1.0, 0.6])
def test_line_memory_gives_what_the_beat_before_wrote(depth, used, tmp_path):
    count = 200
    random = np.random.default_rng(depth)
    enable = (random.random(count) < used).astype(int).tolist()
    addresses = random.integers(0, depth, count).tolist()
    data = random.integers(0, 64, count).tolist()
    out = simulate(
        tmp_path,
        "fxp_line_memory",
        {"Width": 6, "Depth": depth, "AddressBits": 3},
        {"enable_i": (1, enable), "address_i": (3, addresses), "data_i": (6, data)},
        {"data_o": 6},
    )["data_o"]
    memory: dict[int, int] = {}
    for clock in range(count - 2):
        if enable[clock]:
            assert out[clock + 2] == memory.get(addresses[clock])
            memory[addresses[clock]] = data[clock]
    assert len(memory) == depth


@pytest.mark.parametrize("clocks", [0, 1, 4])
def test_delays_are_as_long_as_they_say(clocks, tmp_path):
    random = np.random.default_rng(clocks)
    count = 50
    data = random.integers(0, 64, count).tolist()
    late = simulate(
        tmp_path, "fxp_delay", {"Width": 6, "Clocks": clocks}, {"data_i": (6, data)}, {"data_o": 6}
    )["data_o"]
    assert late[clocks:] == data[: count - clocks]
    reset = [0, 0, *random.integers(0, 20, count - 2).astype(bool).astype(int).tolist()]
    taps = simulate(
        tmp_path,
        "fxp_tags",
        {"Clocks": clocks},
        {"rst_ni": (1, reset), "tags_i": (6, data)},
        {"taps_o": 6 * (clocks + 1)},
    )["taps_o"]
    for clock in range(clocks, count):
        word = taps[clock]
        assert word is not None
        for back in range(clocks + 1):
            # Nothing passes a reset.
            kept = all(reset[clock - back : clock])
            assert word >> 6 * back & 63 == data[clock - back] * kept


def test_frames_are_done_when_all_streams_have_done_them(tmp_path):
    # The second stream runs ahead by two frames, both end one in the same clock, then the first
    # catches up; a reset forgets what is ahead.
    first = [0, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    second = [0, 1, 1, 1, 0, 0, 0, 1, 0, 0]
    resets = [1, 1, 1, 1, 1, 1, 1, 1, 0, 1]
    done = [a | b << 1 for a, b in zip(first, second, strict=True)]
    found = simulate(
        tmp_path,
        "fxp_frames_done",
        {"Streams": 2},
        {"rst_ni": (1, [0, *resets]), "done_i": (2, [0, *done])},
        {"done_o": 1},
    )["done_o"]
    assert found[1:] == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0]


def test_chroma_of_a_pair_reaches_both_pixels(tmp_path):
    # Two rows of three pixels: luma 1, 2, 3 and 4, 5, 6; chroma Cb 10, Cr 20, Cb 30 and 40, 50, 60.
    rows = [([1, 2, 3], [10, 20, 30]), ([4, 5, 6], [40, 50, 60])]
    tags, taps = [], []
    for lumas, chromas in rows:
        padded = [chromas[0], *chromas, chromas[-1]]
        for column, value in enumerate(lumas):
            tags.append(VALID | FIRST_COLUMN * (column == 0))
            left, middle, right = padded[column : column + 3]
            taps.append(left << 8 | value << 16 | middle << 24 | right << 40)
    found = simulate(
        tmp_path,
        "fxp_chroma",
        {"Width": 8},
        {"tags_i": (6, [*tags, 0]), "taps_i": (48, [*taps, 0])},
        {"data_o": 24},
    )["data_o"]
    # From the low bits: Cr, luma, Cb. The last column of three has no Cr of its own.
    expected = [(20, 1, 10), (20, 2, 10), (30, 3, 30), (50, 4, 40), (50, 5, 40), (60, 6, 60)]
    assert found[1:] == [cr | y << 8 | cb << 16 for cr, y, cb in expected]


def test_states_begin_with_the_initial_value(tmp_path):
    # Two values a frame: the first frame takes the initial ones, the second what the stream brings.
    take = [0, 0, 0, 1, 1, 0, 1, 1, 0, 0]
    ends = [0, 0, 0, 0, 1, 0, 0, 1, 0, 0]
    offers = Offers("tvalid_i", "tready_o", {"tdata_i": 8}, [(11,), (12,)], [1] * len(take))
    found = simulate(
        tmp_path,
        "fxp_state",
        {"Width": 8, "Initial": "8'd7"},
        {"rst_ni": (1, [0, *[1] * (len(take) - 1)]), "take_i": (1, take), "end_i": (1, ends)},
        {"valid_o": 1, "data_o": 8},
        offers=offers,
    )
    assert found["data_o"][4:9] == [7, 7, 7, 11, 12]
    assert found["valid_o"][1:] == [1, 1, 1, 1, 1, 1, 1, 0, 0]


def test_every_module_has_a_bench():
    benches = "".join(
        path.read_text() for path in Path(__file__).parent.glob("test_*.py")
        if "simulate(" in path.read_text()
    )  # fmt: skip
    # The package has no logic.
    modules = {Path(name).stem for name in library_sources() if name != PACKAGE}
    assert {module for module in modules if f'"{module}"' not in benches} == set()
