"""Make blurred photographs of sharp films: ``python -m fxp.models.deblur.synthesize FILMS OUT``.

``FILMS`` holds a folder of frames for each film. ``OUT`` gets the layout of GOPRO:
``FILM/blur_gamma/NNNNNN.png`` beside ``FILM/sharp/NNNNNN.png``, and ``blur`` with ``--linear``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from fxp.cli.batch import over_files, refuse_failures
from fxp.cli.messages import one_line
from fxp.cli.usage import PlainCommand
from fxp.imaging.files import write_image
from fxp.models.common.data import DataError
from fxp.models.deblur.blur import blurred_pairs, interpolated
from fxp.models.deblur.data import read_frames, sequences
from fxp.support.errors import FxpError
from fxp.support.signals import Terminated, orderly_end


def make_pairs(
    paths: list[Path], target: Path, *, count: int, linear: bool = False, interpolate: int = 1
) -> int:
    """Blur one film, and return the number of photographs.

    The folder is written as a whole or not at all.

    Parameters
    ----------
    paths
        The frames, in order.
    target
        Folder to write.
    count
        Frames that are averaged, an odd number.
    linear
        As for a camera without gamma.
    interpolate
        Frames that each becomes before they are averaged.

    Raises
    ------
    DataError
        If the frames differ in size, are too few, or the number is even.
    """
    if target.exists():
        raise DataError(f"{target} exists already; remove it, or name another folder")
    try:
        frames = interpolated(read_frames(paths), interpolate)
        pairs = blurred_pairs(frames, count, linear=linear, factor=interpolate)
    except DataError as error:
        raise DataError(f"{paths[0].parent}: {error}") from error
    target.parent.mkdir(parents=True, exist_ok=True)
    # The folder gets its name when all is in it, so that one which ends early is never taken for
    # a whole film.
    with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        made = Path(scratch) / target.name
        for kind, images in zip(
            ("blur" if linear else "blur_gamma", "sharp"), zip(*pairs, strict=True), strict=True
        ):
            (made / kind).mkdir(parents=True)
            for number, image in enumerate(images, 1):
                write_image(made / kind / f"{number:06d}.png", image)
        made.rename(target)
    return len(pairs)


def main(
    films: Annotated[Path, typer.Argument(help="Folder with a folder of frames for each film.")],
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    frames: Annotated[int, typer.Option(help="Frames that are averaged, odd.")] = 11,
    interpolate: Annotated[
        int, typer.Option(min=1, help="Frames that each becomes first, by optical flow.")
    ] = 1,
    linear: Annotated[
        bool, typer.Option("--linear", help="As for a camera without gamma.")
    ] = False,
) -> None:
    """Make pairs of blurred and sharp photographs from sharp films, as GOPRO was made."""
    try:
        tasks = [
            (
                paths[0].parent,
                partial(
                    make_pairs,
                    paths,
                    out / name,
                    count=frames,
                    linear=linear,
                    interpolate=interpolate,
                ),
            )
            for name, paths in sequences(films).items()
        ]
        with orderly_end():
            outcomes = list(over_files(tasks, "blurring"))
        for done in outcomes:
            if done.error is None:
                typer.echo(f"{Path(done.input).name}: {done.result} photographs")
        refuse_failures(outcomes, "blurred")
    except (FxpError, OSError) as error:
        typer.echo(f"error: {one_line(error)}", err=True)
        raise typer.Exit(1) from error
    except Terminated as end:
        typer.echo(f"{end}; films that are finished stay", err=True)
        raise typer.Exit(end.exit_code) from None


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(cls=PlainCommand)(main)
    app()
