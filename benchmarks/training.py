"""What every ingredient of training gives: short runs of KimSR ×2 that differ in one thing.

``python -m benchmarks.training --data DIR`` trains all of them, half an hour on one core,
and writes the table to the docs after each; ``--missing`` adds those that it lacks.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track

from benchmarks.report import ROOT, environment, markdown_table, write_page
from fxp.cli.batch import BackendOption, SchedulerOption
from fxp.cli.messages import one_line
from fxp.imaging.colour import luma
from fxp.models.common.data import Pictures, data_folder, read_folder
from fxp.models.common.trainer import Trainer
from fxp.models.common.weights import save_weights
from fxp.models.sr.measure import scores
from fxp.models.sr.settings import KimSRSettings
from fxp.models.sr.train import KimSRRecipe, load_images, training_pairs
from fxp.support.parallel import Task, run_tasks, workers

TEACHER = "SOAP, network of twice the width"
BASE = KimSRSettings(steps=2000, epoch=2000)
ADAM: dict[str, Any] = {"optimizer": "adam", "rate": 0.006}
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Adam, float32", ADAM | {"precision": "float32"}),
    ("Adam", ADAM),
    ("Adam, parallel branches", ADAM | {"branches": True}),
    ("**SOAP**", {}),
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
    ("SOAP, half the target from a network of twice the width", {"teacher": TEACHER}),
)
TITLE = "What each ingredient of training gives"
SETS = ("Set5", "Set14", "B100")


@dataclass(frozen=True)
class Images:
    """What the runs train on, choose their weights by, and are measured on.

    Attributes
    ----------
    training, held_out, test
        As `fxp.models.sr.train.load_images` returns them.
    sets
        Luma by the name of the set, for the table.
    """

    training: Pictures
    held_out: Pictures
    test: Pictures
    sets: dict[str, Pictures]


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
    pairs = training_pairs(settings, images.training)
    trainer = Trainer(KimSRRecipe(settings, pairs, images.held_out, images.test))
    torch.compiler.reset()  # or the limit of recompilations turns compilation off
    # The first half holds the compilation, so the second is timed.
    trainer.run_epoch()
    seconds = 2 * trainer.run_epoch().seconds
    network = trainer.averaged()
    save_weights(weights, network)
    psnrs = [scores(network, luma, settings.scale).psnr for luma in images.sets.values()]
    return [name, *(f"{psnr:.3f}" for psnr in psnrs), f"{seconds:.0f}"]


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
    # A pupil needs the weights of its teacher.
    pupils = [name for name, options in chosen.items() if "teacher" in options]
    teachers = {chosen[name]["teacher"] for name in pupils}
    chosen |= {name: options for name, options in VARIANTS if name in teachers}
    folder = data_folder(data)
    training, held_out, test = load_images(folder)
    sets = {name: list(read_folder(folder / name).values()) for name in SETS}
    sets["held out"] = [luma(image) for image in held_out]
    images = Images(training, held_out, test, sets)
    with tempfile.TemporaryDirectory() as work, workers(backend, jobs, scheduler):
        tasks: dict[str, Task] = {}
        for name, options in chosen.items():
            if "teacher" in options:
                options = {**options, "teacher": f"{work}/{options['teacher']}.safetensors"}
            settings = replace(
                BASE, **options, steps=steps, epoch=max(1, steps // 2), compiled=compiled
            )
            weights = Path(work) / f"{name}.safetensors"
            tasks[name] = partial(trained, name, settings, images, weights, threads)
        for names in ([name for name in tasks if name not in pupils], pupils):
            results = run_tasks([tasks[name] for name in names])
            for row in track(results, "training", total=len(names), console=Console(stderr=True)):
                print(" | ".join(row), flush=True)
                rows = {**record["rows"], row[0]: row[1:]}
                record["rows"] = {name: rows[name] for name, _ in VARIANTS if name in rows}
                write_page(target, "training", TITLE, page(record), record)
    print(page(record))
    print(f"wrote {target / 'training.md'}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except (ValueError, OSError, RuntimeError) as error:
        raise SystemExit(f"error: {one_line(error)}") from error
