"""How commands turn pixels into what a network takes: divisor, mean, deviation, grey and colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fxp
from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.cli.pixel_values import PixelScale, pixel_scale, scale_of_model
from fxp.graph.ops import Relu
from fxp.imaging.files import read_image, write_image
from fxp.support.errors import ArgumentError


def same(channels: int, form: Format) -> FixedModel:
    """Return a model that gives what it takes, cut at zero."""
    image = Value("x", (channels, Extent("H"), Extent("W")), form)
    return FixedModel(
        Graph("same", (image,), (Node("y", Relu(), ("x",), Quantization(form)),), ("y",))
    )


def test_values_by_hand():
    """(51 / 255 - 0.1) / 0.5 = 0.2, and (102 / 255 - 0.3) / 0.25 = 0.4."""
    scale = PixelScale(mean=(0.1, 0.3), std=(0.5, 0.25))
    values = scale.values(np.array([[[51]], [[102]]], np.uint8))
    assert values.ravel() == pytest.approx([0.2, 0.4], rel=1e-12)
    assert scale.codes(np.array([0.2, 0.5, 2.0])).tolist() == [51, 128, 255]


def test_the_metadata_of_a_model_says_it_again():
    scale = pixel_scale(255.0, "0.485,0.456,0.406", "0.229 0.224 0.225")
    model = same(3, Format(12, 8))
    model.metadata |= scale.metadata()
    assert scale_of_model(model) == scale
    assert scale_of_model(model, 1.0) == PixelScale(1.0, scale.mean, scale.std)
    assert PixelScale(256.0).metadata() == {"divide_by": "256"}


@pytest.mark.parametrize(
    ("mean", "std", "match"),
    [
        ("a", None, "--mean 'a' must be one number"),
        ("", None, "--mean '' must be one number"),
        ("nan", None, "must be one number"),
        (None, "0.2,inf", "--std '0.2,inf' must be"),
        (None, "0.2,0", "must be positive"),
    ],
)
def test_wrong_numbers(mean: str | None, std: str | None, match: str):
    with pytest.raises(ArgumentError, match=match):
        pixel_scale(255.0, mean, std)


def test_as_many_numbers_as_channels():
    with pytest.raises(ArgumentError, match=r"--mean has 2 numbers, but images have 3 channels"):
        PixelScale(mean=(0.1, 0.2)).values(np.zeros((3, 1, 1)))


def test_grey_for_a_model_of_colour_and_colour_for_one_of_grey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Grey becomes three equal channels; of red, the luma is 16 + 65.481 = 81."""
    monkeypatch.chdir(tmp_path)
    byte = Format(8, 8, signed=False)
    for channels in (1, 3):
        model = same(channels, byte)
        model.metadata["divide_by"] = "256"
        model.save(f"{channels}.fxp")
    write_image("grey.png", np.array([[10, 200]], np.uint8))
    write_image("red.png", np.array([[[255, 0, 0]]], np.uint8))
    assert main(["run", "3.fxp", "grey.png", "out.png"]) == 0
    assert read_image("out.png").tolist() == [[[10] * 3, [200] * 3]]
    assert main(["run", "1.fxp", "red.png", "luma.png"]) == 0
    assert read_image("luma.png").tolist() == [[81]]
    capsys.readouterr()


def test_the_normalization_of_the_command_line_reaches_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Calibrated on (p / 255 - 0.5) / 0.25 of 0 and 255, the input is -2 to 2."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("import torch\nnet = torch.nn.Conv2d(3, 1, 1)\n")
    write_image("photo.png", np.array([[[0] * 3, [255] * 3]] * 2, np.uint8))
    command = ["quantize", "net:net", "--calibration", "photo.png", "--out", "net.fxp"]
    assert main([*command, "--mean", "0.5", "--std", "0.25,0.25,0.25"]) == 0
    model = fxp.load("net.fxp")
    form = model.graph.inputs[0].format
    assert form is not None
    assert form.signed
    assert form.max >= 1.99
    assert model.metadata["pixel_mean"] == "0.5"
    assert scale_of_model(model).values(np.zeros((3, 1, 1))).ravel().tolist() == [-2.0] * 3
    capsys.readouterr()
    assert main([*command, "--mean", "0.5,0.5"]) == 1
    assert "--mean has 2 numbers, but images have 3 channels" in capsys.readouterr().err


def test_hidden_files_of_a_folder_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Such as those that other systems put beside every image, which are no images."""
    monkeypatch.chdir(tmp_path)
    same(1, Format(8, 8, signed=False)).save("model.fxp")
    Path("photos").mkdir()
    write_image("photos/a.png", np.zeros((2, 2), np.uint8))
    Path("photos/._a.png").write_bytes(b"no image")
    assert main(["run", "model.fxp", "photos", "out"]) == 0
    assert [path.name for path in Path("out").iterdir()] == ["a.png"]
    capsys.readouterr()


def test_run_keeps_resolution_and_profile_as_upscale_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    same(1, Format(8, 8, signed=False)).save("model.fxp")
    Image.fromarray(np.zeros((2, 3), np.uint8)).save("in.png", dpi=(300, 200))
    # WebP has it in its EXIF data, and others take it from there.
    for source, target in (("in.png", "out.png"), ("in.png", "a.webp"), ("a.webp", "b.png")):
        assert main(["run", "model.fxp", source, target]) == 0
    for name in ("out.png", "b.png"):
        with Image.open(name) as written:
            assert [round(value) for value in written.info["dpi"]] == [300, 200]
    with Image.open("a.webp") as written:
        exif = written.getexif()
        assert [round(float(exif[tag])) for tag in (0x011A, 0x011B, 0x0128)] == [300, 200, 2]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("name", "advice"), [("film.mp4", "ffmpeg -i film.mp4"), ("raw.yuv", "--size WIDTHxHEIGHT")]
)
@pytest.mark.parametrize("target", ["out.mp4", "out.y4m", "out.png", "-"])
def test_films_and_raw_video_are_told_how_they_are_read(
    name: str,
    advice: str,
    target: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(bytes(100))
    assert main(["upscale", name, target]) == 1
    assert advice in capsys.readouterr().err
