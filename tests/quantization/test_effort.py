"""Refinements chosen by measurement: never worse than none, as the user says, the same always."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from test_quantize import Cell
from torch import nn

import fxp
from fxp.executors.calls import FirstStep, one_by_one
from fxp.formats import Format, Quantization
from fxp.frontend import from_torch
from fxp.graph.ops import Add
from fxp.imaging.metrics import sqnr
from fxp.quantization.quantize import CHOICE, float_graph
from fxp.quantization.refinement import parts as parts_module
from fxp.quantization.refinement.choose import Chosen, Trial
from fxp.quantization.refinement.judgement import Judge, Quality, references_of
from fxp.quantization.refinement.parts import Parts, cut_to, divide
from fxp.quantization.settings import LoweringSettings

EFFORTS: tuple[Any, Any] = ("fast", "balanced")
LOSS = 0.3
"""Decibels by which data that nobody has measured may differ."""


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def trials(model: fxp.FixedModel) -> dict[str, bool]:
    """Which refinements were tried, and whether they were kept."""
    return {trial["name"]: trial["kept"] for trial in json.loads(model.metadata[CHOICE])["trials"]}


def decades() -> Any:
    """Depthwise channels whose ranges differ by decades, as after folding a batch normalization."""
    network: Any = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1),
    )  # fmt: skip
    network[3].running_var.copy_(torch.logspace(-4, 4, 8))
    network[5].weight.data *= torch.logspace(-2, 2, 8)[None, :, None, None]
    return network


def outliers() -> Any:
    network: Any = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
    network[2].weight.data[0, 0, 0, 0] = 20
    network[0].weight.data[1, 1, 1, 1] = -9
    return network


def dead() -> Any:
    network: Any = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
    network[0].weight.data[2:5] = 0
    network[0].bias.data[2:5] = -1
    return network


def without_bias() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.Conv2d(6, 3, 3, bias=False))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "decades": decades, "outliers": outliers, "dead": dead, "without bias": without_bias,
}  # fmt: skip


def made(kind: str) -> Any:
    torch.manual_seed(4)
    return NETWORKS[kind]().eval()


def level(model: fxp.FixedModel, network: nn.Module, data: torch.Tensor) -> float:
    with torch.no_grad():
        wanted = network(data).numpy()
    return sqnr(wanted, np.asarray(model(data)))


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("bits", [(5, 9), (10, 14)])
def test_balanced_is_not_worse_than_fast(kind: str, bits: tuple[int, int]):
    network = made(kind)
    options: Any = {"weight_bits": bits[0], "activation_bits": bits[1]}
    calibration, unseen = [draw(4, 3, 20, 20)], draw(3, 3, 24, 20, seed=9)
    fast, balanced = (
        fxp.quantize(network, calibration, effort=effort, **options) for effort in EFFORTS
    )
    assert level(balanced, network, unseen) > level(fast, network, unseen) - LOSS


def test_channels_of_different_ranges_are_equalized():
    network = made("decades")
    model = fxp.quantize(network, [draw(4, 3, 20, 20)], per_channel=False)
    assert trials(model)["equalization"]
    fast = fxp.quantize(network, [draw(4, 3, 20, 20)], per_channel=False, effort="fast")
    unseen = draw(3, 3, 24, 20, seed=9)
    assert level(model, network, unseen) > level(fast, network, unseen) + 10


def test_best_gives_up_headroom_where_few_bits_lose_much():
    network, bits = made("without bias"), {"weight_bits": 8, "activation_bits": 6}
    calibration, unseen = ([draw(8, 3, 12, 12, seed=seed) * 3.1 - 1.37] for seed in (1, 9))
    best = fxp.quantize(network, calibration, effort="best", **bits)
    assert trials(best)["no headroom"]
    balanced = fxp.quantize(network, calibration, **bits)
    assert level(best, network, unseen[0]) > level(balanced, network, unseen[0]) + 2
    # The refinements with headroom, which lost, are not what the model has.
    names = list(trials(best))
    kept = [name for name in names[1 : names.index("no headroom")] if trials(best)[name]]
    assert kept == []


@pytest.mark.parametrize(
    "options",
    [
        {"weight_bits": 6, "activation_bits": 5, "headroom": 0.5},
        {"weight_bits": 6, "activation_bits": 5, "effort": "balanced"},
        {"weight_bits": 10, "activation_bits": 14},
    ],
)
def test_headroom_stays(options: Any):
    options = {"effort": "best", **options}
    model = fxp.quantize(made("without bias"), [draw(8, 3, 12, 12) * 3 - 1.4], **options)
    assert "no headroom" not in trials(model)


def steps(model: fxp.FixedModel, frames: torch.Tensor) -> np.ndarray:
    stream = model.stream()
    return np.array([np.asarray(stream.step(frame[None])) for frame in frames])


@pytest.mark.parametrize("shown", [8, 48])
def test_recurrent_networks_gain_on_later_steps(shown: int):
    torch.manual_seed(0)
    network, frames = Cell().eval(), torch.randn(80, 1, 8, 9)
    options: Any = {"states": [(1, 1)], "initial_states": [torch.zeros(1, 1, 8, 9)],
                    "weight_bits": 5, "activation_bits": 10}  # fmt: skip
    state, wanted = torch.zeros(1, 1, 8, 9), []
    with torch.no_grad():
        for frame in frames:
            output, state = network(frame[None], state)
            wanted.append(output.numpy())
    models = [fxp.quantize(network, frames[:shown], effort=effort, **options) for effort in EFFORTS]
    levels = [
        sqnr(
            steps(model, frames)[50:],
            np.array(wanted)[50:],
        )
        for model in models
    ]
    assert levels[1] > levels[0] - LOSS
    assert bool(trials(models[1])) == (shown == 48)


@pytest.mark.parametrize(
    ("option", "refused", "asked"),
    [
        ("equalization", False, True),
        ("bias_correction", False, True),
        ("weight_rounding", "nearest", "learned"),
        ("method", "mse", "minmax"),
    ],
)
def test_the_users_word_is_kept(option: str, refused: Any, asked: Any):
    network, data = made("outliers"), [draw(4, 3, 16, 16)]
    tried = {"equalization": {"equalization", "equalization of values"},
             "bias_correction": {"bias correction"}, "weight_rounding": {"learned rounding"},
             "method": {"method minmax"}}[option]  # fmt: skip
    others: dict[str, Any] = {"equalization": False, "bias_correction": False,
                              "weight_rounding": "nearest", "method": "mse"}  # fmt: skip
    del others[option]
    for word in (refused, asked):
        options: Any = {**others, option: word}
        model = fxp.quantize(network, data, weight_bits=6, **options)
        assert tried.isdisjoint(trials(model))
        assert model.graph == fxp.quantize(network, data, weight_bits=6, effort="fast",
                                           **options).graph  # fmt: skip
    free = trials(fxp.quantize(network, data, weight_bits=6, **others))
    assert free.keys() <= {"none", *tried}


def test_no_bias_is_added_unless_it_is_asked_for():
    network, data = made("without bias"), [draw(4, 3, 16, 16)]
    layer = fxp.quantize(network, data, weight_bits=4).graph.nodes[0]
    assert len(layer.inputs) == 2
    asked = fxp.quantize(network, data, weight_bits=4, bias_correction=True).graph.nodes[0]
    assert len(asked.inputs) == 3


def test_fast_tries_nothing():
    model = fxp.quantize(made("outliers"), [draw(2, 3, 9, 9)], effort="fast")
    assert json.loads(model.metadata[CHOICE]) == {"effort": "fast", "trials": []}


@pytest.mark.parametrize("kind", ["outliers", "decades"])
def test_the_same_integers_for_other_batches_threads_and_calls(kind: str):
    network, data = made(kind), draw(6, 3, 18, 16)
    options: Any = {"weight_bits": 6, "activation_bits": 10}
    first = fxp.quantize(network, [data], **options)
    assert fxp.quantize(network, [data], **options) == first
    assert fxp.quantize(network, list(data), **options) == first
    assert fxp.quantize(network, [data[:1], data[1:4], data[4:]], **options) == first
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert fxp.quantize(network, [data], **options) == first
    finally:
        torch.set_num_threads(threads)


def test_one_image_is_cut_in_two():
    graph = from_torch(made("outliers"), [torch.zeros(1, 3, 12, 12)])
    image = draw(1, 3, 40, 21)
    found = divide(graph, [[image]])
    assert torch.equal(found.fitted[0][0], image[:, :, :20])
    assert torch.equal(found.held_out[0][0], image[:, :, 20:])


def test_the_first_half_is_fitted_to_and_the_second_judges():
    graph = from_torch(made("outliers"), [torch.zeros(1, 3, 12, 12)])
    images = [draw(1, 3, 12, 12, seed=seed) for seed in range(5)]
    found = divide(graph, [[image] for image in images])
    assert [call[0] is images[n] or torch.equal(call[0], images[n])
            for n, call in enumerate((*found.fitted, *found.held_out))] == [True] * 5  # fmt: skip
    assert len(found.fitted) == 3


@pytest.mark.parametrize(
    ("count", "fitted", "held_out"), [(1, 1, 0), (6, 6, 0), (47, 47, 0), (48, 24, 24), (49, 25, 24)]
)
def test_a_sequence_is_judged_by_its_later_steps(count: int, fitted: int, held_out: int):
    """By 24 of them at least: with fewer, nothing is tried."""
    torch.manual_seed(0)
    frames = torch.arange(count).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 9).float()
    graph = from_torch(Cell().eval(), [frames[:1], torch.zeros(1, 1, 8, 9)], states=[(1, 1)])
    found = divide(graph, [[frames]])
    assert (len(found.fitted), len(found.held_out)) == (fitted, held_out)
    assert [int(call[0][0, 0, 0, 0]) for call in found.everything] == list(range(count))


def test_parts_are_bounded(monkeypatch: pytest.MonkeyPatch):
    graph = from_torch(made("outliers"), [torch.zeros(1, 3, 12, 12)])
    monkeypatch.setattr(parts_module, "MAX_PIXELS", 400)
    found = divide(graph, [[draw(50, 3, 16, 16)]])
    for part in (found.fitted, found.held_out):
        assert sum(call[0].shape[2] * call[0].shape[3] for call in part) <= 400


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 3, 1, 1), (1, 3, 2, 1)])
def test_images_of_a_pixel(shape: tuple[int, ...]):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    model = fxp.quantize(network, [draw(*shape)])
    assert level(model, network, draw(*shape)) > 40


@pytest.mark.parametrize("count", [1, 2, 50])
def test_vectors(count: int):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    data = draw(count, 6)
    levels = [
        level(fxp.quantize(network, [data], effort=effort, weight_bits=5), network, draw(99, 6))
        for effort in (*EFFORTS, "best")
    ]
    assert levels[1] > levels[0] - LOSS
    assert levels[2] > levels[0] - LOSS


class TwoOutputs(nn.Module):
    """A large and a small output of one body."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.large, self.small = (nn.Conv2d(1, 4, 3), nn.Conv2d(4, 1, 1),
                                             nn.Conv2d(4, 1, 1))  # fmt: skip

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(self.body(x))
        return 500 * self.large(y), 0.01 * self.small(y)


def test_the_worst_of_several_outputs_counts():
    torch.manual_seed(0)
    network = TwoOutputs().eval()
    unseen = draw(2, 1, 14, 14, seed=5)
    with torch.no_grad():
        wanted = [output.numpy() for output in network(unseen)]
    worst = []
    for effort in EFFORTS:
        found = fxp.quantize(network, [draw(4, 1, 14, 14)], weight_bits=5, effort=effort)(unseen)
        worst.append(min(sqnr(w, np.asarray(f)) for f, w in zip(found, wanted, strict=True)))
    assert worst[1] > worst[0] - LOSS


def quality(*noise: tuple[float, ...]) -> Quality:
    return Quality(np.array(noise), np.array([100.0, 100.0]))


def test_what_counts_as_better():
    before = quality((1, 4), (1, 4))
    # 10 * log10(100 / 8) of the second output, the worse one.
    assert before.sqnr == pytest.approx(10.969, abs=1e-3)
    assert quality((2, 2), (2, 2)).improves(before)
    # The worst output gains 0.05 dB only.
    assert not quality((0, 3.95), (0, 3.95)).improves(before)
    # The first output has become the worst, and is worse than the second was.
    assert not quality((9, 1), (9, 1)).improves(before)
    # One image of three gains much, the others lose.
    three = quality((0, 4), (0, 4), (0, 4))
    assert not quality((0, 0), (0, 4.1), (0, 4.1)).improves(three)
    assert quality((0, 0), (0, 0), (0, 4.1)).improves(three)


def test_steps_from_the_reset_state_must_not_lose():
    gained, same = quality((1, 1), (1, 1)), quality((1, 4), (1, 4))
    # 10 * log10(100 / 8) dB, and 0.09 and 0.15 dB less.
    before = replace(same, run_in=same)
    assert replace(gained, run_in=quality((1, 4.085), (1, 4.085))).improves(before)
    assert not replace(gained, run_in=quality((1, 4.14), (1, 4.14))).improves(before)
    assert not replace(same, run_in=gained).improves(before)
    exact = quality((0, 0))
    assert replace(gained, run_in=exact).improves(replace(same, run_in=exact))


def test_rare_pictures_must_not_lose_more_than_the_images_gain():
    """Noise of 4 is halved, which gains 3 dB; that of rare pictures may at most double."""
    same, gained = quality((1, 4), (1, 4)), quality((1, 2), (1, 2))
    before = replace(same, rare=same)
    assert replace(gained, rare=quality((1, 7.9), (1, 7.9))).improves(before)
    assert not replace(gained, rare=quality((1, 8.1), (1, 8.1))).improves(before)
    assert not replace(same, rare=gained).improves(before)


def test_a_recurrent_network_is_judged_from_the_reset_state_on():
    """Y = s + x, rounded to halves: of 0.3, 0.4 and 0.1 nothing is left but 0.5, 1 and 1."""
    real = fxp.Graph(
        "sums", (fxp.Value("x", (1, 1, 1)),), (fxp.Node("y", Add(), ("s", "x")),), ("y",), (),
        (fxp.State(fxp.Value("s", (1, 1, 1)), "y"),),
    )  # fmt: skip
    half = Format(8, 1)
    integer = fxp.Graph(
        "sums", (fxp.Value("x", (1, 1, 1), half),),
        (fxp.Node("y", Add(), ("s", "x"), Quantization(half)),), ("y",), (),
        (fxp.State(fxp.Value("s", (1, 1, 1), half), "y"),),
    )  # fmt: skip
    frames = [[torch.full((1, 1, 1, 1), level)] for level in (0.3, 0.4, 0.1)]
    found = Judge(real, Parts(frames[:2], frames[2:])).quality(integer)
    # The float network gives 0.3, 0.7 and 0.8.
    assert found.noise == pytest.approx(np.array([[0.2**2]]))
    assert found.power == pytest.approx(np.array([0.8**2]))
    assert found.run_in is not None
    assert found.run_in.noise == pytest.approx(np.array([[0.2**2], [0.3**2]]))
    assert found.run_in.power == pytest.approx(np.array([0.3**2 + 0.7**2]))
    plain = Judge(real, Parts([], frames)).quality(integer)
    assert plain.run_in is None


def test_unknown_effort():
    with pytest.raises(ValueError, match="unknown effort 'max'; choose one of fast, balanced"):
        fxp.QuantizeOptions(effort="max")  # type: ignore[arg-type]


def test_progress_names_every_phase():
    told: list[tuple[int, int, str]] = []
    fxp.quantize(
        made("outliers"), [draw(3, 3, 12, 12)],
        progress=lambda done, total, text: told.append((done, total, text)),
    )  # fmt: skip
    texts = [text for _, _, text in told]
    for phase in ("reading the network", "calibrating", "measuring", "learned rounding",
                  "refining", "counting clipped values"):  # fmt: skip
        assert any(text.startswith(phase) for text in texts), phase
    assert all(0 <= done <= max(total, 0) for done, total, _ in told)


def test_trials_are_told_in_hundredths_of_a_decibel():
    graph = from_torch(nn.ReLU().eval(), [draw(1, 3, 4, 4)])
    tried = (
        Trial("measured", 12.3456, kept=True),
        Trial("exact", math.inf, kept=True),
        Trial("impossible", None, kept=False),
    )
    chosen = Chosen(graph, graph, {}, LoweringSettings(), graph, tried)
    assert chosen.as_data(fxp.QuantizeOptions(effort="best")) == {
        "effort": "best",
        "trials": [
            {"name": "measured", "sqnr": 12.35, "kept": True},
            {"name": "exact", "sqnr": None, "kept": True},
            {"name": "impossible", "sqnr": None, "kept": False},
        ],
    }


def test_references_reset_where_a_sequence_begins():
    options = fxp.QuantizeOptions(states=[(1, 1)], initial_states=[torch.zeros(1, 1, 8, 9)])
    call = [draw(2, 1, 8, 9)]
    graph = float_graph(Cell().eval(), [call[0][:1]], options)
    inputs, outputs = references_of(graph, [FirstStep(call), FirstStep(call), list(call)])
    kinds = [type(one) for one in inputs]
    assert kinds == [FirstStep, list, FirstStep, list, list, list]
    assert np.array_equal(outputs[0][0], outputs[2][0])
    assert not np.array_equal(outputs[0][0], outputs[4][0])


def test_a_part_of_a_sequence_has_as_many_steps_as_its_bound_allows(
    monkeypatch: pytest.MonkeyPatch,
):
    options = fxp.QuantizeOptions(states=[(1, 1)], initial_states=[torch.zeros(1, 1, 8, 9)])
    frames = draw(100, 1, 8, 9)
    graph = float_graph(Cell().eval(), [frames[:1]], options)
    monkeypatch.setattr(parts_module, "MAX_PIXELS", 30 * 8 * 9)
    found = divide(graph, one_by_one([[frames]]))
    assert (len(found.fitted), len(found.held_out)) == (30, 30)


def test_images_are_cut_to_the_products_that_a_part_may_have(monkeypatch: pytest.MonkeyPatch):
    """A pixel takes 72 products, and 32 x 32 pixels are allowed."""
    image = draw(1, 1, 64, 64)
    graph = from_torch(nn.Conv2d(1, 8, 3, padding=1).eval(), [image])
    monkeypatch.setattr(parts_module, "MAX_PRODUCTS", 72 * 32 * 32)
    (cut,) = cut_to(graph, [image], 1.0)
    assert torch.equal(cut, image[:, :, 16:48, 16:48])
