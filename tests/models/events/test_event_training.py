"""Training on simulated sequences: it learns, resumes bit for bit, and trains with roundings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as reference

import fxp
from fxp.models.common.data import DataError
from fxp.models.common.settings import TrainingError
from fxp.models.common.ship import ship
from fxp.models.common.trainer import Trainer
from fxp.models.events.losses import structural_similarity
from fxp.models.events.sequences import BLACK, simulated
from fxp.models.events.settings import EventsSettings, Network
from fxp.models.events.train import EventsRecipe

SETTINGS = EventsSettings(model=Network.FIRENET, base=4, side=16, length=4, images=3, steps=60,
                          epoch=20, rate=0.01, average=0.0)  # fmt: skip
SIZES = {"side": 16, "length": 4, "images": 3, "milliseconds": 25}


def pictures() -> list[np.ndarray]:
    """Smooth random pictures."""
    random = np.random.default_rng(1)
    coarse = random.integers(20, 236, (3, 8, 8)).astype(np.uint8)
    return [np.kron(item, np.ones((6, 6), np.uint8)) for item in coarse]


def recipe(settings: EventsSettings = SETTINGS) -> EventsRecipe:
    return EventsRecipe(settings, pictures(), pictures()[:1])


def test_sequences_follow_their_seed():
    first, again = (simulated(pictures(), [1, 2], **SIZES) for _ in range(2))
    other = simulated(pictures(), [1, 3], **SIZES)
    assert first.grids.shape == (4, 5, 16, 16)
    assert first.picture.shape == (1, 16, 16)
    assert np.array_equal(first.grids, again.grids)
    assert not np.array_equal(first.grids, other.grids)
    assert (first.grids != 0).any(axis=(1, 2, 3)).all()


def test_similarity_is_that_of_scikit_image():
    random = np.random.default_rng(2)
    first = random.random((20, 30))
    second = np.clip(first + 0.2 * random.standard_normal(first.shape), 0, 1)
    expected = reference(first, second, data_range=1, gaussian_weights=True, sigma=1.5,
                         use_sample_covariance=False)  # fmt: skip
    found = structural_similarity(*(torch.from_numpy(a)[None, None] for a in (first, second)))
    assert found.item() == pytest.approx(expected, abs=1e-9)


def test_the_gradient_ends_where_it_is_cut_off():
    """Only the last two of four grids have a gradient."""
    item = recipe(replace(SETTINGS, truncate=2))
    torch.manual_seed(0)
    grids, wanted = (torch.from_numpy(array) for array in item.batch(0))
    grids.requires_grad_()
    item.loss(item.network(), (grids, wanted), finishing=False).backward()
    assert grids.grad is not None
    reached = grids.grad.abs().sum((0, 2, 3, 4)) > 0
    assert reached.tolist() == [False, False, True, True]


def test_it_learns_and_resumes_bit_for_bit(tmp_path: Path):
    whole = Trainer(recipe())
    before = whole.recipe.scores(whole.modules["network"].eval())["held-out"]
    reports = [whole.run_epoch() for _ in range(3)]
    assert whole.recipe.scores(whole.modules["network"].eval())["held-out"] > before + 1
    part = Trainer(recipe())
    part.run_epoch()
    part.save_checkpoint(tmp_path / "state.pt")
    again = Trainer(recipe())
    again.restore(tmp_path / "state.pt")
    resumed = [again.run_epoch() for _ in range(2)]
    assert [report.loss for report in resumed] == [report.loss for report in reports[1:]]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])


def test_a_trained_network_ships_and_is_scored_in_fixed_point():
    item = recipe()
    torch.manual_seed(0)
    network = item.network().eval()
    options = {**item.quantize_options(), "hold_states": False, "effort": "fast"}
    model = ship(network, **options, metadata={"weights": "firenet"})
    assert isinstance(model, fxp.FixedModel)
    scores = [item.scores(trained)["held-out"] for trained in (network, model)]
    assert scores[0] == pytest.approx(scores[1], abs=0.1)


def test_training_with_roundings_runs_through_the_states():
    settings = replace(SETTINGS, length=8, weight_bits=10, activation_bits=14, steps=2,
                       epoch=1)  # fmt: skip
    trainer = Trainer(recipe(settings))
    before = {name: value.clone() for name, value in trainer.weights().items()}
    grids, wanted = (torch.from_numpy(array) for array in trainer.recipe.batch(0))
    grids.requires_grad_()
    trainer.loss((grids, wanted)).backward()
    assert grids.grad is not None
    # The loss is that of the last picture, to which the first grids lead through states alone.
    assert (grids.grad.abs().sum((0, 2, 3, 4)) > 0).all()
    trainer.run_epoch()
    assert any(not torch.equal(value, before[name]) for name, value in trainer.weights().items())
    assert isinstance(trainer.network, fxp.QatModel)
    assert isinstance(trainer.recipe, EventsRecipe)
    fixed = fxp.convert(trainer.network)
    exact = trainer.network.double()
    states = [state.double() for state in trainer.recipe.template.initial_states(16, 16)]
    given = grids[0].detach().double()
    for grid, expected in zip(given, np.asarray(fixed(given.numpy())), strict=True):
        with torch.no_grad():
            picture, *states = exact(grid[None], *states)
        assert np.array_equal(picture[0].numpy(), expected)
    assert len(given) == 8


def test_refined_weights_have_the_shapes_of_the_network():
    """The graph knows the thresholds of CISTA as one number for each channel."""
    settings = replace(SETTINGS, model=Network.CISTA_TC, base=2, iterations=1, weight_bits=8,
                       activation_bits=10)  # fmt: skip
    network = Trainer(recipe(settings)).averaged()
    assert network.get_parameter("blocks.0.threshold").shape == (1, 4, 1, 1)


def test_iterations_are_those_of_cista():
    item = recipe(replace(SETTINGS, model=Network.CISTA_TC, base=2, iterations=1))
    assert item.network().options()["iterations"] == 1
    with pytest.raises(TrainingError, match="--iterations is for CISTA; firenet has none"):
        EventsSettings(model=Network.FIRENET, iterations=1)


def test_a_camera_moves_over_a_stretched_part():
    picture = np.tile(np.arange(100, 164, dtype=np.uint8), (64, 1))
    found = simulated([picture], [0], side=16, length=4, images=2, milliseconds=25).picture
    # All brightness there is lies within 64 of 255 steps, the least range that is stretched to 1.
    assert found.min() >= BLACK
    assert found.max() <= 1
    assert found.max() - found.min() > 16 / 255
    dark = simulated([np.zeros((40, 40), np.uint8)], [0], **SIZES).picture
    assert np.allclose(dark, BLACK)


def test_what_cannot_be_trained():
    with pytest.raises(TrainingError, match="multiple of 8, not 20"):
        EventsSettings(side=20)
    with pytest.raises(DataError, match="no picture is larger than 65 pixels"):
        recipe(replace(SETTINGS, side=64))
