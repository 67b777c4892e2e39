"""Single steps of a training run: their loss, their count, their average, their checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fxp.models.common.settings import Optimizer, Precision, TrainingError
from fxp.models.common.trainer import Trainer
from fxp.models.sr import KimSR, TrainingSet
from fxp.models.sr.settings import KimSRSettings
from fxp.models.sr.train import KimSRRecipe

SETTINGS = KimSRSettings(
    steps=4, epoch=2, batch=1, patch=16, rate=1e-3, compiled=False, optimizer=Optimizer.ADAM,
    precision=Precision.FLOAT32, average=0.9,
)  # fmt: skip


def trainer(**changes: Any) -> Trainer:
    """Trainer on one image of noise."""
    settings = replace(SETTINGS, **changes)
    image = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    pairs = TrainingSet(
        [image], scale=settings.scale, patch=settings.patch, margin=KimSR.margin, seed=0
    )
    return Trainer(KimSRRecipe(settings, pairs, [], []))


@pytest.mark.parametrize(("finish", "power"), [(0.0, 1), (1.0, 2)])
def test_the_loss_of_a_step_is_the_mean_error_of_its_power(finish: float, power: int) -> None:
    run = trainer(finish=finish)
    low, high, mask = run.recipe.batch(0)
    with torch.no_grad():
        output = run.network(torch.from_numpy(low)).numpy().astype(np.float64)
    counted = np.broadcast_to(mask, output.shape) > 0
    expected = (np.abs(output - high) ** power)[counted].mean()
    assert run._train_step() == pytest.approx(expected, rel=1e-4)


def test_steps_are_counted_from_zero() -> None:
    run = trainer()
    assert run.step == 0
    run.run_epoch()
    assert run.step == 2


def test_the_average_moves_by_ten_elevenths_in_the_first_step() -> None:
    """The decay of step n is n / (n + 10), at most the setting: 1/11, then 2/12."""
    run = trainer()
    average = {name: weight.clone() for name, weight in run.weights().items()}
    for kept, moved in ((1 / 11, 10 / 11), (1 / 6, 5 / 6)):
        run._train_step()
        for name, weight in run.weights().items():
            average[name] = kept * average[name] + moved * weight
            torch.testing.assert_close(run.average[name], average[name])
    assert any((run.average[name] != weight).any() for name, weight in run.weights().items())


def test_fixed_point_training_sees_codes_in_steps_of_a_256th() -> None:
    run = trainer(weight_bits=8, activation_bits=12)
    batch = run.recipe.batch(0)
    low, high, _ = run.recipe.tensors(batch, "cpu")
    # White, 1.0, is the code 255.
    assert low.numpy() == pytest.approx(batch[0] * 0.99609375)
    assert high.numpy() == pytest.approx(batch[1] * 0.99609375)


class _Foreign:
    """Something that only unpickling arbitrary code could read."""


def test_checkpoints_that_hold_code_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    run = trainer()
    run.save_checkpoint(path)
    state = torch.load(path, weights_only=True)
    torch.save({**state, "extra": _Foreign()}, path)
    with pytest.raises(TrainingError, match="cannot read checkpoint"):
        trainer().restore(path)
