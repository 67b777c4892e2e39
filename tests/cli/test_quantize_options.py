"""The options of ``fxp quantize``: widths, methods, refinements, and sequences of frames."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_checks import error_of

import fxp
from fxp.cli import main
from fxp.cli.networks import files_of_network
from fxp.cli.pixel_values import PixelScale
from fxp.cli.quantization_options import (
    MethodChoice,
    StateOption,
    named_widths,
    percentile_method,
    read_states,
    width_range,
    widths,
)
from fxp.cli.quantize import quantize
from fxp.cli.sources import read_sequences
from fxp.imaging.files import write_image
from fxp.support.errors import ArgumentError

NETWORKS = """
import torch
from torch import nn

torch.manual_seed(0)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(1, 2, 1)
        self.fed = nn.Conv2d(2, 2, 1)

    def forward(self, x, h):
        h = torch.tanh(self.inner(x) + self.fed(h))
        return h.sum(1, keepdim=True), h


recurrent = Recurrent()
net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 1))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("networks_of_options.py").write_text(NETWORKS)
    generator = np.random.default_rng(0)
    for folder in ("morning", "evening"):
        Path(folder).mkdir()
        for number in range(3):
            picture = generator.integers(0, 256, (4, 6), np.uint8)
            write_image(f"{folder}/{number}.png", picture)
    return tmp_path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, fxp.QuantizeOptions]]:
    """The data and the options that every call of `fxp.quantize` gets."""
    calls = []
    original = fxp.quantize

    def recorded(network: Any, data: Any, options: Any, **keywords: Any) -> fxp.FixedModel:
        calls.append((data, options))
        return original(network, data, options, **keywords)

    monkeypatch.setattr(fxp, "quantize", recorded)
    return calls


def command(network: str, *arguments: str, calibration: str = "morning") -> list[str]:
    source = f"networks_of_options:{network}"
    return ["quantize", source, "--calibration", calibration, "--out", "made.fxp", *arguments]


@pytest.mark.usefixtures("home")
def test_every_option_reaches_quantize(seen: list):
    options = (
        "--weight-bits", "7", "--activation-bits", "11", "--bits", "0.weight=6", "--bits", "1=9",
        "--percentile", "99.5", "--headroom", "0.5", "--per-layer", "--effort", "fast",
        "--rounding", "AP_TRN", "--overflow", "AP_WRAP", "--no-equalization", "--bias-correction",
        "--no-add-biases", "--weight-rounding", "nearest", "--no-hold-states",
    )  # fmt: skip
    assert main(command("net", *options)) == 0
    ((_, found),) = seen
    assert found == fxp.QuantizeOptions(
        weight_bits=7,
        activation_bits=11,
        bits={"0.weight": 6, "1": 9},
        method="percentile",
        percentile=99.5,
        headroom=0.5,
        per_channel=False,
        effort="fast",
        rounding="AP_TRN",
        overflow="AP_WRAP",
        equalization=False,
        bias_correction=True,
        add_biases=False,
        weight_rounding="nearest",
        hold_states=False,
    )


@pytest.mark.usefixtures("home")
def test_what_is_not_given_is_left_to_quantize(seen: list):
    assert main(command("net", "--effort", "fast")) == 0
    assert seen[0][1] == fxp.QuantizeOptions(effort="fast")
    assert signature(quantize).parameters["effort"].default == fxp.QuantizeOptions().effort


@pytest.mark.usefixtures("home")
def test_a_floor_searches_widths(seen: list, capsys: pytest.CaptureFixture[str]):
    fast = ("--effort", "fast")
    assert main(command("net", "--min-sqnr", "20", "--weight-bits", "6-8", *fast)) == 0
    found = seen[0][1]
    assert (found.weight_bits, found.activation_bits) == ((6, 7, 8), tuple(range(8, 17)))
    weights = fxp.load("made.fxp").graph.constants_by_name["0.weight"]
    assert 6 <= weights.formats[0].width <= 8
    text = error_of(capsys, *command("net", "--weight-bits", "6-8"))
    assert text.startswith("several widths need --min-sqnr")
    text = error_of(capsys, *command("net", "--min-sqnr", "200", *fast))
    assert "200" in text
    text = error_of(capsys, *command("net", "--weight-bits", "99", *fast))
    assert text == "--weight-bits must be an integer from 2 to 32, got 99"


@pytest.mark.usefixtures("home")
def test_folders_of_frames_are_sequences(seen: list, capsys: pytest.CaptureFixture[str]):
    more = ("--calibration", "evening", "--states", "1:1:2x4x6", "--limit", "2")
    assert main(command("recurrent", *more, "--effort", "fast", "--no-hold-states")) == 0
    data, options = seen[0]
    assert [len(sequence) for sequence in data.sequences] == [2, 2]
    assert options.states == ((1, 1),)
    assert [tuple(state.shape) for state in options.initial_states] == [(1, 2, 4, 6)]
    assert not options.initial_states[0].any()
    assert [state.source for state in fxp.load("made.fxp").graph.states] == ["tanh"]
    text = error_of(capsys, "run", "made.fxp", "morning", "out")
    assert text.startswith("made.fxp keeps states from frame to frame")
    assert not Path("out").exists()


def test_what_is_a_sequence(home: Path):
    """A folder in the order of its names, an array along its first axis, and the single images."""
    import torch

    for number in range(12):
        write_image(f"evening/{number:02}.png", np.full((2, 2), number, np.uint8))
    for number in range(3):
        Path(f"evening/{number}.png").unlink()
    np.save("array.npy", np.arange(20.0).reshape(5, 1, 2, 2))
    write_image("single.png", np.full((2, 2), 77, np.uint8))
    paths = [Path(name) for name in ("single.png", "evening", "array.npy")]
    network, scale = torch.nn.Conv2d(1, 1, 1), PixelScale(1.0)
    found = read_sequences(paths, network, None, scale, None, 4).sequences
    frames = [[np.ravel(frame)[0] for frame in sequence] for sequence in found]
    assert frames == [[0, 1, 2, 3], [0, 4, 8, 12], [77]]
    assert {np.shape(frame) for sequence in found for frame in sequence} == {(1, 1, 2, 2)}


@pytest.mark.usefixtures("home")
def test_warnings_speak_of_options(capsys: pytest.CaptureFixture[str]):
    assert main(command("net", "--weight-bits", "2", "--effort", "fast")) == 0
    written = capsys.readouterr().err
    assert "PrecisionWarning" in written
    assert "--weight-bits" in written
    assert "weight_bits" not in written


def test_texts_of_options():
    assert width_range("--weight-bits", "4-12") == range(4, 13)
    assert widths("--weight-bits", "8", 10) == 8
    assert widths("--weight-bits", None, 10) == 10
    assert widths("--weight-bits", "4-6", 10) == range(4, 7)
    assert named_widths(["a=b=7", "c=2"]) == {"a=b": 7, "c": 2}
    assert read_states(["1:2:8x4x3"], with_shapes=True) == [StateOption((1, 2), (8, 4, 3))]
    assert read_states(["1:0"], with_shapes=False) == [StateOption((1, 0), ())]
    assert read_states(None, with_shapes=True) == []
    assert percentile_method(None, None) is None
    assert percentile_method(None, 99.0) is MethodChoice.PERCENTILE
    assert percentile_method(MethodChoice.MSE, None) is MethodChoice.MSE


@pytest.mark.parametrize(
    ("read", "arguments", "match"),
    [
        (widths, ("--weight-bits", "12-4", 10), "--weight-bits must be written as FROM-TO"),
        (widths, ("--weight-bits", "eight", 10), "--weight-bits must be written as FROM-TO"),
        (named_widths, (["conv1"],), "--bits 'conv1' must be NAME=WIDTH"),
        (named_widths, (["a=x"],), "must be NAME=WIDTH"),
        (named_widths, (["a=4", "a=5"],), "--bits gives 'a' twice"),
        (percentile_method, (MethodChoice.MSE, 99.0), "--percentile has no effect on --method mse"),
    ],
)
def test_texts_that_mean_nothing(read: Any, arguments: tuple, match: str):
    with pytest.raises(ArgumentError, match=match):
        read(*arguments)


@pytest.mark.parametrize("text", ["1", "1:1", "1:1:", "a:1:8", "1:1:8x", "1:1:8x-4", "-1:1:8"])
def test_states_need_positions_and_a_shape(text: str):
    with pytest.raises(ArgumentError, match="must be INPUT:OUTPUT:CxHxW, such as 1:1:8x32x32"):
        read_states([text], with_shapes=True)


def test_the_files_of_a_network(home: Path):
    Path("package").mkdir()
    Path("package/__init__.py").write_text("raise SystemExit('imported')")
    Path("package/net.py").write_text("raise SystemExit('imported')")
    Path("w.pt").touch()
    found = files_of_network("package.net:build", ["w.pt", "small"], Path("v.pt"))
    assert [path.resolve() for path in found] == [
        home / "package/net.py",
        home.parent.joinpath(home.name, "v.pt"),
        home / "w.pt",
    ]
    assert files_of_network(None, None, None) == []
    assert files_of_network("no.such:name", None, None) == []
    assert files_of_network("sys:path", None, None) == []


@pytest.mark.usefixtures("home")
def test_channels_of_a_network_that_joins_picture_and_state(capsys):
    Path("joining.py").write_text("from torch import nn\nnet = nn.Conv2d(5, 1, 1)\n")
    arguments = ["quantize", "joining:net", "--calibration", "morning", "--out", "made.fxp"]
    message = error_of(capsys, *arguments)
    assert "first convolution takes 5 channels" in message
    assert "say --channels 1 or 3, else give .npy arrays" in message
    # Once they are said, it is the network that refuses.
    assert "first convolution" not in error_of(capsys, *arguments, "--channels", "1")
