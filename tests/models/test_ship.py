"""From trained networks to models that ship."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fxp.models.common.ship import refined
from fxp.models.flash import fixed as flash_fixed
from fxp.models.flash.data import training_pairs
from fxp.models.sr import fixed

MADE = ("kimsr_x2_compressed", "kimsr_x3_bicubic", "kimsr8_x2_8_10")
"""One that follows the JPEG quality, one of another factor, one trained with roundings."""
CALIBRATION = [np.linspace(0, 1, 64).reshape(1, 1, 8, 8)]


def test_refined_weights_are_on_the_grid_of_the_model():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rounded = refined(network, CALIBRATION, weight_bits=4, activation_bits=8)
    weight = rounded[0].weight.detach().double()
    assert not torch.equal(weight, network[0].weight.detach().double())
    # Four bits: whole multiples of a power of two, from -8 to 7.
    steps = [weight * 2.0**bits for bits in range(12)]
    assert any(torch.equal(item, item.round()) and item.abs().max() <= 8 for item in steps)


def test_weights_that_are_folded_are_not_refined_and_a_warning_says_so():
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2)).eval()
    with pytest.warns(UserWarning, match=r"not refined: quantization folds 0\.weight"):
        kept = refined(network, CALIBRATION, weight_bits=4, activation_bits=8)
    for name, value in network.state_dict().items():
        assert torch.equal(value, kept.state_dict()[name])


def test_the_shipped_models_are_made_again_byte_for_byte(tmp_path: Path):
    fixed.main(tmp_path, MADE)
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == sorted(f"{name}.fxp" for name in MADE)
    for name in made:
        assert (tmp_path / name).read_bytes() == (fixed.WEIGHTS_FOLDER / name).read_bytes()


@pytest.mark.skipif("FXP_DATA" not in os.environ, reason="set FXP_DATA to the folder of flash/")
def test_the_model_for_flash_photographs_is_made_again_byte_for_byte(tmp_path: Path):
    (name,) = flash_fixed.SHIPPED
    pairs = training_pairs(Path(os.environ["FXP_DATA"]))
    flash_fixed.quantize_shipped(name, pairs).save(tmp_path / "made.fxp")
    shipped = flash_fixed.WEIGHTS_FOLDER / f"{name}.fxp"
    assert (tmp_path / "made.fxp").read_bytes() == shipped.read_bytes()


def test_every_shipped_model_has_its_weights_and_its_log():
    files = sorted(path.name for path in fixed.WEIGHTS_FOLDER.iterdir())
    kinds = ("fxp", "log", "safetensors")
    wanted = [f"{name}.{kind}" for name in fixed.SHIPPED for kind in kinds]
    wanted += [f"{name}.{kind}" for name in fixed.COMPARED.values() for kind in kinds[1:]]
    assert files == sorted(wanted)
