"""``fxp run``: a saved model on an image, an array, or a folder of images."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

import fxp
from fxp.cli.console import JsonOption, ThreadsOption, print_json, progress_bar
from fxp.cli.sources import (
    check_target,
    divisor_of,
    folder_targets,
    image_channels,
    planes,
    read_array,
)
from fxp.imaging.files import ImageError, check_image_path, image_paths, read_image, write_image
from fxp.imaging.quality import to_codes
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file


def run(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    source: Annotated[Path, typer.Argument(help="Image, .npy of real values, or folder.")],
    target: Annotated[Path, typer.Argument(help="Image, .npy or folder to write.")],
    luma: Annotated[
        bool, typer.Option("--luma", help="Let a one-channel model take the luma of colour.")
    ] = False,
    divide_by: Annotated[
        float | None,
        typer.Option(min=1e-9, help="Pixel divisor; default the model's, or 255."),
    ] = None,
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a fixed-point model on real data through the integer engine.

    The images of a folder are written as PNG files, which lose nothing, under their own names.

    Example: fxp run kimsr_x2.fxp photo.png enlarged.png --luma
    """
    loaded = fxp.load(model)
    divisor = divisor_of(loaded, divide_by)
    sources = image_paths(source)
    targets = folder_targets(sources, target) if source.is_dir() else [target]
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    for goal in targets:
        check_target(goal, reads=[model, *sources])
        if goal.suffix != ".npy":
            check_image_path(goal)
    figures = []
    with progress_bar("running") as report:
        for item, goal in zip(sources, targets, strict=True):
            report(len(figures), len(sources), item.name)
            values = _read(item, loaded, luma, divisor)
            started = time.perf_counter()
            result = loaded(values, threads=threads)
            seconds = time.perf_counter() - started
            if isinstance(result, tuple):
                raise ArgumentError(f"{model} has {len(result)} outputs; use it from Python")
            _write(goal, result, divisor)
            clipped = max(loaded.clipped(values).values())
            figures.append(
                {
                    "input": item,
                    "output": goal,
                    "shape": result.shape,
                    "seconds": seconds,
                    "clipped": clipped,
                }
            )
            if not as_json:
                text = f"{goal}: {result.shape}, {seconds:.3f} s, at most {clipped:.4%} clipped"
                typer.echo(text)
    if as_json:
        print_json({"model": model, "divide_by": divisor, "images": figures})


def _read(path: Path, model: fxp.FixedModel, luma: bool, divisor: float) -> NDArray[np.float64]:
    if path.suffix == ".npy":
        return read_array(path)
    image = read_image(path)
    channels = image_channels(model)
    if channels == 1 and image.ndim == 3 and not luma:
        raise ImageError(f"the model takes one channel and {path} is in colour; pass --luma")
    return planes(image, channels, path) / divisor


def _write(path: Path, result: NDArray, divisor: float) -> None:
    if path.suffix == ".npy":
        stream = io.BytesIO()
        np.save(stream, result)
        replace_file(path, stream.getvalue())
        return
    codes = to_codes(np.asarray(result, np.float64) * divisor)
    if codes.ndim == 3:
        codes = codes[0] if len(codes) == 1 else codes.transpose(1, 2, 0)
    write_image(path, np.ascontiguousarray(codes))
