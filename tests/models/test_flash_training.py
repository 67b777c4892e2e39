"""Training for flash photographs: steps in turn, resuming, folds, and what stops it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer

import fxp
from fxp.imaging.files import write_image
from fxp.models.common.recipe import Recipe
from fxp.models.common.run import RunFiles, train
from fxp.models.common.settings import TrainingError
from fxp.models.common.trainer import Trainer
from fxp.models.common.weights import read_weights, save_weights
from fxp.models.flash import fixed
from fxp.models.flash.data import FlashPair
from fxp.models.flash.networks import FlashGenerator, LightField, load_float
from fxp.models.flash.settings import FlashSettings, Network, Reconstruction
from fxp.models.flash.train import FlashRecipe

TINY = FlashSettings(
    network=Network.SMALL, width=2, side=16, steps=4, epoch=2, batch=2, rate=0.01, folds=2,
    average=0.0, discriminator_width=1,
)  # fmt: skip


def pairs(count: int = 4) -> list[FlashPair]:
    random = np.random.default_rng(0)
    made = []
    for number in range(count):
        flash = random.integers(0, 256, (24, 20 + 4 * number, 3)).astype(np.uint8)
        made.append(FlashPair(f"Toys_{number}", flash, (flash // 2 + 20).astype(np.uint8)))
    return made


def files(folder: Path) -> RunFiles:
    return RunFiles(*(folder / f"a.{kind}" for kind in ("safetensors", "log", "pt")))


def test_trains_ships_and_logs_what_was_left_out(tmp_path: Path):
    lines: list[str] = []
    settings = replace(TINY, fold=1, exposure=0.2, fill_light=0.5)
    train(FlashRecipe(settings, pairs()), files(tmp_path), report_line=lines.append)
    assert lines[1].startswith("2 training pairs; left out: Toys_1, Toys_3; encoder")
    assert lines[-1].startswith("step      4  loss ")
    for name in ("training ", "left-out ", "left-out ssim ", "flash itself "):
        assert f"  {name}" in lines[-1]
    assert read_weights(tmp_path / "a.safetensors")[1]["left_out"] == "Toys_1, Toys_3"
    assert isinstance(load_float(tmp_path / "a.safetensors"), LightField)


@pytest.mark.parametrize("network", [Network.SMALL, Network.DEEPFLASH])
def test_resumes_bit_for_bit(tmp_path: Path, network: Network):
    recipe = FlashRecipe(replace(TINY, network=network, width=1), pairs())
    whole = Trainer(recipe)
    losses = [whole.run_epoch().loss for _ in range(2)]
    part = Trainer(recipe)
    part.run_epoch()
    part.save_checkpoint(tmp_path / "state.pt")
    resumed = Trainer(recipe)
    resumed.restore(tmp_path / "state.pt")
    assert resumed.run_epoch().loss == losses[1]
    for name, value in whole.modules["discriminator"].state_dict().items():
        assert torch.equal(value, resumed.modules["discriminator"].state_dict()[name])


def test_the_discriminator_learns_before_the_generator(monkeypatch: pytest.MonkeyPatch):
    trainer = Trainer(FlashRecipe(TINY, pairs()))
    moved: list[tuple[str, float]] = []
    update = Trainer.update

    def noted(self: Trainer, name: str, loss: torch.Tensor) -> float:
        rate = self.optimizers[name].param_groups[0]["lr"]
        moved.append((name, rate))
        return update(self, name, loss)

    monkeypatch.setattr(Trainer, "update", noted)
    trainer.run_epoch()
    assert [name for name, _ in moved] == ["discriminator", "network"] * 2
    assert moved[0][1] == pytest.approx(0.1 * moved[1][1])
    assert trainer.optimizers["network"].param_groups[0]["betas"] == (0.5, 0.999)


def test_without_a_discriminator_the_network_trains_alone():
    settings = replace(TINY, adversarial=0.0, reconstruction=Reconstruction.LOG_MSE)
    trainer = Trainer(FlashRecipe(settings, pairs()))
    assert list(trainer.modules) == ["network"]
    first, second = (trainer.run_epoch().loss for _ in range(2))
    assert second < first


def test_attention_takes_part_in_the_loss():
    flash, ambient = torch.full((1, 3, 16, 16), 0.8), torch.full((1, 3, 16, 16), 0.4)
    losses = {}
    for guided in (True, False):
        recipe = FlashRecipe(replace(TINY, attention=guided), pairs())
        losses[guided] = recipe.loss(LightField(1), [flash, ambient], finishing=False).item()
    # New, the network returns the flash: 0.4 away, where the map is 0.6.
    assert losses[False] == pytest.approx(0.4)
    assert losses[True] == pytest.approx(0.24)


def test_batches_depend_on_seed_and_number_alone():
    recipe = FlashRecipe(TINY, pairs())
    flash, ambient = recipe.batch(3)
    assert flash.shape == ambient.shape == (2, 3, 16, 16)
    assert all(np.array_equal(*both) for both in zip(recipe.batch(3), (flash, ambient)))  # noqa: B905
    assert not np.array_equal(recipe.batch(4)[0], flash)
    # Crop and mirror are those of both photographs: ambient is half of the flash, and 20.
    assert np.abs(ambient - (flash / 2 + 20 / 255)).max() < 0.01


def test_a_loss_that_is_not_finite_stops_and_leaves_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    batch = FlashRecipe.batch

    def broken(self: FlashRecipe, number: int):
        flash, ambient = batch(self, number)
        return flash, ambient * (np.float32("nan") if number == 3 else np.float32(1))

    monkeypatch.setattr(FlashRecipe, "batch", broken)
    with pytest.raises(TrainingError, match="loss is not finite after step 3; lower --rate"):
        train(FlashRecipe(TINY, pairs()), files(tmp_path))
    monkeypatch.undo()
    trainer = Trainer(FlashRecipe(TINY, pairs()))
    trainer.restore(tmp_path / "a.pt")
    assert trainer.step == 2
    assert all(value.isfinite().all() for value in trainer.modules["discriminator"].parameters())
    train(FlashRecipe(TINY, pairs()), files(tmp_path), resume=True)
    assert (tmp_path / "a.log").read_text().count("step ") == 3


def test_weights_spoiled_by_a_finite_loss_stop_and_leave_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def steep(_: FlashRecipe, result: torch.Tensor, __: torch.Tensor) -> torch.Tensor:
        # The root has an infinite slope at zero.
        return (result - result.detach()).abs().sum().sqrt()

    train(FlashRecipe(TINY, pairs()), files(tmp_path))
    before = (tmp_path / "a.pt").read_bytes()
    monkeypatch.setattr(FlashRecipe, "_pixel_loss", steep)
    # One step an epoch: no loss of a later step could tell.
    settings = replace(TINY, steps=1, epoch=1, adversarial=0.0)
    with pytest.raises(TrainingError, match="weights of the network are not finite after step 1"):
        train(FlashRecipe(settings, pairs()), files(tmp_path))
    assert (tmp_path / "a.pt").read_bytes() == before


def test_a_given_encoder_is_frozen_unless_it_shall_train(tmp_path: Path):
    source = FlashGenerator(1)
    state = {}
    for number, value in enumerate(source.encoder.parameters()):
        state[f"features.{number // 2}.{'bias' if number % 2 else 'weight'}"] = value.detach()
    torch.save(state, tmp_path / "vgg.pth")
    moved = {}
    for trained in (False, True):
        settings = replace(TINY, network=Network.PAPER, width=1, encoder=str(tmp_path / "vgg.pth"),
                           train_encoder=trained, adversarial=0.0)  # fmt: skip
        recipe = FlashRecipe(settings, pairs())
        assert ("frozen" in recipe.summary()) is not trained
        trainer = Trainer(recipe)
        trainer.run_epoch()
        after = trainer.network.encoder.parameters()
        moved[trained] = not all(
            torch.equal(now, then)
            for now, then in zip(after, source.encoder.parameters(), strict=True)
        )
    assert moved == {False: False, True: True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fold": 2}, "--fold must be below --folds, 2, not 2"),
        ({"encoder": "a.pth"}, "--encoder is for the networks paper and deepflash"),
        ({"network": Network.PAPER, "train_encoder": True}, "--train-encoder needs --encoder"),
    ],
)
def test_settings_that_contradict_each_other(changes, message: str):
    with pytest.raises(TrainingError, match=message):
        replace(TINY, **changes)


def test_missing_encoder_weights_are_one_line(tmp_path: Path):
    settings = replace(TINY, network=Network.PAPER, encoder=str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match=r"encoder weights not found: .*none.pth$"):
        Trainer(FlashRecipe(settings, pairs()))


def test_other_systems_keep_the_usual_averages_of_adam():
    assert Recipe.betas == (0.9, 0.999)


def test_trained_weights_become_a_fixed_point_model_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for pair in pairs():
        (tmp_path / "flash").mkdir(exist_ok=True)
        for kind, image in (("flash", pair.flash), ("ambient", pair.ambient)):
            write_image(tmp_path / "flash" / f"{pair.name}_{kind}.png", image)
    save_weights(tmp_path / "mine.safetensors", LightField(2, 2), {"left_out": "Toys_0"})
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    monkeypatch.setattr(fixed, "WEIGHTS_FOLDER", shipped)

    def made(**options: Any) -> int:
        given: dict[str, Any] = {"data": tmp_path, "weights": None, "out": None, "effort": "fast"}
        try:
            fixed.main(**given | options)
        except typer.Exit as end:
            return end.exit_code
        return 0

    weights, out = tmp_path / "mine.safetensors", tmp_path / "mine.fxp"
    assert made(weights=weights, out=out) == 0
    metadata = fxp.load(out).metadata
    assert (metadata["weights"], metadata["calibration"]) == ("mine", "Toys_1 Toys_2 Toys_3")
    capsys.readouterr()
    for options, word in (
        ({"weights": weights}, "give --weights with either --out or --ship"),
        ({"weights": weights, "out": out, "shipping": True}, "give --weights with either"),
        ({"weights": tmp_path / "none.safetensors", "out": out}, "none.safetensors"),
        ({"weights": weights, "shipping": True}, "mine.log"),
    ):
        assert made(**options) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert word in error
    assert list(shipped.iterdir()) == []
    (tmp_path / "mine.log").write_text("step 1\n")
    assert made(weights=weights, shipping=True) == 0
    assert sorted(item.name for item in shipped.iterdir()) == [
        "flash_small.fxp", "flash_small.log", "flash_small.safetensors"
    ]  # fmt: skip
    assert fxp.load(shipped / "flash_small.fxp").metadata["weights"] == "flash_small"
