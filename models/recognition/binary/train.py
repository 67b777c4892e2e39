"""Train a binary classifier: ``python -m fxp.models.recognition.binary.train --data DIR --out F``.

Everything but the network is as in `fxp.models.recognition.train`. Before each step, the real
weights are centred and clipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from fxp.models.common.run import run_training, training_command
from fxp.models.common.settings import Optimizer, option
from fxp.models.common.weights import load_weights
from fxp.models.recognition.binary.layers import constrain
from fxp.models.recognition.binary.networks import BinaryResNet
from fxp.models.recognition.settings import RecognitionSettings
from fxp.models.recognition.train import RecognitionRecipe, labelled_sets

if TYPE_CHECKING:
    from fxp.models.common.trainer import Trainer


@dataclass(frozen=True)
class BinarySettings(RecognitionSettings):
    """A training of `BinaryResNet`; `model` means nothing here.

    Attributes
    ----------
    depth
        Layers with weights.
    activations
        Whether activations are signs, too.
    """

    module: ClassVar[str] = "fxp.models.recognition.binary.train"

    depth: int = option(20, "Layers with weights: 8, 14, 20, ...", minimum=8, maximum=110)
    activations: bool = option(False, "Signs as activations, too (XNOR-Net).")
    width: float = option(32, "Channels of the first stage.", minimum=1)
    rate: float = option(0.002, "Peak learning rate.", minimum=0.0)
    optimizer: Optimizer = option(Optimizer.ADAM, "Update rule.")  # noqa: RUF009
    # The real weights have no size of their own.
    decay: float = option(0.0, "Weight decay.", minimum=0.0)


class BinaryRecipe(RecognitionRecipe):
    """A classifier with binary weights on varied pictures."""

    settings: BinarySettings

    def network(self) -> nn.Module:
        """Return a new network."""
        settings = self.settings
        return BinaryResNet(
            settings.depth,
            len(self.training.classes),
            int(settings.width),
            settings.channels,
            activations=settings.activations,
        )

    def load(self, name: str) -> nn.Module:
        """Load float weights from a file."""
        return load_weights(name, BinaryResNet)

    def step(self, trainer: Trainer, batch: Sequence[Tensor]) -> float:
        """Centre and clip the real weights, then do one step."""
        constrain(trainer.network)
        return super().step(trainer, batch)


def recipe(settings: BinarySettings, folder: Path) -> BinaryRecipe:
    """Return the training of a data folder."""
    return BinaryRecipe(settings, *labelled_sets(settings, folder))


main = training_command(
    BinarySettings,
    recipe,  # type: ignore[arg-type]
    "Train a binary classifier of pictures.",
)

if __name__ == "__main__":
    run_training(main)
