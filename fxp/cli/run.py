"""``fxp run``: a saved model on an image, an array, or a folder of images."""

from __future__ import annotations

import io
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

import fxp
from fxp.cli.batch import (
    BACKEND,
    JOBS,
    BackendOption,
    FileOutcome,
    JobsOption,
    SchedulerOption,
    over_files,
    refuse_failures,
)
from fxp.cli.console import JsonOption, ThreadsOption, UnlimitedOption, print_json
from fxp.cli.messages import CommandError
from fxp.cli.pixel_values import DivideByOption, PixelScale, scale_of_model
from fxp.cli.sources import image_channels, is_array, planes, read_array
from fxp.cli.targets import check_target, folder_targets
from fxp.imaging.attachments import Attachments
from fxp.imaging.files import WRITTEN_SUFFIXES, image_paths, read_picture, write_image
from fxp.support.errors import ArgumentError, FxpError
from fxp.support.files import replace_file
from fxp.support.parallel import check_workers, workers


def run(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    source: Annotated[Path, typer.Argument(help="Image, .npy of real values, or folder.")],
    target: Annotated[Path, typer.Argument(help="Image, .npy or folder to write.")],
    divide_by: DivideByOption = None,
    threads: ThreadsOption = None,
    unlimited: UnlimitedOption = False,
    jobs: JobsOption = JOBS,
    backend: BackendOption = BACKEND,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a fixed-point model on real data through the integer engine.

    The images of a folder are written as PNG files, which lose nothing, under their own names. One
    that fails does not stop the others; the failures are listed at the end. A one-channel model
    takes the luma of colour, one for colour takes grey as three equal channels.

    Example: fxp run kimsr_x2.fxp photo.png enlarged.png
    """
    check_workers(backend, jobs, scheduler)
    loaded = fxp.load(model, limits=fxp.Limits.none() if unlimited else None)
    if len(loaded.graph.outputs) > 1:
        raise ArgumentError(f"{model} has {len(loaded.graph.outputs)} outputs; use it from Python")
    if source.is_dir() and loaded.graph.states:
        raise ArgumentError(
            f"{model} keeps states from frame to frame, but the images of a folder are run by "
            "themselves; give the frames in order as one .npy array (frames, C, H, W)"
        )
    scale = scale_of_model(loaded, divide_by)
    sources = image_paths(source)
    targets = [target]
    if source.is_dir():
        targets = folder_targets(sources, target, reads=[model])
    else:
        check_target(target, reads=[model, source], suffixes=[*WRITTEN_SUFFIXES, ".npy"])
    work = FileRun(loaded, scale, threads)
    tasks = [
        (item, partial(work, item.absolute(), goal.absolute()))
        for item, goal in zip(sources, targets, strict=True)
    ]
    outcomes: list[FileOutcome] = []
    with ExitStack() as stack:
        if source.is_dir():
            stack.enter_context(workers(backend, jobs, scheduler))
            found = over_files(tasks, "running")
        else:
            figures = work(source, target)
            found = iter([FileOutcome(str(source), figures.seconds, figures)])
        for goal, outcome in zip(targets, found, strict=True):
            outcomes.append(outcome)
            if outcome.error is None and not as_json:
                typer.echo(f"{goal}: {outcome.result}")
    if as_json:
        pairs = list(zip(targets, outcomes, strict=True))
        made = [
            {"input": item.input, "output": goal, **asdict(item.result)}
            for goal, item in pairs
            if item.error is None
        ]
        failed = [
            {"input": item.input, "error": item.error}
            for item in outcomes
            if item.error is not None
        ]
        print_json({"model": model, "divide_by": scale.divide_by, "images": made, "failed": failed})
    refuse_failures(outcomes, "run")


@dataclass(frozen=True)
class RunFigures:
    """What is printed of one file.

    Attributes
    ----------
    shape
        Shape of the result.
    seconds
        Time of the engine.
    clipped
        Largest share of clipped values of a node.
    """

    shape: tuple[int, ...]
    seconds: float
    clipped: float

    def __str__(self) -> str:
        return f"{self.shape}, {self.seconds:.3f} s, at most {self.clipped:.4%} clipped"


@dataclass(frozen=True)
class FileRun:
    """What is done to each file; workers of other processes get it by pickle.

    Attributes
    ----------
    model
        The model.
    scale
        How pixels become real values.
    threads
        Threads of the engine.
    """

    model: fxp.FixedModel
    scale: PixelScale
    threads: int | None

    def __call__(self, source: Path, target: Path) -> RunFigures:
        """Read a file, run the model on it, and write the result."""
        values, attachments = _read(source, self.model, self.scale)
        started = time.perf_counter()
        try:
            result = self.model(values, threads=self.threads)
        except FxpError as error:
            raise CommandError(f"{source}: {error}") from error
        seconds = time.perf_counter() - started
        assert not isinstance(result, tuple)
        _write(target, result, self.scale, attachments)
        clipped = max(self.model.clipped(values).values())
        return RunFigures(result.shape, seconds, clipped)


def _read(
    path: Path, model: fxp.FixedModel, scale: PixelScale
) -> tuple[NDArray[np.float64], Attachments | None]:
    if is_array(path):
        return read_array(path), None
    image, attachments = read_picture(path)
    return scale.values(planes(image, image_channels(model), path)), attachments


def _write(path: Path, result: NDArray, scale: PixelScale, attachments: Attachments | None) -> None:
    if is_array(path):
        stream = io.BytesIO()
        np.save(stream, result)
        replace_file(path, stream.getvalue())
        return
    codes = scale.codes(result)
    if codes.ndim == 3:
        codes = codes[0] if len(codes) == 1 else codes.transpose(1, 2, 0)
    write_image(path, np.ascontiguousarray(codes), attachments=attachments)
