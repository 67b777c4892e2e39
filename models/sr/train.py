"""Train KimSR: ``python -m fxp.models.sr.train --data DIR --out FILE.safetensors``.

``DIR`` holds the image folders T91 and BSD200 (training) and, for information only, Set5. Every
twentieth BSD200 image is held out; the weights kept are those with the best PSNR on these, so
that the test sets choose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fxp.cli.messages import one_line
from fxp.imaging.colour import luma
from fxp.imaging.files import image_paths, read_image
from fxp.imaging.quality import to_codes
from fxp.imaging.resize import imresize
from fxp.models.sr.data import DataError, data_folder
from fxp.models.sr.degradation import Degradation
from fxp.models.sr.networks import KimSR
from fxp.models.sr.patches import Shrink, TrainingSet, bicubic
from fxp.models.sr.settings import Images, Loss, Optimizer, Precision, Settings, TrainingError
from fxp.models.sr.trainer import TRAINING_FOLDERS, Pictures, Trainer
from fxp.models.sr.weights_file import load_float, save_float

HELD_OUT_EVERY = 20
RESCALED = (0.9, 0.8, 0.7, 0.6)
VARIANTS = 8
"""Inputs made of every image by the random degradation."""


class Skip(StrEnum):
    """Start of the residual connection; see `KimSR`."""

    POST_RELU = "post_relu"
    PRE_RELU = "pre_relu"


def load_images(folder: Path) -> tuple[Pictures, Pictures, Pictures]:
    """Read the training, held-out and Set5 images of a data folder.

    Raises
    ------
    DataError, ImageError
        If a training folder is missing or an image is corrupt. Set5 may be missing.
    """
    if not folder.is_dir():
        raise DataError(f"data folder not found: {folder}")
    training: Pictures = []
    held_out: Pictures = []
    for name in TRAINING_FOLDERS:
        images = _read(folder / name)
        if name == "BSD200":
            held_out = images[::HELD_OUT_EVERY]
            images = [image for index, image in enumerate(images) if index % HELD_OUT_EVERY]
        training += images
    test = _read(folder / "Set5") if (folder / "Set5").is_dir() else []
    return training, held_out, test


def _read(folder: Path) -> Pictures:
    return [read_image(path) for path in image_paths(folder)]


def compressed(image: NDArray[np.uint8], scale: int, seed: int) -> NDArray[np.uint8]:
    """Degrade as `Degradation` does by default, and return the luma."""
    return luma(Degradation()(image, scale, seed))


def training_pairs(settings: Settings, images: Pictures) -> TrainingSet:
    """Return the patches that a run trains on, from the images as they were read."""
    if settings.rescale:
        images = images + [to_codes(imresize(item, size)) for size in RESCALED for item in images]
    teacher = load_float(settings.teacher) if settings.teacher else None
    if teacher is not None and teacher.scale != settings.scale:
        raise TrainingError(f"the teacher enlarges by {teacher.scale}, not by {settings.scale}")
    random = settings.images == Images.COMPRESSED
    shrink: Shrink = compressed if random else bicubic
    return TrainingSet(
        images,
        scale=settings.scale,
        patch=settings.patch,
        margin=KimSR.margin,
        seed=settings.seed,
        shrink=shrink,
        variants=VARIANTS if random else 1,
        teacher=teacher,
        teacher_share=settings.teacher_share,
    )


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
    device: str = "cpu",
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
    device
        Where to train, ``"cpu"`` or ``"cuda"``.
    report_line
        Receives every line of the log.

    Raises
    ------
    DataError, TrainingError
        With a one-line message.
    """
    for path in (out, log, checkpoint):
        if path.is_dir():
            raise TrainingError(f"cannot write {path}: it is a folder")
    if len({path.absolute() for path in (out, log, checkpoint)}) < 3:
        raise TrainingError("weights, log and checkpoint need three different files")
    training, held_out, test = load_images(data)
    pairs = training_pairs(settings, training)
    start = load_float(settings.start) if settings.start else None
    trainer = Trainer(settings, pairs, held_out, test, start=start, device=device)
    if resume:
        trainer.restore(checkpoint)
    lines = [
        f"resumed at step {trainer.step}" if resume else settings.command(),
        f"{len(pairs.high)} training images, {len(held_out)} held out, {len(test)} of Set5",
    ]
    for path in (out, log, checkpoint):
        path.parent.mkdir(parents=True, exist_ok=True)
    for line in lines:
        report_line(line)
    with _progress(settings, trainer.step) as advance:
        while trainer.step < settings.steps:
            report = trainer.run_epoch(advance)
            if report.improved:
                save_float(out, trainer.averaged(), trainer.metadata(report))
            trainer.save_checkpoint(checkpoint)
            line = (
                f"step {report.step:6d}  loss {report.loss:.6f}"
                f"  held-out {report.held_out:.3f} dB  Set5 {report.test:.3f} dB"
                f"  {report.seconds:.0f} s{'  saved' if report.improved else ''}"
            )
            report_line(line)
            # An earlier log is replaced only when there is something to replace it by.
            with log.open("a" if resume else "w", encoding="utf-8") as stream:
                stream.writelines(f"{item}\n" for item in [*lines, line])
            lines, resume = [], True


def main(
    out: Annotated[Path, typer.Option(help="Weights file to write (.safetensors).")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of T91, BSD200, Set5; default: $FXP_DATA.")
    ] = None,
    scale: Annotated[int, typer.Option(min=2, max=4)] = Settings.scale,
    steps: Annotated[int, typer.Option(min=1, help="Optimizer steps in all.")] = Settings.steps,
    epoch: Annotated[int, typer.Option(min=1, help="Steps between measurements.")] = Settings.epoch,
    batch: Annotated[int, typer.Option(min=1, help="Patches per step.")] = Settings.batch,
    patch: Annotated[int, typer.Option(min=16, help="Low-resolution side.")] = Settings.patch,
    rate: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")] = Settings.rate,
    average: Annotated[
        float, typer.Option(min=0.0, max=0.99999, help="Decay of the weight average; 0 = off.")
    ] = Settings.average,
    loss: Annotated[Loss, typer.Option(help="Pixel loss.")] = Loss.L1,
    finish: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the steps, at the end, on mse.")
    ] = Settings.finish,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = Settings.seed,
    optimizer: Annotated[Optimizer, typer.Option(help="Update rule.")] = Optimizer.SOAP,
    precision: Annotated[
        Precision, typer.Option(help="Of forward and backward; weights stay float32.")
    ] = Precision.BFLOAT16,
    compiled: Annotated[bool, typer.Option(help="Fuse the step with torch.compile.")] = True,
    branches: Annotated[bool, typer.Option(help="Re-parameterize kernels.")] = Settings.branches,
    rescale: Annotated[bool, typer.Option(help="Shrunk images too.")] = Settings.rescale,
    images: Annotated[Images, typer.Option(help="Degradation of the inputs.")] = Images.BICUBIC,
    start: Annotated[str, typer.Option(help="Weights to start from: name or file.")] = "",
    teacher: Annotated[str, typer.Option(help="Weights of a larger network to imitate.")] = "",
    teacher_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the teacher in the targets.")
    ] = Settings.teacher_share,
    weight_bits: Annotated[
        int, typer.Option(min=0, max=24, help="Train with fixed-point weights; 0 = float.")
    ] = Settings.weight_bits,
    activation_bits: Annotated[
        int, typer.Option(min=0, max=24, help="And activations; 0 = float.")
    ] = Settings.activation_bits,
    skip_from: Annotated[Skip, typer.Option(help="Start of the skip.")] = Skip.POST_RELU,
    relu_after_add: bool = Settings.relu_after_add,
    relu_between_depthwise_pointwise: bool = Settings.relu_between_depthwise_pointwise,
    width: Annotated[int, typer.Option(min=1, help="Factor on the feature maps.")] = Settings.width,
    log: Annotated[Path | None, typer.Option(help="Default: --out with .log.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Default: --out with .pt.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train the KimSR network, in floating point or with the roundings of its fixed-point model."""
    given = locals()
    values: dict[str, Any] = {field.name: given[field.name] for field in fields(Settings)}
    # Plain text, so that checkpoints hold no types of this package.
    values = {name: str(v) if isinstance(v, StrEnum) else v for name, v in values.items()}
    try:
        settings = Settings(**values)
        torch.set_num_threads(threads)
        train(
            settings,
            data_folder(data),
            out,
            log=log or out.with_suffix(".log"),
            checkpoint=checkpoint or out.with_suffix(".pt"),
            resume=resume,
            device=device,
            report_line=typer.echo,
        )
    except (ValueError, OSError, RuntimeError, AssertionError) as error:
        # PyTorch reports a missing or full device with the last two.
        typer.echo(f"error: {one_line(error)}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("stopped; continue with --resume", err=True)
        raise typer.Exit(130) from None


if __name__ == "__main__":
    typer.run(main)
