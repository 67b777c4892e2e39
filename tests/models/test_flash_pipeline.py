"""Whole photographs through fixed-point networks: any size and kind, and the command."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from equality import check_onnx, run_oracle
from numpy.typing import NDArray
from PIL import Image

import fxp
from fxp.cli import main as command
from fxp.imaging.files import read_image, write_image
from fxp.models.common.borders import to_multiple
from fxp.models.common.photographs import float_photograph, multiple_of
from fxp.models.common.pixels import PIXEL
from fxp.models.flash.measure import quality
from fxp.models.flash.networks import FlashGenerator, load_float
from fxp.models.flash.pipeline import Relighter
from fxp.models.flash.shipped import load
from fxp.support.errors import ArgumentError


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    colours = (rows * 5 % 256, columns * 3 % 256, (rows + columns) % 256)
    return np.stack(colours, -1).astype(np.uint8)


@pytest.fixture(scope="module")
def relighter() -> Relighter:
    return Relighter(load("flash_small"))


@pytest.fixture(scope="module")
def generator() -> fxp.FixedModel:
    torch.manual_seed(0)
    network = FlashGenerator(1).eval()
    return fxp.quantize(
        network,
        [torch.rand(1, 3, 32, 32)],
        input_format=PIXEL,
        output_format=PIXEL,
        effort="fast",
    )


def test_planes_are_continued_to_the_next_multiple():
    planes = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    larger = [[[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]]
    assert to_multiple(planes, 4).tolist() == larger
    assert np.array_equal(to_multiple(planes, 1), planes)


def test_shipped_model_runs_on_any_size_and_equals_the_oracle(relighter: Relighter):
    assert relighter.multiple == 1
    for shape in ((31, 45), (1, 1), (3, 70)):
        picture = photograph(*shape)
        result = relighter(picture)
        assert result.shape == picture.shape
        assert np.array_equal(result, relighter.oracle(picture))
    plan = relighter.model.plan((3, 48, 64), threads=1)
    assert not plan.portable


def test_shipped_model_is_close_to_its_float_network(relighter: Relighter):
    picture = photograph(48, 64)
    network = load_float("flash_small")
    assert quality(float_photograph(network, picture), relighter(picture)).psnr > 48


def test_generator_is_exact_in_every_executor_at_odd_sizes(generator: fxp.FixedModel):
    relighter = Relighter(generator)
    assert relighter.multiple == 1
    for shape in ((17, 33), (1, 1), (2, 31)):
        picture = photograph(*shape)
        raw = picture.transpose(2, 0, 1).astype(np.int64)
        result = generator.run_raw(raw)
        assert result.shape == raw.shape
        assert np.array_equal(relighter(picture).transpose(2, 0, 1), result)
        expected = run_oracle(generator.graph, [[raw]])
        assert np.array_equal(expected[0].outputs[0], result)
        check_onnx(generator.graph, expected, [[raw]])
        assert not generator.plan(raw.shape, threads=1).portable


def test_photographs_are_continued_for_networks_that_take_multiples():
    blocks = torch.nn.Sequential(torch.nn.PixelUnshuffle(4), torch.nn.PixelShuffle(4))
    relighter = Relighter(
        fxp.quantize(
            blocks.eval(),
            [torch.rand(1, 3, 8, 12)],
            input_format=PIXEL,
            output_format=PIXEL,
            effort="fast",
        )
    )
    assert relighter.multiple == 4
    picture = photograph(5, 7)
    assert np.array_equal(relighter(picture), picture)


def test_kinds_of_images(relighter: Relighter):
    picture = photograph(20, 30)
    colours = relighter(picture)
    grey = relighter(picture[..., 0])
    assert grey.shape == (20, 30)
    assert relighter(picture[..., :1]).shape == (20, 30, 1)
    # Grey photographs become what three equal colours become, as grey.
    three = relighter(np.repeat(picture[..., :1], 3, 2)).astype(float)
    assert np.abs(three @ (0.299, 0.587, 0.114) - grey).max() < 0.51
    opaque = np.concatenate([picture, np.full((20, 30, 1), 255, np.uint8)], 2)
    assert np.array_equal(relighter(opaque)[..., :3], colours)
    deep = picture.astype(np.uint16) * 257
    assert np.array_equal(relighter(deep), colours)
    assert np.array_equal(pickle.loads(pickle.dumps(relighter))(picture), colours)


def test_what_lies_under_transparent_pixels_has_no_influence(relighter: Relighter):
    picture = np.concatenate([photograph(20, 30), np.full((20, 30, 1), 255, np.uint8)], 2)
    picture[:, 10:, 3] = 0
    other = picture.copy()
    other[:, 10:, :3] = 255
    first, second = relighter(picture), relighter(other)
    assert np.array_equal(first[:, :10], second[:, :10])
    assert np.array_equal(first[..., 3], picture[..., 3])


def test_what_is_hidden_far_away_has_no_influence_either(relighter: Relighter):
    """The network takes means over cells of the photograph, however wide they are."""
    picture = np.concatenate([photograph(8, 320), np.full((8, 320, 1), 255, np.uint8)], 2)
    picture[:, 10:, 3] = 0
    other = picture.copy()
    picture[:, 100:, :3], other[:, 100:, :3] = 0, 255
    first, second = relighter(picture), relighter(other)
    assert np.array_equal(first[:, :10], second[:, :10])


def test_models_that_do_not_fit(tmp_path: Path):
    sample = [torch.rand(1, 3, 12, 12)]
    grey = torch.nn.Conv2d(3, 1, 1).eval()
    with pytest.raises(ArgumentError, match="must take and return 3 planes of unsigned 8-bit"):
        Relighter(fxp.quantize(grey, sample, effort="fast"))
    model = fxp.quantize(
        torch.nn.AvgPool2d(2).eval(), sample, input_format=PIXEL, output_format=PIXEL, effort="fast"
    )
    with pytest.raises(ArgumentError, match="does not keep the size of pictures whose sides"):
        multiple_of(model.graph)
    with pytest.raises(ArgumentError, match="no shipped model 'flash_large', only flash_small"):
        load("flash_large")


def test_command_on_a_photograph_and_a_folder(
    tmp_path: Path, relighter: Relighter, capsys: pytest.CaptureFixture[str]
):
    folder = tmp_path / "in"
    folder.mkdir()
    picture = photograph(20, 30)
    write_image(folder / "a.png", picture)
    Image.new("CMYK", (30, 20), (0, 255, 255, 0)).save(folder / "b.jpg")
    (folder / "c.png").write_text("no photograph")
    assert command(["relight", str(folder / "a.png"), str(tmp_path / "one.png")]) == 0
    assert np.array_equal(read_image(tmp_path / "one.png"), relighter(picture))
    capsys.readouterr()
    assert command(["relight", str(folder), str(tmp_path / "out"), "--json"]) == 1
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert [item["error"] is None for item in report["images"]] == [True, True, False]
    assert "c.png" in captured.err
    assert np.array_equal(read_image(tmp_path / "out" / "a.png"), relighter(picture))
    assert read_image(tmp_path / "out" / "b.png").shape == (20, 30, 3)


def test_command_refuses_video_and_unknown_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "a.y4m").write_bytes(b"YUV4MPEG2 W2 H2 F25:1\nFRAME\n" + bytes(6))
    target = tmp_path / "b.y4m"
    assert command(["relight", str(tmp_path / "a.y4m"), str(target)]) == 1
    assert "relighting is for photographs, not for video" in capsys.readouterr().err
    assert not target.exists()
    write_image(tmp_path / "a.png", photograph(4, 4))
    target = tmp_path / "b.png"
    assert command(["relight", str(tmp_path / "a.png"), str(target), "--model", "x"]) == 1
    assert "no shipped model 'x', only flash_small" in capsys.readouterr().err
    assert not target.exists()
