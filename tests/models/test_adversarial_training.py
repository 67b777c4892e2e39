"""The adversarial game: its losses by hand, and the order of its steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from fxp.models.common.adversarial import (
    adversarial_step,
    discriminator_loss,
    judged,
    log_squared_error,
)


class Undecided(nn.Module):
    """Returns a logit of zero for every picture."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        return 0 * picture[:, :1]


def test_losses_by_hand():
    # Logits of zero say one half: -log(1/2) each.
    logits = torch.zeros(2, 1, 7, 7)
    assert judged(logits, True).item() == pytest.approx(0.693147, abs=1e-6)
    assert judged(torch.full((1, 1, 1, 1), 2.0), False).item() == pytest.approx(2.126928, abs=1e-6)
    made = torch.rand(1, 3, 4, 4, requires_grad=True)
    loss = discriminator_loss(Undecided(), torch.rand(1, 3, 4, 4), made)
    assert loss.item() == pytest.approx(1.386294, abs=1e-6)


def test_the_logarithm_of_the_error_of_each_picture():
    # Squared errors of 0.0099 and 0.9999, each with 0.0001 added: mean of log 0.01 and log 1.
    truth = torch.zeros(2, 3, 2, 2)
    made = torch.stack([torch.full((3, 2, 2), 0.0099**0.5), torch.full((3, 2, 2), 0.9999**0.5)])
    assert log_squared_error(made, truth, 1e-4).item() == pytest.approx(-2.302585, abs=1e-4)


def test_the_discriminator_moves_first_and_gives_the_network_no_gradient_then():
    made = torch.rand(1, 3, 4, 4, requires_grad=True)
    moved: list[tuple[str, float, bool]] = []

    class Noted:
        def __init__(self) -> None:
            self.modules = {"discriminator": Undecided()}

        def update(self, name: str, loss: torch.Tensor) -> float:
            moved.append((name, loss.item(), loss.requires_grad))
            return loss.item()

    trainer: Any = Noted()
    loss = adversarial_step(trainer, torch.rand(1, 3, 4, 4), made, made.sum() * 0 + 1, 0.5)
    assert [name for name, *_ in moved] == ["discriminator", "network"]
    assert moved[0][1:] == (pytest.approx(1.386294, abs=1e-6), False)
    assert moved[1][2]
    # 1 + 0.5 * log 2
    assert loss == pytest.approx(1.346574, abs=1e-6)
