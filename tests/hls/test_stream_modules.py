"""Modules that beats pass through, against a few lines of Python."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from module_bench import Offers, join_fields, simulate, split_fields
from module_parts import (
    FIRST_COLUMN,
    FIRST_ROW,
    FRAMES,
    LAST_COLUMN,
    LAST_ROW,
    REAL,
    VALID,
    known,
    raster,
    spread,
)

# ---- Beats ----------------------------------------------------------------------------------


KERNELS = [
    # rows, columns, dilation, padding at the top and on the left
    (3, 3, (1, 1), (1, 1)),
    (1, 5, (1, 1), (0, 2)),
    (5, 1, (1, 1), (2, 0)),
    (5, 5, (1, 1), (2, 2)),
    (2, 2, (1, 1), (1, 0)),
    (2, 4, (1, 1), (0, 3)),
    (3, 3, (2, 3), (2, 3)),
]


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize("kernel", KERNELS)
def test_windows_pad_every_frame_by_itself(kernel, gaps, tmp_path):
    rows, columns, dilation, (top, left) = kernel
    lines, across = dilation[0] * (rows - 1), dilation[1] * (columns - 1)
    for number, sizes in enumerate(FRAMES):
        beats = raster(sizes, lines + across + 2, number)
        clocks = [(0, 0)] * 3 + spread(beats, gaps, number) + [(0, 0)] * 40
        taps = rows * columns
        out = simulate(
            tmp_path,
            "fxp_window",
            {"Channels": 2, "Width": 3, "KernelRows": rows, "KernelColumns": columns,
             "DilationRows": dilation[0], "DilationColumns": dilation[1],
             "PadTop": top, "PadLeft": left, "MaxWidth": 9},
            {
                "rst_ni": (1, [0, 0] + [1] * (len(clocks) - 2)),
                "tags_i": (6, [tags for tags, _ in clocks]),
                "data_i": (6, [data for _, data in clocks]),
            },
            {"tags_o": 6, "taps_o": 6 * taps},
        )  # fmt: skip
        latency = 2 * lines + 2
        valid = [tags & VALID for tags, _ in clocks]
        assert [
            known(out["tags_o"][2:])[i] & VALID for i in range(latency - 2, len(valid) - 2)
        ] == (valid[: len(valid) - latency])
        real = [
            (tags, taps_word)
            for tags, taps_word in zip(out["tags_o"][2:], out["taps_o"][2:], strict=True)
            if tags is not None and tags & VALID and tags & REAL
        ]
        position = 0
        for width, height in sizes:
            pixels = [data for _, data in beats[position : position + width * height]]
            image = np.array(pixels).reshape(height, width)
            padded = np.pad(image, ((top, lines - top), (left, across - left)))
            for row, column in np.ndindex(height, width):
                tags, word = real[position + row * width + column]
                assert tags == beats[position + row * width + column][0]
                window = padded[row : row + lines + 1 : dilation[0], column : column + across + 1]
                assert word == join_fields(window[:, :: dilation[1]].reshape(-1), 6)
            position += width * height
        assert len(real) == position


@pytest.mark.parametrize(("lines", "pixels"), [(0, 0), (0, 3), (2, 0), (1, 4)])
def test_tag_delay_is_that_of_a_window(lines, pixels, tmp_path):
    sizes = [(3, 2), (3, 1), (3, 4)]
    beats = raster(sizes, lines + pixels + 1, 0)
    clocks = [(0, 0)] * 2 + spread(beats, 0.4, 1) + [(0, 0)]
    out = simulate(
        tmp_path,
        "fxp_tag_delay",
        {"Lines": lines, "Pixels": pixels},
        {"rst_ni": (1, [0] + [1] * (len(clocks) - 1)), "tags_i": (6, [t for t, _ in clocks])},
        {"tags_o": 6},
    )["tags_o"]
    got = [tags for tags in known(out[1:]) if tags & VALID]
    lag = lines * 3 + pixels
    assert len(got) == len(beats)
    assert [tags for tags in got if tags & REAL] == [t for t, _ in beats if t & REAL]
    assert got[lag:] == [tags for tags, _ in beats[: len(beats) - lag]]


def test_lag_buffer_gives_what_was_written_in_order(tmp_path):
    random = np.random.default_rng(3)
    depth, writes, reads, stored = 7, [0, 0], [0, 0], 0
    for _ in range(300):
        write = int(stored < depth - 1 and random.random() < 0.6)
        read = int(stored > 0 and random.random() < 0.5)
        stored += write - read
        writes.append(write)
        reads.append(read)
    data = random.integers(0, 256, len(writes)).tolist()
    out = simulate(
        tmp_path,
        "fxp_lag_buffer",
        {"Width": 8, "Depth": depth},
        {
            "rst_ni": (1, [0, 0] + [1] * 300),
            "write_i": (1, writes),
            "data_i": (8, data),
            "read_i": (1, reads),
        },
        {"data_o": 8},
    )["data_o"]
    got = [out[clock + 2] for clock, read in enumerate(reads[:-2]) if read]
    assert got == [d for d, write in zip(data, writes, strict=True) if write][: len(got)]
    assert len(got) > 100


# ---- Handshakes -----------------------------------------------------------------------------


def coin(count: int, chance: float, seed: int) -> list[int]:
    return (np.random.default_rng(seed).random(count) < chance).astype(int).tolist()


@pytest.mark.parametrize(("offered", "taken"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.3), (0.7, 0.6)])
def test_skid_passes_everything_once(offered, taken, tmp_path):
    count = 300
    valid, ready = coin(count, offered, 1), coin(count, taken, 2)
    data = np.random.default_rng(3).integers(0, 256, count).tolist()
    out = simulate(
        tmp_path,
        "fxp_skid",
        {"Width": 8},
        {
            "rst_ni": (1, [0, 0] + [1] * (count - 2)),
            "valid_i": (1, valid),
            "data_i": (8, data),
            "ready_i": (1, ready),
        },
        {"ready_o": 1, "valid_o": 1, "data_o": 8},
    )
    sent = [data[c] for c in range(2, count) if valid[c] and out["ready_o"][c]]
    got = [out["data_o"][c] for c in range(2, count) if out["valid_o"][c] and ready[c]]
    assert 0 <= len(sent) - len(got) <= 2
    assert got == sent[: len(got)]
    if offered == taken == 1.0:
        assert len(got) > count - 6
    for c in range(3, count):  # an offer stands until it is taken
        if out["valid_o"][c - 1] and not ready[c - 1]:
            assert (out["valid_o"][c], out["data_o"][c]) == (1, out["data_o"][c - 1])


def repaired(pixels: list[tuple[int, int, int]], width: int, height: int) -> list[int]:
    """Pixels of whole frames, as the page on the core promises; the last frame may be cut."""
    out: list[int] = []
    place, in_frame, dropping = 0, False, False
    for user, last, data in pixels:
        if dropping and not user:
            dropping = not last
            continue
        dropping = False
        if user:
            if in_frame:
                out += [0] * (width * height - place)
            place, in_frame = 0, True
        elif not in_frame:
            continue
        out.append(data)
        place += 1
        if place % width == 0:
            dropping = not last
        elif last:
            missing = width - place % width
            out += [0] * missing
            place += missing
        in_frame = place < width * height
    return out


@pytest.mark.parametrize("fold", [1, 3])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 3), (3, 2), (4, 1), (2, 4)])
def test_sequencer_repairs_whatever_comes(width, height, fold, tmp_path):
    count, lag = 3000, (2, 3)
    random = np.random.default_rng(width * 10 + height)
    valid, room = coin(count, 0.6, 1), coin(count, 0.8, 2)
    # Long pauses, so that frames are flushed.
    for start in range(400, count, 700):
        valid[start : start + 150] = [0] * 150
        room[start : start + 150] = [1] * 150
    user = (random.random(count) < 0.6 / (width * height)).astype(int).tolist()
    last = (random.random(count) < 1 / width).astype(int).tolist()
    data = random.integers(1, 256, count).tolist()
    out = simulate(
        tmp_path,
        "fxp_sequencer",
        {"Width": 8, "LagLines": lag[0], "LagPixels": lag[1], "Fold": fold,
         "InitialWidth": width, "InitialHeight": height},
        {
            "rst_ni": (1, [0, 0] + [1] * (count - 2)),
            "tvalid_i": (1, valid), "tuser_i": (1, user), "tlast_i": (1, last),
            "tdata_i": (8, data), "room_i": (1, room), "states_valid_i": (1, [1] * count),
            "enable_i": (1, [1] * count), "bypass_i": (1, [0] * count),
            "width_i": (16, [width] * count), "height_i": (16, [height] * count),
        },
        {"tready_o": 1, "tags_o": 6, "data_o": 8, "started_o": 1, "errors_o": 4},
    )  # fmt: skip
    clocks = range(2, count)
    taken = [(user[c], last[c], data[c]) for c in clocks if valid[c] and out["tready_o"][c]]
    beats = [
        (out["tags_o"][c], out["data_o"][c])
        for c in clocks
        if out["tags_o"][c] and out["tags_o"][c] & VALID
    ]
    want = repaired(taken, width, height)
    real = [beat for beat in beats if beat[0] & REAL]
    assert len(want) - 3 * width * height - 3 <= len(real)
    assert [pixel for _, pixel in real] == want[: len(real)]
    assert len(real) > 200 / fold
    for place, (tags, _) in enumerate(real):
        row, column = divmod(place % (width * height), width)
        assert tags == (
            VALID | REAL | FIRST_ROW * (row == 0) | LAST_ROW * (row == height - 1)
            | FIRST_COLUMN * (column == 0) | LAST_COLUMN * (column == width - 1)
        )  # fmt: skip
    for place, (tags, _) in enumerate(beats):  # rows are whole, also those that flush
        assert bool(tags & FIRST_COLUMN) == (place % width == 0)
        assert bool(tags & LAST_COLUMN) == (place % width == width - 1)
    spaced = [c for c in clocks if out["tags_o"][c] and out["tags_o"][c] & VALID]
    assert all(after - before >= fold for before, after in pairwise(spaced))
    assert all(room[c - 1] for c in spaced)
    # In the pauses everything is flushed: so many beats follow the last real one.
    flushed = 0
    for start in range(400, count, 700):
        pause = [c for c in spaced if c < start + 140]
        behind = [c for c in pause if not out["tags_o"][c] & REAL]
        tail = len(pause) - 1 - max(i for i, c in enumerate(pause) if out["tags_o"][c] & REAL)
        ended = out["tags_o"][pause[-1 - tail]] & LAST_ROW
        if ended and out["tags_o"][pause[-1 - tail]] & LAST_COLUMN and behind:
            rows = lag[0] + -(-lag[1] // width)
            assert tail == rows * width
            flushed += 1
    started = sum(out["started_o"][c] for c in clocks)
    assert started == sum(bool(t & FIRST_ROW and t & FIRST_COLUMN) for t, _ in real)
    if width * height == 1:
        assert flushed


def test_sequencer_takes_a_size_with_the_first_pixel(tmp_path):
    sizes = [(2, 2), (3, 1), (3, 1), (1, 1), (1, 1), (4, 2)]
    count = 400
    valid, user, last = [0] * count, [0] * count, [0] * count
    widths, heights = [2] * count, [2] * count
    clock = following = 5
    for width, height in sizes:
        widths[following:] = [width] * (count - following)
        heights[following:] = [height] * (count - following)
        for place in range(width * height):
            valid[clock], user[clock] = 1, int(place == 0)
            last[clock] = int(place % width == width - 1)
            following = clock + 1
            clock += 2  # a new size takes a clock
        # The registers change while the last pixel still waits inside.
        clock += 40
    out = simulate(
        tmp_path,
        "fxp_sequencer",
        {"Width": 8, "LagLines": 1, "LagPixels": 1, "InitialWidth": 2, "InitialHeight": 2},
        {
            "rst_ni": (1, [0, 0] + [1] * (count - 2)),
            "tvalid_i": (1, valid), "tuser_i": (1, user), "tlast_i": (1, last),
            "tdata_i": (8, [1] * count), "room_i": (1, [1] * count),
            "states_valid_i": (1, [1] * count),
            "enable_i": (1, [1] * count), "bypass_i": (1, [0] * count),
            "width_i": (16, widths), "height_i": (16, heights),
        },
        {"tready_o": 1, "tags_o": 6, "errors_o": 4},
    )  # fmt: skip
    assert all(out["tready_o"][c] for c in range(4, count) if valid[c])
    assert not any(out["errors_o"][4:])
    real = [tags for tags in known(out["tags_o"][2:]) if tags & VALID and tags & REAL]
    want = []
    for size in sizes:
        want += [tags for tags, _ in raster([size], 0, 0)]
    assert real == want


@pytest.mark.parametrize("taken", [1.0, 0.5, 0.1])
def test_output_never_overflows_and_keeps_the_order(taken, tmp_path):
    count, pipeline, depth = 800, 10, 32
    ready = coin(count, taken, 1)
    # The bench stands for a pipeline of ten clocks that obeys room; its beats are made in two
    # steps, as inputs do not follow outputs: everything while there is surely room.
    beats = raster([(4, 5)], 1, 0)
    clocks = [(0, 0)] * 10 + spread(beats, 0.2, 3)
    clocks += [(0, 0)] * (count - len(clocks))
    out = simulate(
        tmp_path,
        "fxp_output",
        {"Fields": 2, "Width": 3, "Signed": 1, "PipelineClocks": pipeline, "Depth": depth},
        {
            "rst_ni": (1, [0, 0] + [1] * (count - 2)),
            "tags_i": (6, [t for t, _ in clocks]),
            "data_i": (6, [d for _, d in clocks]),
            "tready_i": (1, ready),
        },
        {"room_o": 1, "tdata_o": 16, "tvalid_o": 1, "tuser_o": 1, "tlast_o": 1, "frame_last_o": 1},
    )
    moved = [c for c in range(2, count) if out["tvalid_o"][c] and ready[c]]
    real = [(t, d) for t, d in beats if t & REAL]
    fields = [split_fields(d, 3, 2, signed=True) for _, d in real]
    assert [split_fields(out["tdata_o"][c], 8, 2, signed=True) for c in moved] == fields
    assert [out["tuser_o"][c] for c in moved] == [1] + [0] * 19
    assert [out["tlast_o"][c] for c in moved] == [0, 0, 0, 1] * 5
    assert [out["frame_last_o"][c] for c in moved] == [0] * 19 + [1]
    # Room goes before more than Depth - PipelineClocks beats can be in the FIFO.
    written = moved_so_far = 0
    for c in range(4, count):
        written += bool(clocks[c - 4][0] & VALID and clocks[c - 4][0] & REAL)
        if written - moved_so_far - 3 >= depth - pipeline - 6:
            assert not out["room_o"][c]
        moved_so_far += int(c in moved)


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize(("offered", "taken"), [(1.0, 1.0), (0.6, 0.5), (1.0, 0.2), (0.2, 1.0)])
def test_raster_orders_the_lines(scale, offered, taken, tmp_path):
    random = np.random.default_rng(scale)
    sizes = [(7, 2), (1, 3), (6, 2), (1, 1), (1, 1), (9, 3), (2, 2), (5, 1)]
    images = [random.integers(0, 256, (h * scale, w * scale)) for w, h in sizes]
    count = 1500
    blocks = []
    for (width, height), image in zip(sizes, images, strict=True):
        for row, column in np.ndindex(height, width):
            block = image[row * scale : (row + 1) * scale, column * scale : (column + 1) * scale]
            blocks.append(
                (
                    join_fields(block.reshape(-1), 8),
                    int(row == column == 0),
                    int(column == width - 1),
                    int(row == height - 1 and column == width - 1),
                )
            )
    ready = coin(count, taken, 2)
    bits = 8 * scale**2
    out = simulate(
        tmp_path,
        "fxp_raster",
        {"Scale": scale, "Bytes": 1, "MaxWidth": 9},
        {"rst_ni": (1, [0, 0] + [1] * (count - 2)), "tready_i": (1, ready)},
        {"tdata_o": bits, "tkeep_o": scale**2, "tvalid_o": 1, "tuser_o": 1, "tlast_o": 1,
         "frame_last_o": 1},
        offers=Offers(
            "tvalid_i", "tready_o",
            {"tdata_i": bits, "tuser_i": 1, "tlast_i": 1, "frame_last_i": 1},
            blocks, [0] * 4 + coin(count - 4, offered, 1),
        ),
    )  # fmt: skip
    moved = [c for c in range(2, count) if out["tvalid_o"][c] and ready[c]]
    place = iter(moved)
    for image in images:
        height, width = image.shape
        for row in range(height):
            for column in range(0, width, scale**2):
                c = next(place)
                pixels = image[row, column : column + scale**2]
                assert out["tkeep_o"][c] == (1 << len(pixels)) - 1
                assert out["tdata_o"][c] == join_fields(pixels, 8)
                assert out["tuser_o"][c] == int(row == column == 0)
                assert out["tlast_o"][c] == int(column + scale**2 >= width)
                assert out["frame_last_o"][c] == int(
                    row == height - 1 and column + scale**2 >= width
                )
    assert next(place, None) is None


@pytest.mark.parametrize("parts", [1, 2, 4])
@pytest.mark.parametrize(("offered", "taken"), [(1.0, 1.0), (0.6, 0.4)])
def test_serializer_gives_every_pixel_once(parts, offered, taken, tmp_path):
    random = np.random.default_rng(parts)
    count, pixels = 700, 4  # pixels of a byte in a beat
    each = pixels // parts
    beats, wanted = [], []
    for length in (1, 2, 3, 4, 5, 7, 8, 9, 12):  # lines of a frame each
        line = random.integers(0, 256, length).tolist()
        for start in range(0, length, pixels):
            part = line[start : start + pixels]
            end = int(start + pixels >= length)
            beats.append((join_fields(part, 8), (1 << len(part)) - 1, int(start == 0), end, end))
        for start in range(0, length, each):
            part = line[start : start + each]
            end = int(start + each >= length)
            wanted.append((join_fields(part, 8), (1 << len(part)) - 1, int(start == 0), end, end))
    ready = coin(count, taken, 2)
    out = simulate(
        tmp_path,
        "fxp_serializer",
        {"Parts": parts, "Bytes": each},
        {"rst_ni": (1, [0, 0] + [1] * (count - 2)), "tready_i": (1, ready)},
        {"tdata_o": 8 * each, "tkeep_o": each, "tuser_o": 1, "tlast_o": 1, "frame_last_o": 1,
         "tvalid_o": 1},
        offers=Offers(
            "tvalid_i", "tready_o",
            {"tdata_i": 8 * pixels, "tkeep_i": pixels, "tuser_i": 1, "tlast_i": 1,
             "frame_last_i": 1},
            beats, [0] * 4 + coin(count - 4, offered, 1),
        ),
    )  # fmt: skip
    moved = [c for c in range(3, count) if out["tvalid_o"][c] and ready[c]]
    names = ("tdata_o", "tkeep_o", "tuser_o", "tlast_o", "frame_last_o")
    assert [tuple(out[name][c] for name in names) for c in moved] == wanted
    if offered == taken == 1.0:
        # A beat in every clock.
        assert moved == list(range(moved[0], moved[0] + len(wanted)))
