"""The distributions: what a wheel and an sdist hold, and that an installed wheel stands alone.

The wheel is installed into an environment of its own, which borrows the dependencies of this one,
and is run from a directory whose files have the names of modules that it imports.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest

from fxp.imaging.files import read_image, write_image
from fxp.support.distribution import DISTRIBUTION, version

ROOT = Path(__file__).resolve().parents[2]
DATA = {
    "fxp/py.typed",
    "fxp/hls/hls4ml_export/fxp_layers.h",
    "fxp/hls/boards/rtl/board_top.sv.template",
    "fxp/hls/boards/rtl/fxp_fifo.sv",
    "fxp/rtl_sim/board.cpp",
    "fxp/rtl_sim/board_models.sv",
    "fxp/rtl_sim/harness.cpp",
    "fxp/models/events/weights/firenet-small.fxp",
    "fxp/models/sr/weights/kimsr_x2_bicubic.fxp",
    "fxp/models/sr/weights/kimsr_x2_compressed.safetensors",
    "fxp/hls/rtl/lib/fxp_window.sv",
}
TEXTS = {".py", ".md", ".toml", ".txt", ".yml", ".sv", ".cpp", ".h", ".in"}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "optional-dependencies"
]
HOSTILE = ("numpy.py", "typer.py", "fxp.py", "models/__init__.py", "models/sr/__init__.py",
           "hls/__init__.py", "rtl_sim/__init__.py", "fxp_demo/__init__.py")  # fmt: skip


IGNORED = {".git", ".venv", "__pycache__", "build", "dist", "site", "demo_output", "shared"}


def source_files() -> Iterator[Path]:
    """Every file and link of the source tree, without what builds and tools leave there."""
    for place, names, files in os.walk(ROOT):
        folder = Path(place)
        ignored = {
            name
            for name in names
            if name in IGNORED or name.endswith(("_cache", ".egg-info", ".hypothesis"))
        }
        links = [name for name in names if (folder / name).is_symlink()]
        yield from (folder / name for name in [*files, *links])
        names[:] = sorted(set(names) - ignored - set(links))


def package_files(folder: Path, name: str) -> set[str]:
    """Paths inside the package of every file that must be in a wheel."""
    kept = {
        ".py",
        ".sv",
        ".h",
        ".cpp",
        ".safetensors",
        ".fxp",
        ".log",
        ".typed",
        ".jinja",
        ".template",
    }
    return {
        f"{name}/{path.relative_to(folder)}"
        for path in folder.rglob("*")
        if path.suffix in kept or path.name == "py.typed"
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with an sdist, the wheel built from it, and in ``direct`` that of the source tree."""
    # A copy, so that nothing is written into the source tree and nothing stale is packed.
    folder = tmp_path_factory.mktemp("distributions")
    source = folder / "source"
    for original in source_files():
        target = source / original.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(original, target, follow_symlinks=False)
    build = (sys.executable, "-m", "build", "--no-isolation", "--outdir")
    for options in ((folder / "dist",), (folder / "direct", "--wheel")):
        done = subprocess.run(
            (*build, *options, source), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def wheel_content(folder: Path) -> dict[str, bytes]:
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_the_package_and_nothing_else(built: Path) -> None:
    names = set(wheel_content(built / "dist"))
    info = f"{DISTRIBUTION.replace('-', '_')}-{version()}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"fxp", info}
    assert names >= DATA
    expected = set[str]()
    for folder, name in ((ROOT / "fxp", "fxp"), (ROOT / "models", "fxp/models"),
                         (ROOT / "hls", "fxp/hls"), (ROOT / "rtl_sim", "fxp/rtl_sim")):  # fmt: skip
        expected |= package_files(folder, name)
    assert len(expected) > 200
    assert {name for name in names if name.startswith("fxp/")} == expected


def test_sdist_and_source_tree_give_the_same_wheel(built: Path) -> None:
    from_sdist, from_tree = (wheel_content(built / name) for name in ("dist", "direct"))
    assert from_sdist.keys() == from_tree.keys()
    for name, content in from_sdist.items():
        assert name.endswith("/RECORD") or content == from_tree[name], name


def test_the_sdist_holds_files_and_no_links(built: Path) -> None:
    (sdist,) = (built / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert all(member.isfile() or member.isdir() for member in members)
    inside = {member.name.partition("/")[2] for member in members}
    assert inside >= {*DATA, "LICENSE", "README.md", "pyproject.toml"}
    tops = {name.partition("/")[0] for name in inside if name}
    assert not tops & {"tests", "benchmarks", "models", "hls", "rtl_sim", "docs"}


def test_the_interpreters_are_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    assert project["requires-python"] == ">=3.11"
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in project["classifiers"]


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """Folder of the programs of an environment that has the wheel and borrowed dependencies."""
    environment = built / "environment"
    subprocess.run((sys.executable, "-m", "venv", "--without-pip", environment), check=True)
    programs = environment / "bin"
    (wheel,) = (built / "dist").glob("*.whl")
    subprocess.run(
        (sys.executable, "-m", "pip", "--python", programs / "python", "install", "--quiet",
         "--no-deps", "--no-index", wheel), check=True,
    )  # fmt: skip
    (site,) = environment.glob("lib/python*/site-packages")
    # Folders named in a .pth file come last, and editable installations there have no effect.
    borrowed = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "borrowed.pth").write_text("\n".join(borrowed))
    return programs


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which modules of other people have the names of ours."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in HOSTILE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"raise SystemExit('imported {name}')\n")
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    write_image(folder / "photo.png", pixels)
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """Standard output of ``fxp``, which must succeed."""
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        (installed / "fxp", *arguments), cwd=folder, env=environment, capture_output=True,
        text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_installed_wheel_is_what_runs(installed: Path, hostile: Path) -> None:
    assert run(installed, hostile, "--version") == f"fxp {version()}\n"
    where = subprocess.run(
        (installed / "python", "-P", "-c", "import fxp.rtl_sim as room; print(room.__file__)"),
        cwd=hostile, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert Path(where.strip()).is_relative_to(installed.parent)


def test_upscale_from_a_hostile_directory(installed: Path, hostile: Path) -> None:
    run(installed, hostile, "upscale", "photo.png", "large.png")
    assert read_image(hostile / "large.png").shape == (48, 40, 3)


def test_demo_from_a_hostile_directory(installed: Path, hostile: Path) -> None:
    output = run(installed, hostile, "demo", "--image", "photo.png", "--out", "fxp_demo")
    assert "bit for bit" in output
    assert (hostile / "fxp_demo" / "kimsr_x2.fxp").is_file()


def test_the_editable_installation_maps_the_same_name() -> None:
    try:
        files = distribution(DISTRIBUTION).read_text("top_level.txt")
    except PackageNotFoundError:
        pytest.fail(f"{DISTRIBUTION} is not installed; the tests run in an installed environment")
    assert files is not None
    assert files.split() == ["fxp"]
    for room in ("models", "hls", "rtl_sim"):
        assert (ROOT / "fxp" / room).is_symlink()
        assert (ROOT / "fxp" / room).resolve() == ROOT / room


def test_nothing_advises_to_install_the_distribution_of_somebody_else() -> None:
    # On the package index the bare name belongs to another project.
    extras = "|".join(EXTRAS)
    advice = re.compile(
        rf"\bf[x]p\[(?:{extras})|pip install [^\n]*(?<![-./\w])f[x]p(?:[\[`'\"\s]|$)", re.MULTILINE
    )
    assert advice.search("pip install 'f" + "xp[rtl]'")
    assert advice.search("`pip install f" + "xp`")
    assert not advice.search("pip install 'fxp-inference[rtl]'; pip install -e '.[rtl]'")
    searched = 0
    for path in source_files():
        if path.suffix in TEXTS:
            found = advice.search(path.read_text(encoding="utf-8"))
            searched += 1
            assert found is None, f"{path}: {found[0]}"
    assert searched > 300
