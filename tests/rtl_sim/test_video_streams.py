"""Streams as video has them: few pixels in a beat, channels side by side, RGB as G, B, R."""

from __future__ import annotations

import numpy as np
import pytest
from simulations import SIMULATIONS, bench_of, check, frames, graph

from fxp.hls import StreamingError, emit_rtl
from fxp.hls.rtl.core import StreamPort
from fxp.rtl_sim import Stalls
from fxp.rtl_sim.packing import input_beats


@pytest.mark.parametrize(
    ("name", "pixels", "packing"),
    [
        ("kimsr_shaped", 2, "bytes"),
        ("espcn_shaped", 1, "ug934"),  # x3, nine pixels of nine bits
        ("srcnn_shaped", None, "ug934"),  # three channels of nine bits
    ],
)
def test_cores_with_streams_of_video(name, pixels, packing, work_dir):
    model, bench = bench_of(
        graph(name), "icarus", work_dir, pixels_per_beat=pixels, packing=packing, max_width=9,
        max_height=8,
    )  # fmt: skip
    images = frames(model, [(5, 3), (9, 2), (1, 1)], ["random"])
    result = check(bench, model, images, Stalls("random25", "bursts", seed=3))
    SIMULATIONS["icarus"] += 1
    assert result.core.has_keep == (pixels == 2)


def test_the_order_and_place_of_packed_channels():
    port = StreamPort("x", 3, 10, 10, False, 2, packed=True)
    assert port.beat_bytes() == 4
    assert port.beat_bytes(2) == 8
    red, green, blue = 0x301, 0x002, 0x1FF
    data, flags = input_beats(np.array([red, green, blue]).reshape(3, 1, 1), port)
    word = int.from_bytes(data[0].tobytes(), "little")
    # UG934: G in the low bits, then B, then R, zeros above.
    assert word == green | blue << 10 | red << 20
    assert flags.tolist() == [3]


def test_what_does_not_suit_is_refused(tmp_path):
    core = tmp_path / "core"
    with pytest.raises(StreamingError, match="must be one of 1 for blocks of 9 pixels, got 2"):
        emit_rtl(graph("espcn_shaped"), core, max_width=8, pixels_per_beat=2)
    with pytest.raises(StreamingError, match="must be one of bytes, ug934, got 'tight'"):
        emit_rtl(graph("espcn_shaped"), core, max_width=8, packing="tight")
    assert not core.exists()
