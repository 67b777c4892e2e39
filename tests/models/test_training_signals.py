"""A training that is told to end: its exit code, and files from which it goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fxp.imaging.files import write_image

QUICK = ["--epoch", "1", "--batch", "1", "--patch", "16", "--threads", "1"]
SHORT = [*QUICK, "--no-compiled", "--optimizer", "adam"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    for number, name in enumerate(("T91", "BSD200")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(2):
            image = np.random.default_rng(10 * number + index).integers(0, 256, (40, 44), np.uint8)
            write_image(tmp_path / "data" / name / f"{index}.png", image)
    program = [sys.executable, "-m", "fxp.models.sr.train", *SHORT]
    return [*program, "--data", str(tmp_path / "data"), "--out", str(tmp_path / "a.safetensors")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_training_ends_orderly_and_goes_on(
    tmp_path: Path, command: list[str], number: signal.Signals
):
    process = subprocess.Popen(
        [*command, "--steps", "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    checkpoint = tmp_path / "a.pt"
    end = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert process.poll() is None
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    said = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    assert errors.splitlines()[-1] == f"{said}; continue with --resume"
    assert "Traceback" not in errors
    # Nothing half written is left, and the checkpoint is whole.
    names = {"data", "a.pt", "a.log", "a.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} <= names
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert step >= 1
    lines = (tmp_path / "a.log").read_text().splitlines()
    # The log is written after the checkpoint, so the last line may be missing.
    logged = sum(line.startswith("step ") for line in lines)
    assert logged in (step, step - 1)


def test_a_stopped_training_is_continued(tmp_path: Path, command: list[str]):
    """The process is stopped in its third epoch, and --resume does the rest."""
    steps = ["--steps", "40"]
    process = subprocess.Popen([*command, *steps], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step      2"):
            break
    process.send_signal(signal.SIGTERM)
    process.stdout.close()
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [*command, *steps, "--resume"],
        capture_output=True, text=True, check=False, timeout=120, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("resumed at step ")
    assert torch.load(tmp_path / "a.pt", weights_only=True)["step"] == 40
