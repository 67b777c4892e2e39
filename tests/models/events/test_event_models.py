"""The shipped models for events: loaded by name, and made from weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fxp import Format
from fxp.models import events
from fxp.models.common.weights import save_weights
from fxp.models.events import fixed
from fxp.models.events.networks import CistaTC, FireNet


def window(count: int) -> events.Events:
    random = np.random.default_rng(count)
    return events.Events.of(
        np.arange(count), random.integers(0, 16, count), random.integers(0, 12, count),
        random.integers(0, 2, count),
    )  # fmt: skip


@pytest.mark.parametrize("name", fixed.SHIPPED)
def test_a_shipped_model_makes_what_its_float_network_makes(name: str):
    model, network = events.load(name), events.load_float(name)
    assert model.metadata["weights"] == name
    work = events.Reconstructor(model, (16, 12))
    states = network.initial_states(12, 16)
    for count in (80, 0, 60, 120):
        frame = work.frame(window(count))
        grid = torch.from_numpy(events.float_grid(window(count), (16, 12)))[None]
        with torch.no_grad():
            picture, *states = network(grid, *states)
        wanted = 255 * np.clip(picture[0, 0].numpy(), 0, 1)
        # Rounded to whole pixels, and less than two of 255 beside; CISTA-TC of 8 and 10 bits three.
        assert np.abs(frame - wanted).max() < (3.5 if name == "cista-tc-small-8-10" else 2.5)
    assert frame.std() > 0


def test_their_sizes():
    kinds = {name: type(events.load_float(name)) for name in fixed.SHIPPED}
    assert kinds == {
        "cista-tc-small": CistaTC, "cista-tc-small-8-10": CistaTC,
        "firenet-small": FireNet, "firenet-small-8-10": FireNet
    }  # fmt: skip
    # 8 and 10 bits, and 4 and 2 more of what feeds states.
    graph = events.load("firenet-small-8-10").graph
    widths = {c.name: c.formats[0].width for c in graph.constants if c.name.endswith("weight")}
    assert {widths["head.weight"], widths["pred.weight"]} == {12, 10}
    assert graph.inputs[0].format == Format(12, 6)
    assert fixed.DEFAULT in fixed.SHIPPED


def test_a_name_that_is_not_shipped():
    with pytest.raises(ValueError, match="no shipped model 'e2vid', only cista-tc-small, cista"):
        events.load("e2vid")


def test_weights_are_taken_over_and_quantized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fixed, "SHIPPED", ("firenet-small",))
    monkeypatch.setattr(fixed, "SIDE", 16)
    monkeypatch.setattr(fixed, "STEPS", 3)
    torch.manual_seed(0)
    trained = tmp_path / "run.safetensors"
    save_weights(trained, FireNet(4))
    trained.with_suffix(".log").write_text("the command\n")
    folder = tmp_path / "weights"
    fixed.main([f"firenet-small={trained}"], folder)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"firenet-small{suffix}" for suffix in (".fxp", ".log", ".safetensors")]
    assert (folder / "firenet-small.safetensors").read_bytes() == trained.read_bytes()
    made = events.load(folder / "firenet-small.fxp")
    assert made.metadata == {"weights": "firenet-small", "calibration": "chelsea coffee rocket"}
    assert [state.value.name for state in made.graph.states] == ["first", "second"]
    with pytest.raises(SystemExit, match="give NAME=FILE, NAME one of firenet-small; not deep=x"):
        fixed.main(["deep=x"], folder)
