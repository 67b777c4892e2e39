"""Weights under the names that the authors of the networks gave them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fxp.models.events.checkpoints import load_released
from fxp.models.events.networks import (
    E2VID,
    Cista,
    CistaD,
    CistaTC,
    FireNet,
    SpadeE2VID,
    StepNetwork,
)
from fxp.support.errors import ArgumentError


def renamed(network: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    """Give weights other names, by the beginnings of ours."""
    state = {}
    for name, value in network.state_dict().items():
        ours = next(ours for ours in names if name == ours or name.startswith(f"{ours}."))
        state[names[ours] + name.removeprefix(ours)] = value
    return state


CISTA = {
    "events": "We.conv2d", "image": "Wi.conv2d", "start": "W0.conv2d", "code": "P0.conv2d",
    "features": "Dg.conv.conv2d", "lstm.gates": "Dg.recurrent_block.Gates",
    "up": "upsamp_conv.conv2d", "tail": "final_conv.conv2d",
    "before": "one_conv_for_prev.conv2d", "now": "one_conv_for_cur.conv2d",
}  # fmt: skip


def cista_names(blocks: int) -> dict[str, str]:
    return CISTA | {
        f"blocks.{number}.{ours}": theirs.format(number)
        for number in range(blocks)
        for ours, theirs in (
            ("decode", "lista_blocks.{}.D.conv2d"), ("encode", "lista_blocks.{}.P.conv2d"),
            ("threshold", "lista_blocks.{}.Lambda"), ("alpha", "alpha.{}"),
        )
    }  # fmt: skip


FIRENET = {
    "head": "net.head.conv.conv2d", "recurrent.0": "net.head.recurrent_block",
    "recurrent.1": "net.resblocks.0.recurrent_block", "blocks.0": "net.resblocks.0.conv",
    "blocks.1": "net.resblocks.1", "pred": "net.pred.conv2d",
}  # fmt: skip
_UNET = "unetrecurrent."
E2VID_NAMES = {
    "head": f"{_UNET}head.conv2d", "pred": f"{_UNET}pred.conv2d",
    "blocks.0": f"{_UNET}resblocks.0", "blocks.1": f"{_UNET}resblocks.1",
} | {
    name: theirs
    for number in range(3)
    for name, theirs in (
        (f"encoders.{number}", f"{_UNET}encoders.{number}.conv.conv2d"),
        (f"recurrent.{number}.gates", f"{_UNET}encoders.{number}.recurrent_block.Gates"),
        (f"decoders.{number}", f"{_UNET}decoders.{number}.conv2d"),
    )
}  # fmt: skip
SPADE = {"head": "fc", "pred": "conv_img", "norm": "bn_img"} | {
    f"{ours}.{part}": f"{theirs}.{other}"
    for ours, theirs in (("encoders.0", "rec0"), ("encoders.1", "rec1"), ("encoders.2", "rec2"),
                         ("last", "up2"))
    for part, other in (("conv", "conv0"), ("norm", "bn"), ("lstm.gates", "recurrent_block.Gates"))
} | {
    f"blocks.{number}.{part}": f"res{number}.{other}"
    for number in range(2)
    for part, other in (("conv1", "conv1"), ("conv2", "conv2"), ("norm1", "bn1"), ("norm2", "bn2"))
} | {
    f"decoders.{number}.{part}": f"up{number}.{other}"
    for number in range(2)
    for part, other in (
        ("conv", "conv0"), ("norm", "norm.param_free_norm"), ("shared", "norm.mlp_shared.0"),
        ("scale", "norm.mlp_gamma"), ("offset", "norm.mlp_beta"),
    )
}  # fmt: skip


def same(first: StepNetwork, second: StepNetwork) -> bool:
    grid, states = torch.randn(1, 5, 16, 16), first.initial_states(16, 16)
    with torch.no_grad():
        results = [network.eval()(grid, *states) for network in (first, second)]
    return all(map(torch.equal, *results)) and results[0][0].std() > 0


def shuffled(network: StepNetwork) -> StepNetwork:
    """Draw all weights and statistics, so that none equals another."""
    generator = torch.manual_seed(7)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            drawn = 0.3 * torch.randn(value.shape, generator=generator)
            value.copy_(drawn.abs() + 0.5 if "running_var" in name else drawn)
    return network


@pytest.mark.parametrize(
    ("name", "network", "names"),
    [
        ("cista", Cista(4, iterations=3, tied=False), cista_names(3)),
        ("cista-d", CistaD(4, iterations=2, tied=False), cista_names(2)),
        ("cista-tc", CistaTC(4, iterations=2, tied=False), cista_names(2)),
        ("firenet", FireNet(3), FIRENET),
        ("e2vid", E2VID(2), E2VID_NAMES),
        ("spade-e2vid", SpadeE2VID(2, hidden=3), SPADE),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_checkpoints_of_the_authors(
    name: str, network: StepNetwork, names: dict[str, str], nested: bool, tmp_path: Path
):
    state = renamed(shuffled(network), names)
    settings = {"arch": "E2VIDRecurrent", "epoch": 3, "model": {"num_bins": 5}}
    torch.save({**settings, "state_dict": state} if nested else state, tmp_path / "net.pth.tar")
    loaded = load_released(name, tmp_path / "net.pth.tar")
    assert loaded.options() == network.options()
    assert same(network, loaded)


def test_tied_weights_may_be_listed_for_every_iteration(tmp_path: Path):
    network = shuffled(CistaTC(4, iterations=3))
    state = renamed(network, cista_names(1))
    repeated = {
        key.replace(".0", f".{number}", 1): value
        for key, value in state.items() if key.startswith(("lista_blocks", "alpha"))
        for number in range(3)
    }  # fmt: skip
    torch.save({"state_dict": state | repeated}, tmp_path / "repeated.pth.tar")
    loaded = load_released("cista-tc", tmp_path / "repeated.pth.tar")
    assert loaded.options() == network.options()
    assert same(network, loaded)
    # In the arrays of a file, names may stand for the array of another name.
    arrays: dict[str, Any] = {key: value.numpy() for key, value in state.items()}
    alias = {
        key: key.replace(repeat, ".0", 1)
        for repeat in (".1", ".2")
        for key in repeated
        if key.startswith((f"lista_blocks{repeat}", f"alpha{repeat}"))
    }
    np.savez(tmp_path / "net.npz", **arrays, __alias_names__=list(alias),
             __alias_to__=list(alias.values()))  # fmt: skip
    loaded = load_released("cista-tc", tmp_path / "net.npz")
    assert loaded.options() == network.options()
    assert same(network, loaded)


class NormalizedConv(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(inputs, outputs, 5, 2, padding=2, bias=False)
        self.norm_layer = nn.BatchNorm2d(outputs)

    def forward(self, features: Tensor) -> Tensor:
        return self.norm_layer(self.conv2d(features))


def test_batch_normalization_of_e2vid_is_folded(tmp_path: Path):
    network = shuffled(E2VID(2))
    state = renamed(network, E2VID_NAMES)
    layer = NormalizedConv(2, 4)
    with torch.no_grad():
        for value in layer.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape) + 0.5)
    place = "unetrecurrent.encoders.0.conv."
    del state[f"{place}conv2d.bias"]
    state |= {f"{place}{key}": value for key, value in layer.state_dict().items()}
    torch.save(state, tmp_path / "net.pth")
    loaded = load_released("e2vid", tmp_path / "net.pth")
    assert isinstance(loaded, E2VID)
    features = torch.randn(1, 2, 8, 8)
    with torch.no_grad():
        expected = layer.eval()(features)
        assert torch.allclose(loaded.encoders[0](features), expected, atol=1e-5)


def test_weights_that_do_not_fit(tmp_path: Path):
    state = renamed(FireNet(3), FIRENET)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ArgumentError, match="no network 'fire', only cista, cista-d"):
        load_released("fire", tmp_path / "net.pth")
    with pytest.raises(ArgumentError, match=r"not those of e2vid: it has no 'net\.head"):
        load_released("e2vid", tmp_path / "net.pth")
    del state["net.pred.conv2d.bias"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(ArgumentError, match=r"do not fit firenet: .*pred\.bias"):
        load_released("firenet", tmp_path / "less.pth")
    torch.save({"state_dict": state, "config": os.path.join}, tmp_path / "code.pth")
    with pytest.raises(ArgumentError, match="holds Python objects"):
        load_released("firenet", tmp_path / "code.pth")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(ArgumentError, match="cannot read weights"):
        load_released("firenet", tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    with pytest.raises(ArgumentError, match="it has no 'images'"):
        load_released("cista", tmp_path / "other.npz")
