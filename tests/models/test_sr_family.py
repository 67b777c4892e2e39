"""Networks of several sizes, their trainings, and what makes them cheap in hardware."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fxp
from fxp.executors import oracle
from fxp.models import sr
from fxp.models.common.measure import flicker
from fxp.models.common.settings import Precision
from fxp.models.common.trainer import Trainer
from fxp.models.sr import fixed
from fxp.models.sr.baselines import PlainSR
from fxp.models.sr.data import TrainingSet
from fxp.models.sr.networks import KimSR
from fxp.models.sr.settings import Images, KimSRSettings, Loss, Network
from fxp.models.sr.train import (
    LOG_FLOOR,
    KimSRRecipe,
    decibels,
    load_images,
    mean_digits,
    mixed_level,
    training_pairs,
)
from fxp.support.errors import ArgumentError

TINY = KimSRSettings(steps=4, epoch=2, batch=2, patch=16, rate=1e-3, compiled=False, features=4)


def pictures(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(5)
    return [
        np.kron(generator.integers(20, 230, (9, 10)), np.ones((6, 6))).astype(np.uint8)
        for _ in range(count)
    ]


def trainer(settings: KimSRSettings) -> Trainer:
    """A trainer on two small pictures, measured on one."""
    images = pictures(3)
    return Trainer(KimSRRecipe(settings, training_pairs(settings, images), images[:1], []))


class TestSizes:
    @pytest.mark.parametrize(
        ("features", "parameters"), [(8, 352), (16, 896), (24, 1632), (32, 2560)]
    )
    def test_parameters_by_hand(self, features: int, parameters: int) -> None:
        # 9 for the first convolution, 5 + 9 and their pointwise ones for the others.
        network = KimSR(features=features)
        assert sum(item.numel() for item in network.parameters()) == parameters

    @pytest.mark.parametrize("features", [0, 1, 7])
    def test_odd_sizes_are_refused(self, features: int) -> None:
        with pytest.raises(ArgumentError, match="an even number from 2 on"):
            KimSR(features=features)

    @pytest.mark.parametrize(("prelu", "parameters"), [(False, 2708), (True, 2748)])
    def test_chain_by_hand(self, prelu: bool, parameters: int) -> None:
        # 9*8+8, four of 9*64+8, 9*32+4; a slope for each of five times eight maps.
        network = PlainSR(prelu=prelu)
        assert sum(item.numel() for item in network.parameters()) == parameters

    def test_chain_looks_as_far_as_it_says(self) -> None:
        network = PlainSR(3, features=4, blocks=1).eval()
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, 0.01)
        luma = torch.full((1, 1, 15, 15), 0.5, requires_grad=True)
        network(luma)[0, 0, 22, 22].backward()
        assert luma.grad is not None
        rows = luma.grad[0, 0].abs().sum(1).nonzero().flatten().tolist()
        assert (rows[0], rows[-1]) == (7 - network.margin[0], 7 + network.margin[0])

    def test_chain_starts_as_nearest_neighbour_and_is_saved(self, tmp_path: Path) -> None:
        network = PlainSR(2, features=4, blocks=2, prelu=True)
        torch.nn.init.zeros_(network.tail.weight)
        luma = torch.rand(1, 1, 5, 6)
        wanted = luma.repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(network(luma), wanted)
        sr.save_weights(tmp_path / "chain.safetensors", network)
        again = sr.load_float(tmp_path / "chain.safetensors")
        assert isinstance(again, PlainSR)
        assert again.options() == network.options()

    @pytest.mark.parametrize("prelu", [False, True])
    def test_chain_in_integers(self, prelu: bool) -> None:
        network = PlainSR(2, features=4, blocks=1, prelu=prelu).eval()
        torch.nn.init.normal_(network.tail.weight, std=0.2)
        image = np.random.default_rng(0).integers(0, 256, (1, 12, 14))
        model = fxp.quantize(
            network, [image[None] / 256.0], effort="fast",
            input_format=sr.PIXEL, output_format=sr.PIXEL,
        )  # fmt: skip
        wanted = oracle.run(model.graph, [image]).outputs[0]
        assert np.array_equal(model.run(image).outputs[0], wanted)
        assert sr.upscale(image[0].astype(np.uint8), model).shape == (24, 28)


class TestTrainings:
    @pytest.mark.parametrize(
        "changes",
        [
            {"network_kind": Network.PLAIN, "blocks": 1, "prelu": True, "scale": 3},
            {"images": Images.MIXED, "quality_input": True},
            {"loss": Loss.LOG},
        ],
    )
    def test_trains(self, changes: dict[str, Any]) -> None:
        run = trainer(replace(TINY, **changes))
        before = {name: item.clone() for name, item in run.weights().items()}
        report = run.run_epoch()
        assert report.improved
        assert np.isfinite(report.loss)
        changed = [name for name, item in run.weights().items() if (item != before[name]).any()]
        assert "tail.weight" in changed or "tail.pointwise.weight" in changed

    def test_logarithmic_loss_by_hand(self) -> None:
        settings = replace(TINY, loss=Loss.LOG)
        recipe = trainer(settings).recipe
        low = torch.zeros(2, 1, 4, 4)
        # The network of zeros gives zero, so that the errors are 0.5 and 0.1 where the mask is.
        network = KimSR(features=2).train()
        for parameter in network.parameters():
            torch.nn.init.zeros_(parameter)
        high = torch.tensor([0.5, 0.1]).reshape(2, 1, 1, 1).expand(2, 1, 8, 8)
        mask = torch.zeros(2, 1, 8, 8)
        mask[:, :, 2:6, 2:6] = 1.0
        loss = recipe.loss(network, (low, high, mask), finishing=False).item()
        wanted = (np.log(0.25 + LOG_FLOOR) + np.log(0.01 + LOG_FLOOR)) / 2
        assert loss == pytest.approx(wanted, rel=1e-5)

    def test_levels_come_with_the_batch(self) -> None:
        settings = replace(TINY, images=Images.MIXED, quality_input=True)
        pairs = training_pairs(settings, pictures(2))
        assert pairs.levels == [mixed_level(seed) for seed in range(16)]
        batch = pairs.batch(0, 6)
        assert batch.level.shape == (6, 1, 1, 1)
        assert np.isin(batch.level, np.array(pairs.levels, np.float32)).all()
        plain = TrainingSet(pictures(1), scale=2, patch=16)
        assert not plain.batch(0, 2).level.any()

    def test_starts_from_a_network_without_quality(self, tmp_path: Path) -> None:
        start = KimSR(features=4)
        sr.save_weights(tmp_path / "plain.safetensors", start)
        settings = replace(TINY, images=Images.MIXED, quality_input=True)
        taught = trainer(settings).recipe.load(str(tmp_path / "plain.safetensors"))
        assert isinstance(taught, KimSR)
        assert taught.quality is not None
        assert torch.equal(taught.head.weight, start.head.weight)

    def test_digits_choose_the_epoch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        calibration = [image[None, None, :16, :16] / 256.0 for image in pictures(1)]
        monkeypatch.setattr(fixed, "calibration_images", lambda scale: calibration)
        settings = replace(
            TINY, digits=0.01, weight_bits=8, activation_bits=10, precision=Precision.FLOAT32
        )
        run = trainer(settings)
        report = run.run_epoch()
        model = run.trained()
        assert isinstance(model, fxp.FixedModel)
        held_out = report.scores["held-out"]
        weight = 20 / np.log(10) * 0.01 * 10 ** (held_out / 20)
        assert next(iter(report.scores)) == "with digits"
        wanted = held_out - weight * mean_digits(model)
        assert report.scores["with digits"] == pytest.approx(wanted, abs=1e-9)
        assert run.recipe.metadata()["weight_bits"] == "8"

    def test_mean_digits_by_hand(self) -> None:
        network = torch.nn.Conv2d(1, 1, (1, 2), bias=False)
        with torch.no_grad():
            # 7 = 8 - 1 and 64: two digits and one.
            network.weight[:] = torch.tensor([7.0, 64.0]) / 128
        model = fxp.quantize(network.eval(), [torch.rand(1, 1, 4, 4)], weight_bits=8, effort="fast")
        assert mean_digits(model) == 1.5

    @pytest.mark.parametrize(
        ("loss", "squared"), [(Loss.L1, 0.0201), (Loss.MSE, 0.01), (Loss.LOG, 0.010050167)]
    )
    def test_decibels_of_a_change(self, loss: Loss, squared: float) -> None:
        # From an error of 0.1, that is 20 dB, by 1 % of the loss, or 0.01 of the logarithm.
        change = {Loss.L1: 0.001, Loss.MSE: 0.0001, Loss.LOG: 0.01}[loss]
        wanted = 10 * np.log10(1 + squared)
        assert decibels(change, 20.0, loss) == pytest.approx(wanted, rel=0.01)

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="not found"):
            load_images(tmp_path / "nowhere")


def test_flicker_by_hand() -> None:
    # Deviations of 0 and of sqrt(2) over two frames: their squares have the mean 1.
    frames = [np.array([[5, 4]], np.uint8), np.array([[5, 6]], np.uint8)]
    assert flicker(frames) == 1.0
