"""The compression table is measured on a tiny network."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.recognition.compression import METHODS, Row, Tuner, _halves, table
from fxp.models.recognition.data import LabelledImages
from fxp.models.recognition.settings import RecognitionSettings
from fxp.models.recognition.train import RecognitionRecipe
from fxp.models.recognition.zoo.cifar import CifarVGGS


@pytest.fixture
def tuner() -> Tuner:
    random = np.random.default_rng(0)
    pictures = LabelledImages(
        random.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8), np.arange(24) % 3, ("a", "b", "c")
    )
    return Tuner(RecognitionRecipe(RecognitionSettings(batch=4), pictures, pictures), 0.4, 0.01)


def network() -> CifarVGGS:
    torch.manual_seed(0)
    return CifarVGGS(classes=3, width=2, hidden=64).eval()


@pytest.mark.parametrize("title", [title for title in METHODS if title != "none"])
def test_every_method_makes_the_network_smaller(tuner, title):
    given = network()
    before = 4 * sum(parameter.numel() for parameter in given.parameters())
    made, size = METHODS[title](given, tuner)
    # A kernel of random weights has no smaller ranks at the error of Tucker-2.
    assert size < before or (title == "Tucker-2" and size == before)
    assert made(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    assert tuner.seconds > 0


def test_a_row_of_the_table():
    row = Row("none", 1.5, 2.0, 0.25, 2**20, 90.0, 89.75)
    assert table([row], 2**21).splitlines()[2] == (
        "| none | 1.5 | 2.00 | 0.25 | 1.000 | 2.0 | 90.00 | 89.75 |"
    )


def test_factors_near_each_other():
    assert (_halves(256), _halves(1920), _halves(7)) == ((16, 16), (40, 48), (1, 7))
