"""The ``fxp classify`` command: what is in pictures, by a fixed-point classifier."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

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
from fxp.cli.console import JsonOption, ThreadsOption, print_json
from fxp.imaging.files import image_paths
from fxp.models.recognition.fixed import load
from fxp.models.recognition.recognizer import Prediction, Recognizer, read_labels
from fxp.support.parallel import check_workers, workers

DEFAULT_MODEL = "cifar_resnet20"


def classify(
    sources: Annotated[
        list[Path], typer.Argument(metavar="IN...", help="Images and folders of images.")
    ],
    model: Annotated[str, typer.Option(help="Shipped model or .fxp file.")] = DEFAULT_MODEL,
    labels: Annotated[
        Path | None, typer.Option(help="Text file with the name of a class on each line.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes shown for each image.")] = 5,
    side: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Side of the pictures; default the model's.")
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the shorter side that is used.")
    ] = 1.0,
    threads: ThreadsOption = None,
    jobs: JobsOption = JOBS,
    backend: BackendOption = BACKEND,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Classify images by a network in integers.

    The square in the centre of an image is resized bicubically to the size
    that the network takes. Probabilities are the softmax of its scores. The
    shipped models know the ten classes of CIFAR-10: airplane, automobile,
    bird, cat, deer, dog, frog, horse, ship and truck. A model from a file
    takes one picture and returns one score for each class; it has its labels
    in its metadata, or in a file. An image that fails does not stop the
    others; the failures are listed at the end.

    Example: fxp classify photo.jpg --top 3

    Example: fxp classify photos --model squeezenet.fxp --labels names.txt --share 0.875
    """
    check_workers(backend, jobs, scheduler)
    recognizer = Recognizer(
        load(model),
        labels=None if labels is None else read_labels(labels),
        side=side,
        share=share,
    )
    paths = [path for source in sources for path in image_paths(source)]
    tasks = [
        (path, partial(recognizer.file, path.absolute(), top=top, threads=threads))
        for path in paths
    ]
    outcomes: list[FileOutcome] = []
    with workers(backend, jobs, scheduler):
        found = over_files(tasks, "classifying")
        if len(sources) == 1 and not sources[0].is_dir():
            # The error of the only image is that of the command.
            started = time.perf_counter()
            result = recognizer.file(sources[0], top=top, threads=threads)
            found = iter([FileOutcome(str(sources[0]), time.perf_counter() - started, result)])
        for outcome in found:
            outcomes.append(outcome)
            if outcome.error is None and not as_json:
                typer.echo(f"{outcome.input}: {_shown(outcome.result)}")
    if as_json:
        print_json(
            {
                "model": model,
                "images": [
                    {
                        "input": item.input,
                        "seconds": item.seconds,
                        "classes": [asdict(prediction) for prediction in item.result],
                    }
                    for item in outcomes
                    if item.error is None
                ],
                "failed": [
                    {"input": item.input, "error": item.error}
                    for item in outcomes
                    if item.error is not None
                ],
            }
        )
    refuse_failures(outcomes, "classified")


def _shown(predictions: list[Prediction]) -> str:
    return ", ".join(f"{item.label} {item.probability:.1%}" for item in predictions)
