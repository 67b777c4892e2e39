"""The compression table is measured on a tiny network, and written row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import report
from benchmarks.recognition import compression
from benchmarks.recognition.compression import Row, table
from benchmarks.recognition.methods import METHODS, Tuner, _halves, binary_bytes, xnor_vggs
from fxp.models.recognition.binary import BinaryConv2d
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
    row = Row("none", 0.5, 1.5, 2.0, 0.25, 2**20, 90.0, 89.75)
    assert table([row], 2**21).splitlines()[2] == (
        "| none | 0.5 | 1.5 | 2.00 | 0.25 | 1.000 | 2.0 | 90.00 | 89.75 |"
    )


def test_binary_weights_are_stored_in_bits():
    binary = BinaryConv2d(3, 4, 3, bias=False)
    # 108 weights are 14 bytes, with a size for each of 4 outputs; 5 x 4 weights and 5 biases stay.
    assert binary_bytes(nn.Sequential(binary, nn.Linear(4, 5))) == 14 + 16 + 4 * 25


def test_the_inner_layers_of_xnor_net_read_normalized_values():
    made = xnor_vggs(network())
    kinds = [type(layer).__name__ for layer in (*made.features, *made.classifier)]
    inner = ["XnorConv2d", "BatchNorm2d"]
    assert kinds == [
        "Conv2d", "BatchNorm2d", "MaxPool2d", *inner, "MaxPool2d", *inner, *inner, *inner,
        "MaxPool2d", *["XnorLinear", "BatchNorm1d"] * 2, "ReLU", "Linear",
    ]  # fmt: skip
    assert made(torch.rand(2, 3, 32, 32)).shape == (2, 3)
    with pytest.raises(ValueError, match="measured on a CifarVGGS, not on a Sequential"):
        METHODS["XNOR-Net"](nn.Sequential(), None)  # type: ignore[arg-type]


def test_rows_are_written_one_by_one_and_kept(
    tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []

    def measured(title: str, *_others: Any) -> Row:
        if title == "Tucker-2":
            raise KeyboardInterrupt
        asked.append(title)
        return Row(title, 0.5, 1.0, 2.0, 0.25, 2**19, 80.0, 79.5)

    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(compression, "measured", measured)
    monkeypatch.setattr(compression, "network_of", lambda name: network())
    monkeypatch.setattr(compression, "recipe", lambda settings, folder: tuner.recipe)
    call = ["--data", str(tmp_path), "--publish", "--method"]
    compression.main([*call, "XNOR-Net"])
    with pytest.raises(KeyboardInterrupt):
        compression.main([*call, "none", "--method", "Tucker-2"])
    compression.main([*call, "none", "--missing", "--method", "CP decomposition"])
    assert asked == ["XNOR-Net", "none", "CP decomposition"]
    folder = tmp_path / "docs" / "benchmarks"
    record = json.loads((folder / "recognition.compression.json").read_text())
    assert list(record["rows"]) == ["none", "CP decomposition", "XNOR-Net"]
    page = (folder / "recognition.compression.md").read_text()
    assert page.count("| 0.5 | 1.0 | 2.00 | 0.25 | 0.500 |") == 3


def test_factors_near_each_other():
    assert (_halves(256), _halves(1920), _halves(7)) == ((16, 16), (40, 48), (1, 7))
