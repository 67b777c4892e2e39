"""The codec of line memories in hardware, against the op: every format, short rows, gaps."""

from __future__ import annotations

import numpy as np
import pytest
from module_bench import join_fields, simulate, split_fields
from module_parts import FRAMES, REAL, VALID, known, raster, spread
from numpy.typing import NDArray

from fxp.formats import Format
from fxp.graph.ops import LineCodec
from fxp.graph.ops.base import Operand
from fxp.graph.ops.line_codec import SHIFT_BITS, CodeLayout

LAG, LATENCY = 7, 12
CHANNELS = 2
SIZES = [*FRAMES, [(8, 2), (8, 1)], [(9, 3)], [(23, 2), (23, 1)]]


def stored(form: Format, image: NDArray) -> NDArray:
    """What the op makes of an image ``(C, H, W)``."""
    return LineCodec().oracle([Operand(image.shape, (form,))], image)


def pixels(form: Format, count: int, seed: int) -> NDArray:
    """Random pixels ``(count, C)`` that spread more here and less there."""
    random = np.random.default_rng(seed)
    spans = 1 << random.integers(0, form.width + 1, (-(-count // 5), CHANNELS)).repeat(5, axis=0)
    middle = random.integers(form.min_raw, form.max_raw, spans.shape, endpoint=True)
    values = middle + random.integers(-spans, spans + 1)
    return np.clip(values, form.min_raw, form.max_raw)[:count]


def parameters(form: Format) -> dict[str, int | str]:
    layout = CodeLayout.of(form)
    return {
        "Channels": CHANNELS, "Width": form.width, "BaseBits": layout.base_bits,
        "DeltaBits": layout.delta_bits, "Signed": f"1'b{int(form.signed)}",
    }  # fmt: skip


FORMATS = [Format(14, 0, False), Format(14, 0), Format(6, 0), Format(8, 0, False), Format(24, 0)]


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_codec_gives_what_the_op_gives_and_codes_that_decode_to_it(form, gaps, tmp_path):
    layout = CodeLayout.of(form)
    for number, sizes in enumerate(SIZES):
        # Enough rows behind the last frame for all of it to leave.
        width = sizes[-1][0]
        beats = raster(sizes, -(-LAG // width), number)
        data = pixels(form, len(beats), number)
        numbered = [(tags, index) for index, (tags, _) in enumerate(beats)]
        # Beats without a place before the first row.
        numbered = [(VALID, 0)] * (number % 4) + numbered
        clocks = [(0, 0)] * 3 + spread(numbered, gaps, number) + [(0, 0)] * 20
        words = [join_fields(row, form.width) for row in data]
        header_bits = layout.base_bits + SHIFT_BITS
        out = simulate(
            tmp_path,
            "fxp_line_codec",
            parameters(form),
            {
                "rst_ni": (1, [0, 0] + [1] * (len(clocks) - 2)),
                "tags_i": (6, [tags for tags, _ in clocks]),
                # Garbage between the beats.
                "data_i": (CHANNELS * form.width,
                           [words[i % len(words)] ^ (tags & VALID == 0) for tags, i in clocks]),
            },
            {"tags_o": 6, "data_o": CHANNELS * form.width,
             "delta_o": CHANNELS * layout.delta_bits, "header_o": CHANNELS * header_bits},
        )  # fmt: skip
        valid = [tags & VALID for tags, _ in clocks]
        got_tags = known(out["tags_o"][3:])
        assert [tags & VALID for tags in got_tags[LATENCY - 3 :]] == valid[: len(valid) - LATENCY]
        places = [place for place, tags in enumerate(got_tags, 3) if tags & VALID and tags & REAL]
        real = list(
            zip(
                *(known([out[name][place] for place in places])
                  for name in ("tags_o", "data_o", "delta_o", "header_o")),
                strict=True,
            )
        )  # fmt: skip
        position = 0
        for columns, rows in sizes:
            count = columns * rows
            image = data[position : position + count].reshape(rows, columns, CHANNELS)
            want = stored(form, image.transpose(2, 0, 1)).transpose(1, 2, 0).reshape(count, -1)
            for index, (tags, word, deltas, headers) in enumerate(real[position:][:count]):
                assert tags == beats[position + index][0]
                values = split_fields(word, form.width, CHANNELS, signed=form.signed)
                assert values == want[index].tolist()
                for channel in range(CHANNELS):
                    delta = deltas >> (channel * layout.delta_bits) & (layout.levels - 1)
                    header = headers >> (channel * header_bits)
                    base = header & ((1 << layout.base_bits) - 1)
                    shift = header >> layout.base_bits & 15
                    value = base * layout.base_step + (delta << shift)
                    assert values[channel] == form.min_raw + min(value, (1 << form.width) - 1)
            position += count
        assert len(real) == position


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_decoder(form, tmp_path):
    layout = CodeLayout.of(form)
    random = np.random.default_rng(0)
    sizes = (1 << layout.base_bits, layout.largest_shift + 1, layout.levels)
    if np.prod(sizes) < 2000:
        bases, shifts, deltas = (axis.reshape(-1) for axis in np.indices(sizes))
    else:
        bases, shifts, deltas = (random.integers(0, size, 400) for size in sizes)
        bases[:40] = sizes[0] - 1
    out = simulate(
        tmp_path,
        "fxp_line_decode",
        {**{k: v for k, v in parameters(form).items() if k != "Channels"}, "Fields": 1},
        {
            "header_i": (layout.base_bits + 4, (bases + (shifts << layout.base_bits)).tolist()),
            "delta_i": (layout.delta_bits, deltas.tolist()),
        },
        {"data_o": form.width},
    )["data_o"]
    got = [split_fields(word, form.width, 1, signed=form.signed)[0] for word in known(out[2:])]
    values = np.minimum(bases * layout.base_step + (deltas << shifts), (1 << form.width) - 1)
    assert got == (values + form.min_raw)[:-2].tolist()
    assert int((values == (1 << form.width) - 1).sum()) > 5


@pytest.mark.parametrize("gaps", [0.0, 0.4])
@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), 1), ((5, 1), 1), ((3, 1), 2)])
def test_a_window_that_stores_codes_gives_decoded_pixels(kernel, dilation, gaps, tmp_path):
    """Headers and deltas of another codec: the window decodes what it stored, pixel by pixel."""
    form = Format(12, 0, False)
    layout = CodeLayout.of(form)
    header_bits, across = layout.base_bits + SHIFT_BITS, kernel[1] - 1
    lines = dilation * (kernel[0] - 1)
    top, left = lines // 2, across // 2
    for number, sizes in enumerate(SIZES):
        width = sizes[-1][0]
        beats = raster(sizes, lines + -(-across // width) + 1, number)
        random = np.random.default_rng(number)
        data = pixels(form, len(beats), number)
        # Any headers and deltas: what is decoded need not be the pixel.
        headers = random.integers(0, 1 << layout.base_bits, data.shape)
        headers += random.integers(0, layout.largest_shift + 1, data.shape) << layout.base_bits
        for place in range(len(beats)):
            if place % width % 8:
                headers[place] = headers[place - 1]
        deltas = random.integers(0, layout.levels, data.shape)
        base = headers % (1 << layout.base_bits) * layout.base_step
        older = np.minimum(base + (deltas << (headers >> layout.base_bits)), form.max_raw)
        words = [
            join_fields(row, form.width)
            | join_fields(delta, layout.delta_bits) << (CHANNELS * form.width)
            | join_fields(header, header_bits) << (CHANNELS * (form.width + layout.delta_bits))
            for row, delta, header in zip(data, deltas, headers, strict=True)
        ]
        numbered = [(tags, index) for index, (tags, _) in enumerate(beats)]
        # Beats without a place before the first row.
        numbered = [(VALID, 0)] * (number % 4) + numbered
        clocks = [(0, 0)] * 3 + spread(numbered, gaps, number) + [(0, 0)] * 40
        taps = kernel[0] * kernel[1]
        out = simulate(
            tmp_path,
            "fxp_window",
            {"Channels": CHANNELS, "Width": form.width, "KernelRows": kernel[0],
             "KernelColumns": kernel[1], "DilationRows": dilation, "PadTop": top,
             "PadLeft": left, "MaxWidth": 23, "DeltaBits": layout.delta_bits,
             "HeaderBits": header_bits},
            {
                "rst_ni": (1, [0, 0] + [1] * (len(clocks) - 2)),
                "tags_i": (6, [tags for tags, _ in clocks]),
                "data_i": (CHANNELS * (form.width + layout.delta_bits + header_bits),
                           [words[index % len(words)] for _, index in clocks]),
            },
            {"tags_o": 6, "taps_o": CHANNELS * form.width * taps},
        )  # fmt: skip
        real = [
            word
            for tags, word in zip(out["tags_o"][2:], out["taps_o"][2:], strict=True)
            if tags is not None and tags & VALID and tags & REAL
        ]
        position = 0
        for columns, rows in sizes:
            count = columns * rows
            sides = ((top, lines - top), (left, across - left), (0, 0))
            fresh, decoded = (
                np.pad(values[position : position + count].reshape(rows, columns, CHANNELS), sides)
                for values in (data, older)
            )
            for row, column in np.ndindex(rows, columns):
                window = [
                    (fresh if tap == kernel[0] - 1 else decoded)[
                        row + tap * dilation, column : column + across + 1
                    ].reshape(-1)
                    for tap in range(kernel[0])
                ]
                want = join_fields(np.concatenate(window).tolist(), form.width)
                assert real[position + row * columns + column] == want
            position += count
        assert len(real) == position
