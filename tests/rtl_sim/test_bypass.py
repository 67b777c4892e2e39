"""A core whose network is put out of the way by a register, between any two frames."""

from __future__ import annotations

import numpy as np
import pytest
from simulations import SIMULATIONS, bench_of, frames, graph

from fxp.hls import StreamingError, emit_rtl
from fxp.rtl_sim import Stalls
from fxp.rtl_sim.comparison import patience_of
from fxp.rtl_sim.packing import input_beats, output_image, output_shape
from fxp.rtl_sim.script import CONTROL, SIZE, STATUS, Script

ENABLE, BYPASS = 1, 3


@pytest.mark.parametrize(
    ("name", "raster", "stalls"),
    [
        ("kimsr_shaped", False, Stalls("random25", "bursts", seed=2)),
    ],
)
def test_frames_with_and_without_the_network_follow_each_other(name, raster, stalls, work_dir):
    model, bench = bench_of(
        graph(name), "icarus", work_dir, bypass=True, raster=raster, max_width=9, max_height=8
    )
    core = bench.core
    images = frames(model, [(5, 4), (9, 2), (1, 1), (9, 2)], ("random", "highest"))
    modes = [ENABLE, BYPASS, BYPASS, ENABLE, BYPASS, ENABLE, ENABLE, BYPASS]
    script = Script(stalls, patience_of(core, stalls, 9))
    script.reset()
    wanted = []
    beats = 0
    for image, mode in zip(images, modes, strict=True):
        height, width = image.shape[1:]
        script.write(SIZE, height << 16 | width)
        script.write(CONTROL, mode)
        script.send(*input_beats(image, core.input))
        nearest = image.repeat(core.scale, 1).repeat(core.scale, 2)
        wanted.append(nearest if mode == BYPASS else model.run(image).outputs[0])
        beats += int(np.prod(output_shape(core, height, width)))
    script.drain(beats)
    script.read(STATUS)
    log, _ = bench.run(script)
    SIMULATIONS["icarus"] += 1
    assert log.violations == ()
    assert log.values[-1] & 0x1F == 0
    assert len(log.data) == beats
    first = 0
    for image, expected in zip(images, wanted, strict=True):
        height, width = image.shape[1:]
        count = int(np.prod(output_shape(core, height, width)))
        part = slice(first, first + count)
        keep = None if log.keep is None else log.keep[part]
        got = output_image(core, log.data[part], keep, height, width)
        np.testing.assert_array_equal(got, expected)
        first += count


def test_a_bypass_needs_one_format_on_both_sides(tmp_path):
    with pytest.raises(StreamingError, match="same format"):
        emit_rtl(graph("srcnn_shaped"), tmp_path / "core", max_width=8, bypass=True)
    assert not (tmp_path / "core").exists()
