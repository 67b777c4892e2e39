"""Train a classifier: ``python -m fxp.models.recognition.train --data DIR --out FILE``.

``DIR`` holds the training and the test pictures, see `fxp.models.recognition.data.read_labelled`.
Some training pictures of each class are held out; the weights kept are those with the best accuracy
there, so that the test pictures choose nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import fxp
from fxp.models.common.pixels import PIXEL
from fxp.models.common.recipe import Model, Recipe
from fxp.models.common.run import run_training, training_command
from fxp.models.common.settings import TrainingError
from fxp.models.recognition.checkpoints import load_float
from fxp.models.recognition.data import (
    Batches,
    LabelledImages,
    check_classes,
    find,
    held_out_labelled,
    in_batches,
    planes,
    read_labelled,
    varied,
)
from fxp.models.recognition.settings import RecognitionSettings
from fxp.models.recognition.zoo import SMALL

if TYPE_CHECKING:
    from fxp.models.common.trainer import Trainer

CALIBRATION = 64
"""Training pictures on which formats are chosen."""
REGRESSOR = "regressor"
"""Name of the layer that brings the network's channels to those of the teacher's hint."""


def accuracy(model: Model, images: LabelledImages) -> float:
    """Return the percentage of pictures whose class has the highest score; NaN without pictures.

    Parameters
    ----------
    model
        A float network in eval mode, or one in fixed point.
    images
        The pictures.
    """
    if not len(images):
        return float("nan")
    return 100 * float((predictions(model, images.images).argmax(1) == images.labels).mean())


def predictions(model: Model, images: NDArray[np.uint8]) -> NDArray:
    """Return the scores ``(N, classes)`` of pictures ``(N, H, W, channels)``.

    Parameters
    ----------
    model
        As for `accuracy`.
    images
        uint8.
    """
    scores = []
    with torch.inference_mode():
        for batch in in_batches(images):
            fixed = isinstance(model, fxp.FixedModel)
            scores.append(model(batch) if fixed else model(torch.from_numpy(batch)).numpy())
    return np.concatenate([np.asarray(part) for part in scores])


def distillation_loss(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T² times the divergence of softened probabilities from those of a teacher.

    G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015. The factor
    keeps the size of the gradient whatever the temperature T is.

    Parameters
    ----------
    scores, teacher
        ``(N, classes)``, before the softmax.
    temperature
        Divides both.
    """
    wanted = functional.log_softmax(teacher / temperature, 1)
    got = functional.log_softmax(scores / temperature, 1)
    divergence = functional.kl_div(got, wanted, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


def hint_loss(hint: Tensor, guided: Tensor) -> Tensor:
    """Return half the squared distance to a teacher's features, the mean over their elements.

    A. Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015.

    Parameters
    ----------
    hint
        The teacher's.
    guided
        Those of the network after the regressor, of the same shape.
    """
    return (guided - hint).square().mean() / 2


class RecognitionRecipe(Recipe[RecognitionSettings]):
    """A classifier on varied pictures, scored by the share of pictures it gets right.

    Parameters
    ----------
    settings
        The run.
    training
        Pictures to train on, of which some are held out.
    test
        Pictures that are measured only; none at all are allowed.

    Raises
    ------
    TrainingError
        If the teacher or the modules of a hint do not fit.
    """

    unit = "%"

    def __init__(
        self, settings: RecognitionSettings, training: LabelledImages, test: LabelledImages
    ) -> None:
        super().__init__(settings)
        self.weight_decay = settings.decay
        self.training, held = held_out_labelled(training, settings.held_out)
        if len(self.training) < 2:
            raise TrainingError("there are fewer than two pictures to train on; give more")
        self.sets = {"held-out": held, "test": test}
        self.batches = Batches(len(self.training), settings.batch, settings.seed)
        self.teacher = self._teacher() if settings.teacher else None
        self.hint_names = settings.hint.split(":") if settings.hint else []
        self.regressor = self._regressor() if settings.hint else None

    def network(self) -> nn.Module:
        """Return a new network."""
        settings = self.settings
        options: dict[str, Any] = {
            "classes": len(self.training.classes),
            "channels": settings.channels,
        }
        if settings.width:
            factor = settings.model == "mobilenetv2"
            options["width"] = settings.width if factor else int(settings.width)
        return SMALL[settings.model](**options)

    def load(self, name: str) -> nn.Module:
        """Load float weights by name or file."""
        return load_float(name)

    def _teacher(self) -> nn.Module:
        teacher = load_float(self.settings.teacher)
        classes = self._shapes(teacher, "")[1]
        if classes != len(self.training.classes):
            raise TrainingError(
                f"the teacher has {classes} classes, the training pictures have "
                f"{len(self.training.classes)}"
            )
        return teacher.requires_grad_(requires_grad=False)

    def _shapes(self, network: nn.Module, name: str) -> tuple[int, ...]:
        """Return the shape of the result of a module for one picture."""
        settings = self.settings
        picture = torch.zeros(1, settings.channels, settings.side, settings.side)
        network.eval()
        try:
            with torch.inference_mode(), _captured(network, name) as results:
                network(picture)
        except AttributeError as error:
            raise TrainingError(f"the network of --hint has no module {name}") from error
        except RuntimeError as error:
            raise TrainingError(f"the teacher does not take these pictures: {error}") from error
        return tuple(results[-1].shape)

    def _regressor(self) -> nn.Module:
        assert self.teacher is not None
        of_teacher, own = self.hint_names
        wanted, given = self._shapes(self.teacher, of_teacher), self._shapes(self.network(), own)
        if wanted[2:] != given[2:]:
            raise TrainingError(
                f"--hint compares results of different sizes: {wanted[2:]} and {given[2:]}"
            )
        if len(wanted) == 2:
            return nn.Linear(given[1], wanted[1])
        return nn.Conv2d(given[1], wanted[1], 1)

    def helpers(self) -> dict[str, nn.Module]:
        """Return the regressor of a hint."""
        return {} if self.regressor is None else {REGRESSOR: self.regressor}

    def prepared(self, network: nn.Module) -> nn.Module:
        """Order the channels of a pixel side by side, which is faster on a CPU."""
        return network.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]

    def batch(self, number: int) -> Sequence[NDArray]:
        """Return pictures ``(N, channels, H, W)`` and labels."""
        chosen = self.batches[number]
        random = np.random.default_rng([self.settings.seed, number, 0])
        images = varied(
            self.training.images[chosen], random, shift=self.settings.shift, flip=self.settings.flip
        )
        return planes(images), self.training.labels[chosen]

    def tensors(self, batch: Sequence[NDArray], device: str) -> tuple[Tensor, ...]:
        """Bring a batch to the device."""
        images, labels = super().tensors(batch, device)
        if self.teacher is not None:
            self.teacher.to(device)
        return images.to(memory_format=torch.channels_last), labels

    def loss(self, network: nn.Module, batch: Sequence[Tensor], *, finishing: bool) -> Tensor:
        """Return the cross-entropy, mixed with what a teacher says if there is one.

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
        settings = self.settings
        of_teacher, own = self.hint_names or ("", "")
        with _captured(network, own) as results:
            scores = network(images)
        if self.regressor is None:
            return self.classification_loss(scores, images, labels)
        assert self.teacher is not None
        with _captured(self.teacher, of_teacher) as hints:
            loss = self.classification_loss(scores, images, labels)
        guided = self.regressor(results[-1])
        return loss + settings.hint_weight * hint_loss(hints[-1], guided)

    def classification_loss(self, scores: Tensor, images: Tensor, labels: Tensor) -> Tensor:
        """Return the cross-entropy of scores, mixed with what a teacher says if there is one.

        Parameters
        ----------
        scores
            ``(N, classes)``.
        images, labels
            What they were computed from, and the classes.
        """
        settings = self.settings
        wrong = functional.cross_entropy(scores, labels, label_smoothing=settings.smoothing)
        if self.teacher is None:
            return wrong
        with torch.no_grad():
            wanted = self.teacher(images)
        imitated = distillation_loss(scores, wanted, settings.temperature)
        return settings.teacher_share * imitated + (1 - settings.teacher_share) * wrong

    def step(self, trainer: Trainer, batch: Sequence[Tensor]) -> float:
        """Do one step of the network, and of the regressor on the same loss."""
        helper = trainer.optimizers.get(REGRESSOR)
        if helper is not None:
            helper.zero_grad()
        value = super().step(trainer, batch)
        if helper is not None:
            helper.step()
        return value

    def quantize_options(self) -> dict[str, Any]:
        """Return the pictures that formats are chosen on, and the format of pixels."""
        return {"calibration": [planes(calibration(self.training))], "input_format": PIXEL}

    def scores(self, model: Model) -> dict[str, float]:
        """Return the accuracy on the held-out and on the test pictures."""
        return {name: accuracy(model, images) for name, images in self.sets.items()}

    def summary(self) -> str:
        """Return how many pictures and classes there are."""
        held, test = (len(images) for images in self.sets.values())
        return (
            f"{len(self.training)} training pictures of {len(self.training.classes)} classes, "
            f"{held} held out, {test} of the test"
        )

    def metadata(self) -> dict[str, str]:
        """Return the data and the names of the classes."""
        return {
            "training_images": Path(self.settings.training).name,
            "classes": "\n".join(self.training.classes),
        }


@contextmanager
def _captured(network: nn.Module, name: str) -> Iterator[list[Tensor]]:
    """Collect the results of a module, by its name; an empty name means the network itself."""
    results: list[Tensor] = []

    def collect(module: nn.Module, inputs: Any, output: Tensor) -> None:
        results.append(output)

    handle = network.get_submodule(name).register_forward_hook(collect)
    try:
        yield results
    finally:
        handle.remove()


def calibration(images: LabelledImages, count: int = CALIBRATION) -> NDArray[np.uint8]:
    """Return so many pictures of a set, evenly over it and thereby over its classes."""
    chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return images.images[chosen]


def labelled_sets(
    settings: RecognitionSettings, folder: Path
) -> tuple[LabelledImages, LabelledImages]:
    """Return the training and the test pictures of a data folder.

    Parameters
    ----------
    settings
        Names the sets.
    folder
        The folder.
    """
    training = read_labelled(
        find(folder, settings.training), settings.side, channels=settings.channels
    )
    test = training.subset(np.zeros(len(training), bool))
    if settings.test:
        test = read_labelled(find(folder, settings.test), settings.side, channels=settings.channels)
        check_classes(test.classes, training.classes, settings.test)
    return training, test


def recipe(settings: RecognitionSettings, folder: Path) -> RecognitionRecipe:
    """Return the training of a data folder."""
    return RecognitionRecipe(settings, *labelled_sets(settings, folder))


main = training_command(RecognitionSettings, recipe, "Train a classifier of pictures.")

if __name__ == "__main__":
    run_training(main)
