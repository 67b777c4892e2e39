"""Labelled pictures: folders, ZIP files and arrays, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fxp.imaging.files import write_image
from fxp.models.common.data import DataError
from fxp.models.recognition import data
from fxp.models.recognition.data import (
    Batches,
    LabelledImages,
    check_classes,
    find,
    fitted,
    held_out_labelled,
    planes,
    read_labelled,
    varied,
)


def grey(level: int, side: int = 8) -> np.ndarray:
    return np.full((side, side), level, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes: a cat of colour, and two grey dogs of which one is larger."""
    root = tmp_path / "pets"
    (root / "train" / "dog").mkdir(parents=True)
    (root / "train" / "cat").mkdir()
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 2] = 9
    write_image(root / "train" / "cat" / "a.png", colour)
    write_image(root / "train" / "dog" / "b.png", grey(20, 16))
    write_image(root / "train" / "dog" / "a.png", grey(10))
    (root / "train" / "dog" / "notes.txt").write_text("no picture")
    return root


def check_pets(images: LabelledImages) -> None:
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [0, 1, 1]
    assert images.images.shape == (3, 8, 8, 3)
    assert images.images[:, 3, 5].tolist() == [[0, 0, 9], [10, 10, 10], [20, 20, 20]]


def test_folder_and_archive_hold_the_same(folder: Path, tmp_path: Path):
    check_pets(read_labelled(folder, 8))
    check_pets(read_labelled(shutil.make_archive(str(tmp_path / "pets"), "zip", folder), 8))
    assert read_labelled(folder, 8, channels=1).images[1:, 0, 0, 0].tolist() == [10, 20]


def test_arrays(tmp_path: Path):
    pictures = np.stack([grey(3), grey(4)])
    np.savez(tmp_path / "digits.npz", x=pictures, y=np.array([2, 0], np.uint8))
    images = read_labelled(tmp_path / "digits.npz", 16, channels=1)
    assert images.classes == ("0", "1", "2")
    assert images.labels.tolist() == [2, 0]
    assert images.images.shape == (2, 16, 16, 1)
    assert images.images[:, 7, 7, 0].tolist() == [3, 4]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 8, 8))}, "no .npz file with the arrays x and y"),
        ({"x": np.zeros((2, 8, 8)), "y": [0, 1]}, r"must be \(N, H, W\) or \(N, H, W, 3\) uint8"),
        ({"x": np.zeros((2, 8, 8), np.uint8), "y": [0]}, "a whole number from 0 for each"),
        ({"x": np.zeros((2, 8, 8), np.uint8), "y": [0, -1]}, "a whole number from 0 for each"),
        ({"x": np.zeros((2, 8, 8), np.uint8), "y": [0.0, 1.0]}, "a whole number from 0 for each"),
    ],
)
def test_arrays_that_do_not_fit(arrays: dict, message: str, tmp_path: Path):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_labelled(tmp_path / "set.npz", 8)


def test_files_that_are_none(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(DataError, match="no such file"):
        read_labelled(tmp_path / "missing.zip", 8)
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(DataError, match=r"cannot read .*text\.zip"):
        read_labelled(tmp_path / "text.zip", 8)
    with pytest.raises(DataError, match="needs a folder of them for each class"):
        read_labelled(shutil.make_archive(str(tmp_path / "empty"), "zip", tmp_path, "text.zip"), 8)
    with monkeypatch.context() as patch:
        patch.setattr(data, "LIMIT", 100)
        with pytest.raises(DataError, match="has 3 pictures, over"):
            read_labelled(folder, 8)
    (folder / "train" / "dog" / "c.png").write_bytes(b"no picture")
    archive = Path(shutil.make_archive(str(tmp_path / "pets"), "zip", folder))
    with pytest.raises(DataError, match=r"cannot read image .*pets\.zip: train/dog/c\.png"):
        read_labelled(archive, 8)
    shutil.copy(folder / "train" / "dog" / "a.png", folder)
    with pytest.raises(DataError, match="outside the folders of its classes"):
        read_labelled(folder, 8)


def test_sets_are_found_within_the_data(tmp_path: Path):
    (tmp_path / "recognition").mkdir()
    (tmp_path / "recognition" / "set.zip").touch()
    assert find(tmp_path, "set.zip") == tmp_path / "recognition" / "set.zip"
    assert find(Path("elsewhere"), str(tmp_path)) == tmp_path
    with pytest.raises(DataError, match=r"no pictures other\.zip in"):
        find(tmp_path, "other.zip")


def test_square_in_the_centre():
    picture = np.zeros((4, 10, 1), np.uint8)
    picture[:, 3:7] = 200
    assert fitted(picture, 4).min() == 200
    assert fitted(picture, 2, share=0.5).min() == 200
    assert fitted(picture, 4).shape == (4, 4, 1)


def test_planes_are_pixels_by_256():
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    assert planes(pixels)[0, 1].tolist() == [[1 / 256, 4 / 256], [7 / 256, 10 / 256]]


def test_variations_shift_and_mirror_whole_pictures():
    picture = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5, 1).repeat(64, 0)
    made = varied(picture, np.random.default_rng(0), shift=1, flip=True)[..., 0]
    wanted = set()
    bordered = np.pad(picture[0, ..., 0], 1)
    for row in range(3):
        for column in range(3):
            part = bordered[row : row + 5, column : column + 5]
            wanted |= {part.tobytes(), part[:, ::-1].tobytes()}
    assert {item.tobytes() for item in made} == wanted
    same = varied(picture, np.random.default_rng(0), shift=0, flip=False)
    assert (same == picture).all()


def test_a_set_in_the_folder_of_data_comes_before_one_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for folder in ("train", "data/train"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert find(Path("data"), "train") == Path("data/train")
    assert find(Path("elsewhere"), "train") == Path("train")


def test_every_epoch_takes_each_picture_once():
    batches = Batches(10, 3, seed=5)
    first = np.concatenate([batches[number] for number in range(3)])
    assert len(set(first.tolist())) == 9
    again = Batches(10, 3, seed=5)
    assert [again[number].tolist() for number in (4, 0)] == [
        batches[4].tolist(),
        first[:3].tolist(),
    ]
    assert sorted(Batches(2, 128, seed=0)[7].tolist()) == [0, 1]


def test_held_out_pictures_are_of_every_class():
    images = LabelledImages(np.zeros((7, 2, 2, 1), np.uint8), np.array([0, 0, 0, 1, 1, 1, 1]),
                            ("a", "b"))  # fmt: skip
    training, held = held_out_labelled(images, 3)
    assert training.labels.tolist() == [0, 0, 1, 1]
    assert held.labels.tolist() == [0, 1, 1]


def test_other_classes_are_refused():
    check_classes(("a", "b"), ("a", "b"), "test.zip")
    with pytest.raises(DataError, match="has 3 classes"):
        check_classes(("0", "1", "2"), ("0", "1"), "test.npz")
    with pytest.raises(DataError, match="has 2 classes"):
        check_classes(("0", "2"), ("0", "1", "2"), "test.zip")
    with pytest.raises(DataError, match=r"test\.zip has 1 classes \(a\), not the same 2 classes"):
        check_classes(("a",), ("a", "b"), "test.zip")
