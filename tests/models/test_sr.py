"""Tests of the super-resolution models; only the published bicubic row needs a data download."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

import fxp
from fxp.imaging.colour import luma
from fxp.imaging.files import ImageError, read_image
from fxp.imaging.resize import imresize
from fxp.models.common.data import dihedral
from fxp.models.common.settings import Precision, TrainingError
from fxp.models.common.trainer import Trainer, update_average
from fxp.models.sr import (
    DataError,
    KimSR,
    TrainingSet,
    WeightsError,
    fixed,
    load_float,
    modcrop,
    read_folder,
    read_metadata,
    save_weights,
    scores,
)
from fxp.models.sr.networks import KimSROptions
from fxp.models.sr.settings import KimSRSettings
from fxp.models.sr.train import KimSRRecipe, compressed, main

ROOT = Path(__file__).resolve().parents[2]
TINY = KimSRSettings(steps=6, epoch=2, batch=2, patch=16, rate=2e-3, compiled=False)
SHIPPED = "kimsr_x2_bicubic"

KINDS: dict[str, dict[str, Any]] = {
    "soap": {},
    "adam": {"optimizer": "adam", "precision": "float32"},
    "branches": {"branches": True},
    "fixed": {"weight_bits": 6, "activation_bits": 10, "precision": "float32", "rate": 1e-3},
    "squared at the end": {"finish": 0.5, "average": 0.0},
}
"""Settings of a run, besides `TINY`."""

rng = np.random.default_rng


def smooth_image(height: int, width: int, seed: int) -> np.ndarray:
    """Make a picture with edges: smoothed noise, (H, W, 3) uint8."""
    coarse = rng(seed).uniform(0, 255, (height // 4, width // 4, 3))
    return np.clip(imresize(coarse, 4), 0, 255).astype(np.uint8)


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """Make a data folder of the expected layout with made-up images."""
    for number, name in enumerate(("T91", "BSD200", "Set5")):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(smooth_image(48, 56, 10 * number + index)).save(folder / f"{index}.png")
    return tmp_path / "data"


def make_trainer(settings: KimSRSettings = TINY) -> Trainer:
    images = [luma(smooth_image(48, 56, seed)) for seed in range(3)]
    pairs = TrainingSet(
        images, scale=settings.scale, patch=settings.patch, margin=KimSR.margin, seed=settings.seed
    )
    return Trainer(KimSRRecipe(settings, pairs, images[:1], []))


class TestNetwork:
    @pytest.mark.parametrize(("scale", "count"), [(2, 2560), (3, 2640), (4, 2752)])
    def test_parameter_count(self, scale: int, count: int) -> None:
        model = KimSR(scale)
        assert sum(parameter.numel() for parameter in model.parameters()) == count
        assert not any("bias" in name for name, _ in model.named_parameters())

    @pytest.mark.parametrize("scale", [2, 3, 4])
    @pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 5), (16, 31)])
    def test_output_size(self, scale: int, height: int, width: int) -> None:
        output = KimSR(scale).eval()(torch.rand(2, 1, height, width))
        assert output.shape == (2, 1, scale * height, scale * width)
        assert output.min() >= 0
        assert output.max() <= 1

    def test_no_clamp_in_training(self) -> None:
        model = KimSR()
        luma = torch.full((1, 1, 8, 8), 2.0)
        assert model(luma).max() > 1.5
        assert model.eval()(luma).max() == 1.0

    def test_zero_weights_give_nearest_neighbour(self) -> None:
        model = KimSR().eval()
        torch.nn.init.zeros_(model.tail.pointwise.weight)
        luma = torch.rand(1, 1, 5, 6)
        expected = luma.repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert torch.equal(model(luma), expected)

    def test_margin_is_the_receptive_field(self) -> None:
        torch.manual_seed(0)
        model = KimSR().double()
        luma = torch.rand(1, 1, 21, 41, dtype=torch.float64, requires_grad=True)
        torch.nn.init.normal_(model.tail.pointwise.weight)
        model(luma)[0, 0, 20:22, 40:42].square().sum().backward()
        assert luma.grad is not None
        rows, columns = np.nonzero(luma.grad[0, 0].numpy())
        assert (rows.min(), rows.max()) == (10 - model.margin[0], 10 + model.margin[0])
        assert (columns.min(), columns.max()) == (20 - model.margin[1], 20 + model.margin[1])

    def test_options_change_the_output(self) -> None:
        luma = torch.rand(1, 1, 9, 9)
        torch.manual_seed(0)
        reference = KimSR()
        torch.nn.init.normal_(reference.tail.pointwise.weight)
        choices: list[KimSROptions] = [
            {"skip_from": "pre_relu"},
            {"relu_after_add": False, "skip_from": "pre_relu"},
            {"relu_between_depthwise_pointwise": True},
        ]
        for options in choices:
            other = KimSR(**options)
            other.load_state_dict(reference.state_dict())
            assert not torch.equal(other(luma), reference(luma))
            assert KimSR(**other.options()).options() == other.options()

    @pytest.mark.parametrize("options", [{"scale": 5}, {"skip_from": "nowhere"}])
    def test_bad_options(self, options: dict) -> None:
        with pytest.raises(ValueError, match="must be"):
            KimSR(**options)

    def test_export_with_dynamic_size(self) -> None:
        model = KimSR().eval()
        height, width = torch.export.Dim("height", min=2), torch.export.Dim("width", min=2)
        program = torch.export.export(
            model, (torch.rand(1, 1, 12, 16),), dynamic_shapes=({2: height, 3: width},)
        )
        luma = torch.rand(1, 1, 9, 23)
        torch.testing.assert_close(program.module()(luma), model(luma))


class TestData:
    def test_grey_keeps_full_range(self, tmp_path: Path) -> None:
        grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
        Image.fromarray(grey).save(tmp_path / "grey.png")
        assert np.array_equal(read_image(tmp_path / "grey.png"), grey)

    def test_read_folder_is_sorted(self, data_folder: Path) -> None:
        (data_folder / "T91" / "notes.txt").write_text("not an image")
        images = read_folder(data_folder / "T91")
        assert list(images) == ["0.png", "1.png", "2.png"]
        assert images["0.png"].shape == (48, 56)
        assert images["0.png"].dtype == np.uint8

    def test_missing_and_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ImageError, match=r"no such file or folder: .*nowhere"):
            read_folder(tmp_path / "nowhere")
        with pytest.raises(ImageError, match="no images in folder"):
            read_folder(tmp_path)

    @pytest.mark.parametrize("kind", ["garbage", "truncated", "empty"])
    def test_corrupt_image_is_named(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "broken.png"
        Image.fromarray(smooth_image(32, 32, 0)).save(path)
        content = path.read_bytes()
        path.write_bytes({"garbage": b"hello", "truncated": content[:200], "empty": b""}[kind])
        with pytest.raises(ImageError, match=r"cannot read image .*broken\.png") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)

    def test_modcrop(self) -> None:
        assert modcrop(np.zeros((11, 9), np.uint8), 4).shape == (8, 8)

    def test_dihedral_views_differ(self) -> None:
        image = np.arange(6).reshape(2, 3)
        assert len({dihedral(image, index).tobytes() for index in range(8)}) == 8

    def test_batch_pairs_match(self) -> None:
        images = [luma(smooth_image(80, 96, seed)) for seed in range(2)]
        pairs = TrainingSet(images, scale=2, patch=32, margin=(3, 7), seed=1)
        first, again, other = pairs.batch(0, 64), pairs.batch(0, 64), pairs.batch(1, 64)
        assert np.array_equal(first.low, again.low)
        assert not np.array_equal(first.low, other.low)
        assert first.low.shape == (64, 1, 32, 32)
        assert first.high.shape == first.mask.shape == (64, 1, 64, 64)
        # Where the mask reaches as far as downscaling does, a patch downscales to its input.
        for low, high in zip(first.low[:, 0], first.high[:, 0], strict=True):
            inside = slice(7 + 4, 32 - 7 - 4)
            np.testing.assert_allclose(
                imresize(high, 0.5)[inside, inside], low[inside, inside], atol=1e-5
            )

    def test_mask_is_the_valid_region(self) -> None:
        # On the masked region the network sees the same in a patch as in the whole image.
        torch.manual_seed(3)
        model = KimSR()
        torch.nn.init.normal_(model.tail.pointwise.weight)
        image = luma(smooth_image(48, 64, 5))
        pairs = TrainingSet([image], scale=2, patch=16, margin=model.margin, seed=0)
        batch = pairs.batch(0, 32)
        assert {int(mask.sum()) for mask in batch.mask} == {4 * 4}
        with torch.no_grad():
            outputs = model(torch.from_numpy(batch.low))[:, 0].numpy()
            wholes = [
                model(torch.from_numpy(dihedral(pairs.low[0], view).copy() / 255)[None, None])[0, 0]
                for view in range(8)
            ]
        for low, output, mask in zip(batch.low[:, 0], outputs, batch.mask[:, 0] > 0, strict=True):
            matches = []
            for view, whole in enumerate(wholes):
                source = dihedral(pairs.low[0], view) / np.float32(255)
                windows = np.lib.stride_tricks.sliding_window_view(source, (16, 16))
                for row, column in np.argwhere((windows == low).all((2, 3))):
                    part = whole[2 * row : 2 * row + 32, 2 * column : 2 * column + 32].numpy()
                    matches.append(np.abs(part - output)[mask].max() < 1e-5)
            assert any(matches)

    def test_images_smaller_than_a_patch(self) -> None:
        with pytest.raises(DataError, match="no training image"):
            TrainingSet([np.zeros((20, 20), np.uint8)], scale=2, patch=16)
        with pytest.raises(DataError, match="margin"):
            TrainingSet([np.zeros((90, 90), np.uint8)], scale=2, patch=14, margin=(3, 7))


class TestTraining:
    def test_learns(self) -> None:
        trainer = make_trainer(replace(TINY, steps=60, epoch=30, batch=4, rate=5e-3))
        first = trainer.run_epoch()
        second = trainer.run_epoch()
        assert second.loss < first.loss
        assert second.improved
        assert trainer.step == 60

    @pytest.mark.parametrize("kind", KINDS)
    def test_resume_equals_uninterrupted(
        self, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Whole photographs would take most of the time.
        pixels = luma(smooth_image(24, 32, 9))[None, None] / 256
        monkeypatch.setattr(fixed, "calibration_images", lambda scale: [pixels])
        settings = replace(TINY, **KINDS[kind])
        whole = make_trainer(settings)
        losses = [whole.run_epoch().loss for _ in range(3)]
        part = make_trainer(settings)
        assert part.run_epoch().loss == losses[0]
        part.save_checkpoint(tmp_path / "state.pt")
        resumed = make_trainer(settings)
        resumed.restore(tmp_path / "state.pt")
        assert [resumed.run_epoch().loss for _ in range(2)] == losses[1:]
        assert resumed.step == whole.step == 6
        assert resumed.best == whole.best
        for name, value in whole.network.state_dict().items():
            assert torch.equal(value, resumed.network.state_dict()[name])
        for name, value in whole.average.items():
            assert torch.equal(value, resumed.average[name])

    def test_measures_weights_rounded_to_nearest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As the training rounds them: a refinement would measure weights that nobody trains."""
        pixels = luma(smooth_image(24, 32, 9))[None, None] / 256
        monkeypatch.setattr(fixed, "calibration_images", lambda scale: [pixels])
        trainer = make_trainer(replace(TINY, **KINDS["fixed"]))
        model = trainer.trained()
        assert isinstance(model, fxp.FixedModel)
        floats = trainer.averaged().state_dict()
        weights = [item for item in model.graph.constants if item.name in floats]
        assert len(weights) == len(floats) == len(model.graph.constants)
        for item in weights:
            fracs = np.array([form.frac for form in item.formats]).reshape(-1, 1, 1, 1)
            steps = np.ldexp(floats[item.name].double().numpy(), fracs)
            limit = item.formats[0].max_raw
            nearest = np.clip(np.floor(steps + 0.5), -limit - 1, limit)
            assert np.array_equal(item.data, nearest), item.name

    def test_restore_errors(self, tmp_path: Path) -> None:
        path = tmp_path / "state.pt"
        with pytest.raises(TrainingError, match="checkpoint not found"):
            make_trainer().restore(path)
        path.write_bytes(b"junk")
        with pytest.raises(TrainingError, match="cannot read checkpoint"):
            make_trainer().restore(path)
        make_trainer().save_checkpoint(path)
        with pytest.raises(TrainingError, match="other settings: steps"):
            make_trainer(replace(TINY, steps=7)).restore(path)

    def test_not_finite(self) -> None:
        trainer = make_trainer()
        with torch.no_grad():
            trainer.network.head.weight.fill_(float("nan"))
        with pytest.raises(TrainingError, match="not finite"):
            trainer.run_epoch()

    def test_branches_collapse(self) -> None:
        trainer = make_trainer(replace(TINY, branches=True, average=0.0, precision="float32"))
        count = sum(weight.numel() for weight in trainer.network.parameters())
        plain = trainer.averaged()
        assert count > 5 * sum(weight.numel() for weight in plain.parameters()) == 5 * 2560
        luma_image = torch.rand(1, 1, 9, 11)
        with torch.no_grad():
            before = plain(luma_image)
            for parameter in trainer.network.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
            trainer.average = trainer.weights()
            after = trainer.averaged()(luma_image)
            assert not torch.equal(before, after)
            torch.testing.assert_close(after, trainer.network.eval()(luma_image))

    def test_merged_is_the_same_function(self) -> None:
        torch.manual_seed(0)
        model = KimSR().double().eval()
        torch.nn.init.normal_(model.tail.pointwise.weight)
        luma_image = torch.rand(1, 1, 9, 11, dtype=torch.float64)
        separate = model(luma_image)
        model.merge()
        torch.testing.assert_close(model(luma_image), separate)
        assert model.body.merged

    def test_wide_network_teaches(self) -> None:
        image = luma(smooth_image(48, 56, 4))
        torch.manual_seed(0)
        teacher = KimSR(features=64).eval()
        arguments: dict[str, Any] = {"scale": 2, "patch": 16}
        plain = TrainingSet([image], **arguments)
        taught = TrainingSet([image], **arguments, teachers=[teacher], teacher_share=0.25)
        with torch.no_grad():
            low = torch.from_numpy(plain.low[0]).float()[None, None] / 255
            views = [torch.rot90(low, turn, (2, 3)) for turn in range(4)]
            views += [view.flip(3) for view in views]
            outputs = [teacher(view) for view in views]
            outputs[4:] = [output.flip(3) for output in outputs[4:]]
            back = [torch.rot90(output, -(i % 4), (2, 3)) for i, output in enumerate(outputs)]
            expected = 0.75 * plain.high[0] + 0.25 * 255 * sum(back)[0, 0].numpy() / 8
        np.testing.assert_allclose(taught.high[0], expected, rtol=1e-4, atol=1e-2)

    def test_compressed_inputs(self) -> None:
        image = smooth_image(48, 56, 4)
        pairs = TrainingSet([image], scale=2, patch=16, downscaling=compressed, variants=3, seed=5)
        assert len(pairs.low) == len(pairs.high) == 3
        assert len({low.tobytes() for low in pairs.low}) == 3
        again = TrainingSet([image], scale=2, patch=16, downscaling=compressed, variants=3, seed=5)
        assert np.array_equal(pairs.low, again.low)

    @pytest.mark.parametrize(
        "bad",
        [
            {"weight_bits": 8},
            {"weight_bits": 8, "activation_bits": 8, "branches": True},
            {"digits": 1e-6},
        ],
    )
    def test_settings_that_contradict(self, bad: dict[str, Any]) -> None:
        with pytest.raises(TrainingError, match="--"):
            KimSRSettings(**bad)

    def test_digits_are_a_part_of_the_loss(self) -> None:
        network = KimSR(relu_after_add=False).eval()
        training = fxp.prepare_qat(network, [torch.rand(1, 1, 16, 16)])
        pairs = TrainingSet([np.zeros((40, 40), np.uint8)], scale=2, patch=16)
        batch = (torch.rand(1, 1, 16, 16), torch.rand(1, 1, 32, 32), torch.ones(1, 1, 32, 32))
        options: dict[str, Any] = {
            "weight_bits": 10, "activation_bits": 14, "precision": Precision.FLOAT32
        }  # fmt: skip
        plain, digits = (
            KimSRRecipe(KimSRSettings(**options, digits=factor), pairs, [], [])
            for factor in (0.0, 0.25)
        )
        losses = [recipe.loss(training, batch, finishing=False) for recipe in (plain, digits)]
        wanted = 0.25 * training.digit_penalty().item()
        assert (losses[1] - losses[0]).item() == pytest.approx(wanted, rel=1e-4)

    def test_command_names_no_folder(self) -> None:
        command = KimSRSettings(start="/home/somebody/first.safetensors").command()
        assert command.startswith("python -m fxp.models.sr.train --data DIR --out FILE --scale 2 ")
        assert "--start first.safetensors" in command
        assert "somebody" not in command
        command = KimSRSettings(teacher="/home/somebody/a.st,b.st", extra="video/bikes").command()
        assert "--extra video/bikes " in command
        assert "--teacher a.st,b.st " in command

    def test_average_of_weights_by_hand(self) -> None:
        average = {"weight": torch.tensor([1.0, 8.0]), "count": torch.tensor(3)}
        update_average(
            average, {"weight": torch.tensor([5.0, 0.0]), "count": torch.tensor(7)}, 0.75
        )
        assert average["weight"].tolist() == [2.0, 6.0]
        assert average["count"].item() == 7
        settings = KimSRSettings(average=0.875)
        assert settings.decay_after(10) == 0.5
        assert settings.decay_after(90) == 0.875
        assert KimSRSettings(average=0.0).decay_after(90) == 0.0

    def test_schedule(self) -> None:
        settings = KimSRSettings(steps=1000, rate=1.0)
        rates = [settings.rate_at(step) for step in range(1000)]
        assert max(rates) <= 1.0
        assert rates[0] == pytest.approx(0.1)
        assert rates[-1] < 1e-5
        assert all(later <= earlier for earlier, later in pairwise(rates[10:]))


class TestCommand:
    @pytest.fixture
    def command(self) -> Typer:
        app = Typer()
        app.command()(main)
        return app

    def arguments(self, data: Path, out: Path) -> list[str]:
        return (
            f"--data {data} --out {out} --steps 4 --epoch 2 --batch 2 --patch 16 --threads 1"
            " --no-compiled"
        ).split()

    def test_writes_weights_log_and_checkpoint(
        self, command: Typer, data_folder: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out" / "tiny.safetensors"
        result = CliRunner().invoke(command, self.arguments(data_folder, out))
        assert result.exit_code == 0, result.output
        assert sorted(path.name for path in out.parent.iterdir()) == [
            "tiny.log",
            "tiny.pt",
            "tiny.safetensors",
        ]
        log = out.with_suffix(".log").read_text()
        assert str(tmp_path) not in log
        assert "Set5" in log
        metadata = read_metadata(out)
        assert metadata["training_command"].startswith("python -m fxp.models.sr.train --data DIR")
        assert float(metadata["set5_psnr"]) > 10
        assert not load_float(out).training
        again = CliRunner().invoke(command, [*self.arguments(data_folder, out), "--resume"])
        assert again.exit_code == 0, again.output
        assert "resumed at step 4" in again.output
        assert out.with_suffix(".log").read_text() == log  # nothing was left to do

    @pytest.mark.parametrize("fault", ["folder", "image", "out"])
    def test_one_line_on_failure(
        self, command: Typer, data_folder: Path, tmp_path: Path, fault: str
    ) -> None:
        arguments = self.arguments(data_folder, tmp_path / "x.safetensors")
        if fault == "folder":
            arguments[1] = str(tmp_path / "nowhere")
        elif fault == "image":
            (data_folder / "T91" / "1.png").write_bytes(b"broken")
        else:
            (tmp_path / "x.safetensors").mkdir()
            (tmp_path / "x.log").write_text("an earlier run")
        result = CliRunner().invoke(command, arguments)
        assert result.exit_code == 1
        assert result.output.startswith("error: ")
        assert result.output.count("\n") == 1
        assert {"folder": "nowhere", "image": "1.png", "out": "is a folder"}[fault] in result.output
        assert not (tmp_path / "x.safetensors").is_file()
        if fault == "out":
            assert (tmp_path / "x.log").read_text() == "an earlier run"


class TestWeights:
    def test_round_trip(self, tmp_path: Path) -> None:
        model = KimSR(3, skip_from="pre_relu", relu_after_add=False)
        save_weights(tmp_path / "a.safetensors", model, {"note": "hello"})
        loaded = load_float(tmp_path / "a.safetensors")
        assert loaded.options() == model.options()
        assert not loaded.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, loaded.state_dict()[name])
        assert read_metadata(tmp_path / "a.safetensors")["note"] == "hello"

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="weights not found"):
            load_float("no_such_network")
        path = tmp_path / "bad.safetensors"
        path.write_bytes(b"not safetensors")
        with pytest.raises(WeightsError, match="cannot read weights"):
            load_float(path)

    def test_import_is_lazy(self) -> None:
        code = "import sys, fxp.models.sr as sr; assert 'torch' not in sys.modules; sr.KimSR"
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

    def test_shipped(self) -> None:
        model = load_float(SHIPPED)
        assert model.scale == 2
        # A made-up edge: better than nearest-neighbour upscaling, which an untrained net gives.
        images = [luma(smooth_image(64, 64, seed)) for seed in range(2)]
        assert scores(model, images, 2).psnr > scores(KimSR(), images, 2).psnr + 3
