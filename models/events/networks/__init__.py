"""The networks that turn events into video, each written as one time step."""

from __future__ import annotations

from fxp.models.events.networks.cells import BINS, ConvGRU, ConvLSTM, ResidualBlock, StepNetwork
from fxp.models.events.networks.cista import Cista, CistaD, CistaTC, soft_threshold
from fxp.models.events.networks.e2vid import E2VID
from fxp.models.events.networks.firenet import FireNet
from fxp.models.events.networks.spade import SpadeE2VID

__all__ = [
    "BINS",
    "E2VID",
    "NETWORKS",
    "Cista",
    "CistaD",
    "CistaTC",
    "ConvGRU",
    "ConvLSTM",
    "FireNet",
    "ResidualBlock",
    "SpadeE2VID",
    "StepNetwork",
    "soft_threshold",
]

NETWORKS: dict[str, type[StepNetwork]] = {
    "cista": Cista,
    "cista-d": CistaD,
    "cista-tc": CistaTC,
    "e2vid": E2VID,
    "firenet": FireNet,
    "spade-e2vid": SpadeE2VID,
}
"""Networks by name."""
