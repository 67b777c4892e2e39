"""Folders of image sets; the published bicubic figures need the sets themselves."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fxp.imaging.colour import luma
from fxp.imaging.files import ImageError, read_image, write_image
from fxp.models.common.data import SET_SIZES, DataError, data_folder, read_benchmark
from fxp.models.sr import bicubic_scores

needs_data = pytest.mark.skipif(
    "FXP_DATA" not in os.environ, reason="set FXP_DATA to the folder that holds the image sets"
)


def fill(folder: Path, count: int) -> None:
    """Write a colour image, a grey one stored as RGB, and grey ones."""
    folder.mkdir(parents=True)
    for index in range(count):
        image = np.random.default_rng(index).integers(0, 256, (4, 6), np.uint8)
        if index == 0:
            image = np.stack([image, image.T.reshape(4, 6), 255 - image], axis=2)
        elif index == 1:
            image = np.repeat(image[..., None], 3, axis=2)
        write_image(folder / f"{index}.png", image)


def test_the_option_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FXP_DATA", str(tmp_path))
    (tmp_path / "other").mkdir()
    assert data_folder(None) == tmp_path
    assert data_folder(tmp_path / "other") == tmp_path / "other"
    with pytest.raises(DataError, match=r"data folder not found: .*none"):
        data_folder(tmp_path / "none")
    monkeypatch.setenv("FXP_DATA", str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"data folder not found: .*gone"):
        data_folder(None)


@pytest.mark.parametrize("value", [None, ""])
def test_without_any_folder(monkeypatch: pytest.MonkeyPatch, value: str | None):
    monkeypatch.delenv("FXP_DATA", raising=False)
    if value is not None:
        monkeypatch.setenv("FXP_DATA", value)
    with pytest.raises(DataError, match="give --data DIR, or set FXP_DATA") as caught:
        data_folder(None)
    assert "\n" not in str(caught.value)


def test_a_set_is_read_as_luma(tmp_path: Path):
    fill(tmp_path / "Set5", 5)
    (tmp_path / "Set5" / "readme.txt").write_text("not an image")
    images = read_benchmark(tmp_path, "Set5")
    assert list(images) == [f"{index}.png" for index in range(5)]
    for name, image in images.items():
        stored = read_image(tmp_path / "Set5" / name)
        assert np.array_equal(image, luma(stored))
    # Grey stored as RGB has the studio range, a grey file its own.
    assert images["1.png"].min() >= 16
    assert images["1.png"].max() <= 235
    assert np.array_equal(images["2.png"], read_image(tmp_path / "Set5" / "2.png"))


def test_sets_that_are_not_whole(tmp_path: Path):
    with pytest.raises(DataError, match=r"no image set 'Set6'"):
        read_benchmark(tmp_path, "Set6")
    with pytest.raises(ImageError, match=r"no such file or folder: .*Set5"):
        read_benchmark(tmp_path, "Set5")
    (tmp_path / "Set14").mkdir()
    with pytest.raises(ImageError, match=r"no images in folder .*Set14"):
        read_benchmark(tmp_path, "Set14")
    fill(tmp_path / "Set5", 6)
    with pytest.raises(DataError, match="has 6 images, but Set5 has 5"):
        read_benchmark(tmp_path, "Set5")
    (tmp_path / "Set5" / "5.png").unlink()
    whole = (tmp_path / "Set5" / "3.png").read_bytes()
    (tmp_path / "Set5" / "3.png").write_bytes(whole[:-30])
    with pytest.raises(ImageError, match=r"3\.png"):
        read_benchmark(tmp_path, "Set5")


@needs_data
@pytest.mark.parametrize(
    ("name", "psnr", "ssim", "rounded_psnr", "rounded_ssim"),
    [
        ("Set5", 33.661, 0.9299, 33.652, 0.9296),
        ("Set14", 30.232, 0.8687, 30.227, 0.8684),
        ("B100", 29.558, 0.8431, 29.554, 0.8429),
    ],
)
def test_bicubic_figures(
    name: str, psnr: float, ssim: float, rounded_psnr: float, rounded_ssim: float
):
    images = list(read_benchmark(data_folder(None), name).values())
    found = bicubic_scores(images, 2)
    assert (round(found.psnr, 3), round(found.ssim, 4)) == (psnr, ssim)
    rounded = bicubic_scores(images, 2, round_input=True)
    assert (round(rounded.psnr, 3), round(rounded.ssim, 4)) == (rounded_psnr, rounded_ssim)


@needs_data
@pytest.mark.parametrize("name", SET_SIZES)
def test_the_sets_are_whole(name: str):
    assert len(read_benchmark(data_folder(None), name)) == SET_SIZES[name]
