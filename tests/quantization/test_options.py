"""The options of quantization: one definition, formats as text, whole numbers of any kind."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fxp
from fxp.formats import Format, FormatError, Overflow, Rounding
from fxp.quantization.options import QuantizeKeywords


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(1, 1, 3).eval()


IMAGES = [torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1))]


def test_keywords_are_the_fields():
    annotations = fxp.QuantizeOptions.__annotations__
    assert QuantizeKeywords.__annotations__.keys() == annotations.keys()
    for name, kind in annotations.items():
        assert QuantizeKeywords.__annotations__[name].__forward_arg__ == kind, name
    assert len(fields(fxp.QuantizeOptions)) == 23


def test_texts_and_numpy_integers_mean_the_same():
    options = fxp.QuantizeOptions(
        weight_bits=np.int64(8),
        activation_bits=(np.int32(9), 10),
        min_sqnr=20,
        rounding="half_even",
        overflow="AP_SAT_SYM",
        input_format="ap_ufixed<8,0>",
        output_format={"y": "ap_fixed<14,6>"},
        fracs={"x": np.int64(3)},
    )
    assert options.weight_bits == 8
    assert type(options.weight_bits) is int
    assert options.activation_bits == (9, 10)
    assert options.rounding is Rounding.HALF_EVEN
    assert options.overflow is Overflow.SATURATE_SYMMETRIC
    assert options.input_format == Format(8, 8, signed=False)
    assert options.output_format == {"y": Format(14, 8)}
    assert options.fracs == {"x": 3}


@pytest.mark.parametrize(
    "states",
    [
        {"h": "state"}, [{"h": 1}], ["h1"], [1, 1], [(1,)], [(1, 1, 1)], [("h", "state")],
        [(1, -1)], [(1, True)], [(1, 1.0)], "states", 1, None,
    ],
)  # fmt: skip
def test_states_that_are_no_pairs(states: Any):
    with pytest.raises(fxp.ArgumentError) as caught:
        fxp.QuantizeOptions(states=states)
    assert str(caught.value) == (
        "states must be a list of pairs (input position, output position) of the module, counted "
        f"from 0, such as [(1, 1)] where forward(x, h) returns (y, h); got {states!r}"
    )


def test_initial_states_are_tensors():
    with pytest.raises(fxp.ArgumentTypeError, match="must be tensors of zeros with batch, got int"):
        fxp.quantize(network(), IMAGES, states=[(np.int64(1), 1)], initial_states=[0])  # type: ignore[list-item]


def test_an_object_and_keywords_give_one_model():
    options = fxp.QuantizeOptions(weight_bits=6, input_format="ap_ufixed<8,0>", effort="fast")
    bits = Format(8, 8, signed=False)
    wanted = fxp.quantize(network(), IMAGES, weight_bits=7, input_format=bits, effort="fast")
    assert fxp.quantize(network(), IMAGES, options, weight_bits=np.int64(7)) == wanted
    trained = fxp.prepare_qat(network(), IMAGES, options, weight_bits=7)
    found = fxp.convert(trained)
    # Only fxp.quantize tries refinements, and notes which.
    assert found.graph == wanted.graph
    assert found.calibration_clipped == wanted.calibration_clipped


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        ({"method": "best"}, ValueError, "minmax, percentile, mse, search"),
        ({"weight_rounding": "up"}, ValueError, "nearest, learned"),
        ({"weight_bits": 8.0}, TypeError, "weight_bits must be a whole number, got 8.0"),
        ({"weight_bits": "8"}, TypeError, "weight_bits must be a whole number, got '8'"),
        ({"activation_bits": True}, TypeError, "activation_bits must be a whole number"),
        ({"rounding": "up"}, FormatError, r"unknown rounding mode 'up'.*HALF_UP \(AP_RND\)"),
        ({"overflow": 3}, FormatError, r"unknown overflow mode 3.*SATURATE \(AP_SAT\)"),
        ({"input_format": "8 bits"}, FormatError, "'8 bits'"),
        ({"input_format": 8}, FormatError, "or a text such as 'ap_fixed<14,6>', got 8"),
        ({"weight_bit": 8}, TypeError, "no option 'weight_bit'; did you mean 'weight_bits'"),
        ({"zzz": 8}, TypeError, "no option 'zzz'; its options are weight_bits, "),
    ],
)
def test_what_cannot_be_used_is_named(keywords: dict, kind: type, message: str):
    with pytest.raises(kind, match=message) as caught:
        fxp.quantize(network(), IMAGES, **keywords)
    assert isinstance(caught.value, fxp.FxpError)


def test_options_that_are_none():
    with pytest.raises(TypeError, match=r"fxp\.QuantizeOptions, got dict"):
        fxp.quantize(network(), IMAGES, {"weight_bits": 8})  # type: ignore[arg-type]


def test_refinements_in_an_object_are_refused_for_training():
    with pytest.raises(TypeError, match="takes no bias_correction"):
        fxp.prepare_qat(network(), IMAGES, fxp.QuantizeOptions(bias_correction=True))


def test_a_number_without_axes_is_one_number():
    assert fxp.QuantizeOptions(weight_bits=np.array(8)).weight_bits == 8
    assert fxp.QuantizeOptions(activation_bits=torch.tensor(12)).activation_bits == 12
