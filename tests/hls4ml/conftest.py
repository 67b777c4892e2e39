"""Compiled C simulations, kept for the next runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def kept_simulations(kept_folder: Path) -> Path:
    """Folder of compiled C simulations, named by a hash of their sources and the compiler."""
    folder = kept_folder / "hls4ml"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def compiled_once(kept_simulations: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a C simulation that was compiled from the same sources before, in any run.

    For tests of what a simulation computes; those of compiling itself do without.
    """
    from fxp.hls.hls4ml_export.project import HlsProject
    from fxp.hls.hls4ml_export.writing import BUILD_SCRIPT, SIMULATOR

    if shutil.which("g++") is None:
        return
    monkeypatch.setenv("CXXFLAGS", "-O0")  # small images: compiling is what takes time
    compile_now = HlsProject.compile
    version = subprocess.run(["g++", "--version"], capture_output=True, check=True).stdout
    flags = os.environ["CXXFLAGS"].encode()

    def compile_once(project: HlsProject, **options: object) -> None:
        check = hashlib.sha256(version + flags)
        for path in sorted(project.folder.rglob("*")):
            if path.suffix in (".h", ".hpp", ".cpp") or path.name == BUILD_SCRIPT:
                check.update(str(path.relative_to(project.folder)).encode())
                check.update(path.read_bytes())
        kept = kept_simulations / check.hexdigest()[:32] / SIMULATOR
        if not kept.exists():
            compile_now(project, **options)  # type: ignore[arg-type]
            unfinished = kept.parent.with_suffix(f".{id(project)}")
            unfinished.mkdir()
            shutil.copy2(project.folder / SIMULATOR, unfinished / SIMULATOR)
            if not kept.parent.exists():
                unfinished.rename(kept.parent)
        shutil.copy2(kept, project.folder / SIMULATOR)

    monkeypatch.setattr(HlsProject, "compile", compile_once)
