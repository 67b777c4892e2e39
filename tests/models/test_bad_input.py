"""Bad input of the training and demo commands: one line, exit code 1, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from fxp.cli import main as fxp_main
from fxp.imaging.files import write_image
from fxp.models.sr.train import main as train_main

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--steps", "1", "--epoch", "1", "--batch", "1", "--patch", "16", "--threads", "1"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, name in enumerate(("T91", "BSD200", "Set5")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(2):
            image = np.random.default_rng(10 * number + index).integers(0, 256, (40, 44), np.uint8)
            write_image(tmp_path / "data" / name / f"{index}.png", image)
    return tmp_path / "data"


def remove_folder(data: Path) -> None:
    for path in (data / "BSD200").iterdir():
        path.unlink()
    (data / "BSD200").rmdir()


def empty_folder(data: Path) -> None:
    for path in (data / "T91").iterdir():
        path.unlink()


def truncate(data: Path) -> None:
    path = data / "T91" / "1.png"
    path.write_bytes(path.read_bytes()[:-40])


def make_transparent(data: Path) -> None:
    write_image(data / "BSD200" / "0.png", np.zeros((40, 44, 4), np.uint8), alpha=True)


def downscale_all(data: Path) -> None:
    for path in data.rglob("*.png"):
        write_image(path, np.zeros((20, 20), np.uint8))


def fails_in_one_line(arguments: list[str], word: str) -> None:
    app = Typer()
    app.command()(train_main)
    result = CliRunner().invoke(app, [*arguments, *QUICK])
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert word in result.output


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (remove_folder, "BSD200"),
        (empty_folder, "no images in folder"),
        (truncate, "1.png"),
        (make_transparent, "0.png is transparent"),
        (downscale_all, "no training image"),
    ],
)
def test_training_on_bad_data(
    data: Path, tmp_path: Path, damage: Callable[[Path], None], word: str
):
    damage(data)
    outputs = [tmp_path / f"net{suffix}" for suffix in (".safetensors", ".log", ".pt")]
    for path in outputs:
        path.write_bytes(b"earlier")
    fails_in_one_line(["--data", str(data), "--out", str(outputs[0])], word)
    assert all(path.read_bytes() == b"earlier" for path in outputs)


def test_training_with_bad_outputs_or_checkpoints(data: Path, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    within = str(tmp_path / "file" / "net.safetensors")
    fails_in_one_line(["--data", str(data), "--out", within], "file")
    assert (tmp_path / "file").read_text() == "no folder"
    out = tmp_path / "net.safetensors"
    again = ["--data", str(data), "--out", str(out), "--resume"]
    out.with_suffix(".log").write_text("earlier")
    fails_in_one_line(again, "checkpoint not found")
    out.with_suffix(".pt").write_bytes(b"junk")
    fails_in_one_line(again, "cannot read checkpoint")
    assert out.with_suffix(".log").read_text() == "earlier"
    assert out.with_suffix(".pt").read_bytes() == b"junk"
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ("--start kimsr_x2", "skip_from is pre_relu"),
        ("--start kimsr_x2 --skip-from pre_relu --no-relu-after-add", "relu_after_add is True"),
        ("--start kimsr_x2 --features 64 --skip-from pre_relu", "features is 32, not 64"),
        ("--teacher kimsr_x2 --scale 3", "a teacher upscales by 2"),
        ("--teacher nobody", "weights not found"),
        ("--device nowhere", "device"),
        ("--weight-bits 8", "--activation-bits"),
        ("--log net.safetensors", "three different files"),
        ("--checkpoint net.log", "three different files"),
    ],
)
def test_training_settings_that_do_not_fit(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, word: str
):
    monkeypatch.chdir(tmp_path)
    Path("net.log").write_text("earlier")
    fails_in_one_line(["--data", str(data), "--out", "net.safetensors", *options.split()], word)
    assert Path("net.log").read_text() == "earlier"
    assert not Path("net.safetensors").exists()


def test_training_as_a_program_without_data(tmp_path: Path):
    command = [sys.executable, "-m", "fxp.models.sr.train", "--data", str(tmp_path / "none")]
    command += ["--out", str(tmp_path / "net.safetensors"), *QUICK]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    assert result.stderr.startswith("error: data folder not found")
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def demo_fails(capsys: pytest.CaptureFixture[str], image: Path, out: Path, word: str) -> None:
    assert fxp_main(["demo", "--image", str(image), "--out", str(out)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    assert word in lines[0]


def test_demo_on_images_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    out.mkdir()
    (out / "enlarged.png").write_bytes(b"earlier")
    write_image(tmp_path / "clear.png", np.zeros((30, 30, 4), np.uint8), alpha=True)
    write_image(tmp_path / "cut.png", np.zeros((30, 30, 3), np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-30])
    Image.fromarray(np.zeros((30, 30), np.float32)).save(tmp_path / "real.tif")
    (tmp_path / "text.png").write_text("text")
    for name, word in (
        ("none.png", "none.png"),
        ("clear.png", "transparent"),
        ("cut.png", "cut.png"),
        ("real.tif", "8 bits"),
        ("text.png", "text.png"),
    ):
        demo_fails(capsys, tmp_path / name, out, word)
    assert [path.name for path in out.iterdir()] == ["enlarged.png"]
    assert (out / "enlarged.png").read_bytes() == b"earlier"


def test_demo_into_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    image = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)
    write_image(tmp_path / "in.png", image)
    (tmp_path / "file").write_text("earlier")
    demo_fails(capsys, tmp_path / "in.png", tmp_path / "file", "file")
    assert (tmp_path / "file").read_text() == "earlier"


def test_help_of_a_training_shows_every_option_in_full():
    command = [sys.executable, "-m", "fxp.models.sr.train", "--help"]
    environment = {**os.environ, "COLUMNS": "80", "TERMINAL_WIDTH": "80"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout
    words = done.stdout.split()
    for name in (
        "--data",
        "--checkpoint",
        "--activation-bits",
        "--teacher-share",
        "--relu-between-depthwise-pointwise",
        "--no-relu-between-depthwise-pointwise",
    ):
        assert name in words
