"""Every room is reached from ``import fxp`` alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fxp


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


@pytest.mark.parametrize("room", ["hls", "rtl_sim"])
def test_every_public_name_loads(room: str) -> None:
    module = getattr(fxp, room)
    assert [name for name in module.__all__ if getattr(module, name, None) is None] == []
    with pytest.raises(AttributeError, match=rf"module 'fxp\.{room}' has no attribute 'nothing'"):
        _ = module.nothing
