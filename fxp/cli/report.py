"""``fxp report``: where a model loses precision, why, and what to change."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import fxp
from fxp.cli.console import JsonOption, note, progress_bar
from fxp.cli.networks import files_of_network, load_network
from fxp.cli.pixel_values import DivideByOption, scale_of_model
from fxp.cli.quantization_options import read_states
from fxp.cli.sources import read_calibration, read_sequences
from fxp.cli.targets import check_target
from fxp.diagnosis.advice import rounded_width
from fxp.diagnosis.analysis import analyse, network_graph
from fxp.diagnosis.pair import ScaledChannelsError
from fxp.executors.calls import calibration_calls
from fxp.graph import Graph
from fxp.quantization.refinement import scaled_like
from fxp.support.progress import Progress


def report(
    model: Annotated[Path, typer.Argument(help="A .fxp file.")],
    float_source: Annotated[
        str,
        typer.Option("--float", help="package.module:name or file.py:name of the float network."),
    ],
    images: Annotated[
        list[Path], typer.Option(help="Image, folder of images or .npy array; repeatable.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write the page, .html, or the figures, .json.")
    ] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="Argument of the float network, as text; repeatable.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="State dict of the float network, .safetensors or .pt.")
    ] = None,
    divide_by: DivideByOption = None,
    crop: Annotated[
        int | None, typer.Option(min=1, help="Measure the middle of images only.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Most images or steps; default 16 or 64.")
    ] = None,
    states: Annotated[
        list[str] | None,
        typer.Option(help="INPUT:OUTPUT positions of a state of a recurrent network; repeatable."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Quantize again with every change that is proposed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    r"""Find out where a model loses precision, why, and what to change.

    The model is run beside its float network on some images. Prints a table of every value and a
    list of changes with the gain that is predicted, and with --measure the gain that quantizing
    again gives. The page of --out shows histograms, channels, weights and the worst crop as well.

    Example: fxp report net.fxp --float my.module:net --images photos \
      --out report.html
    """
    if out is not None:
        read = [model, *images, *files_of_network(float_source, arg, weights)]
        check_target(out, reads=read, suffixes=(".html", ".json"))
    loaded = fxp.load(model)
    network = load_network(float_source, arg or [], weights)
    scale = scale_of_model(loaded, divide_by)
    first = loaded.graph.inputs[0].shape
    channels = first[0] if len(first) == 3 and isinstance(first[0], int) else None
    read_inputs = read_sequences if loaded.graph.states else read_calibration
    inputs = read_inputs(images, network, channels, scale, crop, None)
    pairs = [state.positions for state in read_states(states, with_shapes=False)]
    calls = calibration_calls(inputs, loaded.graph)
    graph = network_graph(network, loaded.graph, calls[0], pairs)
    with progress_bar("measuring") as progress:
        try:
            found = _analysed(loaded.graph, inputs, graph, limit, measure, progress)
        except ScaledChannelsError:
            graph = scaled_like(graph, loaded.graph)
            found = _analysed(loaded.graph, inputs, graph, limit, measure, progress)
    typer.echo(found.to_json() if as_json else str(found))
    if out is not None:
        found.save(out)
        note(f"wrote {out}")


def _analysed(
    model: Graph,
    inputs: Sequence[Any] | fxp.Sequences,
    network: Graph,
    limit: int | None,
    measure: bool,
    progress: Progress,
) -> fxp.Report:
    again = None
    if measure:
        # The file does not hold the options, but their most important ones can be seen.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fxp.PrecisionWarning)
            origin = fxp.quantize(network, inputs, **_options_seen(model)).origin
        assert origin is not None
        again = origin.requantize
    return analyse(model, inputs, network, images=limit, requantize=again, progress=progress)


def _options_seen(model: Graph) -> dict[str, Any]:
    """Return the options of quantization that an integer graph shows."""
    weights = [
        (model.constants_by_name[name].formats)
        for node in model.nodes
        for position, name in enumerate(node.inputs)
        if node.op.constant_roles.get(position) == "weight"
    ]
    widths = Counter(formats[0].width for formats in weights)
    found: dict[str, Any] = {
        "activation_bits": rounded_width(model),
        "per_channel": any(len(set(formats)) > 1 for formats in weights),
    }
    if widths:
        found["weight_bits"] = widths.most_common(1)[0][0]
    return found
