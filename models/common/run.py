"""A training with its files and its command: weights, log, checkpoint."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from fxp.cli.console import progress_bar
from fxp.cli.messages import one_line
from fxp.cli.targets import check_target
from fxp.cli.usage import PlainCommand
from fxp.models.common.data import data_folder
from fxp.models.common.recipe import Recipe
from fxp.models.common.settings import Settings, TrainingError, listed, with_options
from fxp.models.common.trainer import Report, Trainer
from fxp.models.common.weights import save_weights
from fxp.support.signals import Terminated, orderly_end


@dataclass(frozen=True)
class RunFiles:
    """The files of a training.

    Attributes
    ----------
    weights
        Rewritten as a whole whenever the first score improves.
    log
        Text, one line per epoch.
    checkpoint
        State to resume from, rewritten as a whole every epoch.

    Raises
    ------
    TrainingError
        If they cannot be written, or are not three.
    """

    weights: Path
    log: Path
    checkpoint: Path

    def __post_init__(self) -> None:
        paths = (self.weights, self.log, self.checkpoint)
        for path in paths:
            if path.is_dir():
                raise TrainingError(f"cannot write {path}: it is a folder")
        if len({path.resolve() for path in paths}) < 3:
            raise TrainingError("weights, log and checkpoint need three different files")


def train(
    recipe: Recipe[Any],
    files: RunFiles,
    *,
    resume: bool = False,
    device: str = "cpu",
    report_line: Callable[[str], None] = lambda line: None,
) -> None:
    """Train a network and keep its best weights.

    Parameters
    ----------
    recipe
        The run.
    files
        What is written.
    resume
        Continue from the checkpoint.
    device
        Where to train, ``"cpu"`` or ``"cuda"``.
    report_line
        Receives every line of the log.

    Raises
    ------
    TrainingError
        If the training cannot start or go on.
    """
    settings = recipe.settings
    start = recipe.load(settings.start) if settings.start else None
    trainer = Trainer(recipe, start=start, device=device)
    if resume:
        trainer.restore(files.checkpoint)
    lines = [f"resumed at step {trainer.step}" if resume else settings.command(), recipe.summary()]
    lines = [line for line in lines if line]
    for path in (files.weights, files.log, files.checkpoint):
        path.parent.mkdir(parents=True, exist_ok=True)
    for line in lines:
        report_line(line)
    with progress_bar("training") as progress:
        while trainer.step < settings.steps:
            report = trainer.run_epoch(progress)
            if report.improved:
                save_weights(files.weights, trainer.averaged(), provenance(recipe, report))
            trainer.save_checkpoint(files.checkpoint)
            line = _log_line(recipe, report)
            report_line(line)
            # An earlier log is replaced only when there is something to replace it by.
            with files.log.open("a" if resume else "w", encoding="utf-8") as stream:
                stream.writelines(f"{item}\n" for item in [*lines, line])
            lines, resume = [], True


def _log_line(recipe: Recipe[Any], report: Report) -> str:
    scores = "  ".join(
        f"{name} {score:.3f} {recipe.unit}".rstrip() for name, score in report.scores.items()
    )
    return (
        f"step {report.step:6d}  loss {report.loss:.6f}  {scores}"
        f"  {report.seconds:.0f} s{'  saved' if report.improved else ''}"
    )


def provenance(recipe: Recipe[Any], report: Report) -> dict[str, str]:
    """Return what is stored with the weights: command, step, scores, and what the recipe adds.

    A score is stored as ``NAME_score``; a recipe renames it in its own metadata if it likes.
    """
    scores = {
        f"{name.lower().replace('-', '_').replace(' ', '_')}_{_kind(recipe)}": f"{score:.4f}"
        for name, score in report.scores.items()
        if math.isfinite(score)
    }
    return {
        "training_command": recipe.settings.command(),
        **recipe.metadata(),
        "step": str(report.step),
        "torch": str(torch.__version__),
        **scores,
    }


def _kind(recipe: Recipe[Any]) -> str:
    return "psnr" if recipe.unit == "dB" else "score"


def training_command(
    settings: type[Settings], recipe: Callable[[Settings, Path], Recipe[Settings]], text: str
) -> Callable[..., None]:
    """Return the command that trains a system, for `run_training`.

    Parameters
    ----------
    settings
        Class of its settings; every field is an option.
    recipe
        Makes the recipe from the settings and the data folder.
    text
        Help of the command.
    """

    def main(
        settings: Any,
        out: Annotated[Path, typer.Option(help="Weights file to write (.safetensors).")],
        data: Annotated[
            Path | None, typer.Option(help="Folder of the image sets; default: $FXP_DATA.")
        ] = None,
        log: Annotated[Path | None, typer.Option(help="Default: --out with .log.")] = None,
        checkpoint: Annotated[Path | None, typer.Option(help="Default: --out with .pt.")] = None,
        resume: Annotated[
            bool, typer.Option("--resume", help="Continue from the checkpoint.")
        ] = False,
        device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
        threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    ) -> None:
        torch.set_num_threads(threads)
        files = RunFiles(out, log or out.with_suffix(".log"), checkpoint or out.with_suffix(".pt"))
        # Settings that name files, such as the weights to start from.
        texts = [text for text in vars(settings).values() if isinstance(text, str)]
        named = [Path(name) for text in texts for name in listed(text)]
        reads = [path for path in named if path.is_file()]
        for path, suffixes in (
            (files.weights, (".safetensors",)),
            (files.log, (".log", ".txt")),
            (files.checkpoint, (".pt", ".pth")),
        ):
            check_target(path, reads=reads, suffixes=suffixes, makes_folder=True)
        made = recipe(settings, data_folder(data))
        train(made, files, resume=resume, device=device, report_line=typer.echo)

    command = with_options(settings)(main)

    def guarded(**given: Any) -> None:
        try:
            with orderly_end():
                command(**given)
        except (ValueError, OSError, RuntimeError, AssertionError) as error:
            # PyTorch reports a missing or full device with the last two.
            typer.echo(f"error: {one_line(error)}", err=True)
            raise typer.Exit(1) from error
        except (KeyboardInterrupt, Terminated) as stop:
            end = stop if isinstance(stop, Terminated) else Terminated(signal.SIGINT)
            # Files are replaced as a whole, so the checkpoint is that of the last whole epoch.
            saved = (given["checkpoint"] or given["out"].with_suffix(".pt")).exists()
            advice = "continue with --resume" if saved else "no epoch was finished"
            typer.echo(f"{end}; {advice}", err=True)
            raise typer.Exit(end.exit_code) from None

    guarded.__doc__, guarded.__name__ = text, "train"
    guarded.__signature__ = command.__signature__  # type: ignore[attr-defined]
    guarded.__annotations__ = command.__annotations__
    return guarded


HELP = {"help_option_names": ["-h", "--help"]}


def run_training(command: Callable[..., None]) -> None:
    """Run the command of `training_command` on the arguments of this process, and end it."""
    # Rich would cut long names of options off at 80 columns.
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(cls=PlainCommand, context_settings=HELP)(command)
    app()
