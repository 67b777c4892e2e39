"""Train a network for events: ``python -m fxp.models.events.train --data DIR --out FILE``.

``DIR`` holds the image folder BSD200. A simulated camera moves over its pictures; every twentieth
picture is held out, and the weights kept are those with the best PSNR of the last frame there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import fxp
from fxp.imaging.colour import luma
from fxp.models.common.data import Pictures, held_out, read_pictures
from fxp.models.common.recipe import Model, Recipe
from fxp.models.common.run import run_training, training_command
from fxp.models.common.weights import load_weights
from fxp.models.events.losses import structural_similarity
from fxp.models.events.networks import NETWORKS, StepNetwork
from fxp.models.events.sequences import large_enough, simulated
from fxp.models.events.settings import EventsSettings

FOLDER = "BSD200"
HELD_OUT_EVERY = 20
SCORED = 8
"""Sequences that are scored, and that formats are chosen on."""
NO_LPIPS = "the loss has no LPIPS term, as no package contains its weights"


class EventsRecipe(Recipe[EventsSettings]):
    """A network for events on simulated sequences, scored by the PSNR of the last frame.

    Parameters
    ----------
    settings
        The run.
    training, scored
        Grey pictures to train on, and those that choose the weights.
    """

    def __init__(self, settings: EventsSettings, training: Pictures, scored: Pictures) -> None:
        super().__init__(settings)
        self.training = large_enough(training, settings.side)
        pictures = large_enough(scored, settings.side)
        self.held_out = [
            simulated(pictures, [settings.seed, number, 1], **self._sizes())
            for number in range(SCORED)
        ]
        self.template = self.network()

    def _sizes(self) -> dict[str, int]:
        names = ("side", "length", "images", "milliseconds")
        return {name: getattr(self.settings, name) for name in names}

    def network(self) -> StepNetwork:
        """Return a new network."""
        given = {name: getattr(self.settings, name) for name in ("base", "iterations")}
        options: dict[str, Any] = {name: value for name, value in given.items() if value}
        return NETWORKS[self.settings.model](**options)

    def load(self, name: str) -> nn.Module:
        """Load float weights from a file."""
        return load_weights(name, *NETWORKS.values())

    def batch(self, number: int) -> Sequence[NDArray]:
        """Return grids ``(N, T, bins, H, W)`` and last pictures ``(N, 1, H, W)``."""
        settings = self.settings
        items = [
            simulated(self.training, [settings.seed, number, 0, item], **self._sizes())
            for item in range(settings.batch)
        ]
        return np.stack([item.grids for item in items]), np.stack([item.picture for item in items])

    def loss(self, network: nn.Module, batch: Sequence[Tensor], *, finishing: bool) -> Tensor:
        """Return the absolute error and the missing similarity of the last frame.

        Parameters
        ----------
        network
            What trains.
        batch
            Grids and last pictures.
        finishing
            Changes nothing.
        """
        grids, wanted = batch
        side = self.settings.side
        states = [
            torch.zeros(len(grids), *shape, device=grids.device, dtype=grids.dtype)
            for shape in self.template.state_shapes(side, side)
        ]
        picture = wanted
        length = grids.shape[1]
        for number in range(length):
            left = length - number
            if self.settings.truncate and left % self.settings.truncate == 0:
                states = [state.detach() for state in states]
            picture, *states = network(grids[:, number], *states)
        picture = picture.mean(1, keepdim=True)
        error = (picture - wanted).abs().mean()
        return error + (1 - structural_similarity(picture, wanted))

    def quantize_options(self) -> dict[str, Any]:
        """Return the sequences that formats are chosen on, and the states."""
        side = self.settings.side
        return {
            "calibration": fxp.Sequences(*(torch.from_numpy(s.grids) for s in self.held_out)),
            "states": self.template.state_pairs(),
            "initial_states": self.template.initial_states(side, side),
        }

    def scores(self, model: Model) -> dict[str, float]:
        """Return the mean PSNR of the last frame on the held-out sequences."""
        errors = []
        for sequence in self.held_out:
            grids = torch.from_numpy(sequence.grids)
            if isinstance(model, fxp.FixedModel):
                picture = np.asarray(model(grids))[-1]
            else:
                picture = self._last(model, grids)
            shown = np.clip(picture.mean(0, keepdims=True), 0, 1)
            errors.append(float(np.square(shown - sequence.picture).mean()))
        return {"held-out": float(np.mean([-10 * np.log10(max(e, 1e-10)) for e in errors]))}

    def _last(self, network: nn.Module, grids: Tensor) -> NDArray:
        states = self.template.initial_states(*grids.shape[-2:])
        picture = grids
        with torch.inference_mode():
            for grid in grids:
                picture, *states = network(grid[None], *states)
        return picture[0].numpy()

    def summary(self) -> str:
        """Return how many pictures there are, and what the loss lacks."""
        return f"{len(self.training)} training pictures, {SCORED} held-out sequences; {NO_LPIPS}"

    def metadata(self) -> dict[str, str]:
        """Return the data."""
        return {"training_images": FOLDER, "events": "simulated"}


def recipe(settings: EventsSettings, folder: Path) -> EventsRecipe:
    """Return the training of a data folder."""
    pictures = [luma(picture) for picture in read_pictures(folder / FOLDER)]
    training, held = held_out(pictures, HELD_OUT_EVERY)
    return EventsRecipe(settings, training, held)


main = training_command(
    EventsSettings, recipe, "Train a network that turns events of a camera into video."
)

if __name__ == "__main__":
    run_training(main)
