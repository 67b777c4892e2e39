"""``fxp info``: what a saved model holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import fxp
from fxp.cli.console import JsonOption, print_json
from fxp.cli.figures import model_figures, model_text


def info(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    graph: Annotated[bool, typer.Option("--graph", help="Print the graph as text too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the effective format, accumulator and parameters of every layer.

    Example: fxp info kimsr_x2.fxp --graph
    """
    loaded = fxp.load(model)
    if as_json:
        print_json(model_figures(loaded, model, graph=graph))
    else:
        typer.echo(model_text(loaded, model, graph=graph))
