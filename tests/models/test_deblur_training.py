"""The training of a generator: losses, resuming, the adversarial game, roundings, bad input."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer import Typer
from typer.testing import CliRunner

import fxp
from fxp.imaging.files import write_image
from fxp.models.common.data import DataError
from fxp.models.common.settings import Optimizer, Precision, TrainingError
from fxp.models.common.trainer import Trainer
from fxp.models.deblur import train
from fxp.models.deblur.data import PairFiles, Pairs, ShakenPictures
from fxp.models.deblur.networks import Generator
from fxp.models.deblur.settings import DeblurSettings, Preset, Source
from fxp.models.deblur.train import DeblurRecipe

SETTINGS = DeblurSettings(
    scales=2, width=4, blocks=1, patch=16, steps=4, epoch=2, batch=2, average=0.5,
    optimizer=Optimizer.ADAM, precision=Precision.FLOAT32,
)  # fmt: skip


def textured(seed: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def recipe(settings: DeblurSettings) -> DeblurRecipe:
    pictures = [textured(seed) for seed in range(2)]
    scored = [(textured(9, 16), textured(9, 16) // 2)]
    return DeblurRecipe(settings, ShakenPictures(pictures), {"held-out": scored})


def test_presets_and_what_replaces_them():
    assert DeblurSettings(network=Preset.PAPER).generator() == {"scales": 3, "width": 64}
    assert DeblurSettings(network=Preset.PAPER, scales=1).generator()["scales"] == 1
    small = DeblurSettings().generator()
    assert small["residual"]
    finest, middle, coarsest = small["blocks"]
    for scales, blocks in ((1, [coarsest]), (4, [finest, finest, middle, coarsest])):
        options = DeblurSettings(scales=scales).generator()
        assert Generator(**options).options()["blocks"] == blocks
    assert Generator(**SETTINGS.generator()).options() == {
        "scales": 2, "width": 4, "blocks": [1, 1], "residual": True,
        "corrections": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 18, "scales": 3}, "--patch must be a multiple of 4, not 18"),
        ({"patch": 96, "adversarial": 1e-4}, "multiple of 64"),
        (
            {"patch": 64, "adversarial": 1e-4, "weight_bits": 10, "activation_bits": 14,
             "precision": Precision.FLOAT32},
            "floating point",
        ),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(options: dict, message: str):
    with pytest.raises(TrainingError, match=message):
        DeblurSettings(**options)


def test_a_training_resumes_bit_for_bit(tmp_path: Path):
    whole = Trainer(recipe(SETTINGS))
    reports = [whole.run_epoch() for _ in range(2)]
    part = Trainer(recipe(SETTINGS))
    assert part.run_epoch().loss == reports[0].loss
    part.save_checkpoint(tmp_path / "state.pt")
    resumed = Trainer(recipe(SETTINGS))
    resumed.restore(tmp_path / "state.pt")
    assert resumed.run_epoch().loss == reports[1].loss
    for name, value in whole.average.items():
        assert torch.equal(value, resumed.average[name])
    assert set(reports[1].scores) == {"held-out", "held-out gain"}


def test_the_adversarial_game_trains_both():
    settings = replace(SETTINGS, patch=64, batch=1, adversarial=1e-4, discriminator_width=4)
    trainer = Trainer(recipe(settings))
    first = next(trainer.modules["discriminator"].parameters())
    assert first.shape == (4, 3, 5, 5)
    before = {
        name: [item.clone() for item in trainer.modules[name].parameters()]
        for name in ("network", "discriminator")
    }
    trainer.run_epoch()
    for name, earlier in before.items():
        now = list(trainer.modules[name].parameters())
        assert sum(not torch.equal(a, b) for a, b in zip(earlier, now, strict=True)) > len(now) / 2
    assert not any(name.startswith("discriminator") for name in trainer.average)


def test_a_training_with_roundings_scores_the_fixed_model():
    settings = replace(SETTINGS, weight_bits=10, activation_bits=14, steps=1, epoch=1)
    trainer = Trainer(recipe(settings))
    assert isinstance(trainer.network, fxp.QatModel)
    report = trainer.run_epoch()
    model = trainer.trained()
    assert isinstance(model, fxp.FixedModel)
    assert np.isfinite(report.scores["held-out"])


def films(folder: Path) -> None:
    for name, count in (("first", 6), ("davis_tennis", 6), ("second", 3)):
        (folder / "video" / name).mkdir(parents=True)
        for number in range(count):
            write_image(folder / "video" / name / f"{number}.png", textured(number))


def test_films_without_those_that_are_not_for_weights(tmp_path: Path):
    films(tmp_path)
    settings = replace(SETTINGS, source=Source.FRAMES, frames=3)
    made = train.recipe(settings, tmp_path)
    # Two windows of the first film and one of the second; the first of them is held out.
    assert isinstance(made.training, Pairs)
    assert len(made.training) == 2
    assert "2 training pictures or pairs; scored patches: 24 held-out" in made.summary()
    assert made.metadata()["blur"] == "frames"
    blurred, sharp = made.batch(0)
    assert blurred.shape == sharp.shape == (2, 3, 16, 16)
    assert all(np.array_equal(a, b) for a, b in zip(made.batch(1), made.batch(1), strict=True))


def test_films_that_are_too_few(tmp_path: Path):
    films(tmp_path)
    for name in ("first", "second"):
        for file in (tmp_path / "video" / name).iterdir():
            file.unlink()
    settings = replace(SETTINGS, source=Source.FRAMES, frames=3)
    with pytest.raises(DataError, match=r"video make 0 blurred photographs, but a training needs"):
        train.recipe(settings, tmp_path)


def test_gopro_holds_whole_sequences_out(tmp_path: Path):
    for sequence in ("a", "b"):
        for kind in ("blur_gamma", "sharp"):
            for number in range(3):
                path = tmp_path / "GOPRO_Large" / "train" / sequence / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(path, textured(number, 128))
    made = train.recipe(replace(SETTINGS, source=Source.GOPRO), tmp_path)
    assert isinstance(made.training, Pairs)
    pairs = [pair for pair in made.training.pairs if isinstance(pair, PairFiles)]
    assert [pair.sharp.parent.parent.name for pair in pairs] == ["b"] * 3
    shutil.rmtree(tmp_path / "GOPRO_Large" / "train" / "b")
    with pytest.raises(DataError, match="has one sequence, but a training needs two at least"):
        train.recipe(replace(SETTINGS, source=Source.GOPRO), tmp_path)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--source", "frames", "--frames", "4"], "first: the number of averaged frames must be"),
        (["--source", "frames", "--frames", "5"], "second: a sequence of 3 frames"),
        (["--source", "gopro"], "no folder"),
        (["--source", "camera"], "T91"),
        (["--source", "frames", "--frames", "3", "--patch", "64"], "smaller than the patches"),
        (["--source", "frames", "--frames", "3", "--start", "none.safetensors"], "not found"),
        (["--source", "frames", "--frames", "3", "--resume"], "checkpoint not found"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, options: list[str], word: str):
    films(tmp_path)
    app = Typer()
    app.command()(train.main)
    out = tmp_path / "net.safetensors"
    quick = ["--steps", "1", "--epoch", "1", "--batch", "1", "--patch", "16", "--width", "2"]
    result = CliRunner().invoke(
        app, ["--data", str(tmp_path), "--out", str(out), "--threads", "1", *quick, *options]
    )
    assert result.exit_code == 1, result.output
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert word in result.output
    assert not out.exists()
