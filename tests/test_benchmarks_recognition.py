"""The benchmark of classifiers: its page, what it keeps, and what it merges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import benchmarks.recognition.__main__ as command
from benchmarks import report
from benchmarks.recognition import adaptive, binary, compression, released, zoo

ZOO = {
    "parameters": 138_357_544, "macs": 15_500_000_000, "accumulator_bits": 37, "load": 1.0,
    "equal_values": 1234, "side": 224, "processor": "a processor",
    "effort": "fast", "quantize_processor_seconds": 151.4, "bytes_peak": 13 * 2**29,
    "seconds": {"1": {"fxp": 0.1, "onnxruntime": 0.25, "torch": 0.3}},
}  # fmt: skip
RELEASED = {
    "sets": [
        {
            "name": "CIFAR-10 as JPEG", "images": 2000, "float": 81.35,
            "10/14": {"difference": -0.05, "worst": -100, "sqnr": 44.0},
            "8/8 refined": {"difference": -0.4, "worst": -100, "sqnr": 20.25},
        }
    ]
}  # fmt: skip


def test_tables():
    assert (
        "| vgg16 | 138,357,544 | 15.500 | 37 | 1,234 | fast | 151 | 6.5 | 224×224 | 100.0 | "
        "250.0 | 2.50× |" in zoo.body({"vgg16": ZOO}).splitlines()
    )
    assert (
        "| ResNet-20, CIFAR-10 as JPEG | 2000 | 81.35 | -0.05 | -0.40 | 44.0 | 20.2 |"
        in released.body({"ResNet-20": RELEASED}).splitlines()
    )


def test_summaries():
    assert zoo.summary({"a": ZOO, "b": ZOO, "c": {"refused": "why", "processor": "x"}}) == [
        ("2 classifiers of ImageNet against ONNX Runtime float32, 1 thread",
         "2.5 to 2.5 times as fast"),
    ]  # fmt: skip
    assert released.summary({"a": RELEASED}) == [
        ("top-1 of 10/14 bits less float, worst of 1 classifiers", "-0.05 points"),
        ("top-1 of 8/8 refined bits less float, worst of 1 classifiers", "-0.40 points"),
    ]
    assert zoo.summary({}) == released.summary({}) == []


def test_runs_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def measured_zoo(name: str, **options: Any) -> dict[str, Any]:
        asked.append(name)
        return ZOO

    def measured_released(name: str, data: Path) -> dict[str, Any]:
        asked.append(name)
        return RELEASED

    monkeypatch.setattr(zoo, "measured", measured_zoo)
    monkeypatch.setattr(released, "measured", measured_released)
    monkeypatch.setenv("FXP_DATA", str(tmp_path))
    defaults = {"data": None, "missing": False, "side": None, "rounds": 1, "out": tmp_path}
    command.main(**defaults, only=["vgg16"])
    command.main(**defaults, only=["ResNet-20", "alexnet"])
    command.main(**defaults | {"missing": True}, only=["vgg16", "vggs"])
    assert asked == ["vgg16", "ResNet-20", "alexnet", "vggs"]
    record = json.loads((tmp_path / "recognition.json").read_text())
    assert list(record["zoo"]) == ["alexnet", "vgg16", "vggs"]
    page = (tmp_path / "recognition.md").read_text()
    assert page.index("## Accuracy") < page.index("## The zoo")
    with pytest.raises(ValueError, match="--only lenet is none of released, zoo"):
        command.main(**defaults, only=["lenet"])


def test_pages_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[str, list[str]]] = []
    for part in (adaptive, binary, compression):
        name = part.__name__.rpartition(".")[2]
        monkeypatch.setattr(
            part, "main", lambda arguments=(), name=name: asked.append((name, list(arguments)))
        )
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(report, "check_readme", lambda: None)
    (tmp_path / "docs" / "benchmarks").mkdir(parents=True)
    (tmp_path / "docs" / "benchmarks" / "recognition.binary.md").touch()
    defaults: dict[str, Any] = {"data": Path("d"), "side": None, "rounds": 1, "out": None}
    parts = ["binary", "adaptive", "compression"]
    command.main(**defaults, missing=True, only=parts)
    assert asked == [
        ("compression", ["--data", "d", "--publish"]),
        ("adaptive", ["--data", "d"]),
    ]
    command.main(**defaults, missing=False, only=["binary"])
    assert asked[2:] == [("binary", [])]
    with pytest.raises(ValueError, match="--out does not apply to binary"):
        command.main(**defaults | {"out": tmp_path}, missing=False, only=["binary"])


def test_the_adaptive_network_is_trained_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    starts: dict[str, str] = {}

    def trained(settings: Any, folder: Path, name: str) -> Path:
        starts[name] = settings.start
        return folder / f"{name}.safetensors"

    monkeypatch.setattr(adaptive, "recipe", lambda settings, data: settings)
    monkeypatch.setattr(adaptive, "trained", trained)
    weights, commands = adaptive.reproduced(tmp_path, tmp_path)
    assert starts == {
        "first": "cifar_resnet20",
        "cifar_sact": str(tmp_path / "first.safetensors"),
    }
    assert weights.name == "cifar_sact.safetensors"
    first, second = commands.split("`, and then `")
    assert "--out first.safetensors" in first
    assert "--start first.safetensors" in second
    assert str(tmp_path) not in commands


def test_task_of_own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from fxp.models.recognition.zoo import SMALL

    np.savez(tmp_path / released.TEST.replace(".zip", ".npz"),
             x=np.zeros((3, 32, 32, 3), np.uint8), y=np.array([0, 2, 1]))  # fmt: skip
    monkeypatch.setattr(released, "TEST", released.TEST.replace(".zip", ".npz"))
    monkeypatch.setattr(released, "load_float", lambda name: SMALL["resnet20"](width=4).eval())
    task = released.own_task("resnet20", tmp_path)
    (images,) = task.sets
    assert images.score(np.array([0.0, 1.0, 3.0]), 1) == 100
    assert images.score(np.array([0.0, 1.0, 3.0]), 2) == 0
    assert task.calibration[0].shape == (98, 3, 32, 32)
