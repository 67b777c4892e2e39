"""The demo: it finishes, checks itself, and its figures show the network at work."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import skimage.data

import fxp
from fxp.cli import main
from fxp.engine import Engine
from fxp.imaging.files import read_image, write_image
from fxp.models.sr import fixed


def figures(output: str) -> dict[str, float]:
    """PSNR by method."""
    rows = re.findall(r"│ (bicubic|KimSR float|KimSR fixed) +│[^│]*│ +([\d.]+) │", output)
    return {name: float(value) for name, value in rows}


@pytest.fixture
def small_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantize with one crop, for tests of everything else."""
    pixels = skimage.data.camera()[100:148, 200:248][None, None] / 256
    monkeypatch.setattr(fixed, "calibration_images", lambda scale: [pixels])


def test_demo_on_the_shipped_photograph(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["demo", "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    psnr = figures(output)
    assert psnr["KimSR float"] > psnr["bicubic"] + 2
    assert abs(psnr["KimSR fixed"] - psnr["KimSR float"]) < 0.1
    assert "engine == oracle on all 16,384 pixels" in output
    assert read_image(tmp_path / "out" / "enlarged.png").shape == (512, 512, 3)
    assert read_image(tmp_path / "out" / "side_by_side.png").ndim == 3
    model = fxp.load(tmp_path / "out" / "kimsr_x2.fxp")
    assert model.parameters == 2560
    widths = {form.width for constant in model.graph.constants for form in constant.formats}
    assert widths == {10}


@pytest.mark.usefixtures("small_calibration")
def test_demo_on_a_small_grey_image_of_odd_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_image(tmp_path / "grey.png", skimage.data.camera()[:37, :51].copy())
    out = tmp_path / "out"
    assert main(["demo", "--image", str(tmp_path / "grey.png"), "--out", str(out)]) == 0
    assert read_image(out / "enlarged.png").shape == (36, 50)
    write_image(tmp_path / "dot.png", np.zeros((1, 1), np.uint8))
    assert main(["demo", "--image", str(tmp_path / "dot.png")]) == 1
    assert "too small" in capsys.readouterr().err
    assert main(["demo", "--image", "none.png"]) == 1


@pytest.mark.usefixtures("small_calibration")
def test_demo_notices_a_wrong_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    right = Engine.run

    def wrong(self: Engine, inputs, *arguments, **options):
        result = right(self, inputs, *arguments, **options)
        result.outputs[0].flat[-1] ^= 1
        return result

    monkeypatch.setattr(Engine, "run", wrong)
    # 70 is the code of a defect of the program, which this would be.
    assert main(["demo", "--out", str(tmp_path / "out")]) == 70
    assert "differ" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("small_calibration")
def test_demo_on_a_black_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_image(tmp_path / "black.png", np.zeros((24, 24), np.uint8))
    out = str(tmp_path / "out")
    assert main(["demo", "--image", str(tmp_path / "black.png"), "--out", out]) == 0
    output = capsys.readouterr().out
    assert "nan dB" not in output
    assert "fixed and float both equal the photograph" in output


@pytest.mark.usefixtures("small_calibration")
@pytest.mark.parametrize("folder", ["[/foo]", "[bold]xx"])
def test_demo_into_a_folder_named_like_markup(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: str,
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    write_image(tmp_path / "grey.png", skimage.data.camera()[:37, :51].copy())
    Path("place").mkdir()
    assert main(["demo", "--image", "grey.png", "--out", f"place/{folder}"]) == 0
    written = capsys.readouterr()
    assert written.err == ""
    lines = written.out.splitlines()
    out = f"place/{folder}"
    assert lines[-1] == f"wrote {out}/kimsr_x2.fxp, {out}/enlarged.png and {out}/side_by_side.png"
    # A row of the table is one line in a pipe, however narrow the terminal.
    (row,) = [line for line in lines if "KimSR fixed" in line]
    assert "10 bit weights" in row
    assert "bit accumulators" in row
