"""Ingredients of a training of KimSR: several teachers, rates of layers, frames of a video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fxp.models.common.trainer import Trainer
from fxp.models.sr.data import TrainingSet
from fxp.models.sr.settings import KimSRSettings
from fxp.models.sr.train import KimSRRecipe, recipe, training_pairs


def picture(seed: int) -> np.ndarray:
    """Make a picture of noise."""
    return np.random.default_rng(seed).integers(0, 256, (100, 110, 3), dtype=np.uint8)


def test_several_networks_teach_their_mean() -> None:
    class Constant(torch.nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((1, 1, 2 * x.shape[2], 2 * x.shape[3]), self.value)

    image = np.full((32, 32), 100, np.uint8)
    teachers = [Constant(0.25), Constant(0.75)]
    found = TrainingSet(
        [image], scale=2, patch=16, margin=(0, 0), teachers=teachers, teacher_share=0.5
    )
    # Half of 100, and half of the mean of a quarter and three quarters of 255.
    assert np.unique(found.high[0]).tolist() == [50 + 63.75]


def test_the_last_layer_has_a_rate_of_its_own() -> None:
    settings = KimSRSettings(compiled=False, tail_rate=0.25, rate=1.0, steps=2)
    images = [picture(0)]
    trainer = Trainer(KimSRRecipe(settings, training_pairs(settings, images), images, []))
    trainer.run_epoch()
    groups = trainer.optimizers["network"].param_groups
    # Half a cosine after one of two steps.
    assert [group["lr"] for group in groups] == pytest.approx([0.5, 0.125])
    tail = [parameter.shape[0] for parameter in groups[1]["params"]]
    assert tail == [16, 4]


def test_frames_of_a_video_are_thinned_and_named(tmp_path: Path) -> None:
    for name, count in (("T91", 1), ("BSD200", 20), ("video/clip", 7)):
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(picture(number)).save(tmp_path / name / f"{number}.png")
    settings = KimSRSettings(extra="video/clip", extra_every=3)
    found = recipe(settings, tmp_path)
    # All but one of 20 are not held out; of seven frames the first, fourth and seventh stay.
    assert len(found.training.high) == 1 + 19 + 3
    assert found.metadata()["training_images"] == "T91 + BSD200 + video/clip"
