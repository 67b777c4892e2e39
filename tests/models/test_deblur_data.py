"""Layouts of pairs, films, what is wrong with them, and the scores of Köhler."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import typer
from typer.testing import CliRunner

from fxp.imaging.files import ImageError, read_image, write_image
from fxp.imaging.metrics import psnr
from fxp.models.common.data import DataError
from fxp.models.deblur import synthesize
from fxp.models.deblur.data import (
    folder_pairs,
    gopro_pairs,
    kohler_items,
    read_frames,
    sequences,
)
from fxp.models.deblur.measure import multi_scale_similarity, score_kohler, score_pairs


def picture(path: Path, value: int, height: int = 12, width: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((height, width, 3), value, np.uint8))


@pytest.fixture
def gopro(tmp_path: Path) -> Path:
    for part, sequence in (("train", "GOPR1_07_00"), ("test", "GOPR2_11_00")):
        for number in (1, 2):
            for kind, value in (("blur", 10), ("blur_gamma", 20), ("sharp", 30)):
                picture(tmp_path / part / sequence / kind / f"00000{number}.png", value + number)
    return tmp_path


def test_the_layout_of_gopro(gopro: Path):
    pairs = gopro_pairs(gopro)
    assert [str(pair.blurred.relative_to(gopro)) for pair in pairs] == [
        "test/GOPR2_11_00/blur_gamma/000001.png",
        "test/GOPR2_11_00/blur_gamma/000002.png",
    ]
    blurred, sharp = pairs[1].read()
    assert blurred.shape == (12, 16, 3)
    assert (int(blurred[0, 0, 0]), int(sharp[0, 0, 0])) == (22, 32)
    linear = gopro_pairs(gopro, "train", linear=True)
    assert int(linear[0].read()[0][0, 0, 0]) == 11


def test_what_gopro_may_lack(gopro: Path):
    with pytest.raises(DataError, match=r"no folder .*validation; GOPRO has train and test"):
        gopro_pairs(gopro, "validation")
    (gopro / "test" / "GOPR2_11_00" / "sharp" / "000002.png").unlink()
    with pytest.raises(DataError, match=r"blur_gamma/000002\.png has no partner in .*sharp"):
        gopro_pairs(gopro)
    picture(gopro / "train" / "GOPR1_07_00" / "sharp" / "000003.png", 1)
    with pytest.raises(DataError, match=r"sharp/000003\.png has no partner in .*blur_gamma"):
        gopro_pairs(gopro, "train")


def test_pairs_of_unequal_size_and_corrupt_files(tmp_path: Path):
    picture(tmp_path / "a_blur.png", 1)
    picture(tmp_path / "a_sharp.png", 1, 12, 20)
    (pair,) = folder_pairs(tmp_path)
    with pytest.raises(DataError, match=r"a_blur\.png is 16x12, but .*a_sharp\.png is 20x12"):
        pair.read()
    whole = (tmp_path / "a_sharp.png").read_bytes()
    (tmp_path / "a_sharp.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"a_sharp\.png"):
        pair.read()
    picture(tmp_path / "b_blur.png", 1)
    with pytest.raises(DataError, match=r"b_blur\.png has no partner b_sharp"):
        folder_pairs(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        folder_pairs(tmp_path / "none")
    (tmp_path / "other").mkdir()
    picture(tmp_path / "other" / "x.png", 1)
    with pytest.raises(DataError, match="no pairs NAME_blur and NAME_sharp"):
        folder_pairs(tmp_path / "other")


def test_two_files_for_one_photograph(tmp_path: Path):
    for name in ("blur/1.png", "blur/1.bmp", "sharp/1.png"):
        picture(tmp_path / name, 1)
    with pytest.raises(DataError, match=r"two photographs for one: .*1\.bmp and .*1\.png"):
        folder_pairs(tmp_path / "blur", tmp_path / "sharp")


def test_frames_of_a_film(tmp_path: Path):
    for number in (2, 10, 1):
        picture(tmp_path / "film" / f"{number:03d}.png", number)
    (tmp_path / "empty").mkdir()
    found = sequences(tmp_path)
    assert list(found) == ["film"]
    assert [int(frame[0, 0, 0]) for frame in read_frames(found["film"])] == [1, 2, 10]
    picture(tmp_path / "film" / "011.png", 1, 10, 10)
    with pytest.raises(DataError, match=r"001\.png is 16x12, but .*011\.png is 10x10"):
        read_frames(sequences(tmp_path)["film"])
    with pytest.raises(DataError, match="no folders of frames"):
        sequences(tmp_path / "empty")


def synthesized(*arguments: object) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(synthesize.main)
    result = CliRunner().invoke(app, [str(item) for item in arguments])
    return result.exit_code, result.output


def test_films_become_pairs_and_one_that_fails_stops_none(tmp_path: Path):
    for number, value in enumerate((0, 0, 255, 9, 9, 9, 9)):
        picture(tmp_path / "films" / "long" / f"{number}.png", value)
    for number in range(2):
        picture(tmp_path / "films" / "brief" / f"{number}.png", 1)
    for number in range(3):
        picture(tmp_path / "films" / "mixed" / f"{number}.png", 1, 12 + number)
    code, text = synthesized(tmp_path / "films", tmp_path / "out", "--frames", 3)
    assert code == 1
    assert "long: 2 photographs" in text
    assert "brief: a sequence of 2 frames, fewer than the 3 to average" in text
    assert "2 of 3 images are not blurred" in text
    assert sorted(item.name for item in (tmp_path / "out").iterdir()) == ["long"]
    (first, second) = folder_pairs(
        tmp_path / "out" / "long" / "blur_gamma", tmp_path / "out" / "long" / "sharp"
    )
    blurred, sharp = first.read()
    # (1 / 3) ** (1 / 2.2) * 255 = 154.77
    assert (int(blurred[0, 0, 0]), int(sharp[0, 0, 0])) == (155, 0)
    assert int(second.read()[1][0, 0, 0]) == 9
    again = synthesized(tmp_path / "films", tmp_path / "out", "--frames", 3)
    assert again[0] == 1
    assert "exists already" in again[1]


def test_a_film_that_ends_early_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(6):
        picture(tmp_path / "films" / "film" / f"{number}.png", 1)
    write = synthesize.write_image

    def full_disk(path: Path, image: np.ndarray) -> None:
        if path.parent.name == "sharp" and path.stem == "000002":
            raise OSError("no space left")
        write(path, image)

    monkeypatch.setattr(synthesize, "write_image", full_disk)
    code, text = synthesized(tmp_path / "films", tmp_path / "out", "--frames", 3)
    assert code == 1
    assert "no space left" in text
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.undo()
    assert synthesized(tmp_path / "films", tmp_path / "out", "--frames", 3)[0] == 0
    assert (
        len(folder_pairs(*(tmp_path / "out" / "film" / name for name in ("blur_gamma", "sharp"))))
        == 2
    )


def test_an_even_number_of_frames_writes_nothing(tmp_path: Path):
    for number in range(5):
        picture(tmp_path / "films" / "film" / f"{number}.png", 1)
    code, text = synthesized(tmp_path / "films", tmp_path / "out", "--frames", 4)
    assert code == 1
    assert "must be odd" in text
    assert not (tmp_path / "out").exists()
    code, text = synthesized(tmp_path / "none", tmp_path / "out")
    assert code == 1
    assert text.splitlines() == [f"error: no folder {tmp_path / 'none'}"]


def test_scores_of_pairs():
    sharp = np.full((16, 16, 3), 100, np.uint8)
    scores = score_pairs([(sharp + 5, sharp), (sharp + 5, sharp)])
    assert scores.psnr == pytest.approx(psnr(sharp, sharp + 5, 255))
    assert score_pairs([(sharp + 5, sharp)], lambda image: image - 5).ssim == 1.0


def test_kohler_counts_the_view_most_like_the_result(tmp_path: Path):
    photo = np.ascontiguousarray(skimage.data.astronaut()[100:300, 150:350])
    (tmp_path / "BlurryImages").mkdir()
    write_image(tmp_path / "BlurryImages" / "Blurry1_10.png", photo)
    write_image(tmp_path / "BlurryImages" / "Blurry1_2.png", photo)
    darker = (photo // 2).astype(np.uint8)
    for kernel, folder in ((2, tmp_path), (10, tmp_path / "GroundTruth_pngs_Image1")):
        place = folder / "Image1" / f"Kernel{kernel}"
        place.mkdir(parents=True)
        views = {1: darker, 9: np.maximum(photo, 4), 10: darker}
        for number, view in views.items():
            write_image(place / f"GroundTruth1_{kernel}_{number}.png", view)
    items = kohler_items(tmp_path)
    assert [item.blurred.name for item in items] == ["Blurry1_2.png", "Blurry1_10.png"]
    assert [path.stem.split("_")[-1] for path in items[1].sharp] == ["1", "9", "10"]
    scores = score_kohler(items[:1])
    assert scores.psnr == pytest.approx(psnr(np.maximum(photo, 4), photo, 255))
    assert 0.99 < scores.ssim < 1
    for path in (tmp_path / "Image1" / "Kernel2").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"Blurry1_2\.png has no views"):
        kohler_items(tmp_path)
    with pytest.raises(DataError, match=r"no folder .*BlurryImages"):
        kohler_items(tmp_path / "Image1")


def test_multi_scale_similarity():
    photo = skimage.data.camera()[:200, :220]
    assert multi_scale_similarity(photo, photo) == pytest.approx(1.0)
    random = np.random.default_rng(0)
    noise = np.clip(photo + random.normal(0, 20, photo.shape), 0, 255).astype(np.uint8)
    more = np.clip(photo + random.normal(0, 40, photo.shape), 0, 255).astype(np.uint8)
    first, second = (multi_scale_similarity(photo, item) for item in (noise, more))
    assert 0.5 < second < first < 1
    colours = np.stack([photo] * 3, 2), np.stack([noise, noise, more], 2)
    assert multi_scale_similarity(*colours) == pytest.approx((2 * first + second) / 3)
    # Constants differ in luminance alone, which counts at the last scale: to the power 0.1333.
    dark, light = (np.full((176, 176), value, np.uint8) for value in (100, 200))
    one = (0.01 * 255) ** 2
    expected = ((2 * 100 * 200 + one) / (100**2 + 200**2 + one)) ** 0.1333
    assert multi_scale_similarity(dark, light) == pytest.approx(expected)
    with pytest.raises(ValueError, match="176 pixels or more"):
        multi_scale_similarity(photo[:175], photo[:175])


def test_grey_files_are_read_as_rgb(tmp_path: Path):
    write_image(tmp_path / "a_blur.png", np.arange(6, dtype=np.uint8).reshape(2, 3))
    write_image(tmp_path / "a_sharp.png", np.arange(6, dtype=np.uint8).reshape(2, 3))
    blurred, _ = folder_pairs(tmp_path)[0].read()
    assert blurred.shape == (2, 3, 3)
    assert np.array_equal(blurred[..., 1], read_image(tmp_path / "a_blur.png"))
