"""Arithmetic modules of the library against a few lines of Python."""

from __future__ import annotations

import numpy as np
import pytest
from module_bench import join_fields, simulate, split_fields
from module_parts import known

from fxp.formats import Format, Overflow, Rounding, requantize
from fxp.hls.rtl.literals import packed
from fxp.hls.rtl.requantization import NEVER, OVERFLOWS, ROUNDINGS

# ---- Arithmetic -----------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", OVERFLOWS)
@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_requantize_is_that_of_the_library_for_every_input(rounding, overflow, tmp_path):
    bits, shifts = 7, [3, 1, 0, -2, 6, 7, 8, -5, 2]
    values = list(range(-64, 64))
    for form in (Format(4, 0), Format(4, 0, False), Format(1, 0)):
        if overflow is Overflow.WRAP_SIGN_MAGNITUDE and not form.signed:
            continue
        limited = [max(shift, -form.width - 1) for shift in shifts]
        out = simulate(
            tmp_path,
            "fxp_requantize",
            {
                "Fields": len(shifts),
                "InWidth": bits,
                "OutWidth": form.width,
                "OutSigned": int(form.signed),
                "Rounding": ROUNDINGS[rounding],
                "Overflow": OVERFLOWS[overflow],
                "Shifts": packed(limited, 8),
            },
            {"data_i": (bits * len(shifts), [join_fields([v] * len(shifts), bits) for v in values]
                        + [0, 0])},
            {"data_o": form.width * len(shifts)},
        )["data_o"]  # fmt: skip
        if rounding is Rounding.FLOOR:  # nothing to add: one clock less
            out = out[:1] + out[:-1]
        got = [split_fields(w, form.width, len(shifts), signed=form.signed) for w in known(out[2:])]
        want = requantize(
            np.array(values)[:, None], np.array(shifts)[None, :], form, rounding, overflow
        )
        assert np.array_equal(got, want)


def test_requantize_without_overflow_keeps_the_low_bits(tmp_path):
    values = list(range(-32, 32))
    out = simulate(
        tmp_path,
        "fxp_requantize",
        {"InWidth": 7, "OutWidth": 5, "Overflow": NEVER, "Shifts": "8'd2"},
        {"data_i": (7, [*values, 0, 0])},
        {"data_o": 5},
    )["data_o"]
    got = [split_fields(word, 5, 1, signed=True)[0] for word in known(out[2:])]
    assert got == [(value + 2) >> 2 for value in values]


def test_align_appends_zeros_and_extends(tmp_path):
    values = list(range(16))
    for signed in (False, True):
        out = simulate(
            tmp_path,
            "fxp_align",
            {"Fields": 2, "InWidth": 4, "InSigned": int(signed), "OutWidth": 9,
             "Shifts": packed([0, 5], 8)},
            {"data_i": (8, [join_fields([v, v], 4) for v in values])},
            {"data_o": 18},
            clocked=False,
        )["data_o"]  # fmt: skip
        real = [v - 16 * (signed and v > 7) for v in values]
        got = [split_fields(word, 9, 2, signed=signed) for word in known(out)]
        assert got == [[v, v << 5 if signed or v < 16 else 0] for v in real]


@pytest.mark.parametrize("subtract", [0, 1])
def test_add(subtract, tmp_path):
    random = np.random.default_rng(0)
    left, right = random.integers(-16, 16, (2, 50, 3))
    out = simulate(
        tmp_path,
        "fxp_add",
        {"Fields": 3, "Width": 6, "Subtract": subtract},
        {
            "left_i": (18, [join_fields(row, 6) for row in left]),
            "right_i": (18, [join_fields(row, 6) for row in right]),
        },
        {"data_o": 18},
    )["data_o"]
    got = [split_fields(word, 6, 3, signed=True) for word in known(out[1:])]
    assert np.array_equal(got, (left - right if subtract else left + right)[:-1])


@pytest.mark.parametrize(("low", "high"), [(0, 31), (-5, 9), (-32, 4), (3, 7), (-32, 31)])
def test_clamp(low, high, tmp_path):
    values = list(range(-32, 32))
    out = simulate(
        tmp_path,
        "fxp_clamp",
        {"Width": 6, "Low": f"6'sh{low & 63:x}", "High": f"6'sh{high & 63:x}"},
        {"data_i": (6, [*values, 0])},
        {"data_o": 6},
    )["data_o"]
    got = [split_fields(word, 6, 1, signed=True)[0] for word in known(out[1:])]
    assert got == [min(max(value, low), high) for value in values]


def test_prelu(tmp_path):
    slopes, values = [5, -7], list(range(-16, 16))
    out = simulate(
        tmp_path,
        "fxp_prelu",
        {"Fields": 2, "InWidth": 5, "SlopeWidth": 4, "SlopeFrac": 3, "OutWidth": 9,
         "Slopes": packed(slopes, 4)},
        {"data_i": (10, [join_fields([v, v], 5) for v in values] + [0, 0, 0])},
        {"data_o": 18},
    )["data_o"]  # fmt: skip
    got = [split_fields(word, 9, 2, signed=True) for word in known(out[3:])]
    assert got == [[v * 8 if v >= 0 else v * slope for slope in slopes] for v in values]


@pytest.mark.parametrize("count", [1, 2, 6, 8, 19, 300])
def test_a_value_is_chosen(count, tmp_path):
    random = np.random.default_rng(count)
    index_bits = max((count - 1).bit_length(), 1)
    clocks = 30
    values = random.integers(0, 32, (clocks, count))
    indices = [0, count - 1, *random.integers(0, count, clocks - 2).tolist()]
    out = simulate(
        tmp_path,
        "fxp_choose",
        {"Width": 5, "Values": count},
        {"index_i": (index_bits, indices),
         "values_i": (5 * count, [join_fields(row.tolist(), 5) for row in values])},
        {"value_o": 5},
    )["value_o"]  # fmt: skip
    assert out[2:] == [row[index] for row, index in zip(values[:-2], indices, strict=False)]


@pytest.mark.parametrize("rows", [[9], [3, 0, 31, 17, 8]])
def test_constants_are_read_row_by_row(rows, tmp_path):
    indices = [*range(len(rows)), *reversed(range(len(rows))), 0, 0]
    out = simulate(
        tmp_path,
        "fxp_constants",
        {"RowBits": 5, "Rows": len(rows), "Values": packed(rows, 5)},
        {"index_i": (max((len(rows) - 1).bit_length(), 1), indices)},
        {"row_o": 5},
    )["row_o"]
    assert out[2:] == rows + rows[::-1]


@pytest.mark.parametrize("taps", [1, 2, 5])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("module", "sharing"),
    [("fxp_dot", 1), ("fxp_dot_folded", 2), ("fxp_dot_folded", 3), ("fxp_dot_shared", 3)],
)
def test_weighted_sums(taps, groups, signed, module, sharing, tmp_path):
    random = np.random.default_rng(taps)
    channels, outputs, width, bits = 6, 4, 5, 14
    inputs = channels // groups
    weights = random.integers(-8, 8, (outputs, taps, inputs))
    weights[1, 0] = 0
    biases = random.integers(-500, 500, outputs)
    low, high = (-16, 16) if signed else (0, 32)
    data = random.integers(low, high, (12, taps, channels))
    common = {
        "Taps": taps, "Channels": channels, "Groups": groups, "Outputs": outputs,
        "DataWidth": width, "DataSigned": int(signed), "WeightWidth": 4, "SumWidth": bits,
        "Weights": packed([int(w) for w in weights.reshape(-1)], 4),
        "Biases": packed([int(b) for b in biases], bits),
    }  # fmt: skip
    products = taps * inputs
    if module == "fxp_dot":
        common["HasBias"] = 1
        spacing, latency = 1, 2 + int(products).bit_length()
    elif module == "fxp_dot_folded":
        common["Fold"] = spacing = sharing
        # By phase, then by output, then by multiplier.
        flat = np.pad(weights.reshape(outputs, products), ((0, 0), (0, -products % sharing)))
        ordered = [flat[output, phase * (flat.shape[1] // sharing) + multiplier]
                   for phase in range(sharing) for output in range(outputs)
                   for multiplier in range(flat.shape[1] // sharing)]  # fmt: skip
        common["Weights"] = packed([int(w) for w in ordered], 4)
        latency = spacing + 5 + (-(-products // sharing) - 1).bit_length()
    else:
        common["Share"] = sharing
        # By turn, then by product, then by multiplier: 0 and 3 work first, then 1, then 2.
        none = np.zeros(products, int)
        flat = [*weights.reshape(outputs, products), none, none]
        ordered = [flat[output][product] for outputs_then in ((0, 3), (1, 4), (2, 5))
                   for product in range(products) for output in outputs_then]  # fmt: skip
        common["Weights"] = packed([int(w) for w in ordered], 4)
        spacing = sharing * products
        latency = spacing + 5
    # Garbage between the beats.
    words = random.integers(0, 2, (3 + 12 * spacing + latency + 10, taps * channels * width))
    stimulus = [int("".join(map(str, row)), 2) for row in words]
    clocks = [3 + beat * spacing for beat in range(12)]
    for beat, clock in enumerate(clocks):
        stimulus[clock] = join_fields(data[beat].reshape(-1), width)
    ports = {"taps_i": (taps * channels * width, stimulus)}
    if module != "fxp_dot":
        ports["valid_i"] = (1, [int(clock in clocks) for clock in range(len(stimulus))])
        ports["rst_ni"] = (1, [0] + [1] * (len(stimulus) - 1))
    out = simulate(tmp_path, module, common, ports, {"sums_o": outputs * bits})["sums_o"]
    got = [
        split_fields(known(out[c + latency : c + latency + 1])[0], bits, outputs, signed=True)
        for c in clocks
    ]
    grouped = data.reshape(12, taps, groups, inputs)
    want = np.stack(
        [
            np.einsum("bti,ti->b", grouped[:, :, o // (outputs // groups)], weights[o]) + biases[o]
            for o in range(outputs)
        ],
        axis=1,
    )
    assert np.array_equal(got, want)
