"""Modules that registers control: stop at a frame's end, bypass, reset by a register."""

from __future__ import annotations

import numpy as np
import pytest
from module_bench import Offers, simulate
from module_parts import REAL, VALID, known

from fxp.hls.rtl import register_map


def frames(count: int, width: int, height: int) -> list[tuple[int, int, int]]:
    """User, last and value of the pixels of sound frames."""
    return [
        (int(place == 0), int(place % width == width - 1), 1 + number)
        for number in range(count)
        for place in range(width * height)
    ]


def test_a_disabled_sequencer_completes_its_frame_and_takes_no_other(tmp_path):
    count, width, height = 200, 3, 2
    # Off in the middle of the second frame, with a new size; on again much later.
    enable = [1] * 12 + [0] * 88 + [1] * 100
    widths = [3] * 50 + [2] * 150
    pixels = frames(2, width, height) + frames(2, 2, height)
    out = simulate(
        tmp_path,
        "fxp_sequencer",
        {"Width": 8, "LagLines": 1, "LagPixels": 1, "Patience": 4, "InitialWidth": 3,
         "InitialHeight": 2},
        {
            "rst_ni": (1, [0, 0] + [1] * (count - 2)), "room_i": (1, [1] * count),
            "states_valid_i": (1, [1] * count),
            "width_i": (16, widths), "height_i": (16, [height] * count),
            "enable_i": (1, enable), "bypass_i": (1, [0] * count),
        },
        {"tags_o": 6, "data_o": 8, "errors_o": 4, "started_o": 1},
        offers=Offers("tvalid_i", "tready_o", {"tuser_i": 1, "tlast_i": 1, "tdata_i": 8}, pixels,
                      [1] * count),
    )  # fmt: skip
    assert not any(out["errors_o"][3:])
    tags = known(out["tags_o"][3:])
    real = [(c + 3, out["data_o"][c + 3]) for c, tag in enumerate(tags) if tag & REAL and tag & 1]
    # Two frames of six pixels before, two of four after, none while the sequencer is off.
    assert [value for clock, value in real if clock < 60] == [1] * 6 + [2] * 6
    assert [value for clock, value in real if clock >= 60] == [1] * 4 + [2] * 4
    assert min(clock for clock, _ in real if clock >= 60) > 100
    assert sum(out["started_o"][3:]) == 4


def test_a_frame_cut_off_while_disabled_is_completed(tmp_path):
    count = 80
    pixels = frames(1, 3, 2)[:4] + frames(1, 3, 2)
    out = simulate(
        tmp_path,
        "fxp_sequencer",
        {"Width": 8, "LagLines": 1, "LagPixels": 1, "InitialWidth": 3, "InitialHeight": 2},
        {
            "rst_ni": (1, [0, 0] + [1] * (count - 2)), "room_i": (1, [1] * count),
            "states_valid_i": (1, [1] * count),
            "width_i": (16, [3] * count), "height_i": (16, [2] * count),
            "enable_i": (1, [1] * 6 + [0] * (count - 6)), "bypass_i": (1, [0] * count),
        },
        {"tags_o": 6, "errors_o": 4},
        offers=Offers("tvalid_i", "tready_o", {"tuser_i": 1, "tlast_i": 1, "tdata_i": 8}, pixels,
                      [1] * count),
    )  # fmt: skip
    real = [tags for tags in known(out["tags_o"][3:]) if tags & REAL and tags & VALID]
    assert len(real) == 6
    assert sum(errors == 4 for errors in out["errors_o"][3:]) == 1


@pytest.mark.parametrize("clocks", [1, 2, 3, 7])
def test_bypass_has_the_latency_of_the_network(clocks, tmp_path):
    count, copies = 60, 2
    random = np.random.default_rng(clocks)
    tags, own_tags = random.integers(0, 64, (2, count)).tolist()
    data = random.integers(0, 16, count).tolist()
    own_data = random.integers(0, 256, count).tolist()
    mode = [0] * 20 + [1] * 20 + [0] * 20
    out = simulate(
        tmp_path,
        "fxp_bypass",
        {"Width": 4, "Copies": copies, "Clocks": clocks},
        {
            "rst_ni": (1, [0, 0] + [1] * (count - 2)), "bypass_i": (1, mode),
            "source_tags_i": (6, tags), "source_data_i": (4, data),
            "tags_i": (6, own_tags), "data_i": (8, own_data),
        },
        {"tags_o": 6, "data_o": 8},
    )  # fmt: skip
    for clock in range(2 + clocks, count):
        before = clock - clocks
        if mode[before]:
            wanted = (tags[before], data[before] * 0x11)
        else:
            wanted = (own_tags[clock], own_data[clock])
        assert (out["tags_o"][clock], out["data_o"][clock]) == wanted


@pytest.mark.parametrize("taken", [1.0, 0.4])
def test_restart_withdraws_no_offer_and_resets_for_a_clock(taken, tmp_path):
    count = 400
    random = np.random.default_rng(5)
    ready = (random.random(count) < taken).astype(int).tolist()
    request = (random.random(count) < 0.05).astype(int).tolist()
    out = simulate(
        tmp_path,
        "fxp_restart",
        {},
        {
            "rst_ni": (1, [0, 0] + [1] * (count - 2)), "request_i": (1, request),
            "in_ready_i": (1, [1] * count), "out_ready_i": (1, ready),
        },
        {"busy_o": 1, "core_rst_no": 1, "in_ready_o": 1, "out_valid_o": 1},
        offers=Offers("out_valid_i", "out_ready_o", {}, [()] * count, [1] * count),
    )  # fmt: skip
    resets = [c for c in range(4, count) if not out["core_rst_no"][c]]
    assert resets
    for c in range(4, count):
        if out["out_valid_o"][c - 1] and not ready[c - 1]:
            assert out["out_valid_o"][c]
        if request[c - 1]:
            assert out["busy_o"][c]
    for c in resets:
        assert not out["in_ready_o"][c]
        assert not out["out_valid_o"][c]
        assert out["core_rst_no"][c - 1]
    # Every request is followed by a reset before long.
    for c in range(4, count - 60):
        if request[c]:
            assert any(c < reset <= c + 60 for reset in resets)


def test_generated_parts_are_those_of_the_table():
    for path, text in register_map.generated_files():
        assert path.read_text(encoding="utf-8") == text, "run python -m fxp.hls.rtl.register_map"


def test_the_table_of_registers_is_sound():
    addresses = [register.address for register in register_map.REGISTERS]
    assert addresses == list(range(0, 4 * len(addresses), 4))
    for register in register_map.REGISTERS:
        masks = [field.mask for field in register.fields]
        assert sum(masks) < 1 << 32
        assert all(a & b == 0 for i, a in enumerate(masks) for b in masks[:i])
    header = register_map.render_c_header()
    assert "#define FXP_SIZE 0x24u\n" in header
    assert "#define FXP_CONTROL_RESET_SHIFT 2\n" in header
    assert "#define FXP_CONTROL_RESET_MASK 0x00000004u\n" in header
    assert "#define FXP_LIMITS_MAX_HEIGHT_MASK 0xffff0000u\n" in header
    with pytest.raises(ValueError, match="0 generated parts"):
        register_map.replace_generated("nothing here", "")
