"""``fxp compress``: files there and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_checks import error_of
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import fxp
from fxp import Constant, Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.cli.networks import read_state
from fxp.graph.ops import Conv2d


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of weights and a model of an idle channel, in which the test runs."""
    monkeypatch.chdir(tmp_path)
    random = torch.Generator().manual_seed(0)
    save_file(
        {"conv.weight": torch.randn(16, 8, 3, 3, generator=random), "conv.bias": torch.ones(16)},
        "net.safetensors",
        {"network": "Own"},
    )
    byte, wide = Format(8, 0), Format(20, 0)
    weights = [
        Constant("first", np.array([3, 0, 5]).reshape(3, 1, 1, 1), (byte,)),
        Constant("second", np.array([[2, 7, 1]]).reshape(1, 3, 1, 1), (byte,)),
    ]
    nodes = [
        Node("middle", Conv2d(), ("grey", "first"), Quantization(wide)),
        Node("result", Conv2d(), ("middle", "second"), Quantization(wide)),
    ]
    source = Value("grey", (1, Extent("H"), Extent("W")), byte)
    FixedModel(Graph("idle", (source,), nodes, ("result",), weights)).save("idle.fxp")
    return tmp_path


def test_weights_are_compressed_and_restored(home, capsys):
    call = ["compress", "net.safetensors", "net.fxpc", "--fraction", "0.75"]
    assert main([*call, "--convolution-bits", "3"]) == 0
    written = capsys.readouterr()
    assert "4672 bytes before, " in written.out
    assert "conv.weight  1152     25.0%     7 " in written.out
    assert written.err == "wrote net.fxpc\n"
    assert main(["compress", "net.fxpc", "back.safetensors", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": "back.safetensors", "tensors": 2}
    before, after = load_file("net.safetensors"), load_file("back.safetensors")
    assert torch.equal(after["conv.bias"], before["conv.bias"])
    assert int(torch.count_nonzero(after["conv.weight"])) == 288
    assert len(after["conv.weight"].unique()) == 7 + 1  # one of eight centroids had no members
    assert all(torch.equal(value, after[name]) for name, value in
               read_state(Path("net.fxpc")).items())  # fmt: skip
    with safe_open("back.safetensors", framework="pt") as file:
        assert file.metadata() == {"network": "Own"}


def test_figures_as_json(home, capsys):
    assert main(["compress", "net.safetensors", "net.fxpc", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["sizes"]["compressed"] == Path("net.fxpc").stat().st_size
    assert figures["ratio"] == 4672 / figures["sizes"]["compressed"]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_weights_of_16_bits_are_compared_with_their_own_size(home, capsys, kind):
    save_file({"w": torch.ones(10, 20, dtype=kind), "b": torch.ones(3, dtype=kind)},
              "half.safetensors")  # fmt: skip
    assert main(["compress", "half.safetensors", "half.fxpc"]) == 0
    assert "406 bytes before, " in capsys.readouterr().out


def test_a_model_loses_its_idle_channel(home, capsys):
    assert main(["compress", "idle.fxp", "less.fxp"]) == 0
    assert capsys.readouterr().out == "6 parameters before, 4 now, with the same results\n"
    graph = fxp.load("less.fxp").graph
    assert graph.constants_by_name["first"].data.ravel().tolist() == [3, 5]
    assert graph.constants_by_name["second"].data.ravel().tolist() == [2, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("net.safetensors", "net.safetensors"), "net.safetensors must end in .fxpc"),
        (("idle.fxp", "idle.fxp"), "idle.fxp is read; give another name to write to"),
        (("idle.fxp", "x.fxpc"), "x.fxpc must end in .fxp"),
        (("photo.png", "x.fxpc"), "photo.png must end in"),
        (("none.safetensors", "x.fxpc"), "no weights file none.safetensors"),
        (("net.safetensors", "x.fxpc", "--fraction", "1"), "below 1, got 1.0"),
        (("idle.fxp", "x.fxp", "--fraction", "0.9"), "--fraction is of compressing weights"),
        (("idle.fxp", "x.fxp", "--linear-bits", "4"), "--linear-bits is of compressing weights"),
    ],
)
def test_errors_of_the_command(home, capsys, arguments, message):
    before = {file.name: file.read_bytes() for file in home.iterdir()}
    assert message in error_of(capsys, "compress", *arguments)
    assert {file.name: file.read_bytes() for file in home.iterdir()} == before


def test_a_damaged_file_leaves_no_output(home, capsys):
    main(["compress", "net.safetensors", "net.fxpc"])
    Path("net.fxpc").write_bytes(Path("net.fxpc").read_bytes()[:-9])
    assert "net.fxpc: is damaged or truncated" in error_of(
        capsys, "compress", "net.fxpc", "x.safetensors"
    )
    assert not Path("x.safetensors").exists()
