"""One folder for compiled cores for all tests of a run, and of the next runs."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def work_dir(kept_folder: Path) -> Path:
    """Folder for emitted cores and their programs, whose names tell what they were made from."""
    folder = kept_folder / "cores"
    folder.mkdir(exist_ok=True)
    return folder
