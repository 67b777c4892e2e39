"""Training of classifiers: it learns, resumes bit for bit, imitates a teacher, and ships."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fxp.models.common.run import RunFiles, train
from fxp.models.common.settings import Precision, TrainingError
from fxp.models.common.trainer import Trainer
from fxp.models.common.weights import WeightsError, read_weights
from fxp.models.recognition.checkpoints import load_float
from fxp.models.recognition.data import LabelledImages
from fxp.models.recognition.fixed import quantize_shipped
from fxp.models.recognition.settings import RecognitionSettings
from fxp.models.recognition.train import (
    REGRESSOR,
    RecognitionRecipe,
    distillation_loss,
    hint_loss,
    recipe,
)

SETTINGS = RecognitionSettings(
    width=4, steps=8, epoch=4, batch=8, rate=0.05, precision=Precision.FLOAT32, held_out=4, shift=1
)


@pytest.fixture(scope="module")
def stripes() -> LabelledImages:
    """Upright and lying stripes."""
    random = np.random.default_rng(0)
    lines = random.integers(0, 256, (32, 1, 32, 1), np.uint8).repeat(32, 1).repeat(3, 3)
    labels = np.arange(32) % 2
    lines[labels == 1] = lines[labels == 1].transpose(0, 2, 1, 3)
    return LabelledImages(lines, labels, ("lying", "upright"))


def files(folder: Path, name: str = "a") -> RunFiles:
    return RunFiles(*(folder / f"{name}{end}" for end in (".safetensors", ".log", ".pt")))


def losses(stripes: LabelledImages, settings: RecognitionSettings) -> list[float]:
    trainer = Trainer(RecognitionRecipe(settings, stripes, stripes))
    return [trainer._train_step() for _ in range(settings.steps)]


def test_it_learns(stripes: LabelledImages):
    found = losses(stripes, replace(SETTINGS, steps=25, smoothing=0.0))
    assert found[-1] < found[0] / 2


def test_it_resumes_bit_for_bit_and_ships(stripes: LabelledImages, tmp_path: Path):
    whole = RecognitionRecipe(SETTINGS, stripes, stripes)
    train(whole, files(tmp_path))
    trainer = Trainer(RecognitionRecipe(SETTINGS, stripes, stripes))
    trainer.run_epoch()
    trainer.save_checkpoint(tmp_path / "b.pt")
    train(RecognitionRecipe(SETTINGS, stripes, stripes), files(tmp_path, "b"), resume=True)
    state = [torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in "ab"]
    for name, value in state[0]["modules"]["network"].items():
        assert torch.equal(value, state[1]["modules"]["network"][name])

    tensors, metadata = read_weights(tmp_path / "a.safetensors")
    assert metadata["classes"] == "lying\nupright"
    assert 0 <= float(metadata["test_score"]) <= 100
    assert tensors["linear.weight"].shape == (2, 16)
    network = load_float(tmp_path / "a.safetensors")
    assert network.options() == {"depth": 20, "classes": 2, "width": 4, "channels": 3}


@pytest.mark.parametrize("hint", ["", "layer2:layer2"])
def test_it_imitates_a_teacher(hint: str, stripes: LabelledImages, tmp_path: Path):
    train(RecognitionRecipe(SETTINGS, stripes, stripes), files(tmp_path))
    settings = replace(
        SETTINGS, teacher=str(tmp_path / "a.safetensors"), width=8, hint=hint, steps=2
    )
    trainer = Trainer(RecognitionRecipe(settings, stripes, stripes))
    assert set(trainer.modules) == ({"network", REGRESSOR} if hint else {"network"})
    if hint:
        # From the 16 channels of the network to the 8 of the teacher.
        weight = trainer.modules[REGRESSOR].weight
        assert weight.shape == (8, 16, 1, 1)
        before = weight.detach().clone()
        trainer._train_step()
        assert not torch.equal(before, weight)
    else:
        assert math.isfinite(trainer._train_step())


def test_distillation_of_equal_scores_costs_nothing():
    scores = torch.tensor([[1.0, 2.0, 3.0]])
    assert distillation_loss(scores, scores, 4.0).item() == pytest.approx(0.0, abs=1e-7)


def test_distillation_is_the_divergence_of_softened_probabilities():
    # At T = 2 the teacher says 3/4 and 1/4, the network 1/2 each.
    teacher = torch.tensor([[2 * math.log(3), 0.0]])
    wanted = 4 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    found = distillation_loss(torch.zeros(1, 2), teacher, 2.0).item()
    assert found == pytest.approx(wanted, rel=1e-6)


def test_hint_is_half_the_mean_squared_distance():
    assert hint_loss(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 2.0])).item() == 2.25


def test_what_does_not_fit_is_refused(stripes: LabelledImages, tmp_path: Path):
    train(RecognitionRecipe(SETTINGS, stripes, stripes), files(tmp_path))
    teacher = str(tmp_path / "a.safetensors")
    three = LabelledImages(stripes.images, np.arange(32) % 3, ("a", "b", "c"))
    with pytest.raises(TrainingError, match="teacher has 2 classes, the training pictures have 3"):
        RecognitionRecipe(replace(SETTINGS, teacher=teacher), three, three)
    with pytest.raises(TrainingError, match="has no module layer9"):
        RecognitionRecipe(
            replace(SETTINGS, teacher=teacher, hint="layer9:layer1"), stripes, stripes
        )
    with pytest.raises(TrainingError, match="results of different sizes"):
        RecognitionRecipe(
            replace(SETTINGS, teacher=teacher, hint="layer1:layer3"), stripes, stripes
        )
    with pytest.raises(TrainingError, match="--hint needs --teacher"):
        replace(SETTINGS, hint="layer1:layer1")
    with pytest.raises(TrainingError, match="--hint is TEACHER_MODULE:MODULE"):
        replace(SETTINGS, teacher=teacher, hint="layer1")
    with pytest.raises(TrainingError, match="1 for grey or 3 for colour"):
        replace(SETTINGS, channels=2)
    with pytest.raises(WeightsError, match="weights not found"):
        load_float(tmp_path / "missing.safetensors")


def test_recipe_reads_both_sets_and_compares_their_classes(tmp_path: Path):
    pictures = np.zeros((8, 28, 28), np.uint8)
    np.savez(tmp_path / "train.npz", x=pictures, y=np.arange(8) % 4)
    np.savez(tmp_path / "test.npz", x=pictures, y=np.arange(8) % 4)
    np.savez(tmp_path / "other.npz", x=pictures, y=np.arange(8) % 2)
    settings = replace(SETTINGS, training="train.npz", test="test.npz", channels=1, held_out=2)
    made = recipe(settings, tmp_path)
    assert made.summary() == "4 training pictures of 4 classes, 4 held out, 8 of the test"
    assert made.batch(0)[0].shape == (4, 1, 32, 32)
    with pytest.raises(ValueError, match="has 2 classes"):
        recipe(replace(settings, test="other.npz"), tmp_path)
    untested = recipe(replace(settings, test=""), tmp_path)
    assert math.isnan(untested.scores(untested.network().eval())["test"])


def test_trained_weights_become_a_model(stripes: LabelledImages, tmp_path: Path):
    settings = replace(SETTINGS, model="vggs", steps=1, epoch=1)
    train(RecognitionRecipe(settings, stripes, stripes), files(tmp_path))
    model = quantize_shipped(tmp_path / "a.safetensors")
    assert model.metadata["classes"] == "lying\nupright"
    assert model.metadata["side"] == "32"
    pictures = stripes.images[:2].transpose(0, 3, 1, 2) / 256
    assert np.array_equal(model(pictures), model.oracle(pictures))
