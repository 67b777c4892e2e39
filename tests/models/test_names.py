"""Every room is reached from ``import fxp`` alone."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "name",
    ["models.sr.load", "hls.emit_rtl", "rtl_sim.cosim", "export.onnx"],
)
def test_a_name_is_reached_without_another_import(name: str) -> None:
    subprocess.run([sys.executable, "-c", f"import fxp; fxp.{name}"], check=True)


def test_a_system_that_is_not_there_is_an_attribute_error() -> None:
    code = "import fxp\ntry:\n    fxp.models.deep\nexcept AttributeError:\n    print('named')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "named\n"
