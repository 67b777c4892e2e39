"""Small runs of integer graphs go through PyTorch and give the engine's integers."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from small_graphs import graph, image, lowered, node, random_image

import fxp
from fxp.engine import Engine
from fxp.formats import Format, Quantization
from fxp.graph import Graph, Node, Value
from fxp.graph.ops import Clamp, Multiply
from fxp.model import FixedModel
from fxp.quantization import integer_run
from fxp.quantization.integer_run import outputs_in_torch, runs_in_torch
from fxp.quantization.quantize import calibrated
from fxp.quantization.refinement import judgement
from fxp.quantization.refinement.parts import Parts


def clamped() -> Graph:
    """Clamp of numbers from -16 to 15.875 to numbers from 0 to 0.875."""
    x = Value("x", (1, 1, 4), Format(8, 3))
    quantization = Quantization(Format(3, 3, signed=False))
    return Graph("one", (x,), (Node("y", Clamp(low=0.0, high=1.0), ("x",), quantization),), ("y",))


IMAGES = torch.tensor([[[[-1.0, 0.5, 1.0, 2.0]]], [[[0.5, 0.5, 20.0, -20.0]]]])
# 20 and -20 of eight inputs; of the results 1, 2 and 15.875.
CLIPPED = {"x": 0.25, "y": 0.375}


def refuse(*arguments: Any, **options: Any) -> NoReturn:
    raise AssertionError("nothing needs to be compiled here")


def test_a_few_images_are_counted_without_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "run", refuse)
    assert calibrated(clamped(), [[IMAGES]]).calibration_clipped == CLIPPED


def test_many_images_are_counted_by_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    model = FixedModel(clamped())
    model.record_clipped([[picture.numpy()] for picture in IMAGES])
    assert model.calibration_clipped == CLIPPED
    calls = [[IMAGES]] * 3
    assert runs_in_torch(clamped(), calls, times=1 << 20)
    assert not runs_in_torch(clamped(), calls, times=1 << 30)


def test_both_give_the_same_outputs() -> None:
    call = [IMAGES[:1].double()]
    # -1 becomes 0, and what is beyond 0.875 that.
    assert outputs_in_torch(clamped(), call)[0].tolist() == [[[0.0, 0.5, 0.875, 0.875]]]
    (raw,) = Engine(clamped()).run([np.array([[[-8, 4, 8, 16]]])]).outputs
    assert raw.tolist() == [[[0, 4, 7, 7]]]


def test_sums_that_float64_does_not_hold_are_left_to_the_engine() -> None:
    source = graph(image(), [node("y", Multiply(), "x", "x")])
    pictures = random_image()
    narrow = lowered(source, pictures, activation_bits=16)
    wide = lowered(source, pictures, activation_bits=31)
    assert runs_in_torch(narrow, [[pictures]])
    assert not runs_in_torch(wide, [[pictures]])


def test_a_judge_says_the_same_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    source = graph(image(), [node("y", Multiply(), "x", "x")])
    pictures = [[random_image(seed=seed)] for seed in range(2)]
    fixed = lowered(source, pictures[0][0], activation_bits=8)
    judge = judgement.Judge(source, Parts(pictures[:1], pictures[1:]))
    quick = judge.quality(fixed)
    monkeypatch.setattr(judgement, "runs_in_torch", lambda *arguments: False)
    slow = judge.quality(fixed)
    assert quick.noise.tolist() == slow.noise.tolist()
    assert quick.noise.sum() > 0


@pytest.mark.filterwarnings("ignore::fxp.PrecisionWarning")
def test_quantization_chooses_the_same_with_both(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(2, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1)
    network = torch.nn.Sequential(*layers).eval()
    pictures = [random_image(channels=2, seed=seed) for seed in range(4)]
    options: dict[str, Any] = {"weight_bits": 4, "activation_bits": 8, "weight_rounding": "learned"}
    quick = fxp.quantize(network, pictures, **options)
    monkeypatch.setattr(integer_run, "WORK", 0)
    slow = fxp.quantize(network, pictures, **options)
    assert quick.graph == slow.graph
    assert quick.metadata == slow.metadata
    assert quick.calibration_clipped == slow.calibration_clipped
