"""Pairs with flash and in ambient light: how they are found, checked and divided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fxp.imaging.files import ImageError, write_image
from fxp.models.common.data import DataError
from fxp.models.flash.data import (
    FlashPair,
    MisalignedWarning,
    divided,
    measured_shift,
    read_pair,
    read_pairs,
    reduced,
    smoothed,
    training_pairs,
)


def photograph(height: int = 48, width: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """Blocks of random colours."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3))
    return np.kron(blocks, np.ones((8, 8, 1)))[3 : 3 + height, 5 : 5 + width].astype(np.uint8)


def write_pair(folder: Path, name: str, **kinds: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, picture in kinds.items():
        write_image(folder / f"{name}_{kind}.png", picture)


def test_pairs_of_a_folder_and_of_its_subfolders(tmp_path: Path):
    picture = photograph()
    write_pair(tmp_path / "train", "Plants_002", flash=picture, ambient=picture // 2)
    write_pair(tmp_path / "test", "Rooms_007", flash=picture, ambient=picture // 3)
    (tmp_path / "notes.txt").write_text("no photograph")
    (tmp_path / ".Plants_003_flash.png").write_text("hidden")
    pairs = read_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["test/Rooms_007", "train/Plants_002"]
    assert np.array_equal(pairs[0].flash, picture)
    assert np.array_equal(pairs[0].ambient, picture // 3)


def test_training_leaves_the_folder_classic_out(tmp_path: Path):
    picture = photograph()
    for name in ("reduced", "classic", "full"):
        write_pair(tmp_path / "flash" / name, f"{name}_1", flash=picture, ambient=picture)
    assert [pair.name for pair in training_pairs(tmp_path)] == ["full_1", "reduced_1"]
    with pytest.raises(DataError, match=r"folder of flash pairs not found: .*flash/flash"):
        training_pairs(tmp_path / "flash")


def test_two_pairs_of_one_name_would_leak_between_folds(tmp_path: Path):
    for name in ("first", "second"):
        write_pair(tmp_path / "flash" / name, "Toys_1", flash=photograph(), ambient=photograph())
    with pytest.raises(DataError, match=r"two pairs in .*flash are named Toys_1; rename or remove"):
        training_pairs(tmp_path)


def test_training_pairs_without_subfolders(tmp_path: Path):
    picture = photograph()
    write_pair(tmp_path / "flash", "Toys_1", flash=picture, ambient=picture)
    assert [pair.name for pair in training_pairs(tmp_path)] == ["Toys_1"]


def test_files_without_a_partner(tmp_path: Path):
    write_pair(tmp_path, "Toys_072", flash=photograph())
    with pytest.raises(DataError, match=r"Toys_072_flash.png has no partner Toys_072_ambient"):
        read_pairs(tmp_path)
    write_pair(tmp_path, "Toys_072", ambient=photograph())
    write_pair(tmp_path, "Toys_073", ambient=photograph())
    with pytest.raises(DataError, match=r"Toys_073_ambient.png has no partner Toys_073_flash"):
        read_pairs(tmp_path)


def test_folders_without_pairs(tmp_path: Path):
    with pytest.raises(DataError, match="no pairs NAME_flash and NAME_ambient in folder"):
        read_pairs(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        read_pairs(tmp_path / "none")


def test_two_files_for_one_photograph(tmp_path: Path):
    write_pair(tmp_path, "Toys_072", flash=photograph(), ambient=photograph())
    write_image(tmp_path / "Toys_072_flash.jpg", photograph())
    with pytest.raises(DataError, match=r"two photographs for one: .*flash.jpg and .*flash.png"):
        read_pairs(tmp_path)


def test_pairs_that_do_not_fit(tmp_path: Path):
    flash, ambient = tmp_path / "a_flash.png", tmp_path / "a_ambient.png"
    write_image(flash, photograph(48, 64))
    write_image(ambient, photograph(48, 56))
    with pytest.raises(DataError, match=r"a_flash.png is 64x48, but .*a_ambient.png is 56x48"):
        read_pair("a", flash, ambient)
    write_image(ambient, photograph()[..., 0])
    with pytest.raises(DataError, match=r"a_ambient.png is grey, but the networks learn colours"):
        read_pair("a", flash, ambient)
    ambient.write_bytes(flash.read_bytes()[:90])
    with pytest.raises(ImageError, match=r"a_ambient.png"):
        read_pair("a", flash, ambient)


def test_cmyk_becomes_rgb(tmp_path: Path):
    flash, ambient = tmp_path / "a_flash.jpg", tmp_path / "a_ambient.jpg"
    for path in (flash, ambient):
        Image.new("CMYK", (32, 24), (0, 255, 255, 0)).save(path)
    pair = read_pair("a", flash, ambient)
    assert pair.flash.shape == (24, 32, 3)
    # No cyan, all magenta and yellow: red.
    assert np.abs(pair.flash.astype(int) - (255, 0, 0)).max() < 8


def test_a_shift_is_measured_and_warned_of(tmp_path: Path):
    whole = photograph(64, 80)
    flash, ambient = whole[4:52, 3:67], whole[:48, 10:74]
    # What lies in row 4 of the second lies in row 0 of the first: it is 4 rows lower.
    assert measured_shift(flash, ambient // 2) == pytest.approx((4, -7), abs=0.3)
    assert measured_shift(flash, flash // 2) == pytest.approx((0, 0), abs=0.1)
    assert measured_shift(flash, np.zeros_like(flash)) is None
    write_pair(tmp_path, "a", flash=flash, ambient=ambient)
    with pytest.warns(MisalignedWarning, match=r"shifted by \+[34].\d rows and -[67].\d columns"):
        read_pairs(tmp_path)


def test_pictures_with_nothing_in_common_have_no_shift():
    noises = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3)) for seed in (1, 2)]
    first, second = (noise.astype(np.uint8) for noise in noises)
    assert measured_shift(first, second) is None


def test_large_pairs_are_reduced():
    picture = np.full((60, 80, 3), 77, np.uint8)
    small = reduced(FlashPair("a", picture, picture // 7), 40)
    assert small.flash.shape == (30, 40, 3)
    assert (small.flash == 77).all()
    assert (small.ambient == 11).all()
    assert reduced(small, 40) is small


def test_every_pair_is_left_out_once():
    pairs = [FlashPair(str(number), *(np.zeros((2, 2, 3), np.uint8),) * 2) for number in range(5)]
    names = [[pair.name for pair in part] for part in divided(pairs, 1, 2)]
    assert names == [["0", "2", "4"], ["1", "3"]]
    assert [pair.name for fold in range(3) for pair in divided(pairs, fold, 3)[1]] == list("03142")
    training, left_out = divided(pairs, -1, 3)
    assert (len(training), left_out) == (5, [])
    with pytest.raises(DataError, match="fold must be from 0 to 2, or -1"):
        divided(pairs, 3, 3)
    with pytest.raises(DataError, match="5 pairs cannot be divided into 6 folds"):
        divided(pairs, 0, 6)


def test_smoothing_takes_texture_and_leaves_edges():
    picture = np.full((24, 24, 3), 40, np.uint8)
    picture[::2] += 10
    picture[:, 12:] = 240
    result = smoothed(picture).astype(int)
    assert np.abs(result[6:-6, 4:8] - 45).max() <= 2
    assert (result[:, 18:] == 240).all()
