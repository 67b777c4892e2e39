"""The options of a training of a network for events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from fxp.models.common.settings import (
    Optimizer,
    Precision,
    TrainingError,
    TrainingSettings,
    option,
)


class Network(StrEnum):
    """Networks by their names in `fxp.models.events.networks.NETWORKS`."""

    CISTA = "cista"
    CISTA_D = "cista-d"
    CISTA_TC = "cista-tc"
    E2VID = "e2vid"
    FIRENET = "firenet"


UNROLLED = (Network.CISTA, Network.CISTA_D, Network.CISTA_TC)
"""Networks that have iterations."""


@dataclass(frozen=True)
class EventsSettings(TrainingSettings):
    """A training on simulated sequences.

    Attributes
    ----------
    model
        The network.
    base
        Its width, the option `base` of its class; 0 for the published width.
    iterations
        Those of CISTA, the option `iterations` of its classes; 0 for the published number.
    side
        Height and width of the simulated sensor.
    length
        Frames of a sequence; the loss compares the last of them.
    truncate
        Frames after which the gradient is cut off; 0 for a gradient through the whole sequence.
    images
        Rendered images for each frame.
    milliseconds
        Time of a frame.
    """

    module: ClassVar[str] = "fxp.models.events.train"

    model: Network = option(Network.CISTA_TC, "Network.")
    base: int = option(0, "Width of the network; 0 = the published one.", minimum=0)
    iterations: int = option(0, "Iterations of CISTA; 0 = the published ones.", minimum=0)
    side: int = option(96, "Side of the simulated sensor, a multiple of 8.", minimum=16)
    length: int = option(15, "Frames of a sequence.", minimum=2)
    truncate: int = option(0, "Frames until the gradient is cut off; 0 = never.", minimum=0)
    images: int = option(4, "Rendered images for each frame.", minimum=1)
    milliseconds: int = option(25, "Time of a frame.", minimum=1)
    batch: int = option(1, "Sequences per step.", minimum=1)
    rate: float = option(1e-4, "Peak learning rate.", minimum=0.0)
    optimizer: Optimizer = option(Optimizer.ADAM, "Update rule.")
    precision: Precision = option(
        Precision.FLOAT32, "Of forward and backward; weights stay float32."
    )
    compiled: bool = option(False, "Fuse the step with torch.compile.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side % 8:
            raise TrainingError(f"--side must be a multiple of 8, not {self.side}")
        if self.iterations and self.model not in UNROLLED:
            raise TrainingError(f"--iterations is for CISTA; {self.model} has none")
