"""What a system brings to its training: network, batches, loss and score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fxp
from fxp.models.common.settings import Settings, TrainingError

if TYPE_CHECKING:
    from fxp.models.common.trainer import Trainer

Model = nn.Module | fxp.FixedModel
"""A trained network to measure: float, on the CPU in eval mode, or fixed point."""


class Recipe(ABC, Generic[Settings]):
    """One training as the `Trainer` sees it; a system derives from it.

    Batches are whatever the loss understands: pairs of images, sequences ``(N, T, C, H, W)``,
    images with labels. They must be a function of the settings and the number of the batch alone,
    so that an interrupted training continues exactly where it stopped.

    Parameters
    ----------
    settings
        The run.

    Attributes
    ----------
    unit : str
        Unit of the scores, for the log.
    weight_decay : float
        Of every optimizer.
    betas : tuple of float
        Decays of the two running averages of Adam.
    """

    unit: str = "dB"
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def network(self) -> nn.Module:
        """Return a new network; it has a method ``options()``, see `fxp.models.common.weights`."""

    @abstractmethod
    def batch(self, number: int) -> Sequence[NDArray]:
        """Return the arrays of a batch."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: Sequence[Tensor], *, finishing: bool) -> Tensor:
        """Return the loss of a batch, a scalar; torch.compile takes this function.

        Parameters
        ----------
        network
            What trains.
        batch
            What `tensors` returned.
        finishing
            Whether this is one of the last steps, see `TrainingSettings.finish`.
        """

    @abstractmethod
    def scores(self, model: Model) -> dict[str, float]:
        """Return scores by name, higher is better; the first chooses the weights that are kept.

        NaN stands for what cannot be measured.
        """

    @abstractmethod
    def load(self, name: str) -> nn.Module:
        """Load float weights by name or file, for ``--start``."""

    def summary(self) -> str:
        """Return a line for the log about the data."""
        return ""

    def metadata(self) -> dict[str, str]:
        """Return what is stored with the weights besides the command, the step and the scores."""
        return {}

    def tensors(self, batch: Sequence[NDArray], device: str) -> tuple[Tensor, ...]:
        """Bring a batch to the device, and to the range of the network."""
        return tuple(torch.from_numpy(array).to(device) for array in batch)

    def prepared(self, network: nn.Module) -> nn.Module:
        """Return the module that trains in floating point; the names of its weights stay."""
        return network.train()

    def quantize_options(self) -> dict[str, Any]:
        """Return calibration and formats for `fxp.quantize`; widths come from the settings.

        Raises
        ------
        TrainingError
            If the system does not train with roundings.
        """
        raise TrainingError("this system trains in floating point only; leave out --weight-bits")

    def helpers(self) -> dict[str, nn.Module]:
        """Return further modules that train, by name, such as the critic of a GAN.

        Each gets an optimizer of its own; they belong to the checkpoint and not to the weights.
        """
        return {}

    def rate_factor(self, name: str) -> float:
        """Return the learning rate of a module, in units of that of the settings."""
        return 1.0

    def layer_factor(self, parameter: str) -> float:
        """Return the learning rate of a parameter, by its name, in units of that of its module."""
        return 1.0

    def step(self, trainer: Trainer, batch: Sequence[Tensor]) -> float:
        """Do one step and return its loss; override it to train several modules in turn.

        Parameters
        ----------
        trainer
            Holds the modules; `Trainer.update` moves one of them down a loss.
        batch
            What `tensors` returned.
        """
        return trainer.update("network", trainer.loss(batch))
