"""A system of its own on the shared rooms: it trains, resumes bit for bit, ships and runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fxp
from fxp.imaging.files import read_image, write_image
from fxp.imaging.video import VideoFormat
from fxp.models.common.media import process
from fxp.models.common.pixels import PIXEL, ImagePipeline, Pixels, bicubic_graph, on_engine
from fxp.models.common.recipe import Model, Recipe
from fxp.models.common.run import RunFiles, train
from fxp.models.common.settings import Optimizer, Precision, TrainingSettings, option
from fxp.models.common.ship import ship
from fxp.models.common.trainer import Trainer
from fxp.models.common.weights import load_weights, read_weights


@dataclass(frozen=True)
class InvertSettings(TrainingSettings):
    """A network of one layer that learns to invert grey pictures."""

    module: ClassVar[str] = "toy.train"
    side: int = option(8, "Side of the patches.", minimum=1)


class Inverter(nn.Module):
    def __init__(self, kernel: int = 1) -> None:
        super().__init__()
        self.kernel, self.layer = kernel, nn.Conv2d(1, 1, kernel, padding=kernel // 2)

    def options(self) -> dict[str, Any]:
        return {"kernel": self.kernel}

    def forward(self, luma: Tensor) -> Tensor:
        return self.layer(luma).clamp(0.0, 255 / 256)


class InvertRecipe(Recipe[InvertSettings]):
    def network(self) -> Inverter:
        return Inverter()

    def load(self, name: str) -> Inverter:
        return load_weights(name, Inverter)

    def helpers(self) -> dict[str, nn.Module]:
        return {"critic": nn.Conv2d(1, 1, 1)}

    def batch(self, number: int) -> Sequence[NDArray]:
        shape = (self.settings.batch, 1, self.settings.side, self.settings.side)
        return [np.random.default_rng([self.settings.seed, number]).random(shape, np.float32)]

    def loss(self, network: nn.Module, batch: Sequence[Tensor], *, finishing: bool) -> Tensor:
        # The noise shows that random numbers of the step are resumed as well.
        low = batch[0] + 0.01 * torch.randn_like(batch[0])
        return (network(low) - (1 - batch[0])).abs().mean()

    def step(self, trainer: Trainer, batch: Sequence[Tensor]) -> float:
        trainer.update("critic", trainer.modules["critic"](batch[0]).square().mean())
        return super().step(trainer, batch)

    def scores(self, model: Model) -> dict[str, float]:
        picture = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)
        with torch.no_grad():
            made = np.asarray(model(torch.from_numpy(picture)))
        return {"accuracy": -float(np.abs(made - (1 - picture)).mean())}


class Invert:
    def __init__(self, model: fxp.FixedModel) -> None:
        self.pipeline = ImagePipeline(model, model, fxp.FixedModel(bicubic_graph(2)))

    def __call__(self, image: Pixels, *, threads: int | None = None) -> Pixels:
        return self.pipeline.image(image, on_engine(threads))

    def frame(self, planes: Sequence[Pixels], *, threads: int | None = None) -> list[Pixels]:
        return self.pipeline.frame(planes, on_engine(threads))

    def video_format(self, form: VideoFormat) -> VideoFormat:
        return form


SETTINGS = InvertSettings(steps=300, epoch=100, batch=2, rate=0.05, average=0.9, compiled=False,
                          optimizer=Optimizer.ADAM, precision=Precision.FLOAT32)  # fmt: skip


def test_trains_and_resumes_bit_for_bit(tmp_path: Path):
    whole = Trainer(InvertRecipe(SETTINGS))
    reports = [whole.run_epoch() for _ in range(3)]
    part = Trainer(InvertRecipe(SETTINGS))
    part.run_epoch()
    part.save_checkpoint(tmp_path / "state.pt")
    resumed = Trainer(InvertRecipe(SETTINGS))
    resumed.restore(tmp_path / "state.pt")
    assert [resumed.run_epoch().loss for _ in range(2)] == [item.loss for item in reports[1:]]
    for name, value in whole.average.items():
        assert torch.equal(value, resumed.average[name])
    for name, value in whole.modules["critic"].state_dict().items():
        assert torch.equal(value, resumed.modules["critic"].state_dict()[name])
    assert reports[-1].scores["accuracy"] > -0.02


def test_a_checkpoint_of_a_gpu_goes_on_without_one(tmp_path: Path):
    trainer = Trainer(InvertRecipe(SETTINGS))
    trainer.run_epoch()
    state = trainer.checkpoint() | {"random_cuda": torch.zeros(16, dtype=torch.uint8)}
    torch.save(state, tmp_path / "state.pt")
    wanted = trainer.run_epoch().loss
    resumed = Trainer(InvertRecipe(SETTINGS))
    resumed.restore(tmp_path / "state.pt")
    assert resumed.step == 100
    assert resumed.run_epoch().loss == wanted


def test_ships_and_runs_over_a_folder(tmp_path: Path):
    files = RunFiles(*(tmp_path / f"toy.{kind}" for kind in ("safetensors", "log", "pt")))
    lines: list[str] = []
    train(InvertRecipe(SETTINGS), files, report_line=lines.append)
    assert lines[0] == SETTINGS.command()
    assert lines[0].startswith("python -m toy.train --data DIR --out FILE --side 8 --steps 300")
    metadata = read_weights(files.weights)[1]
    assert metadata["training_command"] == lines[0]
    assert json.loads(metadata["options"]) == {"kernel": 1}
    network = load_weights(files.weights, Inverter)
    calibration = [np.linspace(0, 255 / 256, 64).reshape(1, 1, 8, 8)]
    ship(network, calibration, input_format=PIXEL, output_format=PIXEL,
         metadata={"weights": "toy"}).save(tmp_path / "toy.fxp")  # fmt: skip
    model = fxp.load(tmp_path / "toy.fxp")
    assert model.metadata["weights"] == "toy"
    (tmp_path / "in").mkdir()
    image = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    write_image(tmp_path / "in" / "1.png", image)
    (tmp_path / "in" / "2.png").write_text("no image")
    write_image(tmp_path / "in" / "3.png", image)
    report = process(str(tmp_path / "in"), str(tmp_path / "out"), lambda: Invert(model))
    assert [Path(item.input).name for item in report.failed] == ["2.png"]
    made = read_image(tmp_path / "out" / "3.png")
    assert np.array_equal(made, model.run_raw(image))
    assert np.abs(made.astype(int) - (256 - image.astype(int)).clip(0, 255)).mean() < 8


def test_another_seed_trains_otherwise():
    first, second = (Trainer(InvertRecipe(replace(SETTINGS, seed=seed))) for seed in (0, 1))
    assert first.run_epoch().loss != second.run_epoch().loss


def test_no_roundings_without_formats():
    fixed = replace(SETTINGS, weight_bits=8, activation_bits=8)
    with pytest.raises(ValueError, match="floating point only"):
        Trainer(InvertRecipe(fixed))
