"""The drift of networks for events over many steps, on a small stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.events.drift import Drift, drift, middle_part, quantized, row, to_and_fro
from fxp.models.events import Events
from fxp.models.events.networks import FireNet


def frames() -> list[np.ndarray]:
    """A bright square that moves to the right by a pixel."""
    found = []
    for number in range(5):
        frame = np.full((20, 24), 50, np.uint8)
        frame[8:12, 6 + number : 12 + number] = 200
        found.append(frame)
    return found


def test_a_video_goes_to_and_fro():
    stream = to_and_fro(frames(), 6, side=16)
    # Two frames a step: 0, 2, 4, 2, 0, 2, 4.
    columns = [int(np.argmax(picture[8])) for picture in stream.truth]
    assert columns == [4, 6, 4, 2, 4, 6]
    assert len(stream.windows) == 6
    assert all(len(window) for window in stream.windows)


def test_float_and_fixed_see_the_same_events():
    torch.manual_seed(0)
    network = FireNet(2).eval()
    stream = to_and_fro(frames(), 6, side=16)
    found = drift(network, quantized(network, stream), stream)
    assert len(found.fixed) == len(found.float32) == len(found.quality) == 6
    assert all(abs(difference) < 1e-4 for difference in found.quality_float32)
    assert len(found.quality_float32) == 6
    assert all(30 < level < 120 for level in found.fixed)
    assert all(level > 120 for level in found.float32)
    assert all(abs(difference) < 0.1 for difference in found.quality)
    cells = row("FireNet", stream, found)
    assert cells[:4] == ["FireNet", "simulated from a video", "16×16", "6"]


def test_losses_by_hand():
    assert Drift((60, 70, 54), (140, 139, 140), (), (), {"y": 0.0}).holds
    found = Drift((60, 70, 50), (140, 139, 138), (0.1, -0.2), (0, -0.05), {"y": 0.001, "x": 0.0})
    assert found.losses == (10, 2)
    assert not found.holds
    stream = to_and_fro(frames(), 2, side=16)
    assert row("net", stream, found)[2:] == [
        "16×16", "3",
        "60.0 / 50.0", "140.0 / 138.0", "10.0", "2.0", "-0.200", "-0.050", "0.100%",
    ]  # fmt: skip


def test_the_middle_of_a_recording():
    # The part of 64 pixels begins at column 32 and row 0 of a sensor of 128x64.
    recording = Events.of([1, 2, 3, 4], [31, 32, 95, 96], [0, 5, 63, 1], [1, 1, 0, 1])
    stream = middle_part(recording, (128, 64), 2, "cut")
    assert stream.size == (64, 64)
    assert [window.x.tolist() for window in stream.windows] == [[0], [63]]
    assert [window.y.tolist() for window in stream.windows] == [[5], [63]]


def test_the_whole_sensor_but_what_is_no_multiple_of_8():
    # 20 columns lose two on each side.
    recording = Events.of([1, 2, 3, 4], [1, 2, 17, 18], [0, 5, 7, 1], [1, 1, 0, 1])
    stream = middle_part(recording, (20, 8), 2, "cut", side=None)
    assert stream.size == (16, 8)
    assert [window.x.tolist() for window in stream.windows] == [[0], [15]]
    assert to_and_fro(frames(), 1, side=None).truth[0].shape == (16, 24)
    with pytest.raises(ValueError, match="2 events there, fewer than 3 steps"):
        middle_part(recording, (20, 8), 3, "cut", side=None)
    with pytest.raises(ValueError, match="a part of 64 pixels is larger"):
        middle_part(recording, (20, 8), 1, "cut")


@pytest.mark.parametrize(("levels", "text"), [((float("inf"), 60.0), "exact / 60.0")])
def test_no_difference_is_called_exact(levels: tuple, text: str):
    stream = to_and_fro(frames(), 2, side=16)
    found = Drift(levels, levels, (), (), {"y": 0.0})
    assert row("net", stream, found)[4] == text
