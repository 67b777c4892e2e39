"""Train an adaptive classifier: ``python -m fxp.models.recognition.adaptive.train``.

It usually starts from a trained `CifarResNet`: weights by name or file, or the released ``.npz`` of
ResNet-20, whose normalization of pixels is folded into the first layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fxp.models.common.recipe import Model
from fxp.models.common.run import run_training, training_command
from fxp.models.common.settings import option
from fxp.models.common.weights import WeightsError, load_weights
from fxp.models.recognition.adaptive.networks import AdaptiveResNet, BranchyResNet
from fxp.models.recognition.checkpoints import load_float
from fxp.models.recognition.data import LabelledImages, in_batches
from fxp.models.recognition.settings import RecognitionSettings
from fxp.models.recognition.train import RecognitionRecipe, labelled_sets
from fxp.models.recognition.zoo.cifar import CifarResNet
from fxp.models.recognition.zoo.released import resnet20

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the pixels of ImageNet, from 0 to 1."""


class Kind(StrEnum):
    """Adaptive computation time of pictures or of positions, or early exits."""

    ACT = "act"
    SACT = "sact"
    EXITS = "exits"


@dataclass(frozen=True)
class AdaptiveSettings(RecognitionSettings):
    """A training of an adaptive network; `model` and hints mean nothing here.

    Attributes
    ----------
    kind
        What stops early.
    depth
        Layers with weights.
    ponder
        Factor of the ponder cost of all stages in the loss (Graves: tau).
    weigh_positions
        Whether the ponder cost of a stage counts by its number of positions, so that it is that of
        the mean position; else all stages count alike, as their units take equally many products.
    computed
        Share of the positions of all units, in percent, that the kept weights may compute: the most
        accurate weights are those that leave nothing out.
    epsilon
        Halting scores need to add up to 1 less this much.
    """

    module: ClassVar[str] = "fxp.models.recognition.adaptive.train"

    kind: Kind = option(Kind.SACT, "What stops early.")  # noqa: RUF009
    depth: int = option(20, "Layers with weights: 14, 20, 26, ...", minimum=14, maximum=110)
    ponder: float = option(0.02, "Factor of the ponder cost.", minimum=0.0, maximum=1.0)
    weigh_positions: bool = option(False, "Stages count by their positions, not alike.")
    computed: float = option(100.0, "Most positions computed, %.", minimum=1.0, maximum=100.0)
    epsilon: float = option(0.01, "Scores add up to 1 less this.", minimum=1e-4, maximum=0.5)
    width: float = option(16, "Channels of the first stage.", minimum=1)
    rate: float = option(0.01, "Peak learning rate.", minimum=0.0)
    steps: int = option(800, "Optimizer steps in all.", minimum=1)
    epoch: int = option(100, "Steps between measurements.", minimum=1)
    average: float = option(0.98, "Decay of the weight average.", minimum=0.0, maximum=0.99999)


def plain_resnet(name: str) -> CifarResNet:
    """Load a residual network that takes pixels divided by 256.

    Parameters
    ----------
    name
        Weights by name or file; a ``.npz`` file is the released ResNet-20.

    Raises
    ------
    WeightsError
        If it is another network.
    """
    network = resnet20(name) if Path(name).suffix == ".npz" else load_float(name)
    if not isinstance(network, CifarResNet):
        raise WeightsError(f"{name} holds a {type(network).__name__}, not a residual network")
    if Path(name).suffix == ".npz":
        # (256/255 x - mean) / deviation goes into the first layer; zeros around the picture, which
        # were the mean, become black.
        with torch.no_grad():
            weight = network.conv1.weight
            mean, deviation = (torch.tensor(item).reshape(1, 3, 1, 1) for item in (MEAN, DEVIATION))
            shift = (weight * (mean / deviation)).sum((1, 2, 3))
            weight.mul_(256 / 255 / deviation)
            assert network.bn1.running_mean is not None
            network.bn1.running_mean.add_(shift)
    return network


class AdaptiveRecipe(RecognitionRecipe):
    """An adaptive classifier on varied pictures."""

    settings: AdaptiveSettings

    def network(self) -> nn.Module:
        """Return a new network."""
        settings = self.settings
        shape = (
            settings.depth,
            len(self.training.classes),
            int(settings.width),
            settings.channels,
        )
        if settings.kind == Kind.EXITS:
            return BranchyResNet(*shape)
        spatial = settings.kind == Kind.SACT
        return AdaptiveResNet(*shape, spatial=spatial, epsilon=settings.epsilon)

    def load(self, name: str) -> nn.Module:
        """Load an adaptive network, or a plain one whose units it takes."""
        network = self.network()
        try:
            found = load_weights(name, type(network))  # type: ignore[type-var]
        except WeightsError:
            plain = plain_resnet(name)
        else:
            # Another epsilon is no other network.
            given, own = (item.options() | {"epsilon": 0} for item in (found, network))  # type: ignore[operator]
            if given != own:
                raise WeightsError(f"{name} has the options {given}, not {own}")
            network.load_state_dict(found.state_dict())
            return network
        wanted = {key: value for key, value in network.options().items() if key in plain.options()}  # type: ignore[operator]
        if plain.options() != wanted:
            raise WeightsError(f"{name} has the options {plain.options()}, not {wanted}")
        network.load_state_dict(plain.state_dict(), strict=False)
        return network

    def loss(self, network: nn.Module, batch: Sequence[Tensor], *, finishing: bool) -> Tensor:
        """Return the loss of the scores and the ponder cost, or the losses of all exits.

        Parameters
        ----------
        network
            What trains.
        batch
            Pictures and labels.
        finishing
            Changes nothing.
        """
        images, labels = batch
        if isinstance(network, BranchyResNet):
            losses = [
                self.classification_loss(scores, images, labels)
                for scores in network.all_scores(images)
            ]
            return torch.stack(losses).sum()
        assert isinstance(network, AdaptiveResNet)
        scores, runs = network.run(images)
        costs = torch.stack([run.ponder.mean() for run in runs])
        if self.settings.weigh_positions:
            positions = costs.new_tensor([run.result[0, 0].numel() for run in runs])
            costs = costs * len(runs) * positions / positions.sum()
        return self.classification_loss(scores, images, labels) + self.settings.ponder * costs.sum()

    def scores(self, model: Model) -> dict[str, float]:
        """Return the accuracies, and the share of the units' positions that were computed.

        Where a share is asked for, the first score is the accuracy on the held-out pictures if no
        more is computed there, and what is computed in excess, negative, if more is.
        """
        found = super().scores(model)
        if not isinstance(model, AdaptiveResNet):
            return found
        computed = 100 * computed_share(model, self.sets["held-out"])
        excess = computed - self.settings.computed
        if self.settings.computed < 100:
            found = {"within share": found["held-out"] if excess <= 0 else -excess, **found}
        return {**found, "computed": computed}


def computed_share(network: AdaptiveResNet, images: LabelledImages) -> float:
    """Return the share of the positions of all units that a network computes.

    Parameters
    ----------
    network
        In eval mode.
    images
        The pictures.
    """
    done = possible = 0.0
    with torch.inference_mode():
        for batch in in_batches(images.images):
            for run in network.run(torch.from_numpy(batch))[1]:
                # One number per picture counts for all of its positions.
                count = run.units.expand(-1, 1, *run.result.shape[2:])
                done += float(count.sum())
                possible += count.numel() * len(run.features)
    return done / possible if possible else float(np.nan)


def recipe(settings: AdaptiveSettings, folder: Path) -> AdaptiveRecipe:
    """Return the training of a data folder."""
    return AdaptiveRecipe(settings, *labelled_sets(settings, folder))


main = training_command(
    AdaptiveSettings,
    recipe,  # type: ignore[arg-type]
    "Train an adaptive classifier of pictures.",
)

if __name__ == "__main__":
    run_training(main)
