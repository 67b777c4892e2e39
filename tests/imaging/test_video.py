"""Video streams: what is read is what was written, and damaged streams fail in one way."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fxp.imaging.video import (
    Frame,
    Layout,
    VideoError,
    VideoFormat,
    header,
    read_frames,
    read_header,
    write_frame,
)

COLOUR_TAGS = {
    Layout.GRAY: "Cmono",
    Layout.YUV411: "C411",
    Layout.YUV420: "C420jpeg",
    Layout.YUV422: "C422",
    Layout.YUV444: "C444",
}


def random_frame(form: VideoFormat, seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, shape, np.uint8) for shape in form.plane_shapes]


def stream_of(form: VideoFormat, frames: list[Frame]) -> bytes:
    stream = io.BytesIO()
    stream.write(header(form))
    for frame in frames:
        write_frame(stream, frame, form)
    return stream.getvalue()


def read(data: bytes) -> tuple[VideoFormat, list[Frame]]:
    stream = io.BytesIO(data)
    form = read_header(stream)
    return form, list(read_frames(stream, form))


@given(
    layout=st.sampled_from(list(Layout)),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    count=st.integers(0, 3),
    rate=st.sampled_from([(), ("F30000:1001", "Ip", "A1:1"), ("XCOLORRANGE=LIMITED",)]),
    raw=st.booleans(),
)
def test_round_trip(
    layout: Layout, width: int, height: int, count: int, rate: tuple[str, ...], raw: bool
):
    raw = raw or layout is Layout.RGB
    form = VideoFormat(width, height, layout, None if raw else (*rate, COLOUR_TAGS[layout]))
    frames = [random_frame(form, seed) for seed in range(count)]
    data = stream_of(form, frames)
    assert form.frame_count(len(data)) == count
    if raw:
        assert len(data) == count * form.frame_bytes
        found = list(read_frames(io.BytesIO(data), form))
    else:
        reread, found = read(data)
        assert reread == form
    assert len(found) == count
    for one, other in zip(found, frames, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_header_as_other_programs_write_it():
    form, frames = read(b"YUV4MPEG2 W3 H2 F25:1 Ip A0:0 C420mpeg2 XYSCSS=420MPEG2\nFRAME Ixyz\n"
                        + bytes(range(10)))  # fmt: skip
    assert form.tags == ("F25:1", "Ip", "A0:0", "C420mpeg2", "XYSCSS=420MPEG2")
    assert frames[0][0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert frames[0][1].tolist() == [[6, 7]]
    assert frames[0][2].tolist() == [[8, 9]]
    without, _ = read(b"YUV4MPEG2 H2 W3\n")
    assert without.layout is Layout.YUV420
    larger = without.upscaled(2)
    assert header(larger) == b"YUV4MPEG2 W6 H4\n"
    assert larger.plane_shapes == [(4, 6), (2, 3), (2, 3)]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no YUV4MPEG2"),
        (b"RIFF1234", "no YUV4MPEG2"),
        (b"YUV4MPEG2 W2 H2", "no YUV4MPEG2"),
        (b"YUV4MPEG2 " + b"X" * 5000 + b"\n", "no YUV4MPEG2"),
        (b"YUV4MPEG2 W2\n", "lacks"),
        (b"YUV4MPEG2 W2 H-2\n", "wrong size"),
        (b"YUV4MPEG2 W2 W2 H2\n", "wrong size"),
        (b"YUV4MPEG2 W2 H\xb2\n", "wrong size"),
        (b"YUV4MPEG2 W0 H2\n", "empty or too large"),
        (b"YUV4MPEG2 W99999 H99999\n", "empty or too large"),
        (b"YUV4MPEG2 W2 H2 C420p11\n", "'420p11' is not supported"),
        (b"YUV4MPEG2 W2 H2 C444alpha\n", "'444alpha' is not supported"),
        (b"YUV4MPEG2 W2 H2 It\n", "interlaced"),
        (b"YUV4MPEG2 W2 H2 Cmono\nFRAME\nabc", "ends within frame 1"),
        (b"YUV4MPEG2 W2 H2 Cmono\nFRAME\n", "ends within frame 1"),
        (b"YUV4MPEG2 W2 H2 Cmono\nFRAME\nabcdFRAME", "in place of frame 2"),
        (b"YUV4MPEG2 W2 H2 Cmono\n\nFRAME\nabcd", "in place of frame 1"),
        (b"YUV4MPEG2 W2 H2 Cmono\nFRAMES\nabcd", "in place of frame 1"),
    ],
)
def test_damaged_streams(data: bytes, match: str):
    with pytest.raises(VideoError, match=match):
        read(data)


def test_raw_video_that_ends_early():
    form = VideoFormat(2, 2, Layout.YUV444)
    with pytest.raises(VideoError, match="within frame 2"):
        list(read_frames(io.BytesIO(bytes(13)), form))


def test_frame_of_another_size_is_not_written():
    form = VideoFormat(2, 2, Layout.GRAY)
    with pytest.raises(VideoError, match="no frame"):
        write_frame(io.BytesIO(), [np.zeros((2, 3), np.uint8)], form)


WORDS = st.sampled_from(
    [
        b"YUV4MPEG2",
        b" ",
        b"\n",
        b"W2",
        b"H2",
        b"W",
        b"C444",
        b"C",
        b"Cmono",
        b"FRAME",
        b"I",
        b"abcd",
    ]
)


@given(st.lists(WORDS | st.binary(max_size=6), max_size=12).map(b"".join))
def test_any_bytes_are_frames_or_an_error(data: bytes):
    for start in (b"", b"YUV4MPEG2 W2 H1 "):
        try:
            form, frames = read(start + data)
        except VideoError:
            continue
        total = sum(plane.size for frame in frames for plane in frame)
        assert total == len(frames) * form.frame_bytes <= len(start + data)


@pytest.mark.parametrize(
    ("bits", "samples", "expected"),
    [
        (10, [0, 1, 2, 64, 940, 941, 942, 1021, 1023], [0, 0, 1, 16, 235, 235, 236, 255, 255]),
        (12, [0, 7, 8, 256, 3760, 4095], [0, 0, 1, 16, 235, 255]),
        (16, [127, 128, 65535], [0, 1, 255]),
    ],
)
def test_deep_samples_are_rounded_to_eight_bits(bits: int, samples: list[int], expected: list[int]):
    name = f"mono{bits}" if bits < 16 else "mono16"
    head = f"YUV4MPEG2 W{len(samples)} H1 F25:1 C{name}\n".encode()
    form, frames = read(head + b"FRAME\n" + np.array(samples, "<u2").tobytes())
    assert form.bits == bits
    assert [frame[0].tolist() for frame in frames] == [[expected]]


def test_a_deep_video_becomes_one_of_eight_bits():
    """The sizes are those of 3x2 luma and 2x1 chroma; the header names the new samples."""
    head = b"YUV4MPEG2 W3 H2 F25:1 Ip C420p10 XYSCSS=420P10 XCOLORRANGE=LIMITED\n"
    data = np.arange(10, dtype="<u2") * 4
    form, frames = read(head + (b"FRAME\n" + data.tobytes()) * 2)
    assert form.layout is Layout.YUV420
    assert form.frame_count(len(head) + 2 * (6 + 20)) == 2
    assert [plane.tolist() for plane in frames[1]] == [[[0, 1, 2], [3, 4, 5]], [[6, 7]], [[8, 9]]]
    assert header(form.upscaled(2)) == (b"YUV4MPEG2 W6 H4 C420 F25:1 Ip XCOLORRANGE=LIMITED\n")
    assert form.upscaled(2).frame_bytes == 24 + 2 * 6


def test_quarter_width_chroma():
    form, frames = read(b"YUV4MPEG2 W5 H2 C411\nFRAME\n" + bytes(range(18)))
    shapes = [plane.shape for plane in frames[0]]
    assert shapes == form.plane_shapes == [(2, 5), (2, 2), (2, 2)]
