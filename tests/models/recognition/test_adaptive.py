"""Adaptive computation: halting by hand, and the engine that skips against the definition."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fxp.formats import Format
from fxp.models.common.run import RunFiles, train
from fxp.models.common.weights import save_weights
from fxp.models.recognition.adaptive import (
    AdaptiveModel,
    AdaptiveResNet,
    BranchyResNet,
    EarlyExits,
    heat_map,
)
from fxp.models.recognition.adaptive import fixed as adaptive_fixed
from fxp.models.recognition.adaptive.fixed import SCORE, threshold_of
from fxp.models.recognition.adaptive.maps import units_per_pixel
from fxp.models.recognition.adaptive.networks import Halting
from fxp.models.recognition.adaptive.parts import AdaptiveError, quantized
from fxp.models.recognition.adaptive.train import AdaptiveRecipe, AdaptiveSettings, computed_share
from fxp.models.recognition.data import LabelledImages
from fxp.models.recognition.zoo.cifar import CifarResNet
from fxp.support.errors import ArgumentError


class Steps(torch.nn.Module):
    """Adds one, so that the features say how many units ran."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


class Score(torch.nn.Module):
    """Gives stored scores."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = torch.tensor(scores).reshape(1, 1, 1, -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scores


def test_halting_by_hand() -> None:
    """Three positions halt after one, two and three units; shares are scores, then the rest."""
    network = AdaptiveResNet(20, width=4, epsilon=0.25)
    network.layer1 = torch.nn.Sequential(Steps(), Steps(), Steps())
    network.halting[0] = torch.nn.ModuleList([Score([0.75, 0.5, 0.25]), Score([0.5, 0.5, 0.25])])
    run = network.run_stage(0, torch.zeros(1, 1, 1, 3))
    assert run.units.flatten().tolist() == [1, 2, 3]
    # 1; 1/2 * 1 + 1/2 * 2; 1/4 * 1 + 1/4 * 2 + 1/2 * 3
    assert run.result.flatten().tolist() == [1, 1.5, 2.25]
    assert run.features[-1].flatten().tolist() == [1, 2, 3]
    # Units plus what was left to 1 before the last: 1 + 1, 2 + 1/2, 3 + 1/2, the mean.
    assert run.ponder.tolist() == pytest.approx([8 / 3])


def _network() -> AdaptiveResNet:
    """Return a network with scores around the threshold, so that some positions halt."""
    torch.manual_seed(4)
    network = AdaptiveResNet(14, width=4, epsilon=0.3).eval()
    with torch.no_grad():
        for stage in network.halting:
            for halting in stage:
                halting.whole.bias.fill_(0.8)
                halting.whole.weight.mul_(2)
                if halting.local is not None:
                    halting.local.weight.mul_(6)
    return network


PICTURES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _raws(count: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(side).integers(0, 256, (count, 3, side, side))


@pytest.fixture(scope="module")
def spatial() -> AdaptiveModel:
    return AdaptiveModel.of(_network(), PICTURES, effort="fast")


def test_positions_that_halted_are_left_out(
    spatial: AdaptiveModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any size of tiles the integers are those of the masked definition."""
    picture = _raws(1)[0]
    wanted = spatial.definition(picture)
    depths = {count for stage in wanted.units for count in np.unique(stage).tolist()}
    assert depths >= {1, 2}
    assert wanted.share(spatial.most_units) < 1
    for tile in (4, 5, 16):
        monkeypatch.setattr(adaptive_fixed, "TILE", tile)
        found = spatial.run_raw(picture)
        assert np.array_equal(found.scores, wanted.scores)
        for got, want in zip(found.units, wanted.units, strict=True):
            assert np.array_equal(got, want)


def test_tiles_run_only_where_positions_are_active(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in unit counts its pixels, and reads two pixels around a tile."""
    monkeypatch.setattr(adaptive_fixed, "TILE", 4)
    x = np.arange(2 * 20 * 20).reshape(2, 20, 20)
    active = np.zeros((20, 20), bool)
    active[5, 6] = active[0, 0] = True
    seen = []

    def run(unit: object, patch: np.ndarray) -> np.ndarray:
        seen.append(patch.shape[1:])
        return patch + 1000

    found = adaptive_fixed.by_tiles(None, x, active, run)  # type: ignore[arg-type]
    assert seen == [(6, 6), (8, 8)]
    changed = found - x
    assert (changed[:, :4, :4] == 1000).all()
    assert (changed[:, 4:8, 4:8] == 1000).all()
    assert changed.sum() == 1000 * 2 * 32


def test_tiles_of_a_unit_are_exact(spatial: AdaptiveModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the corners, at an edge and inside, of the pixels that the unit gives for the whole."""
    monkeypatch.setattr(adaptive_fixed, "TILE", 4)
    unit = spatial.units[0][0]
    form = unit.graph.inputs[0].format
    assert form is not None
    x = np.random.default_rng(0).integers(0, form.max_raw, (4, 30, 29))
    active = np.zeros((30, 29), bool)
    active[[0, 29, 13, 20], [0, 28, 28, 11]] = True
    sizes = []

    def run(part: object, raws: np.ndarray) -> np.ndarray:
        sizes.append(raws.shape[1:])
        return adaptive_fixed.on_engine(part, raws)  # type: ignore[arg-type]

    found = adaptive_fixed.by_tiles(unit, x, active, run)
    assert len(sizes) == 4
    whole = adaptive_fixed.on_engine(unit, x)
    assert np.array_equal(found[:, active], whole[:, active])
    assert not np.array_equal(whole, x)


def test_pictures_that_halted_run_no_more_units(spatial: AdaptiveModel) -> None:
    scores = []
    for stage, entry in enumerate(spatial.entries):
        halting = Halting(4 << stage, spatial=False).eval()
        with torch.no_grad():
            halting.whole.bias.fill_(9.0)  # a score of one
        form = entry.graph.values[entry.graph.outputs[0]].format
        example = [torch.rand(1, 4 << stage, 8, 8)]
        part = quantized(
            halting, halting, example, input_format=form, output_format=SCORE, effort="fast"
        )
        scores.append((part,))
    model = replace(spatial, halting=tuple(scores))
    picture = _raws(1)[0]
    wanted, found = model.definition(picture), model.run_raw(picture)
    assert np.array_equal(found.scores, wanted.scores)
    assert [stage.max() for stage in found.units] == [1, 1, 1]
    assert found.share(2) == pytest.approx(1 / 2)
    ran: list[object] = []

    def counted(part: object, raws: np.ndarray) -> np.ndarray:
        ran.append(part)
        return adaptive_fixed.on_engine(part, raws)  # type: ignore[arg-type]

    model._run(picture, counted, skips=True)
    # For each stage its first unit and one score, and then the head.
    assert len(ran) == 7
    assert not {id(unit) for stage in model.units for unit in stage} & {id(part) for part in ran}


def test_saved_and_loaded(spatial: AdaptiveModel, tmp_path: Path) -> None:
    spatial.save(tmp_path / "model")
    loaded = AdaptiveModel.load(tmp_path / "model")
    picture = _raws(1)[0]
    assert np.array_equal(loaded.run_raw(picture).scores, spatial.run_raw(picture).scores)
    assert loaded.threshold == spatial.threshold == 11469  # 0.7 * 2^14 = 11468.8
    with pytest.raises(AdaptiveError, match="of the kind 'adaptive', not 'exits'"):
        EarlyExits.load(tmp_path / "model")
    (tmp_path / "model" / "head.fxp").unlink()
    with pytest.raises(AdaptiveError, match="cannot read the adaptive model in"):
        AdaptiveModel.load(tmp_path / "model")
    with pytest.raises(AdaptiveError, match="holds no whole adaptive model"):
        AdaptiveModel.load(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("stage1.unit0", "stage0.unit0", "a unit of stage 0 has 8 channels of .*, not 4 of"),
        ("stage1.halting0", "stage0.halting0", "a score of stage 0 has 8 channels of .*, not 4 of"),
        ("stage0.unit0", "stage0.halting0", "a score of stage 0 has 4 channels of .*, not 1 of"),
        ("stage1.first", "head", "what follows stage 2 has 4 channels of .*, not 16 of"),
    ],
)
def test_parts_that_do_not_fit(
    spatial: AdaptiveModel, tmp_path: Path, source: str, target: str, message: str
) -> None:
    spatial.save(tmp_path)
    shutil.copy(tmp_path / f"{source}.fxp", tmp_path / f"{target}.fxp")
    with pytest.raises(ArgumentError, match=f"the parts do not fit: {message}"):
        AdaptiveModel.load(tmp_path)


def test_stages_without_units(spatial: AdaptiveModel) -> None:
    with pytest.raises(ArgumentError, match="three stages of equally many units"):
        replace(spatial, units=((), (), ()), halting=((), (), ()))
    with pytest.raises(ArgumentError, match="three stages of equally many units"):
        replace(spatial, entries=spatial.entries[:2])
    with pytest.raises(ArgumentError, match=r"one picture \(channels, height, width\)"):
        spatial.run_raw(_raws(1))


def test_thresholds_out_of_range(spatial: AdaptiveModel) -> None:
    assert threshold_of(0.01) == 16220  # 0.99 * 2^14 = 16220.16
    for epsilon in (0, 1, -0.5, float("nan")):
        with pytest.raises(ArgumentError, match="epsilon must lie between 0 and 1"):
            spatial.with_epsilon(epsilon)
    with pytest.raises(ArgumentError, match="leaves a threshold of 0"):
        spatial.with_epsilon(1 - 1e-6)
    with pytest.raises(ArgumentError, match="one unit in each stage"):
        AdaptiveResNet(8)
    with pytest.raises(ArgumentError, match="epsilon must lie between 0 and 1, not 2"):
        AdaptiveResNet(20, epsilon=2)


@pytest.fixture(scope="module")
def exits() -> EarlyExits:
    torch.manual_seed(2)
    return EarlyExits.of(BranchyResNet(8, width=4).eval(), PICTURES, margin=0.1, effort="fast")


def test_a_picture_leaves_at_the_first_sure_exit(exits: EarlyExits) -> None:
    pictures = _raws(2)
    last = exits.with_margin(float(exits.scores.max))
    for picture in pictures:
        for model, number in ((exits.with_margin(0), 0), (last, 2), (exits, None)):
            found, wanted = model.run_raw(picture), model.definition(picture)
            assert np.array_equal(found.scores, wanted.scores)
            assert found.exit == wanted.exit
            assert number in (None, found.exit)
    assert exits.with_margin(0).is_sure(np.array([3, 3]))
    assert exits.scores.width == 14


def test_margins_out_of_range(exits: EarlyExits, tmp_path: Path) -> None:
    for margin in (-1.0, 1e9):
        with pytest.raises(ArgumentError, match="the margin is a number from 0 to 16383"):
            exits.with_margin(margin)
    with pytest.raises(ArgumentError, match="must be a finite number"):
        exits.with_margin(float("nan"))
    exits.save(tmp_path)
    assert EarlyExits.load(tmp_path).margin == exits.margin
    shutil.copy(tmp_path / "exit1.fxp", tmp_path / "exit0.fxp")
    with pytest.raises(ArgumentError, match=r"exit 0 has 8 channels of .*, not 4 of"):
        EarlyExits.load(tmp_path)


def test_heat_map() -> None:
    """The left half ran all of two times three units, the right half one of each three."""
    stages = [np.array([[3, 1], [3, 1]]), np.array([[3, 1]])]
    total = units_per_pixel(stages, (4, 4))
    assert total.tolist() == [[6, 6, 2, 2]] * 4
    picture = heat_map(np.zeros((4, 4, 3), np.uint8), stages, 3)
    middle = picture.shape[0] // 2
    assert picture[middle, -10].tolist() == [0, 0, 0]
    assert picture[middle, -350].tolist() == [255, 255, 255]


CLASSES = ("dark", "light")


def _labelled(count: int) -> LabelledImages:
    random = np.random.default_rng(count)
    labels = np.arange(count) % 2
    images = random.integers(0, 90, (count, 32, 32, 3)) + labels[:, None, None, None] * 150
    return LabelledImages(images.astype(np.uint8), labels.astype(np.int64), CLASSES)


@pytest.mark.parametrize("kind", ["sact", "act", "exits"])
def test_it_trains(kind: str, tmp_path: Path) -> None:
    settings = AdaptiveSettings(
        kind=kind, depth=14, width=4, steps=2, epoch=2, batch=4, average=0.5,
        precision="float32", held_out=2,
    )  # fmt: skip
    recipe = AdaptiveRecipe(settings, _labelled(12), _labelled(4))
    lines: list[str] = []
    train(
        recipe,
        RunFiles(tmp_path / "a.safetensors", tmp_path / "a.log", tmp_path / "a.pt"),
        report_line=lines.append,
    )
    network = recipe.load(str(tmp_path / "a.safetensors"))
    assert type(network) is (BranchyResNet if kind == "exits" else AdaptiveResNet)
    assert ("computed" in lines[-1]) == (kind != "exits")
    if isinstance(network, AdaptiveResNet):
        # At first all units run.
        assert computed_share(network.eval(), _labelled(4)) == 1.0


def adaptive_recipe(**options: Any) -> AdaptiveRecipe:
    settings = AdaptiveSettings(
        depth=14, width=4, batch=4, precision="float32", held_out=2, **options
    )
    return AdaptiveRecipe(settings, _labelled(12), _labelled(4))


def halting_after(recipe: AdaptiveRecipe, units: tuple[int, int, int]) -> AdaptiveResNet:
    """Return a network whose stages of two units run one or both everywhere."""
    network = recipe.network()
    assert isinstance(network, AdaptiveResNet)
    for count, scores in zip(units, network.halting, strict=True):
        for score in scores:  # type: ignore[union-attr]
            torch.nn.init.zeros_(score.local.weight)
            torch.nn.init.zeros_(score.whole.weight)
            torch.nn.init.constant_(score.whole.bias, 100.0 if count == 1 else -100.0)
    return network.eval()


def test_weights_that_compute_too_much_are_kept_only_while_there_are_no_others() -> None:
    recipe = adaptive_recipe(computed=60.0)
    # One of two units everywhere is half of the positions, both are all of them.
    few = recipe.scores(halting_after(recipe, (1, 1, 1)))
    assert next(iter(few.values())) == few["held-out"]
    assert few["computed"] == 50.0
    assert next(iter(recipe.scores(halting_after(recipe, (2, 2, 2))).values())) == -40.0
    whole = adaptive_recipe()
    assert list(whole.scores(halting_after(whole, (2, 2, 2)))) == ["held-out", "test", "computed"]


@pytest.mark.parametrize(
    ("weigh_positions", "expected"),
    # The units of a stage and what is left to 1 are 2, 3 and 3. Stages have 1024, 256 and 64
    # positions: 3 * (1024 * 2 + 256 * 3 + 64 * 3) / 1344.
    [(False, 8.0), (True, 3 * 3008 / 1344)],
)
def test_ponder_cost_of_stages(weigh_positions: bool, expected: float) -> None:
    costs = []
    for ponder in (0.0, 1.0):
        recipe = adaptive_recipe(ponder=ponder, weigh_positions=weigh_positions)
        torch.manual_seed(0)
        network = halting_after(recipe, (1, 2, 2))
        batch = recipe.tensors(recipe.batch(0), "cpu")
        costs.append(recipe.loss(network, batch, finishing=False).item())
    assert costs[1] - costs[0] == pytest.approx(expected, rel=1e-5)


def test_a_network_that_does_what_its_teacher_does_has_no_loss(tmp_path: Path) -> None:
    torch.manual_seed(0)
    teacher = CifarResNet(14, classes=2, width=4).eval()
    save_weights(tmp_path / "teacher.safetensors", teacher, {})
    file = str(tmp_path / "teacher.safetensors")
    recipe = adaptive_recipe(teacher=file, teacher_share=1.0, ponder=0.0)
    network = halting_after(recipe, (2, 2, 2))
    network.load_state_dict(teacher.state_dict(), strict=False)
    batch = recipe.tensors(recipe.batch(0), "cpu")
    assert recipe.loss(network, batch, finishing=False).item() == pytest.approx(0.0, abs=1e-5)
    other = halting_after(recipe, (2, 2, 2))
    assert recipe.loss(other, batch, finishing=False).item() > 1e-3


def test_formats_of_a_stage_are_one(spatial: AdaptiveModel) -> None:
    for entry, units in zip(spatial.entries, spatial.units, strict=True):
        form = entry.graph.values[entry.graph.outputs[0]].format
        assert isinstance(form, Format)
        for unit in units:
            assert unit.graph.inputs[0].format == form
            assert unit.graph.values[unit.graph.outputs[0]].format == form
