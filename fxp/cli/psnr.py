"""``fxp psnr``: fixed point against float, in PSNR and SSIM."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

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
from fxp.cli.console import (
    JsonOption,
    ThreadsOption,
    note,
    output_console,
    print_json,
)
from fxp.cli.figures import json_text
from fxp.cli.networks import files_of_network, load_network
from fxp.cli.pixel_values import DivideByOption, PixelScale, scale_of_model
from fxp.cli.sources import image_channels, planes
from fxp.cli.targets import check_target
from fxp.graph.extents import Dimension, evaluate_shape
from fxp.imaging.files import ImageError, image_paths, read_image
from fxp.imaging.quality import Quality, compare, mean_quality, to_codes
from fxp.imaging.resize import imresize
from fxp.support.errors import ArgumentError
from fxp.support.files import replace_file
from fxp.support.lazy import lazy_import
from fxp.support.parallel import check_workers, workers

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch", "torch")


@dataclass(frozen=True)
class Measurement:
    """What is done to every true image; workers of other processes get it by pickle.

    Attributes
    ----------
    model
        The fixed-point model.
    scale
        Its upscaling factor.
    pixels
        How pixels become the model's values.
    network
        The float network; None for none.
    float_pixels
        How they become the float network's.
    border
        Pixels left out on every side.
    degraded
        Folder of the inputs; None to downscale the truth.
    round_input
        Round downscaled images to 8 bits.
    threads
        Threads of the engine.
    """

    model: fxp.FixedModel
    scale: int
    pixels: PixelScale
    network: torch.nn.Module | None
    float_pixels: PixelScale
    border: int
    degraded: Path | None
    round_input: bool
    threads: int | None

    @property
    def names(self) -> list[str]:
        """Names of the methods that are compared."""
        chosen = {"bicubic": self.scale > 1, "float": self.network is not None, "fixed": True}
        return [name for name, wanted in chosen.items() if wanted]

    def __call__(self, path: Path) -> dict[str, Quality]:
        """Return the quality of every method on one true image."""
        truth, image = self._pair(path)
        return {
            name: compare(
                _image(truth), _image(to_codes(self._run(name, image))), border=self.border
            )
            for name in self.names
        }

    def _run(self, name: str, image: NDArray[np.float64]) -> NDArray:
        """Run one method on pixel values ``(C, H, W)``."""
        if name == "bicubic":
            return imresize(image.transpose(1, 2, 0), self.scale).transpose(2, 0, 1)
        if name == "float":
            assert self.network is not None
            return _run_float(self.network, image, self.float_pixels)
        result = self.model(self.pixels.values(image), threads=self.threads)
        return self.pixels.pixels(result)

    def _pair(self, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Return a true image and the input that is to become it, ``(C, H, W)`` each."""
        channels, scale = image_channels(self.model), self.scale
        whole = planes(read_image(path), channels, path)
        height, width = _fitting(self.model, whole.shape[1:], scale)
        truth = whole[:, :height, :width]
        if truth.size == 0:
            raise ImageError(f"{path} is too small for the model")
        if self.degraded is None:
            return truth, _downscaled(truth, scale, self.round_input)
        sides = [size // scale for size in whole.shape[1:]]
        image = _given(self.degraded / path.name, channels, sides)
        return truth, image[:, : height // scale, : width // scale]


def psnr(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    references: Annotated[list[Path], typer.Argument(help="True images, or folders of them.")],
    degraded: Annotated[
        Path | None,
        typer.Option(
            "--input", help="Folder of inputs with the same names; else downscaled truth."
        ),
    ] = None,
    float_source: Annotated[
        str | None,
        typer.Option("--float", help="package.module:name or file.py:name of the float network."),
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="Argument of that name, as text; repeatable.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="State dict of the float network.")] = None,
    float_divide_by: Annotated[
        float, typer.Option(min=1e-9, help="Pixel divisor of the float network.")
    ] = 255.0,
    divide_by: DivideByOption = None,
    border: Annotated[
        int | None, typer.Option(min=0, help="Pixels left out; default the upscaling.")
    ] = None,
    round_input: Annotated[
        bool, typer.Option(help="Round downscaled images to 8 bits, as a camera delivers them.")
    ] = True,
    out: Annotated[Path | None, typer.Option(help="Write the figures as JSON, .json.")] = None,
    threads: ThreadsOption = None,
    jobs: JobsOption = JOBS,
    backend: BackendOption = BACKEND,
    scheduler: SchedulerOption = None,
    as_json: JsonOption = False,
) -> None:
    r"""Compare fixed point, float and bicubic by PSNR and SSIM against true images.

    Images are cut at the right and bottom to the sizes the model takes. A model that upscales gets
    the true image downscaled by MATLAB's bicubic. One-channel models are measured on the luma.
    One of several images that fails does not stop the others, and has no part in the mean; the
    failures are listed at the end.

    Example: fxp psnr kimsr_x2.fxp Set5 \
      --float fxp.models.sr:load_float --arg kimsr_x2_bicubic
    """
    check_workers(backend, jobs, scheduler)
    if out is not None:
        read = [model, *references, *files_of_network(float_source, arg, weights)]
        read += [] if degraded is None else [degraded]
        check_target(out, reads=read, suffixes=(".json",))
    loaded = fxp.load(model)
    image_channels(loaded)  # now rather than once for every image
    scale = _scale(loaded)
    if degraded is not None and not degraded.is_dir():
        raise ArgumentError(f"--input {degraded} is no folder")
    pixels = scale_of_model(loaded, divide_by)
    measured = Measurement(
        loaded,
        scale,
        pixels,
        None if float_source is None else load_network(float_source, arg or [], weights),
        replace(pixels, divide_by=float_divide_by),
        (scale if scale > 1 else 0) if border is None else border,
        degraded,
        round_input,
        threads,
    )
    paths = [item for path in references for item in image_paths(path)]
    outcomes: list[FileOutcome] = []
    if paths == references[:1]:
        outcomes.append(FileOutcome(str(paths[0]), 0.0, measured(paths[0])))
    else:
        with workers(backend, jobs, scheduler):
            task = measured if degraded is None else replace(measured, degraded=degraded.absolute())
            tasks = [(path, partial(task, path.absolute())) for path in paths]
            outcomes += over_files(tasks, "measuring")
    rows: dict[str, dict[str, Quality]] = {
        item.input: item.result for item in outcomes if item.error is None
    }
    mean = {name: mean_quality(row[name] for row in rows.values()) for name in measured.names}
    figures = {
        "model": model,
        "scale": scale,
        "border": measured.border,
        "round_input": round_input,
        "images": {
            path: {name: quality._asdict() for name, quality in row.items()}
            for path, row in rows.items()
        },
        "mean": {name: quality._asdict() for name, quality in mean.items()},
        "failed": {item.input: item.error for item in outcomes if item.error is not None},
    }
    if as_json:
        print_json(figures)
    elif rows:
        output_console().print(_table(rows, mean))
    if out is not None:
        replace_file(out, f"{json_text(figures)}\n".encode())
        note(f"wrote {out}")
    refuse_failures(outcomes, "measured")


def _scale(model: fxp.FixedModel) -> int:
    """Upscaling factor, from the shapes at two sizes."""
    name = model.graph.outputs[0]
    source = model.graph.inputs[0]
    symbols = {size.symbol for size in source.shape if not isinstance(size, int)}
    sides = []
    for size in (48, 96):
        shapes = model.graph.concrete_shapes(dict.fromkeys(symbols, size))
        if len(shapes[name]) != 3:
            raise ArgumentError(f"output {name!r} is no image")
        sides.append((shapes[source.name][1], shapes[name][1]))
    (small_in, small_out), (large_in, large_out) = sides
    factor = Fraction(large_out, large_in)
    if Fraction(small_out, small_in) != factor or factor.denominator != 1:
        raise ArgumentError(f"the output is not the input upscaled by a whole factor: {sides}")
    return int(factor)


def _fitting(model: fxp.FixedModel, sides: tuple[int, ...], scale: int) -> list[int]:
    """Largest height and width up to those of a true image that the model gives exactly.

    A network that halves the image three times takes or gives multiples of eight, for example.
    """
    graph = model.graph
    taken, given = graph.inputs[0].shape[1:], graph.values[graph.outputs[0]].shape[1:]
    return [
        scale * _fitting_side(source, result, side // scale, scale)
        for source, result, side in zip(taken, given, sides, strict=True)
    ]


def _fitting_side(taken: Dimension, given: Dimension, side: int, scale: int) -> int:
    if isinstance(taken, int):
        return min(side, taken)
    for size in range(side, 0, -1):
        symbols = {taken.symbol: taken.smallest(size)}
        if evaluate_shape((taken, given), symbols) == (size, size * scale):
            return size
    return 0


def _given(path: Path, channels: int, sides: list[int]) -> NDArray[np.float64]:
    """Read a degraded image, which must have the given height and width."""
    image = planes(read_image(path), channels, path)
    if list(image.shape[1:]) != sides:
        raise ImageError(
            f"{path} is {image.shape[2]}x{image.shape[1]} pixels, not {sides[1]}x{sides[0]}"
        )
    return image.astype(np.float64)


def _downscaled(truth: NDArray[np.uint8], scale: int, round_input: bool) -> NDArray[np.float64]:
    """Downscale a true image as the standard protocol does, or return it if there is no scale."""
    if scale == 1:
        return truth.astype(np.float64)
    small = imresize(truth.transpose(1, 2, 0), Fraction(1, scale)).transpose(2, 0, 1)
    return to_codes(small).astype(np.float64) if round_input else small


def _run_float(network: torch.nn.Module, image: NDArray, pixels: PixelScale) -> NDArray:
    with torch.inference_mode():
        tensor = torch.from_numpy(pixels.values(image[None]).astype(np.float32))
        return pixels.pixels(network(tensor)[0].numpy())


def _image(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return values[0] if len(values) == 1 else np.ascontiguousarray(values.transpose(1, 2, 0))


def _table(rows: dict[str, dict[str, Quality]], mean: dict[str, Quality]) -> Table:
    table = Table(title="PSNR dB / SSIM")
    table.add_column("image", overflow="fold")
    for name in mean:
        table.add_column(name, justify="right", no_wrap=True)
    if "float" in mean:
        table.add_column("fixed - float", justify="right", no_wrap=True)
    for label, row in [*((Path(path).name, row) for path, row in rows.items()), ("mean", mean)]:
        cells = [str(quality) for quality in row.values()]
        if "float" in row:
            cells.append(f"{row['fixed'].psnr - row['float'].psnr:+.3f}")
        # A name in brackets would be taken for markup.
        table.add_row(escape(label), *cells, end_section=label == Path(list(rows)[-1]).name)
    return table
