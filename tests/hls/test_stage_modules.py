"""Modules of strides, borders, products, tables and largest values, against lines of Python."""

from __future__ import annotations

import numpy as np
import pytest
from module_bench import join_fields, simulate, split_fields
from module_parts import (
    FIRST_COLUMN,
    FIRST_ROW,
    LAST_COLUMN,
    LAST_ROW,
    REAL,
    VALID,
    known,
    raster,
    spread,
)

from fxp.hls.rtl.tables import table_module

STEPS = [
    # first, step and tail of rows and of columns, and sizes of frames
    ((0, 2, 0), (0, 2, 0), [(5, 4), (5, 3), (5, 1)]),
    ((0, 2, 1), (0, 2, 1), [(7, 5), (7, 2)]),
    ((0, 1, 2), (2, 1, 1), [(6, 3), (6, 5), (6, 4)]),
    ((1, 3, 0), (0, 3, 2), [(9, 8), (9, 2)]),
    ((0, 1, 0), (3, 2, 0), [(4, 2), (4, 2)]),
]


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize("steps", STEPS)
def test_selections_leave_the_rows_and_columns_that_they_say(steps, gaps, tmp_path):
    rows, columns, sizes = steps
    width = sizes[0][0]
    # The size is that of a frame, so frames of other heights come by themselves.
    for number in sorted({h for _, h in sizes}):
        frames = [(width, number)] * 3
        beats = raster(frames, 2, number)
        clocks = [(0, 0)] * 3 + spread(beats, gaps, number) + [(0, 0)] * 2
        count = len(clocks)
        out = simulate(
            tmp_path,
            "fxp_select",
            {"FirstRow": rows[0], "RowStep": rows[1], "RowTail": rows[2],
             "FirstColumn": columns[0], "ColumnStep": columns[1], "ColumnTail": columns[2]},
            {
                "rst_ni": (1, [0, 0] + [1] * (count - 2)),
                "columns_i": (16, [width - 1] * count),
                "rows_i": (16, [number - 1] * count),
                "tags_i": (6, [tags for tags, _ in clocks]),
            },
            {"tags_o": 6, "columns_o": 16, "rows_o": 16},
        )  # fmt: skip
        kept_rows = range(number)[rows[0] : number - rows[2] : rows[1]]
        kept_columns = range(width)[columns[0] : width - columns[2] : columns[1]]
        wanted = []
        for row in kept_rows:
            for column in kept_columns:
                wanted.append(
                    VALID | REAL
                    | FIRST_ROW * (row == kept_rows[0]) | LAST_ROW * (row == kept_rows[-1])
                    | FIRST_COLUMN * (column == kept_columns[0])
                    | LAST_COLUMN * (column == kept_columns[-1])
                )  # fmt: skip
        flushed = [
            VALID | FIRST_COLUMN * (column == kept_columns[0])
            | LAST_COLUMN * (column == kept_columns[-1])
            for column in kept_columns
        ]  # fmt: skip
        got = [tags for tags in known(out["tags_o"][2:]) if tags & VALID]
        assert got == wanted * 3 + flushed * 2
        if kept_rows:
            assert known(out["rows_o"])[-1] == len(kept_rows) - 1
        assert known(out["columns_o"])[-1] == len(kept_columns) - 1


def test_positions_of_one_axis_are_counted_from_each_restart(tmp_path):
    out = simulate(
        tmp_path,
        "fxp_select_axis",
        {"First": 1, "Step": 2},
        {
            "rst_ni": (1, [0, *[1] * 9]),
            "last_i": (18, [5] * 10),
            "restart_i": (1, [0, 0, 1, 0, 0, 0, 0, 1, 0, 0]),
            # The fourth position stays for a clock more.
            "move_i": (1, [0, 0, 1, 1, 1, 0, 1, 1, 1, 1]),
        },
        {"first_o": 1, "keep_o": 1, "ends_o": 1},
    )
    assert out["keep_o"][2:] == [0, 1, 0, 1, 1, 0, 1, 0]
    assert out["first_o"][2:] == [0, 1, 0, 0, 0, 0, 1, 0]
    assert out["ends_o"][2:] == [0] * 8


MODES = {
    "edge": "fxp_pkg::Replicate",
    "reflect": "fxp_pkg::Reflect",
    "symmetric": "fxp_pkg::Symmetric",
}
BORDERED = [
    # rows, columns, padding at the top and on the left, sizes
    (3, 3, (1, 1), [(4, 3), (4, 2), (4, 5)]),
    (5, 3, (2, 1), [(3, 3), (3, 4)]),
    (1, 5, (0, 2), [(5, 1), (5, 2)]),
    (3, 1, (1, 0), [(1, 3), (1, 2)]),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kernel", BORDERED)
def test_windows_repeat_pixels_beyond_the_borders(kernel, mode, tmp_path):
    rows, columns, (top, left), sizes = kernel
    beats = raster(sizes, rows + 2, 3)
    clocks = [(0, 0)] * 3 + spread(beats, 0.3, 5) + [(0, 0)] * 20
    taps = rows * columns
    out = simulate(
        tmp_path,
        "fxp_window",
        {"Channels": 2, "Width": 3, "KernelRows": rows, "KernelColumns": columns,
         "PadTop": top, "PadLeft": left, "MaxWidth": 9, "Border": MODES[mode]},
        {
            "rst_ni": (1, [0, 0] + [1] * (len(clocks) - 2)),
            "tags_i": (6, [tags for tags, _ in clocks]),
            "data_i": (6, [data for _, data in clocks]),
        },
        {"tags_o": 6, "taps_o": 6 * taps},
    )  # fmt: skip
    real = [
        word
        for tags, word in zip(out["tags_o"][2:], out["taps_o"][2:], strict=True)
        if tags is not None and tags & VALID and tags & REAL
    ]
    position = 0
    for width, height in sizes:
        pixels = [data for _, data in beats[position : position + width * height]]
        image = np.array(pixels).reshape(height, width)
        padded = np.pad(image, ((top, rows - 1 - top), (left, columns - 1 - left)), mode=mode)
        for row, column in np.ndindex(height, width):
            window = padded[row : row + rows, column : column + columns]
            assert real[position + row * width + column] == join_fields(
                window.reshape(-1).tolist(), 6
            )
        position += width * height
    assert len(real) == position


def test_what_lies_beyond_the_borders_may_be_any_number(tmp_path):
    beats = raster([(2, 2)], 4, 0)
    clocks = [(0, 0)] * 3 + beats + [(0, 0)] * 8
    out = simulate(
        tmp_path,
        "fxp_window",
        {"Channels": 2, "Width": 3, "KernelRows": 2, "KernelColumns": 1, "PadTop": 1,
         "PadLeft": 0, "MaxWidth": 4, "Fill": "3'd5"},
        {
            "rst_ni": (1, [0, 0] + [1] * (len(clocks) - 2)),
            "tags_i": (6, [tags for tags, _ in clocks]),
            "data_i": (6, [data for _, data in clocks]),
        },
        {"tags_o": 6, "taps_o": 12},
    )  # fmt: skip
    real = [
        word
        for tags, word in zip(out["tags_o"][2:], out["taps_o"][2:], strict=True)
        if tags is not None and tags & VALID and tags & REAL
    ]
    data = [pixel for _, pixel in beats[:4]]
    assert real == [
        0o55 | data[0] << 6, 0o55 | data[1] << 6, data[0] | data[2] << 6, data[1] | data[3] << 6,
    ]  # fmt: skip


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 9])
def test_the_largest_tap_of_each_channel(taps, signed, tmp_path):
    random = np.random.default_rng(taps)
    low, high = (-8, 8) if signed else (0, 16)
    values = random.integers(low, high, (60, taps, 2))
    out = simulate(
        tmp_path,
        "fxp_maximum",
        {"Taps": taps, "Channels": 2, "Width": 4, "Signed": f"1'b{int(signed)}"},
        {"taps_i": (8 * taps, [join_fields(beat.reshape(-1), 4) for beat in values])},
        {"data_o": 8},
    )["data_o"]
    latency = (taps - 1).bit_length()
    wanted = values.max(axis=1)[: len(values) - latency].tolist()
    got = [split_fields(word, 4, 2, signed=signed) for word in known(out[latency:])]
    assert got == wanted


def test_products_of_all_factors(tmp_path):
    factors = [(a, b) for a in range(-8, 8) for b in range(-4, 4)]
    out = simulate(
        tmp_path,
        "fxp_multiply",
        {"Fields": 2, "LeftWidth": 4, "RightWidth": 3, "OutWidth": 7},
        {
            "left_i": (8, [join_fields([a, -8], 4) for a, _ in factors]),
            "right_i": (6, [join_fields([b, b], 3) for _, b in factors]),
        },
        {"data_o": 14},
    )["data_o"]
    got = [split_fields(word, 7, 2, signed=True) for word in known(out[3:])]
    assert got == [[a * b, -8 * b] for a, b in factors[:-3]]


def test_tables_give_every_entry(tmp_path):
    entries = [-4, 3, 0, 1, 2, -1, -2, -3]
    (tmp_path / "curve.sv").write_text(table_module("curve", entries, 2, 3, 3))
    codes = [(a, 7 - a) for a in range(8)] + [(0, 0)] * 2
    out = simulate(
        tmp_path,
        "curve",
        {},
        {"codes_i": (6, [join_fields(pair, 3) for pair in codes])},
        {"entries_o": 6},
    )["entries_o"]
    got = [split_fields(word, 3, 2, signed=True) for word in known(out[2:])]
    assert got == [[entries[a], entries[b]] for a, b in codes[:-2]]


FRAME_SIZES = [(3, 2), (3, 2), (3, 2)]


def beats_of_frames(gaps: float) -> tuple[list[tuple[int, int]], list[list[int]]]:
    """Return clocks with beats of frames and of two rows that are not real, and their pixels."""
    beats = raster(FRAME_SIZES, 2, 7)
    pixels = [pixel for tags, pixel in beats if tags & REAL]
    clocks = [(0, 0)] * 3 + spread(beats, gaps, 4) + [(0, 0)] * 12
    return clocks, np.array(pixels).reshape(3, -1).tolist()


def whole_beats(out: dict[str, list[int | None]], name: str) -> list[int]:
    """Return what comes with the beats of frames; two that are not real have to follow them."""
    tags = known(out["tags_o"][2:])
    valid = [tag for tag in tags if tag & VALID]
    real = VALID | REAL | FIRST_ROW | LAST_ROW | FIRST_COLUMN | LAST_COLUMN
    assert valid == [real] * 3 + [VALID | FIRST_COLUMN | LAST_COLUMN] * 2
    words = out[name][2:]
    return known([word for tag, word in zip(tags, words, strict=True) if tag == real])


@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_totals_of_whole_frames(signed, largest, gaps, tmp_path):
    clocks, frames = beats_of_frames(gaps)
    out = simulate(
        tmp_path,
        "fxp_frame_total",
        {"Channels": 2, "Width": 3, "Signed": f"1'b{int(signed)}", "TotalWidth": 7,
         "Largest": f"1'b{int(largest)}"},
        {
            "rst_ni": (1, [0, 0] + [1] * (len(clocks) - 2)),
            "tags_i": (6, [tags for tags, _ in clocks]),
            "data_i": (6, [data for _, data in clocks]),
        },
        {"tags_o": 6, "totals_o": 14},
    )  # fmt: skip
    wanted = []
    for frame in frames:
        fields = np.array([split_fields(pixel, 3, 2, signed=signed) for pixel in frame])
        wanted.append((fields.max(axis=0) if largest else fields.sum(axis=0)).tolist())
    got = [split_fields(word, 7, 2, signed=True) for word in whole_beats(out, "totals_o")]
    assert got == wanted


@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_sums_of_whole_frames_with_weights_of_each_pixel(gaps, tmp_path):
    clocks, frames = beats_of_frames(gaps)
    random = np.random.default_rng(2)
    weights = random.integers(-4, 4, (6, 2, 2))  # pixel, output, channel
    words = [join_fields(each.reshape(-1).tolist(), 3) for each in weights] + [0, 0]
    (tmp_path / "stored.sv").write_text(table_module("stored", words, 1, 3, 12))
    (tmp_path / "around.sv").write_text(
        """module around (
  input logic clk_i, rst_ni,
  input logic [5:0] tags_i, data_i,
  output logic [5:0] tags_o,
  output logic [19:0] sums_o
);
  logic [2:0] address;
  logic [11:0] weights;
  stored u_stored (.clk_i, .codes_i(address), .entries_o(weights));
  LINEAR #(
    .Inputs(2), .Outputs(2), .AddressBits(3), .DataWidth(3), .WeightWidth(3), .SumWidth(10),
    .Biases({-10'sd7, 10'sd100})
  ) u_linear (
    .clk_i, .rst_ni, .tags_i, .data_i, .address_o(address), .weights_i(weights), .tags_o, .sums_o
  );
endmodule
""".replace("LINEAR", "fxp_linear")
    )
    out = simulate(
        tmp_path,
        "around",
        {},
        {
            "rst_ni": (1, [0, 0] + [1] * (len(clocks) - 2)),
            "tags_i": (6, [tags for tags, _ in clocks]),
            "data_i": (6, [data for _, data in clocks]),
        },
        {"tags_o": 6, "sums_o": 20},
    )
    wanted = []
    for frame in frames:
        fields = np.array([split_fields(pixel, 3, 2, signed=False) for pixel in frame])
        sums = np.einsum("poc,pc->o", weights, fields)
        wanted.append([int(sums[0]) + 100, int(sums[1]) - 7])
    got = [split_fields(word, 10, 2, signed=True) for word in whole_beats(out, "sums_o")]
    assert got == wanted
