"""Ingredients of a training of KimSR: several teachers, rates of layers, frames of a video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from fxp.models.common.data import DataError
from fxp.models.common.settings import TrainingError, listed, portable
from fxp.models.common.trainer import Trainer
from fxp.models.common.weights import save_weights
from fxp.models.sr.data import TrainingSet
from fxp.models.sr.networks import KimSR
from fxp.models.sr.settings import KimSRSettings
from fxp.models.sr.train import KimSRRecipe, main, recipe, training_pairs


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


def data(folder: Path, **sets: int) -> Path:
    """Write folders of pictures."""
    for name, count in {"T91": 1, "BSD200": 20, **sets}.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(picture(number)).save(folder / name / f"{number}.png")
    return folder


def test_frames_of_a_video_are_thinned_and_named(tmp_path: Path) -> None:
    settings = KimSRSettings(extra="video", extra_every=3)
    found = recipe(settings, data(tmp_path, video=7))
    # All but one of 20 are not held out; of seven frames the first, fourth and seventh stay.
    assert len(found.training.high) == 1 + 19 + 3
    assert found.metadata()["training_images"] == "T91 + BSD200 + video"
    elsewhere = recipe(replace(settings, extra=str(tmp_path / "video")), tmp_path)
    assert elsewhere.metadata() == found.metadata()


@pytest.mark.parametrize("extra", ["Set5", "BSD200", "video/../B100"])
def test_what_is_measured_on_is_not_trained_on(extra: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="trained on or measured on already"):
        recipe(KimSRSettings(extra=extra), data(tmp_path, Set5=1, B100=1, video=1))


def test_frames_of_which_none_is_large_enough(tmp_path: Path) -> None:
    """Pictures have 100 rows, and a patch of 51 needs 102."""
    with pytest.raises(DataError, match=r"no image of .*video has 102 by 102 pixels"):
        recipe(KimSRSettings(extra="video", patch=51), data(tmp_path, video=1))


def test_names_are_listed_by_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("one,two.safetensors").touch()
    assert listed("a, b/c") == ["a", "b/c"]
    assert listed("") == []
    assert listed("one,two.safetensors") == ["one,two.safetensors"]
    for names in (",", "a,", "a,,b"):
        with pytest.raises(TrainingError, match="has an empty name at a comma"):
            KimSRSettings(teacher=names)
    assert portable("/home/a, ../../home/b,c/d") == "a,b,c/d"


def test_teachers_are_not_overwritten(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    save_weights(teacher, KimSR(2, features=8))
    before = teacher.read_bytes()
    options = {"data": tmp_path, "out": teacher, "teacher": f"kimsr_x2, {teacher}"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    app = Typer()
    app.command()(main)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert "give another name to write to" in result.output + str(result.exception)
    assert teacher.read_bytes() == before


def test_a_checkpoint_from_before_an_option_goes_on(tmp_path: Path) -> None:
    """An option that a checkpoint does not know was as it is by default."""
    images = [picture(0)]

    def trainer(**options: Any) -> Trainer:
        settings = KimSRSettings(compiled=False, steps=2, epoch=1, batch=1, patch=16, **options)
        return Trainer(KimSRRecipe(settings, training_pairs(settings, images), images, []))

    first = trainer()
    first.run_epoch()
    state = first.checkpoint()
    for name in ("extra", "extra_every", "tail_rate"):
        del state["settings"][name]
    for group in state["optimizers"]["network"]["param_groups"]:
        del group["factor"]
    torch.save(state, tmp_path / "old.pt")
    later = trainer()
    later.restore(tmp_path / "old.pt")
    later.run_epoch()
    first.run_epoch()
    assert all(torch.equal(one, first.average[name]) for name, one in later.average.items())
    with pytest.raises(TrainingError, match="other settings: tail_rate"):
        trainer(tail_rate=0.5).restore(tmp_path / "old.pt")
