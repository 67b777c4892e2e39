"""``fxp info``: what a saved model holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer
from numpy.typing import NDArray

import fxp
from fxp.cli.console import JsonOption, print_json
from fxp.cli.figures import model_figures, model_text
from fxp.graph import Graph
from fxp.graph.extents import Extent, evaluate_shape, fit_sizes
from fxp.support.errors import ArgumentError

SIDE: Final = 256
"""Height and width on which a model of any size is timed by default."""


def info(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    graph: Annotated[bool, typer.Option("--graph", help="Print the graph as text too.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time every stage of the engine instead.")
    ] = False,
    height: Annotated[int, typer.Option(min=1, help="Of pictures to time, if free.")] = SIDE,
    width: Annotated[int, typer.Option(min=1, help="Of pictures to time, if free.")] = SIDE,
    as_json: JsonOption = False,
) -> None:
    """Print the effective format, accumulator and parameters of every layer.

    With --profile, run the model on random integers and print the time of every stage instead.

    Example: fxp info kimsr_x2.fxp --profile --height 540 --width 960
    """
    loaded = fxp.load(model)
    if profile:
        found = loaded.profile(*random_inputs(loaded.graph, height, width))
        if as_json:
            print_json({"stages": [asdict(stage) for stage in found.stages]})
        else:
            typer.echo(found)
    elif as_json:
        print_json(model_figures(loaded, model, graph=graph))
    else:
        typer.echo(model_text(loaded, model, graph=graph))


def random_inputs(graph: Graph, height: int, width: int) -> list[NDArray[np.int64]]:
    """Return random raw integers for every input of an integer graph.

    Parameters
    ----------
    graph
        The graph.
    height, width
        Of the first input, as far as the graph leaves them open; other inputs follow it.

    Raises
    ------
    ArgumentError
        If the graph cannot take that size, or if it leaves an input open.
    """
    first = graph.inputs[0]
    shape = tuple(
        wanted if isinstance(own, Extent) else int(own)
        for own, wanted in zip(first.shape, (0, height, width), strict=False)
    )
    generator = np.random.default_rng(0)
    try:
        sizes = fit_sizes([(first.shape, shape)])
        shapes = [evaluate_shape(value.shape, sizes) for value in graph.inputs]
        if shapes[0] != shape:
            raise fxp.GraphError(f"it takes {shapes[0]} instead")
    except (KeyError, fxp.GraphError) as error:
        raise ArgumentError(
            f"{graph.name!r} cannot run on height {height} and width {width}: {error}"
        ) from error
    return [
        generator.integers(value.format.min_raw, value.format.max_raw, own, endpoint=True)
        for value, own in zip(graph.inputs, shapes, strict=True)
        if value.format is not None
    ]
