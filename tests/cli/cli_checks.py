"""What the tests of the command line check alike."""

from __future__ import annotations

import pytest

from fxp.cli import main


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Return the only line that a failing command writes; it writes nothing else."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("error: ")
    assert len(written.err.splitlines()) == 1
    return written.err.removeprefix("error: ").strip()
