"""The entry point: a trained torch network in, a `FixedModel` out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import Any, Unpack

import torch
from torch.export import ExportedProgram

from fxp.diagnosis.fidelity import LEARNED, PER_CHANNEL, fidelity
from fxp.executors.calls import (
    Calls,
    Sequences,
    calibration_calls,
    check_sizes_of_steps,
    in_sequences,
    one_by_one,
    rebatched,
    shapes_of,
)
from fxp.formats import Overflow, Rounding
from fxp.frontend import from_torch, load_onnx, unwrapped
from fxp.frontend.model_import import TRACING
from fxp.graph import Graph
from fxp.model import FixedModel
from fxp.model.origin import Origin
from fxp.model.refinements import CHOICE
from fxp.quantization.calibrate import Statistics, observe
from fxp.quantization.concatenations import narrowed_parts
from fxp.quantization.exposure import exposed
from fxp.quantization.integer_run import clipped_in_torch, runs_in_torch
from fxp.quantization.lowering import lower
from fxp.quantization.options import QuantizeKeywords, QuantizeOptions, merged
from fxp.quantization.refinement import Chosen, choose, equalize
from fxp.quantization.refinement.extreme_pictures import observe_extreme_pictures
from fxp.quantization.refinement.judgement import references_of
from fxp.quantization.search import search_bits, search_fracs
from fxp.quantization.settings import LoweringSettings
from fxp.quantization.states import SEQUENCE_HEADROOM, extra_bits, observe_on
from fxp.support.errors import ArgumentError, ArgumentTypeError, warn_of_precision
from fxp.support.progress import Progress


def quantize(
    model: torch.nn.Module | ExportedProgram | Graph | str | PathLike[str],
    calibration: Iterable[Any] | Sequences,
    options: QuantizeOptions | None = None,
    *,
    progress: Progress | None = None,
    **keywords: Unpack[QuantizeKeywords],
) -> FixedModel:
    """Turn a trained network into a bit-accurate fixed-point model.

    Threads may call this, also with one model for all; they wait for each other. Other threads must
    not call or copy any torch module meanwhile, this one or another: torch.export, which reads the
    network, changes torch for the whole process. Such a call may fail with an error of torch that
    speaks of a FakeTensor, or make this one fail. Use processes where work has to go on.

    Parameters
    ----------
    model
        A module in eval mode, a float `Graph`, or the path of an ONNX file, which
        `fxp.frontend.load_onnx` reads.
    calibration
        Typical inputs: a list, generator or DataLoader of tensors or arrays with batch,
        ``(N, C, H, W)`` or ``(N, F)`` (``(C, H, W)`` is taken as a batch of one), or of tuples or
        dictionaries of them for several inputs. Labels, as in ``(image, label)``, are left out;
        `fxp.executors.calls.calibration_calls` says what counts as one. For a recurrent network
        the data is one sequence, in order, and the batch axis is time; several are given as
        `fxp.Sequences`.
    options
        How to quantize; all defaults if not given.
    progress
        ``progress(done, total, text)``, through all phases; `total` is 0 where the number of steps
        is not known.
    keywords
        Fields of `QuantizeOptions`, which replace those of `options`: ``weight_bits=8`` and so on.

    Returns
    -------
    FixedModel

    Warns
    -----
    PrecisionWarning
        If an output has an SQNR below 40 dB against the float network on a part of the calibration
        data, a concatenation drowns one of its parts, or the calibration data is too faint to show
        how far values go; the message says where and what to do.

    Raises
    ------
    fxp.frontend.FrontendError
        If the module holds something the graph cannot express; the message says what and where.
    GraphError
        If an accumulator would need more than 63 bits, or a given name is not in the graph.
    ArgumentError
        A `ValueError`: the calibration data is empty, holds NaN or cannot be understood, or an
        option is out of range.
    ArgumentTypeError
        A `TypeError`: the model is neither a module nor a graph, or a keyword is no option.

    Examples
    --------
    >>> model = fxp.quantize(network, images, weight_bits=8, input_format="ap_ufixed<8,0>")
    ... # doctest: +SKIP
    """
    model = load_onnx(model) if isinstance(model, str | PathLike) else unwrapped(model)
    if not isinstance(model, torch.nn.Module | Graph):
        raise ArgumentTypeError(
            "fxp.quantize takes a torch.nn.Module, a float Graph or the path of an ONNX file, got "
            f"{type(model).__name__}; arrays are quantized by fxp.formats.quantize"
        )
    options = merged(options, keywords, "fxp.quantize")
    # Data loaders call torch, and kernels are compiled, neither of which may happen while another
    # thread traces.
    with TRACING:
        calls = calibration_calls(calibration, model, options.states)
        if progress is not None:
            progress(0, 0, "reading the network")
        graph = model if isinstance(model, Graph) else float_graph(model, calls[0], options)
        if graph.states:
            check_sizes_of_steps(calls)
        calls = one_by_one(calls) if graph.states else rebatched(calls)
        chosen, texts = _chosen(graph, calls, options, progress)
        fixed = calibrated(chosen.lowered, calls, progress)
        tried = [
            *([PER_CHANNEL] if chosen.settings.per_channel else []),
            *([LEARNED] if chosen.settings.weights else []),
        ]
        found = fidelity(chosen.reference, chosen.lowered, calls, tried=tried)
    fixed.metadata[CHOICE] = json.dumps(chosen.as_data(options))
    fixed.calibration_sqnr = dict(found.sqnr)
    fixed.origin = Origin(chosen.reference, partial(_requantized, graph, options))
    warn_of_precision((*texts, *found.warnings))
    return fixed


def _chosen(
    graph: Graph, calls: Calls, options: QuantizeOptions, progress: Progress | None = None
) -> tuple[Chosen, tuple[str, ...]]:
    """Lower a float graph with the refinements that help; beside it what to say about the data."""
    if options.equalization:
        graph = equalize(graph)
    calls, texts = exposed(graph, calls, options)
    statistics, settings = choose_settings(graph, calls, options, progress)
    chosen = choose(
        graph, statistics, settings, calls, options,
        lambda changed: _observe(changed, calls, options, progress), progress,
    )  # fmt: skip
    return chosen, texts


def _requantized(
    graph: Graph, options: QuantizeOptions, calls: Calls, changes: Mapping[str, Any]
) -> Graph:
    """Quantize a float graph again with some options changed; those by name are added."""
    added = {
        name: {**(getattr(options, name) or {}), **value}
        if isinstance(value, Mapping) and isinstance(getattr(options, name), Mapping | None)
        else value
        for name, value in changes.items()
    }
    if added.keys() & {"weight_bits", "activation_bits"}:
        added = {"min_sqnr": None, **_widths_of(options), **added}
    with TRACING:
        return _chosen(graph, calls, merged(options, added, "fxp.quantize"))[0].lowered


def _widths_of(options: QuantizeOptions) -> dict[str, int]:
    """Return the largest widths of options, in place of several to search."""
    return {name: max(options.widths(name)) for name in ("weight_bits", "activation_bits")}


def float_graph(
    model: torch.nn.Module, call: Sequence[torch.Tensor], options: QuantizeOptions
) -> Graph:
    """Convert a module to a float graph.

    Parameters
    ----------
    model
        In eval mode.
    call
        One calibration call, the example that the module is traced with.
    options
        Its states and its name.
    """
    dtype = next((weight.dtype for weight in model.parameters()), torch.get_default_dtype())
    example = [tensor.to(dtype) for tensor in _example_inputs(call, options)]
    if options.states:
        _check_initial_states(model, example, options)
    return from_torch(model, example, name=options.name, states=options.states)


def _check_initial_states(
    model: torch.nn.Module, example: Sequence[torch.Tensor], options: QuantizeOptions
) -> None:
    """Refuse initial states whose size does not fit the first calibration item.

    A state may be smaller than the picture by any factor, so only the network knows.
    """
    positions = {position for position, _ in options.states}
    given = [tensor for place, tensor in enumerate(example) if place not in positions]
    states = [tensor for place, tensor in enumerate(example) if place in positions]
    if len({tensor.shape[2:] for tensor in example}) == 1:
        return
    try:
        with torch.no_grad():
            # Images of a batch are steps; one is enough.
            model(*(tensor[:1] for tensor in example))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArgumentError(
            f"the network cannot run on the first calibration item, whose size is "
            f"{shapes_of(given)}, with initial states of size {shapes_of(states)}: {reason}; give "
            "initial states of the size that this item needs. Sequences of other sizes may follow, "
            "as fxp.Sequences"
        ) from error


def choose_formats(
    graph: Graph, calls: Calls, options: QuantizeOptions, progress: Progress | None = None
) -> Graph:
    """Turn a float graph into an integer graph, without refinements.

    Parameters
    ----------
    graph, calls, options, progress
        As for `choose_settings`.

    Warns
    -----
    PrecisionWarning
        If the calibration data is too faint.
    """
    calls, texts = exposed(graph, calls, options)
    warn_of_precision(texts)
    return lower(graph, *choose_settings(graph, calls, options, progress))


def choose_settings(
    graph: Graph, calls: Calls, options: QuantizeOptions, progress: Progress | None = None
) -> tuple[Mapping[str, Statistics], LoweringSettings]:
    """Return what `fxp.quantization.lowering.lower` needs.

    Parameters
    ----------
    graph
        A float graph.
    calls
        Calibration data.
    options
        Widths, formats and rules; searches are made here.
    progress
        Called during a search.
    """
    weights, activations = options.widths("weight_bits"), options.widths("activation_bits")
    settings = LoweringSettings(
        weight_bits=weights[0],
        activation_bits=activations[0],
        bits=dict(options.bits or {}),
        method="mse" if options.method in ("search", None) else options.method,
        percentile=options.percentile,
        headroom=options.headroom,
        per_channel=options.per_channel,
        rounding=Rounding(options.rounding),
        overflow=Overflow(options.overflow),
        wide_bits=options.wide_bits,
        input_formats=options.formats_by_name(
            "input_format", [value.name for value in graph.inputs]
        ),
        output_formats=options.formats_by_name("output_format", graph.outputs),
        fracs=dict(options.fracs or {}),
    )
    if graph.states and options.headroom is None and settings.method != "percentile":
        settings = replace(settings, headroom=SEQUENCE_HEADROOM)
    statistics = _observe(graph, calls, options, progress)
    if graph.states and options.hold_states:
        settings = replace(settings, extra_bits=extra_bits(graph, calls))
    searched = options.method == "search" or options.min_sqnr is not None
    inputs, references = references_of(graph, calls) if searched else ([], [])
    if options.min_sqnr is not None:
        settings, _ = search_bits(
            graph,
            statistics,
            settings,
            inputs,
            references,
            weight_bits=weights,
            activation_bits=activations,
            min_sqnr=options.min_sqnr,
            progress=progress,
        )
    if options.method == "search":
        settings, _ = search_fracs(
            graph, statistics, settings, inputs, references, progress=progress
        )
    return statistics, settings


def calibrated(graph: Graph, calls: Calls, progress: Progress | None = None) -> FixedModel:
    """Return the model of an integer graph, with what it clips on the calibration data.

    Parameters
    ----------
    graph
        An integer graph.
    calls
        Calibration data.
    progress
        Called before every call.
    """
    warn_of_precision(map(str, narrowed_parts(graph)))
    fixed = FixedModel(graph)
    told = (
        _told(sequence, progress, "counting clipped values") for sequence in in_sequences(calls)
    )
    if runs_in_torch(graph, calls):
        counted = clipped_in_torch(graph, next(told))
        fixed.calibration_clipped = dict(counted.total)
        fixed.calibration_clipped_by_one_step = dict(counted.by_one_step)
        return fixed
    fixed.record_clipped(
        *(
            (
                [tensor[index].double().cpu().numpy() for tensor in call]
                for call in sequence
                for index in range(len(call[0]))
            )
            for sequence in told
        )
    )
    return fixed


def _observe(
    graph: Graph, calls: Calls, options: QuantizeOptions, progress: Progress | None
) -> Mapping[str, Statistics]:
    if graph.states and options.hold_states:
        if progress is not None:
            progress(0, 0, "calibrating on a longer sequence")
        return observe_on(graph, calls)
    statistics = observe(graph, _told(calls, progress, "calibrating"))
    if options.headroom is None:
        names = [value.name for value in graph.inputs]
        formats = options.formats_by_name("input_format", names)
        observe_extreme_pictures(graph, statistics, formats, calls)
    return statistics


def _told(calls: Calls, progress: Progress | None, text: str) -> Iterator[Sequence[torch.Tensor]]:
    """Give the calls one by one, and tell before each how many are done."""
    for number, call in enumerate(calls):
        if progress is not None:
            progress(number, len(calls), text)
        yield call


def _example_inputs(call: Sequence[torch.Tensor], options: QuantizeOptions) -> list[torch.Tensor]:
    """Put the states' tensors at their positions among the inputs."""
    states, initial_states = options.states, options.initial_states
    if len(states) != len(initial_states):
        raise ArgumentError(f"{len(states)} states need as many initial states, "
                         f"got {len(initial_states)}")  # fmt: skip
    for tensor in initial_states:
        if not isinstance(tensor, torch.Tensor):
            raise ArgumentTypeError(
                f"initial states must be tensors of zeros with batch, got {type(tensor).__name__}"
            )
    if any(tensor.any() for tensor in initial_states):
        raise ArgumentError("initial states must be all zeros")
    by_position = {
        position: tensor for (position, _), tensor in zip(states, initial_states, strict=True)
    }
    count = len(call) + len(states)
    if len(by_position) < len(states) or not by_position.keys() <= set(range(count)):
        raise ArgumentError(
            f"the states take input positions {[position for position, _ in states]}; they must "
            f"be different and below {count}, the number of inputs with states"
        )
    rest = iter(call)
    return [by_position[i] if i in by_position else next(rest) for i in range(count)]
