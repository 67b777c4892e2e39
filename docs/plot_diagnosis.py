"""Draw the precision of a network with an outlier weight into ``pictures/diagnosis.png``."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

import fxp
from fxp.diagnosis.charts import levels_figure


class Network(nn.Module):
    """Four convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.third = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the network."""
        x = torch.relu(self.middle(torch.relu(self.first(x))))
        return self.last(torch.relu(self.third(x)))


def main() -> None:
    """Quantize, measure and draw."""
    torch.manual_seed(1)
    network = Network().eval()
    with torch.no_grad():
        network.first.weight[1], network.first.bias[1] = 0, 0.001
        network.middle.weight[2, 1, 0, 0] = 20.0
    images = [torch.rand(1, 1, 48, 48) for _ in range(4)]
    warnings.simplefilter("ignore", fxp.PrecisionWarning)
    report = fxp.quantize(network, images, per_channel=False).report(images)
    figure = levels_figure(report.values)
    target = Path(__file__).parent / "pictures" / "diagnosis.png"
    figure.savefig(target, dpi=110, bbox_inches="tight")


if __name__ == "__main__":
    main()
