"""What a file says besides its pixels is kept where it stays true, and only there."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from fxp.imaging.files import ImageError, read_picture, write_image

MAKER, ORIENTATION, TAKEN, WIDTH, NORTH = 0x010F, 0x0112, 0x9003, 0xA002, 1
EXPOSURE_FOLDER, PLACE_FOLDER = 0x8769, 0x8825
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A photograph that stands on its side, as a camera writes it."""
    exif = Image.Exif()
    # A size outside of its folder is as untrue as one in it.
    exif[MAKER], exif[ORIENTATION], exif[WIDTH] = "Maker", 6, 30
    exif.get_ifd(EXPOSURE_FOLDER).update({TAKEN: "2020:01:01 00:00:00", WIDTH: 30})
    exif.get_ifd(PLACE_FOLDER)[NORTH] = "N"
    path = tmp_path / "photograph.jpg"
    Image.fromarray(PIXELS).save(path, exif=exif, icc_profile=PROFILE, dpi=(300, 150))
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_what_stays_true_is_kept(photograph: Path, tmp_path: Path, suffix: str):
    pixels, attachments = read_picture(photograph)
    assert pixels.shape == (30, 20, 3)
    write_image(tmp_path / f"out{suffix}", pixels, attachments=attachments)
    with Image.open(tmp_path / f"out{suffix}") as written:
        exif = written.getexif()
        assert written.size == (20, 30)
        assert written.info["icc_profile"] == PROFILE
        assert exif[MAKER] == "Maker"
        assert exif.get(ORIENTATION, 1) == 1
        assert WIDTH not in exif
        assert dict(exif.get_ifd(EXPOSURE_FOLDER)) == {TAKEN: "2020:01:01 00:00:00"}
        assert exif.get_ifd(PLACE_FOLDER)[NORTH] == "N"
        if suffix != ".webp":
            # PNG counts whole pixels per metre.
            assert written.info["dpi"] == pytest.approx((300, 150), abs=0.0254)


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".jp2"])
def test_formats_that_hold_less_hold_the_pixels(photograph: Path, tmp_path: Path, suffix: str):
    pixels, attachments = read_picture(photograph)
    write_image(tmp_path / f"out{suffix}", pixels, attachments=attachments)
    assert np.array_equal(read_picture(tmp_path / f"out{suffix}")[0], pixels)


def test_a_profile_of_another_colour_space_is_dropped(tmp_path: Path):
    """Grey written with a profile for RGB would be shown wrongly, or not at all."""
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "grey.png", icc_profile=PROFILE)
    pixels, attachments = read_picture(tmp_path / "grey.png")
    write_image(tmp_path / "out.png", pixels, attachments=attachments)
    with Image.open(tmp_path / "out.png") as written:
        assert written.mode == "L"
        assert "icc_profile" not in written.info


def test_damaged_notes_do_not_cost_the_picture(photograph: Path, tmp_path: Path):
    data = bytearray(photograph.read_bytes())
    start = data.index(b"Exif\0\0") + 6
    for seed in range(40):
        broken = bytearray(data)
        for place, value in np.random.default_rng(seed).integers(0, 256, (30, 2)):
            broken[start + int(place)] = int(value)
        path = tmp_path / "broken.jpg"
        path.write_bytes(broken)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                pixels, attachments = read_picture(path)
            except ImageError:
                continue
        assert sorted(pixels.shape) == [3, 20, 30]
        write_image(tmp_path / "out.png", pixels, attachments=attachments)


def test_an_image_that_is_too_large_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """The header alone announces 40,000 by 5,000 pixels."""
    path = tmp_path / "bomb.pgm"
    path.write_bytes(b"P5\n40000 5000\n255\n")
    with pytest.raises(ImageError, match=r"more than the 178,956,970 pixels that are read; cut it"):
        read_picture(path)
    assert capfd.readouterr().err == ""
