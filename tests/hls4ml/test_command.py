"""``fxp export hls4ml``."""

from pathlib import Path

import pytest

pytest.importorskip("hls4ml")

from fxp import hls
from fxp.cli import main
from fxp.hls.hls4ml_export import exporting

MODEL = Path(__file__).parents[2] / "models" / "sr" / "weights" / "kimsr_x2_bicubic.fxp"


def run(*arguments: object) -> int:
    return main(["export", "hls4ml", *(str(argument) for argument in arguments)])


def test_writes_a_project(tmp_path, capsys):
    options = ("--height", 6, "--backend", "Vivado", "--reuse-factor", 2, "--no-verify")
    assert run(MODEL, tmp_path / "p", *options) == 0
    assert "unverified" in capsys.readouterr().out
    project = hls.HlsProject(tmp_path / "p")
    assert project.backend == "Vivado"
    assert project.shapes["luma"] == (1, 6, 32)
    assert project.notes["reuse_factor"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.fxp", "p"), "missing.fxp"),
        ((MODEL, "no/folder"), "no folder"),
        ((MODEL, "p", "--height", "1", "--strategy", "distributed_arithmetic"), "da4ml"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    # As on a machine without da4ml.
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    assert run(*arguments) == 1
    text = capsys.readouterr().err
    assert message in text
    assert text.strip().count("\n") == 0
    assert [*tmp_path.iterdir()] == []
