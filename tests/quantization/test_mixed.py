"""Mixed precision: costs by hand, floors that hold, and the best of all choices."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_graphs import BYTE, constant, graph, image, node, random_image
from torch import nn

import fxp
from fxp.formats import Format
from fxp.graph import Constant, Graph
from fxp.graph.ops import Conv2d, Linear, Multiply, Relu
from fxp.model import FixedModel
from fxp.quantization.calibrate import observe
from fxp.quantization.lowering import LoweringSettings, lower
from fxp.quantization.mixed import MultiplierBits, PackedSize
from fxp.quantization.mixed.greedy import descend
from fxp.quantization.mixed.program import CostTables, solve
from fxp.quantization.mixed.result import pareto_front
from fxp.quantization.mixed.trials import Choice, Point, Trials
from fxp.quantization.quantize import choose_settings, float_graph

GENERATOR = np.random.default_rng(11)


def network() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 1, 3, padding=1)
    ).eval()


IMAGES = [torch.rand(1, 1, 12, 10, generator=torch.Generator().manual_seed(3))]


def integer_graph() -> Graph:
    """A 3×3 convolution of one channel to two, 8-bit data times 5-bit weights, and a product."""
    weight = Constant("w", GENERATOR.integers(-16, 16, (2, 1, 3, 3)), (Format(5, 4),))
    square = fxp.Node("square", Multiply(), ("conv", "conv"), fxp.Quantization(Format(16, 8)))
    conv = fxp.Node("conv", Conv2d(), ("x", "w"), fxp.Quantization(Format(7, 3)))
    source = fxp.Value("x", image().shape, BYTE)
    return Graph("costed", (source,), (conv, square), ("square",), (weight,))


def test_multiplier_bits_by_hand():
    # 6×5 pixels become 4×3: 2 * 9 weights * 12 pixels of 5 by 8 bits, then 2 * 12 of 7 by 7.
    assert MultiplierBits([(1, 6, 5)]).parts(integer_graph()) == {
        "conv": 2 * 9 * 12 * 5 * 8,
        "square": 2 * 12 * 7 * 7,
    }


def test_multiplier_bits_of_a_linear_layer_by_hand():
    weight = Constant("w", np.array([[1, -2, 3], [0, 1, 2]]), (Format(4, 0),))
    layer = fxp.Node("y", Linear(), ("x", "w"), fxp.Quantization(Format(12, 0)))
    source = fxp.Value("x", (3,), Format(6, 0))
    small = Graph("linear", (source,), (layer,), ("y",), (weight,))
    assert MultiplierBits([(3,)]).parts(small) == {"y": 2 * 3 * 4 * 6}


def test_packed_size_by_hand():
    source = fxp.Value("x", (1,), Format(6, 0))
    layer = fxp.Node("y", Linear(), ("x", "w", "b"), fxp.Quantization(Format(20, 0)))
    weight = Constant("w", np.array([[1], [2], [3]]), (Format(5, 0),))
    bias = Constant("b", np.array([100, 2, 3]), (Format(9, 0),))
    small = Graph("file", (source,), (layer,), ("y",), (weight, bias))
    assert PackedSize().parts(small) == {"w": 15 / 8, "b": 27 / 8}


@pytest.mark.parametrize("strategy", ["integer_program", "greedy"])
@pytest.mark.parametrize(("cost", "floor"), [("multiplier_bits", 25.0), ("packed_size", 35.0)])
def test_the_floor_holds_on_the_model_returned(strategy: Any, cost: Any, floor: float):
    found = fxp.quantize_mixed(network(), IMAGES, floor=floor, cost=cost, strategy=strategy)
    wanted = network()(IMAGES[0]).detach().double().numpy()
    error = found.model(IMAGES[0]).numpy() - wanted
    assert 10 * np.log10((wanted**2).sum() / (error**2).sum()) == pytest.approx(found.quality)
    assert found.quality >= floor
    assert found.uniform is not None
    assert found.cost <= found.uniform.cost
    again = fxp.quantize(network(), IMAGES, found.options)
    assert again.graph == found.model.graph
    assert again.calibration_clipped == found.model.calibration_clipped


NAMES = ("input", "0.weight", "1", "2.weight", "2")
SMALL: dict[str, Any] = {"weight_widths": (3, 5, 8), "activation_widths": (4, 7, 10)}


@pytest.fixture(scope="module")
def all_choices() -> list[tuple[float, float]]:
    """Cost and SQNR of all choices of widths, for two weights and three values."""
    source = fxp.quantize(network(), IMAGES, effort="fast").graph
    assert [value.name for value in source.inputs] == ["input"]
    options = fxp.QuantizeOptions(weight_bits=8, activation_bits=10)
    real = float_graph(network(), IMAGES, options)
    statistics, settings = choose_settings(real, [IMAGES], options)
    wanted = network()(IMAGES[0]).detach().double().numpy()
    cost = MultiplierBits([(1, 12, 10)])
    found = []
    for widths in product((4, 7, 10), (3, 5, 8), (4, 7, 10), (3, 5, 8), (4, 7, 10)):
        bits = dict(zip(NAMES, widths, strict=True))
        lowered = lower(real, statistics, replace(settings, bits=bits))
        error = FixedModel(lowered)(IMAGES[0]).numpy() - wanted
        quality = 10 * np.log10((wanted**2).sum() / (error**2).sum())
        found.append((sum(cost.parts(lowered).values()), quality))
    return found


@pytest.mark.parametrize("floor", [12.0, 20.0, 26.0])
def test_the_program_finds_the_best_of_all_choices(
    all_choices: list[tuple[float, float]], floor: float
):
    found = fxp.quantize_mixed(network(), IMAGES, floor=floor, **SMALL)
    assert tuple(found.bits) == NAMES
    assert found.cost == min(cost for cost, quality in all_choices if quality >= floor)


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int, str]]:
    """What the search that made `found` said of its progress."""
    return []


@pytest.fixture(scope="module")
def found(told: list[tuple[int, int, str]]) -> fxp.MixedPrecision:
    return fxp.quantize_mixed(
        network(), IMAGES, floor=20, progress=lambda *step: told.append(step), **SMALL
    )


def test_the_same_result_every_time(found: fxp.MixedPrecision):
    again = fxp.quantize_mixed(network(), IMAGES, floor=20, **SMALL)
    assert again.to_json() == found.to_json()
    assert again.model == found.model


def test_a_quality_of_the_callers():
    calls: list[FixedModel] = []

    def quality(model: FixedModel) -> float:
        calls.append(model)
        return float(model.graph.constants_by_name["0.weight"].formats[0].width)

    found = fxp.quantize_mixed(network(), IMAGES, floor=5, quality=quality, **SMALL)
    assert found.bits == {"input": 4, "0.weight": 5, "1": 4, "2.weight": 3, "2": 10}
    assert found.quality == 5
    assert all(isinstance(model, FixedModel) for model in calls)


def test_psnr_against_the_float_network():
    found = fxp.quantize_mixed(network(), IMAGES, floor=40, quality="psnr", peak=2.0, **SMALL)
    wanted = network()(IMAGES[0]).detach().double().numpy()
    mean = ((found.model(IMAGES[0]).numpy() - wanted) ** 2).mean()
    assert found.quality == pytest.approx(10 * np.log10(4 / mean))
    assert found.quality >= 40


def test_a_cost_of_the_callers():
    class Widths:
        name = "bits of the second weight"

        def parts(self, graph: Graph) -> dict[str, float]:
            return {"all": float(graph.constants_by_name["2.weight"].formats[0].width)}

    found = fxp.quantize_mixed(network(), IMAGES, floor=30, cost=Widths(), **SMALL)
    assert found.cost == found.bits["2.weight"]
    assert found.cost_name == "bits of the second weight"


def test_curvature_predicts_the_noise_of_a_linear_network():
    # y = w1 x1 + w2 x2 has the derivatives x and w; one probe would do.
    weight = constant("w", [[0.3, -0.7]])
    source = graph([fxp.Value("x", (2,))], [node("y", Linear(), "x", "w")], constants=[weight])
    data = [torch.tensor([[0.5, 2.0]])]
    found = fxp.quantize_mixed(source, data, floor=20, sensitivity="curvature", **SMALL)
    assert found.quality >= 20


def test_widths_given_are_no_choice():
    found = fxp.quantize_mixed(network(), IMAGES, floor=20, bits={"0.weight": 9}, **SMALL)
    assert "0.weight" not in found.bits
    assert found.model.graph.constants_by_name["0.weight"].formats[0].width == 9
    assert found.options.bits == {"0.weight": 9, **found.bits}


def test_training_takes_the_result(found: fxp.MixedPrecision):
    assert fxp.convert(fxp.prepare_qat(network(), IMAGES, found)).graph == found.model.graph


def test_the_search_ends_with_its_trials():
    found = fxp.quantize_mixed(network(), IMAGES, floor=20, max_trials=7, **SMALL)
    assert len(found.points) == 7
    assert found.quality >= 20
    assert not found.complete
    assert "the search ended early, after 7 models" in str(found)


def test_progress_is_told(found: fxp.MixedPrecision, told: list[tuple[int, int, str]]):
    assert found.complete
    assert len(told) > len(found.points)
    assert all(0 <= done <= total for done, total, _ in told)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"floor": 200}, fxp.ArgumentError, "the floor of 200 is out of reach: with the widest"),
        ({"floor": "40"}, fxp.ArgumentTypeError, "floor must be a number, got '40'"),
        ({"cost": "area"}, fxp.ArgumentError, "unknown cost 'area'; choose one of"),
        ({"cost": 3}, fxp.ArgumentTypeError, "cost must be one of multiplier_bits, packed_size"),
        ({"quality": "ssim"}, fxp.ArgumentError, "unknown quality 'ssim'; choose one of sqnr"),
        ({"quality": 40}, fxp.ArgumentTypeError, "quality must be one of sqnr, psnr"),
        ({"strategy": "random"}, fxp.ArgumentError, "unknown strategy 'random'"),
        ({"sensitivity": "guess"}, fxp.ArgumentError, "unknown sensitivity 'guess'"),
        ({"weight_widths": 8}, fxp.ArgumentTypeError, "weight_widths must be several widths"),
        ({"weight_widths": ()}, fxp.ArgumentError, "weight_widths has no width to choose from"),
        ({"activation_widths": (1, 8)}, fxp.FormatError, "activation_widths must be an integer"),
        ({"max_trials": 0}, fxp.ArgumentError, "max_trials must be at least 1, got 0"),
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense(options: dict[str, Any], kind: type, message: str):
    given: dict[str, Any] = {"floor": 20, **options}
    with pytest.raises(kind) as caught:
        fxp.quantize_mixed(network(), IMAGES, **given)
    assert str(caught.value).startswith(message)


def test_the_front_by_hand():
    points = [Point({}, cost, quality) for cost, quality in
              ((4, 30), (2, 20), (3, 20), (2, 19), (5, 29), (6, 40))]  # fmt: skip
    assert [(point.cost, point.quality) for point in pareto_front(points)] == [
        (2, 20), (4, 30), (6, 40),
    ]  # fmt: skip


CHOICES = (Choice("a", "weight", (2, 4)), Choice("b", "value", (3, 5)))


@pytest.mark.parametrize(
    ("budget", "wanted"),
    [
        (0, {"a": 4, "b": 5}),
        (1, {"a": 2, "b": 5}),  # costs 10 instead of 12 by narrowing b
        (2, {"a": 4, "b": 3}),
        (3, {"a": 2, "b": 3}),
    ],
)
def test_the_program_by_hand(budget: float, wanted: dict[str, int]):
    # Costs are products of widths: 6, 10, 12 and 20, but the pair (4, 3) is made to cost 9.
    tables = CostTables(
        {"a": np.zeros(2), "b": np.zeros(2)}, {("a", "b"): np.array([[6.0, 10.0], [9.0, 20.0]])}
    )
    noise = {"a": {2: 1.0, 4: 0.0}, "b": {3: 2.0, 5: 0.0}}
    assert solve(CHOICES, tables, noise, budget) == wanted


def test_nothing_within_a_budget():
    tables = CostTables({"a": np.zeros(2), "b": np.zeros(2)}, {})
    noise = {"a": {2: 3.0, 4: 2.0}, "b": {3: 2.0, 5: 0.0}}
    assert solve(CHOICES, tables, noise, 1.0) is None


def test_the_document_and_the_picture(found: fxp.MixedPrecision, tmp_path: Path):
    document = json.loads(found.to_json())
    assert document["bits"] == found.bits
    assert document["cost"] == {"multiplier bits": found.cost}
    assert document["quality"] == {"dB SQNR": found.quality}
    assert len(document["points"]) == len(found.points)
    assert document["front"][-1]["quality"] == max(point.quality for point in found.points)
    picture = found.save_picture(tmp_path / "front.svg")
    text = picture.read_text()
    assert text.count("<svg") == 1
    assert str(found).splitlines()[0].startswith(f"Sequential: {found.quality:.2f} dB SQNR, floor")
    assert f"{found.bits['0.weight']} bits" in str(found)


def test_greedy_takes_what_saves_most_for_what_it_costs():
    layer = graph(
        image(), [node("conv", Conv2d(), "x", "weight"), node("y", Relu(), "conv")],
        constants=[constant("weight", GENERATOR.uniform(-1, 1, (1, 1, 3, 3)))],
    )  # fmt: skip
    quality = {(4, 4): 100.0, (4, 2): 90.0, (2, 4): 99.0, (2, 2): 60.0}

    class Sum:
        name = "bits"

        def parts(self, graph: Graph) -> dict[str, float]:
            return {"sum": float(sum(widths(graph)))}

    def widths(graph: Graph) -> tuple[int, int]:
        form = graph.values["y"].format
        assert form is not None
        return graph.constants_by_name["weight"].formats[0].width, form.width

    trials = Trials(
        layer, observe(layer, [[random_image()]]), LoweringSettings(input_formats={"x": BYTE}),
        (Choice("weight", "weight", (2, 4)), Choice("y", "value", (2, 4))),
        Sum(), lambda model: quality[widths(model.graph)], 10,
    )  # fmt: skip
    start = trials.point(trials.widest)
    assert descend(trials, start, 70).bits == {"weight": 2, "y": 4}
    assert descend(trials, start, 60).bits == {"weight": 2, "y": 2}
    assert descend(trials, start, 99.5) == start


@pytest.mark.parametrize(
    ("name", "instead"),
    [("weight_bits", "weight_widths"), ("activation_bits", "activation_widths")],
)
def test_one_width_for_all_is_refused_with_what_to_give_instead(name, instead):
    network, images = torch.nn.Conv2d(1, 1, 1).eval(), [torch.rand(1, 1, 8, 8)]
    for given in ({name: 8}, {"options": fxp.QuantizeOptions(**{name: 8})}):
        with pytest.raises(TypeError, match=f"chooses {name} itself; say by {instead}"):
            fxp.quantize_mixed(network, images, floor=30, **given)
