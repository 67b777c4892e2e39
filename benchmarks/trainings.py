"""Trainings of benchmarks: each is kept in a folder, and goes on there if it was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fxp.models.common.recipe import Recipe
from fxp.models.common.run import RunFiles, train


def trained(recipe: Recipe[Any], folder: Path, name: str) -> Path:
    """Return the weights of a training.

    Parameters
    ----------
    recipe
        What trains, and by which settings.
    folder
        Of weights, logs and checkpoints.
    name
        Of the training, unique in the folder.
    """
    kinds = ("safetensors", "log", "pt")
    files = RunFiles(*(folder / f"{name}.{kind}" for kind in kinds))
    train(recipe, files, resume=files.checkpoint.exists(), report_line=print)
    return files.weights
