"""Pictures to classes with probabilities, by a classifier in integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fxp import FixedModel
from fxp.cli.pixel_values import scale_of_model
from fxp.cli.sources import image_channels
from fxp.imaging.files import read_image
from fxp.models.recognition.data import fitted, in_channels
from fxp.support.errors import ArgumentError

CLASSES: Final = "classes"
"""Metadata key: the names of the classes, one a line."""
SIDE: Final = "side"
"""Metadata key: height and width, in pixels, of the pictures that the network is made for."""


@dataclass(frozen=True)
class Prediction:
    """A class that a picture may belong to.

    Attributes
    ----------
    label
        Name of the class, or its number if the classes have no names.
    number
        Its place among the scores, from 0.
    probability
        Softmax of the scores, 0 to 1.
    """

    label: str
    number: int
    probability: float


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Read the names of classes, one a line; empty lines at the end do not count.

    Raises
    ------
    ArgumentError
        If the file is missing, is no text, or holds no names.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows marks it
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"cannot read the labels {path}: it is no text file") from error
    names = tuple(line.strip() for line in text.rstrip().splitlines())
    if not names:
        raise ArgumentError(f"{path} holds no labels; write one a line")
    if "" in names:
        raise ArgumentError(
            f"line {names.index('') + 1} of {path} is empty; write one label a line"
        )
    return names


class Recognizer:
    """A fixed-point classifier as a function of pictures.

    Parameters
    ----------
    model
        Takes one picture, and returns one score for each class.
    labels
        Names of the classes; by default those in the model's metadata, or their numbers.
    side
        Height and width that pictures are brought to; by default what the model says.
    share
        Share of the shorter side of a picture that is looked at, 7/8 in many networks for ImageNet.

    Raises
    ------
    ArgumentError
        If the model is no classifier, there are more or fewer labels than scores, a label cannot be
        printed, or the side is unknown or not the model's.
    """

    def __init__(
        self,
        model: FixedModel,
        *,
        labels: Sequence[str] | None = None,
        side: int | None = None,
        share: float = 1.0,
    ) -> None:
        graph = model.graph
        shape = graph.inputs[0].shape
        result = graph.values[graph.outputs[0]].shape
        count = result[0]
        # Networks that end in a global pooling may keep its axes of size 1.
        vector = all(size == 1 for size in result[1:])
        single = len(graph.inputs) == len(graph.outputs) == 1 and not graph.states
        if not (isinstance(count, int) and vector and single):
            raise ArgumentError(
                f"{graph.name} is no classifier: it must take one picture and return one score "
                "for each class"
            )
        named = model.metadata.get(CLASSES)
        names = labels if labels is not None else named.split("\n") if named else None
        if names is None:
            names = [str(number) for number in range(count)]
        if len(names) != count:
            raise ArgumentError(f"there are {len(names)} labels, but the model has {count} classes")
        for name in names:
            # Others could write to the terminal what looks like results.
            if not name.isprintable():
                raise ArgumentError(
                    f"the class {name!a} holds a character that cannot be printed; rename it"
                )
        if not 0 < share <= 1:
            raise ArgumentError(
                f"the share of a picture must be above 0 and at most 1, not {share}"
            )
        self.model, self.labels, self.share = model, tuple(names), share
        self.side = picture_side(model, shape, side)
        self.channels = image_channels(model)
        if self.channels not in (1, 3):
            raise ArgumentError(f"{graph.name} takes {self.channels} channels, not 1 or 3")
        self.scale = scale_of_model(model)

    def scores(self, picture: NDArray[np.uint8], *, threads: int | None = None) -> NDArray:
        """Return the scores ``(classes,)`` of a picture.

        Parameters
        ----------
        picture
            ``(H, W)`` or ``(H, W, 3)`` uint8.
        threads
            Threads of the engine.
        """
        square = fitted(in_channels(picture, self.channels), self.side, share=self.share)
        values = self.scale.values(square.transpose(2, 0, 1))
        return np.asarray(self.model(values, threads=threads), np.float64).ravel()

    def __call__(
        self, picture: NDArray[np.uint8], *, top: int = 5, threads: int | None = None
    ) -> list[Prediction]:
        """Return the likeliest classes of a picture, the likeliest first.

        Parameters
        ----------
        picture
            ``(H, W)`` or ``(H, W, 3)`` uint8.
        top
            How many; all of them if there are fewer. Of equal scores the first class leads.
        threads
            Threads of the engine.
        """
        if top < 1:
            raise ArgumentError(f"top must be at least 1, not {top}")
        scores = self.scores(picture, threads=threads)
        powers = np.exp(scores - scores.max())
        probabilities = powers / powers.sum()
        order = np.argsort(-scores, kind="stable")[:top]
        return [
            Prediction(self.labels[number], int(number), float(probabilities[number]))
            for number in order
        ]

    def file(self, path: Path, *, top: int, threads: int | None = None) -> list[Prediction]:
        """Return the likeliest classes of a picture in a file.

        Parameters
        ----------
        path
            The file.
        top, threads
            As for a call.

        Raises
        ------
        ImageError
            If the file is no image, or damaged.
        """
        return self(read_image(path), top=top, threads=threads)


def picture_side(model: FixedModel, shape: Sequence[object], wanted: int | None) -> int:
    """Return the height and width that pictures are brought to for a model.

    Parameters
    ----------
    model
        The model.
    shape
        Of its input.
    wanted
        What the user asks for; by default what the model says.

    Raises
    ------
    ArgumentError
        If the side is unknown, or not the model's.
    """
    height, width = shape[-2:]
    if isinstance(height, int) and isinstance(width, int):
        if height != width:
            raise ArgumentError(f"{model.graph.name} takes {height}x{width} pixels, not a square")
        if wanted not in (None, height):
            raise ArgumentError(f"{model.graph.name} takes {height} pixels a side, not {wanted}")
        return height
    if wanted is not None:
        return wanted
    text = model.metadata.get(SIDE, "")
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ArgumentError(
            f"{model.graph.name} does not say which size its pictures have; give --side"
        )
    return int(text)


def classify(
    picture: NDArray[np.uint8], model: FixedModel, *, top: int = 5, threads: int | None = None
) -> list[Prediction]:
    """Return the likeliest classes of one picture; see `Recognizer`, which is for many.

    Parameters
    ----------
    picture
        ``(H, W)`` or ``(H, W, 3)`` uint8, of any size: its centre square is resized.
    model
        A classifier, such as `fxp.models.recognition.load` returns.
    top
        How many classes.
    threads
        Threads of the engine.
    """
    return Recognizer(model)(picture, top=top, threads=threads)
