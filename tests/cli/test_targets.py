"""No command writes over what it reads, and outputs have the endings of their kind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_checks import error_of

from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.cli.targets import check_target
from fxp.graph.ops import Nearest
from fxp.imaging.files import write_image
from fxp.support.errors import ArgumentError

NETWORK = "import torch\n\nnet = torch.nn.Conv2d(1, 1, 1)\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a model, pictures and a network, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    byte = Format(8, 0, signed=False)
    source = Value("grey", (1, Extent("H"), Extent("W")), byte)
    node = Node("twice", Nearest(2), ("grey",), Quantization(byte))
    Path("folder").mkdir()
    for name in ("twice.fxp", "folder/inner.fxp"):
        FixedModel(Graph("doubling", (source,), (node,), ("twice",))).save(name)
    write_image("grey.png", np.arange(24, dtype=np.uint8).reshape(4, 6))
    Path("photos").mkdir()
    write_image("photos/a.png", np.zeros((4, 6), np.uint8))
    Path("a_network_to_keep.py").write_text(NETWORK)
    for link, target in (
        ("link.png", "grey.png"),
        ("of_folder.json", "photos/a.png"),
        ("model.json", "twice.fxp"),
        ("model.html", "twice.fxp"),
        ("model.onnx", "twice.fxp"),
        ("model.vcd", "twice.fxp"),
        ("network.fxp", "a_network_to_keep.py"),
        ("network.svg", "a_network_to_keep.py"),
        ("network.json", "a_network_to_keep.py"),
        ("weights.fxp", "weights.pt"),
    ):
        Path(link).symlink_to(target)
    Path("weights.pt").write_bytes(b"weights")
    Path("hard.png").hardlink_to("grey.png")
    Path("results").mkdir()
    Path("results/a.png").symlink_to("../grey.png")
    Path("demo").mkdir()
    Path("demo/enlarged.png").hardlink_to("grey.png")
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


QUANTIZE = ("quantize", "a_network_to_keep:net", "--calibration")
SEARCH = ("search", "a_network_to_keep:net", "--floor", "20", "--calibration", "photos")
ICARUS = ("--simulator", "icarus")
FLOAT = ("--float", "a_network_to_keep:net")


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "twice.fxp", "grey.png", "grey.png"),
        ("run", "twice.fxp", "grey.png", "folder/../grey.png"),
        ("run", "twice.fxp", "grey.png", "link.png"),
        ("run", "twice.fxp", "grey.png", "hard.png"),
        ("psnr", "twice.fxp", "grey.png", "--out", "model.json"),
        ("psnr", "twice.fxp", "photos", "--out", "of_folder.json"),
        ("psnr", "twice.fxp", "grey.png", "--input", "photos", "--out", "of_folder.json"),
        ("psnr", "twice.fxp", "grey.png", *FLOAT, "--out", "network.json"),
        ("report", "twice.fxp", *FLOAT, "--images", "grey.png", "--out", "model.html"),
        ("report", "twice.fxp", *FLOAT, "--images", "photos", "--out", "of_folder.json"),
        ("report", "twice.fxp", *FLOAT, "--images", "photos", "--out", "network.json"),
        (*QUANTIZE, "grey.png", "--weights", "twice.fxp", "--out", "twice.fxp"),
        (*QUANTIZE, "photos", "--out", "network.fxp"),
        (*QUANTIZE, "photos", "--arg", "weights.pt", "--out", "weights.fxp"),
        (*SEARCH, "--out", "network.fxp"),
        (*SEARCH, "--out", "new.fxp", "--picture", "network.svg"),
        ("export", "onnx", "twice.fxp", "model.onnx"),
        ("export", "rtl", "folder/inner.fxp", "folder"),
        ("export", "hls4ml", "folder/inner.fxp", "folder", "--overwrite"),
        ("synth", "folder/inner.fxp", "--build", "folder"),
        ("synth", "twice.fxp", "--out", "model.json"),
        ("cosim", "twice.fxp", "grey.png", "--waveform", "model.vcd"),
        ("demo", "--image", "grey.png", "--out", "demo"),
        ("upscale", "grey.png", "link.png"),
        ("upscale", "grey.png", "folder/../grey.png"),
    ],
    ids=" ".join,
)
def test_nothing_that_is_read_is_overwritten(
    arguments: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str]
):
    before = content(home)
    assert " read" in error_of(capsys, *arguments)
    assert content(home) == before


@pytest.mark.parametrize("command", [("run", "twice.fxp"), ("upscale",)])
def test_a_folder_of_results_holds_no_way_to_what_is_read(
    command: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str]
):
    """The result of ``photos/a.png`` is ``results/a.png``, which is that very file."""
    Path("results/a.png").unlink()
    Path("results/a.png").hardlink_to("photos/a.png")
    before = content(home)
    assert "results/a.png, which is photos/a.png, is read" in error_of(
        capsys, *command, "photos", "results"
    )
    assert "would overwrite the images" in error_of(capsys, *command, "photos", "photos")
    assert content(home) == before


@pytest.mark.parametrize(
    ("ending", "arguments"),
    [
        (".fxp", (*QUANTIZE, "grey.png", "--out", "grey.png")),
        (".fxp", (*QUANTIZE, "grey.png", "--out", "a_network_to_keep.py")),
        (".fxp", (*SEARCH, "--out", "a_network_to_keep.py")),
        (".json", ("psnr", "twice.fxp", "grey.png", "--out", "figures.png")),
        (".html", ("report", "twice.fxp", *FLOAT, "--images", "photos", "--out", "new.txt")),
        (".onnx", ("export", "onnx", "twice.fxp", "net.fxp")),
        (".json", ("synth", "twice.fxp", "--out", "figures.txt")),
        (".bmp, .jp2", ("run", "twice.fxp", "grey.png", "twice.fxp")),
        (".bmp, .jp2", ("upscale", "grey.png", "large.fxp")),
        (".fst", ("cosim", "twice.fxp", "grey.png", "--waveform", "waves.png")),
        (
            ".fst",
            ("cosim", "twice.fxp", "grey.png", "--simulator", "icarus", "--waveform", "a.vcd"),
        ),
    ],
)
def test_outputs_have_the_endings_of_their_kind(
    ending: str, arguments: tuple[str, ...], home: Path, capsys: pytest.CaptureFixture[str]
):
    before = content(home)
    assert f"must end in {ending}" in error_of(capsys, *arguments)
    assert content(home) == before


def test_what_cannot_be_written(home: Path, capsys: pytest.CaptureFixture[str]):
    assert "no folder none" in error_of(capsys, "export", "onnx", "twice.fxp", "none/net.onnx")
    with pytest.raises(IsADirectoryError, match="photos is a folder"):
        check_target(Path("photos"))
    os.mkfifo("pipe.png")
    with pytest.raises(OSError, match="no ordinary file"):
        check_target(Path("pipe.png"))
    with pytest.raises(ArgumentError, match=r"^a must end in \.b, \.c or \.d$"):
        check_target(Path("a"), suffixes=[".d", ".b", ".c"])
    check_target(Path("none/new.png"), makes_folder=True)
    check_target(Path("grey.png"), reads=[Path("photos"), Path("missing")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "twice.fxp"), "must end in .safetensors"),
        (("--out", "new.safetensors", "--log", "a.py"), "must end in .log or .txt"),
        (("--out", "new.safetensors", "--checkpoint", "a.py"), "must end in .pt or .pth"),
        (("--out", "w.safetensors", "--start", "folder/../w.safetensors"), "is read"),
        (("--out", "w.safetensors", "--log", "x.log", "--teacher", "w.safetensors"), "is read"),
    ],
)
def test_a_training_keeps_what_it_starts_from(
    options: tuple[str, ...],
    message: str,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    from fxp.models.common.run import run_training
    from fxp.models.sr.train import main as train

    Path("w.safetensors").write_bytes(b"weights")
    before = content(home)
    threads = torch.get_num_threads()
    monkeypatch.setattr(
        sys, "argv", ["train", "--data", "photos", "--threads", str(threads), *options]
    )
    with pytest.raises(SystemExit) as end:
        run_training(train)
    assert end.value.code == 1
    written = capsys.readouterr().err
    assert message in written
    assert len(written.splitlines()) == 1
    assert content(home) == before


def test_a_failing_file_of_a_folder_stops_no_other(home: Path, capsys: pytest.CaptureFixture[str]):
    Path("photos/bad.tif").write_bytes(b"II*\0 no picture")
    Path("photos/.hidden.png").write_bytes(b"no picture")
    write_image("photos/c.png", np.zeros((4, 6), np.uint8))
    assert main(["run", "twice.fxp", "photos", "out", "--divide-by", "1"]) == 1
    written = capsys.readouterr()
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.png", "c.png"]
    *failed, last = written.err.splitlines()
    assert [line.startswith("failed: cannot read image photos/bad.tif") for line in failed] == [
        True
    ]
    assert last == "error: 1 of 3 images are not run: photos/bad.tif"
