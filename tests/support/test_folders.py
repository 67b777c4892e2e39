"""Folders that are replaced as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from fxp.support.errors import ArgumentError
from fxp.support.files import replacing_folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_nothing_of_an_earlier_folder_is_left(tmp_path: Path):
    target = tmp_path / "above" / "made"
    for content in ("first", "second"):
        with replacing_folder(target) as folder:
            (folder / content).write_text(content)
            # Until the end the earlier folder is the one that is there.
            assert (target / "first").exists() == (content == "second")
    assert names(tmp_path) == ["above", "above/made", "above/made/second"]


def test_a_link_stays_a_link(tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with replacing_folder(tmp_path / "link") as folder:
        (folder / "file").touch()
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "there") == ["file"]


def test_after_an_error_the_earlier_folder_is_intact(tmp_path: Path, monkeypatch):
    target = tmp_path / "made"
    target.mkdir()
    (target / "mine").touch()

    def fail() -> None:
        with replacing_folder(target) as folder:
            (folder / "half").touch()
            raise KeyError("some fault")

    with pytest.raises(KeyError, match="some fault"):
        fail()
    monkeypatch.chdir(target)
    for here in (target, tmp_path):
        with pytest.raises(ArgumentError, match="is the current folder, or holds it"):
            replacing_folder(here).__enter__()
    with pytest.raises(NotADirectoryError, match="mine is not a folder"):
        replacing_folder(target / "mine").__enter__()
    assert names(tmp_path) == ["made", "made/mine"]
