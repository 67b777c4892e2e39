"""Weights that `fxp quantize` reads from checkpoints, and those it refuses."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from cli_checks import error_of
from numpy.typing import NDArray

import fxp
from fxp.cli import main

NETWORK = """
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 1)

        def forward(self, x):
            return self.conv(x)
"""


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Arguments that quantize a network with one weight and one bias."""
    monkeypatch.chdir(tmp_path)
    Path("a_network_with_weights.py").write_text(textwrap.dedent(NETWORK))
    np.save("values.npy", np.linspace(0, 1, 16).reshape(1, 1, 4, 4))
    monkeypatch.delitem(sys.modules, "a_network_with_weights", raising=False)
    return ("quantize", "a_network_with_weights:Net", "--calibration", "values.npy")


def weight_of(path: str) -> NDArray[np.float64]:
    image = np.array([[[0.0, 1.0]]])
    low, high = fxp.load(path)(image).ravel()
    return np.array([high - low, low])


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "params"])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod."])
def test_weights_are_found_in_checkpoints(network: tuple[str, ...], key: str, wrapper: str):
    import torch

    state = {
        f"{wrapper}conv.weight": torch.full((1, 1, 1, 1), 0.5),
        f"{wrapper}conv.bias": torch.full((1,), 0.25),
    }
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, key: state}, "checkpoint.pt")
    assert main([*network, "--weights", "checkpoint.pt", "--out", "net.fxp"]) == 0
    assert np.allclose(weight_of("net.fxp"), [0.5, 0.25], atol=0.01)


def test_other_checkpoints_are_refused_with_advice(
    network: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    import torch

    tail = ("--out", "never.fxp", "--weights")
    torch.save(torch.nn.Conv2d(1, 1, 1), "whole.pt")
    text = error_of(capsys, *network, *tail, "whole.pt")
    assert "torch.save(network.state_dict(), path)" in text
    torch.save({"epoch": 3}, "none.pt")
    text = error_of(capsys, *network, *tail, "none.pt")
    assert "its keys are 'epoch'" in text
    torch.save([1], "list.pt")
    assert "holds a list" in error_of(capsys, *network, *tail, "list.pt")
    torch.save({"conv.weight": torch.zeros(1, 1, 1, 1), "more": torch.zeros(1)}, "other.pt")
    text = error_of(capsys, *network, *tail, "other.pt")
    assert "they lack conv.bias; the network has no more" in text
    torch.save({"conv.weight": torch.zeros(2, 1, 1, 1), "conv.bias": torch.zeros(1)}, "shape.pt")
    text = error_of(capsys, *network, *tail, "shape.pt")
    assert "conv.weight has shape (2, 1, 1, 1), not (1, 1, 1, 1)" in text
    assert not Path("never.fxp").exists()
