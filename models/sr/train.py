"""Train KimSR: ``python -m models.sr.train --data DIR --out FILE.safetensors``.

``DIR`` holds the image folders T91 and BSD200 (training) and, for information only, Set5. Every
twentieth BSD200 image is held out; the weights kept are those with the best PSNR on these, so
that the test sets choose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fxp.imaging.files import ImageError

from .data import DataError, TrainingSet, read_folder
from .networks import KimSR
from .trainer import TRAINING_FOLDERS, Images, Loss, Settings, Trainer, TrainingError
from .weights_file import save_float

HELD_OUT_EVERY = 20


class Skip(StrEnum):
    """Start of the residual connection; see `KimSR`."""

    POST_RELU = "post_relu"
    PRE_RELU = "pre_relu"


def load_images(folder: Path) -> tuple[Images, Images, Images]:
    """Read the training, held-out and Set5 luma images of a data folder.

    Raises
    ------
    DataError
        If a training folder is missing or an image is corrupt. Set5 may be missing.
    """
    if not folder.is_dir():
        raise DataError(f"data folder not found: {folder}")
    training: Images = []
    held_out: Images = []
    for name in TRAINING_FOLDERS:
        images = list(read_folder(folder / name).values())
        if name == "BSD200":
            held_out = images[::HELD_OUT_EVERY]
            images = [image for index, image in enumerate(images) if index % HELD_OUT_EVERY]
        training += images
    test = list(read_folder(folder / "Set5").values()) if (folder / "Set5").is_dir() else []
    return training, held_out, test


@contextmanager
def _progress(settings: Settings, done: int) -> Iterator[Callable[[], None]]:
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task("training", total=settings.steps, completed=done)
        yield lambda: bar.advance(task)


def train(
    settings: Settings,
    data: Path,
    out: Path,
    *,
    log: Path,
    checkpoint: Path,
    resume: bool = False,
    report_line: Callable[[str], None] = lambda line: None,
) -> None:
    """Train a network and keep its best weights.

    Parameters
    ----------
    settings
        The run.
    data
        Folder that holds T91, BSD200 and perhaps Set5.
    out
        Weights file, rewritten atomically whenever the held-out PSNR improves.
    log
        Text file, one line per epoch.
    checkpoint
        Resume state, rewritten atomically every epoch.
    resume
        Continue from the checkpoint.
    report_line
        Receives every line of the log.

    Raises
    ------
    DataError, TrainingError
        With a one-line message.
    """
    training, held_out, test = load_images(data)
    pairs = TrainingSet(
        training,
        scale=settings.scale,
        patch=settings.patch,
        margin=KimSR.margin,
        seed=settings.seed,
    )
    trainer = Trainer(settings, pairs, held_out, test)
    if resume:
        trainer.restore(checkpoint)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a" if resume else "w", encoding="utf-8") as stream:

        def write(line: str) -> None:
            stream.write(line + "\n")
            stream.flush()
            report_line(line)

        write(f"resumed at step {trainer.step}" if resume else settings.command())
        write(f"{len(pairs.high)} training images, {len(held_out)} held out, {len(test)} of Set5")
        with _progress(settings, trainer.step) as advance:
            while trainer.step < settings.steps:
                report = trainer.run_epoch(advance)
                if report.improved:
                    metadata = trainer.metadata(report)
                    save_float(out, trainer.model, metadata, state=trainer.average)
                trainer.save_checkpoint(checkpoint)
                write(
                    f"step {report.step:6d}  loss {report.loss:.6f}"
                    f"  held-out {report.held_out:.3f} dB  Set5 {report.test:.3f} dB"
                    f"  {report.seconds:.0f} s{'  saved' if report.improved else ''}"
                )


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds T91, BSD200 and Set5.")],
    out: Annotated[Path, typer.Option(help="Weights file to write (.safetensors).")],
    scale: Annotated[int, typer.Option(min=2, max=4)] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps in all.")] = Settings.steps,
    epoch: Annotated[int, typer.Option(min=1, help="Steps between measurements.")] = Settings.epoch,
    batch: Annotated[int, typer.Option(min=1, help="Patches per step.")] = Settings.batch,
    patch: Annotated[int, typer.Option(min=16, help="Low-resolution side.")] = Settings.patch,
    rate: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")] = Settings.rate,
    average: Annotated[
        float, typer.Option(min=0.0, max=0.99999, help="Decay of the weight average; 0 = off.")
    ] = Settings.average,
    loss: Annotated[Loss, typer.Option(help="Pixel loss.")] = Loss.L1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    skip_from: Annotated[Skip, typer.Option(help="Start of the skip.")] = Skip.POST_RELU,
    relu_after_add: bool = True,
    relu_between_depthwise_pointwise: bool = False,
    log: Annotated[Path | None, typer.Option(help="Default: --out with .log.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Default: --out with .pt.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train the KimSR network on the CPU."""
    settings = Settings(
        scale=scale,
        steps=steps,
        epoch=epoch,
        batch=batch,
        patch=patch,
        rate=rate,
        average=average,
        loss=loss.value,
        seed=seed,
        skip_from="pre_relu" if skip_from is Skip.PRE_RELU else "post_relu",
        relu_after_add=relu_after_add,
        relu_between_depthwise_pointwise=relu_between_depthwise_pointwise,
    )
    try:
        torch.set_num_threads(threads)
        train(
            settings,
            data,
            out,
            log=log or out.with_suffix(".log"),
            checkpoint=checkpoint or out.with_suffix(".pt"),
            resume=resume,
            report_line=typer.echo,
        )
    except (DataError, ImageError, TrainingError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("stopped; continue with --resume", err=True)
        raise typer.Exit(130) from None


if __name__ == "__main__":
    typer.run(main)
