"""The benchmark of torchvision's networks: its page, what it keeps, and what it compares."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import benchmarks.zoo.__main__ as zoo
import fxp
from benchmarks.speed import versus
from benchmarks.zoo import measure, networks

MEASURED = {
    "parameters": 2_500_000, "sqnr": 40.26, "sqnr_of_calibration": 41.0, "equal_values": 1234,
    "oracle_side": 64, "side": 224,
    "macs": 60_000_000, "portable_stages": 0, "quantize_seconds": 16.0, "load": 1.0,
    "machine": "one processor",
    "seconds": {"1": {"fxp": 0.001, "fxp_real": 0.002, "onnxruntime": 0.0015, "torch": 0.004}},
}  # fmt: skip
REFUSED = {"parameters": 5, "refused": "attention", "machine": "one processor"}
FAILED = {"failed": "RuntimeError: different", "machine": "another"}


def run(out: Path, **options: Any) -> None:
    """Call the command with its defaults."""
    defaults = {"only": None, "missing": False, "threads": None, "side": 224, "rounds": 1}
    zoo.main(**{**defaults, **options}, out=out)


def test_page():
    lines = zoo.page({"alexnet": MEASURED, "vit_b_16": REFUSED, "vgg11": FAILED}).splitlines()
    assert (
        "| alexnet | 2.5 M | balanced | 16 | 40.3 dB | 41.0 dB | 1,234 | 64×64 | 0 | 0.06 | 1.0 ms "
        "| 1.5 ms | 4.0 ms | 1.50× | 224×224 | 1 |"
    ) in lines
    assert "| vit_b_16 | attention |" in lines[lines.index("## Refused") :]
    assert "| vgg11 | RuntimeError: different |" in lines[lines.index("## Failed") :]
    assert lines[-3:] == ["Machine 1: one processor", "", "Machine 2: another"]


def test_page_says_when_times_are_rough():
    assert "so they are rough" not in zoo.page({"alexnet": MEASURED})
    page = zoo.page({"alexnet": MEASURED, "vgg11": MEASURED | {"load": 12.4}})
    assert "Up to 12 processes shared each processor meanwhile, so they are rough." in page


def test_summary():
    records = {"a": MEASURED, "b": MEASURED | {"sqnr": 29.8}, "c": REFUSED, "d": MEASURED}
    assert [figure for _, figure in zoo.summary(records)] == [
        "3 accepted, 1 with attention refused",
        "30 to 40 dB SQNR",
    ]
    assert zoo.summary({"c": REFUSED}) == []


def test_runs_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def measured(name: str, *_: Any) -> dict[str, Any]:
        asked.append(name)
        if name == "vgg11":
            raise RuntimeError("different")
        return {"parameters": 5, "refused": "attention"}

    monkeypatch.setattr(zoo, "measure", measured)
    run(tmp_path, only=["vit_b_16"])
    run(tmp_path, only=["alexnet"])
    run(tmp_path, only=["vit_b_16", "swin_t"], missing=True)
    assert asked == ["vit_b_16", "alexnet", "swin_t"]
    assert list(json.loads((tmp_path / "zoo.json").read_text())) == [
        "alexnet", "swin_t", "vit_b_16",
    ]  # fmt: skip
    # Small ones come first, and one that fails does not end the run.
    with pytest.raises(ValueError, match="vgg11: RuntimeError: different"):
        run(tmp_path, only=["vit_l_16", "vgg11", "swin_b"])
    assert asked[-3:] == ["swin_b", "vgg11", "vit_l_16"]
    assert "| vgg11 | RuntimeError: different |" in (tmp_path / "zoo.md").read_text()
    with pytest.raises(ValueError, match="unknown vgg12; choose from alexnet"):
        run(tmp_path, only=["vgg12"])


def test_every_network_is_named():
    names = networks.names()
    assert {"alexnet", "convnext_tiny", "inception_v3", "maxvit_t", "vit_b_16"} <= set(names)


def test_photographs():
    images = networks.photographs(["astronaut", "stereo_motorcycle"], 32)
    assert images.shape == (4, 3, 32, 32)
    assert images.dtype == np.float32
    # Black and white by the mean and the deviation of ImageNet's red.
    assert images[:, 0].min() >= -0.485 / 0.229 - 1e-6
    assert images[:, 0].max() <= (1 - 0.485) / 0.229 + 1e-6


def test_random_crops():
    images = networks.random_crops(["astronaut", "coffee"], 3, 16)
    assert images.shape == (3, 3, 16, 16)
    assert np.array_equal(images, networks.random_crops(["astronaut", "coffee"], 3, 16))
    assert not np.array_equal(images[0], images[2])


def test_settled_layers_have_deviation_one():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(),
        nn.LazyLinear(5),
    )  # fmt: skip
    images = networks.photographs(["astronaut", "coffee"], 16)
    network(torch.from_numpy(images))
    network.eval()
    networks.settle(network, images)
    assert not any(module.training for module in network.modules())
    values = torch.from_numpy(images)
    for module in network:
        values = module(values)
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert float(values.detach().std()) == pytest.approx(1, rel=0.02)


class Sum(nn.Module):
    def forward(self, x):
        return x + x.flip(3)


def test_engine_that_differs_is_found(monkeypatch: pytest.MonkeyPatch):
    images = networks.photographs(["coffee"], 16)
    model = fxp.quantize(Sum().eval(), images)
    # 3 * 16 * 16 numbers each: the input, what is flipped, and the sum.
    assert measure.compare(model, images[:1]) >= 2 * 768
    assert versus.smallest_side(model.graph, 3) == 32
    assert versus.smallest_side(model.graph, 3, from_side=64) == 64
    found = model.run

    def wrong(*inputs: Any, **options: Any) -> Any:
        result = found(*inputs, **options)
        result.outputs[0][0, 0, 0] += 1
        return result

    monkeypatch.setattr(model, "run", wrong)
    with pytest.raises(RuntimeError, match="differ"):
        measure.compare(model, images[:1])
