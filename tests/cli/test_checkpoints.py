"""Weights that `fxp quantize` reads from checkpoints, and those it refuses."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
import zipfile
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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty.pt", "the file is empty"),
        ("empty.safetensors", "the file is empty"),
        ("random.pt", "torch.save did not write this file"),
        ("random.safetensors", "it is damaged, or no safetensors file"),
        ("text.pt", "torch.save did not write this file"),
        ("foreign.pt", "torch.save did not write this file"),
        ("cut.pt", "it is damaged or cut short"),
        ("cut_old.pt", "it is damaged or cut short"),
        ("flipped.pt", "it is damaged"),
        ("script.pt", "is a TorchScript archive"),
        ("nothing.pt", "holds an empty dict, and no weights"),
    ],
)
def test_damaged_weights_are_told_in_one_line(
    network: tuple[str, ...], capsys: pytest.CaptureFixture[str], name: str, text: str
):
    import torch

    state = {"conv.weight": torch.zeros(1, 1, 1, 1), "conv.bias": torch.zeros(1)}
    torch.save(state, "whole.pt")
    torch.save(state, "old.pt", _use_new_zipfile_serialization=False)
    with zipfile.ZipFile("foreign.pt", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Conv2d(1, 1, 1)), "script.pt")
    torch.save({}, "nothing.pt")
    whole = Path("whole.pt").read_bytes()
    for file, content in (
        ("empty.pt", b""),
        ("empty.safetensors", b""),
        # As a pickle these would name a class: `c` and two lines.
        ("random.pt", b"cos\nsystem\n" + bytes(range(0, 250, 7))),
        ("random.safetensors", bytes(range(250))),
        ("text.pt", b"hello world\n"),
        ("cut.pt", whole[: len(whole) // 2]),
        ("cut_old.pt", Path("old.pt").read_bytes()[:-3]),
        ("flipped.pt", whole.replace(b"conv.weight", b"\xff" * 11)),
    ):
        Path(file).write_bytes(content)
    told = error_of(capsys, *network, "--out", "never.fxp", "--weights", name)
    assert text in told
    assert name in told
    assert "again" in told or "torch.save" in told
    assert "miniz" not in told
    assert "weights_only" not in told
    assert "Python objects" not in told
    assert not Path("never.fxp").exists()


def test_the_running_average_of_the_weights_is_preferred(
    network: tuple[str, ...], capsys: pytest.CaptureFixture[str]
):
    import torch

    def state(weight: float) -> dict[str, torch.Tensor]:
        return {"conv.weight": torch.full((1, 1, 1, 1), weight), "conv.bias": torch.full((1,), 0.0)}

    torch.save({"params": state(0.25), "params_ema": state(0.5)}, "both.pt")
    assert main([*network, "--weights", "both.pt", "--out", "net.fxp"]) == 0
    assert np.allclose(weight_of("net.fxp"), [0.5, 0.0], atol=0.01)
    note = "both.pt holds weights under params_ema, params; those under params_ema are taken"
    assert note in capsys.readouterr().err.splitlines()


def test_a_module_that_ends_the_process_is_told(
    network: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    tail = ("--calibration", "values.npy", "--out", "never.fxp")
    Path("a_script_that_exits.py").write_text("import sys\nsys.exit()\n")
    text = error_of(capsys, "quantize", "a_script_that_exits:net", *tail)
    assert text.startswith("importing 'a_script_that_exits' ends the process: SystemExit in ")
    assert "a_script_that_exits.py, line 2" in text
    Path("a_maker_that_exits.py").write_text("def net():\n    raise SystemExit('no data')\n")
    text = error_of(capsys, "quantize", "a_maker_that_exits:net", *tail)
    assert text.startswith("a_maker_that_exits:net ends the process: SystemExit in ")
    assert text.endswith("no data")


def test_files_beside_the_network_stand_in_for_no_package(network: tuple[str, ...]):
    Path("tidy.py").write_text("import sys\nfrom fxp.cli import main\nsys.exit(main())\n")
    Path("place").mkdir()
    Path("tidy.py").rename("place/tidy.py")
    # Neither is loaded before the user's module asks for it.
    for name in ("numpy", "colorsys"):
        Path(f"{name}.py").write_text("raise SystemExit(3)\n")
    Path("models").mkdir()
    Path("models/__init__.py").write_text("raise SystemExit(3)\n")
    own = Path("a_network_with_weights.py")
    own.write_text(f"import colorsys, numpy\n{own.read_text()}")
    done = subprocess.run(
        [sys.executable, "place/tidy.py", *network, "--out", "net.fxp"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert Path("net.fxp").is_file()
