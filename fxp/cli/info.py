"""``fxp info``: what a saved model holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import fxp
from fxp.cli.messages import printable


def info(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    graph: Annotated[bool, typer.Option("--graph", help="Print the graph as text too.")] = False,
) -> None:
    """Print the effective format, accumulator and parameters of every layer.

    Example: fxp info kimsr_x2.fxp --graph
    """
    loaded = fxp.load(model)
    typer.echo(f"{model}: {loaded!r}")
    for key, text in sorted(loaded.metadata.items()):
        typer.echo(f"  {printable(key)}: {printable(text)}")
    typer.echo(loaded.summary())
    if graph:
        typer.echo()
        typer.echo(loaded.graph)
