"""The report names first what is known to be wrong, and predicts what a change gains."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from culprits import Classifier, Heads, images, plain
from torch import nn

import fxp
from fxp.diagnosis.measure import output_levels


def test_a_value_of_few_bits_is_named_first():
    # With 8 fraction bits too few, 6 of the 14 bits of the ReLU hold something.
    network = plain()
    # What is proposed is for the images seen.
    seen = fxp.quantize(network, images(), headroom=0, effort="fast")
    usual = seen.graph.values["relu_1"].format
    assert usual is not None
    with pytest.warns(fxp.PrecisionWarning, match="falls at 'relu_1'"):
        model = fxp.quantize(network, images(), fracs={"relu_1": usual.frac - 8}, effort="fast")
    report = model.report(images())
    assert report.by_loss[0].name == "relu_1"
    assert report.by_loss[0].loss_share > 0.9
    change = report.changes[0]
    assert (change.kind, change.value) == ("finer_steps", "relu_1")
    assert change.options["fracs"]["relu_1"] in (usual.frac - 1, usual.frac)
    assert report.value("relu_1").by_rounding == pytest.approx(1, abs=1e-3)


def test_an_outlier_among_the_weights_of_a_tensor_is_named_first():
    network = plain()
    with torch.no_grad():
        # What it reads is small, so that it changes little but the format of all weights.
        network.first.weight[1], network.first.bias[1] = 0, 0.001
        network.middle.weight[2, 1, 0, 0] = 60.0
    with pytest.warns(fxp.PrecisionWarning, match="falls at 'middle'"):
        model = fxp.quantize(network, images(), per_channel=False, effort="fast")
    report = model.report(images(), measure=True)
    assert report.by_loss[0].name == "middle"
    assert report.changes[0].value == "middle"
    (change,) = (item for item in report.changes if item.kind == "per_channel")
    assert (change.value, change.options) == ("middle", {"per_channel": True})
    weights = report.value("middle").weights
    assert weights is not None
    assert [high == 60.0 for high in weights.high] == [False, False, True, False, False, False]
    assert change.predicted_gain_db == pytest.approx(change.measured_gain_db, abs=2)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"per_channel": False}, "its weights share one format; try per_channel=True, or more"),
        ({}, "its weights are rounded; try weight_rounding='learned', or more weight_bits"),
        ({"weight_rounding": "learned"}, "its weights are rounded; give more weight_bits"),
    ],
)
def test_nothing_is_advised_that_is_done_already(options: dict[str, object], advice: str):
    network = torch.nn.Conv2d(1, 2, 3, padding=1).eval()
    torch.nn.init.uniform_(network.weight, 0.5, 0.9, torch.Generator().manual_seed(0))
    calibration = [torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))]
    with pytest.warns(fxp.PrecisionWarning) as told:
        fxp.quantize(network, calibration, weight_bits=3, effort="fast", **options)  # type: ignore[arg-type]
    assert advice in str(told[0].message)


def test_a_value_that_is_clipped_is_named_first():
    network = plain()
    options = {"method": "minmax", "effort": "fast", "headroom": 0}
    usual = fxp.quantize(network, images(), **options).graph.values["relu"].format
    assert usual is not None
    with pytest.warns(fxp.PrecisionWarning, match=r"'relu'.*clips it"):
        model = fxp.quantize(network, images(), fracs={"relu": usual.frac + 2}, **options)
    report = model.report(images())
    assert report.by_loss[0].name == "relu"
    assert (report.changes[0].kind, report.changes[0].value) == ("headroom", "relu")
    value = report.value("relu")
    assert value.by_clipping > 0.99
    assert value.high > value.format_high
    assert 0 < value.clipped < 1
    assert report.changes[0].options["fracs"]["relu"] in (usual.frac, usual.frac + 1)


def test_dead_channels_are_listed():
    network = plain()
    with torch.no_grad():
        network.first.weight[3], network.first.bias[3] = 0, -1.0
    model = fxp.quantize(network, images(), weight_bits=14, effort="fast")
    report = model.report(images())
    assert report.value("relu").dead_channels == (3,)
    (change,) = [item for item in report.changes if item.kind == "remove_channels"]
    assert change.value == "relu"
    assert report.value("first").dead_channels == ()


def test_dead_channels_of_all_layers_are_one_change():
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(1, 2, 3, padding=1), nn.ReLU()]
    for _ in range(5):
        layers += [nn.Conv2d(2, 2, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Conv2d(2, 1, 1)).eval()
    with torch.no_grad():
        for layer in network[::2]:
            layer.weight.abs_()
            layer.bias.fill_(0.1)
        for layer in network[:-1:2]:
            layer.weight[1], layer.bias[1] = 0, -1.0
    report = fxp.quantize(network, images(), effort="fast").report(images())
    (change,) = [item for item in report.changes if item.kind == "remove_channels"]
    assert change.values == ("1", "3", "5", "7", "9", "11")
    assert change.reason.startswith("These are zero on all images given: channel 1 of '1', ")
    assert (
        "and those of 2 more values. If others agree, the network can do without them."
        in change.reason
    )


def test_measured_gains_are_those_of_doing_it_by_hand():
    network, data = plain(), images()
    options = {"weight_bits": 5, "per_channel": False, "effort": "fast"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fxp.PrecisionWarning)
        model = fxp.quantize(network, data, **options)
        report = model.report(data, measure=True)
        tried = [change for change in report.changes if change.measured_gain_db is not None]
        assert {"bias_correction", "more_weight_bits"} <= {change.kind for change in tried}
        for change in tried:
            other = fxp.quantize(network, data, **{**options, **change.options})
            gain = _level(other, network, data) - _level(model, network, data)
            assert change.measured_gain_db == pytest.approx(gain, abs=0.05)


def _level(model: fxp.FixedModel, network: torch.nn.Module, data: list[torch.Tensor]) -> float:
    power = noise = 0.0
    for image in data:
        with torch.no_grad():
            wanted = network.double()(image.double())
        power += float((wanted**2).sum())
        noise += float(((torch.as_tensor(model(image.double())) - wanted) ** 2).sum())
    network.float()
    return 10 * math.log10(power / noise)


def test_figures_are_those_of_the_definition():
    network, data = plain(), images()
    # Errors of rounding that is learned make up for one another, and their sum says too much.
    model = fxp.quantize(network, data, effort="fast")
    report = model.report(data)
    level = _level(model, network, data)
    assert report.output_sqnr_db == pytest.approx(level, abs=0.01)
    assert report.value(model.graph.outputs[0]).sqnr_db == pytest.approx(level, abs=0.01)
    assert model.calibration_sqnr[model.graph.outputs[0]] == pytest.approx(level, abs=0.01)
    assert model.origin is not None
    levels = output_levels(model.graph, model.origin.network, [[image] for image in data])
    assert levels == pytest.approx(level, abs=0.01)
    # Errors of single values are nearly independent.
    assert report.sum_of_losses_db == pytest.approx(level, abs=2)
    for value in report.values:
        assert sum(value.histogram.values()) == round(
            (1 - value.zeros) * 3 * math.prod(value.shape)
        )
        if value.accumulator_bits is not None:
            assert value.accumulator_bits_used <= value.accumulator_bits
    assert report.value("middle").multiplications == 6 * 6 * 9 * 20 * 20


def test_a_local_error_is_that_of_the_layer_alone():
    """One layer of coarse weights: local is what it loses, before and behind nothing is lost."""
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False)).eval()
    with torch.no_grad():
        network[0].weight.fill_(0.3)
    data = [torch.full((1, 1, 4, 4), 0.5)]
    with pytest.warns(fxp.PrecisionWarning):
        model = fxp.quantize(network, data, weight_bits=2, activation_bits=20, effort="fast")
    value = model.report(data).values[1]
    # Of two signed bits the nearest to 0.3 is 1/4: the error is a sixth of the value.
    assert value.local_sqnr_db == pytest.approx(20 * math.log10(6), abs=0.01)
    assert value.alone_sqnr_db == pytest.approx(20 * math.log10(6), abs=0.01)
    assert value.weights is not None
    assert value.weights.sqnr_db == (pytest.approx(20 * math.log10(6), abs=0.01),)
    assert value.by_weights == pytest.approx(1, abs=1e-3)


def test_a_concatenation_that_drowns_a_part_is_named():
    """With wide_bits, an output would keep all bits of its parts."""
    torch.manual_seed(0)
    with pytest.warns(fxp.PrecisionWarning, match=r"concatenation 'concat' joins 'sigmoid'"):
        model = fxp.quantize(Heads().eval(), images(), effort="fast", wide_bits=0)
    (change,) = (
        item for item in model.report(images()).changes if item.kind == "split_concatenation"
    )
    assert change.values[1] == "sigmoid"
    assert change.gain_of == f"channels 2 to 3 of {change.value}"
    assert change.predicted_gain_db > 20


def test_a_precise_model_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fxp.quantize(plain(), images(), effort="fast")
    assert "Warning" not in model.summary()
    assert "SQNR of the outputs" in model.summary()


def test_a_summary_warns_where_precision_falls():
    with pytest.warns(fxp.PrecisionWarning, match="weight_bits"):
        model = fxp.quantize(plain(), images(), weight_bits=3, effort="fast")
    assert "below 40 dB" in model.summary()
    assert "Warning: first has " in model.summary()


def test_top_1_of_a_classifier_is_compared():
    torch.manual_seed(3)
    network, data = Classifier().eval(), images(12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fxp.PrecisionWarning)
        model = fxp.quantize(network, data, weight_bits=3, effort="fast")
    votes = model.report(data).agreement
    assert votes is not None
    wanted = [int(network(image).argmax()) for image in data]
    found = [int(torch.as_tensor(model(image)).argmax()) for image in data]
    assert votes.samples == 12
    assert votes.equal == sum(a == b for a, b in zip(wanted, found, strict=True))
    assert sum(count for _, _, count in votes.differences) == 12 - votes.equal
    assert model.report(data).crop is None
