"""The entry point: a trained torch network in, a `FixedModel` out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fxp.executors.torch_forward import run
from fxp.formats import Format, Overflow, Rounding
from fxp.frontend import from_torch
from fxp.graph import Graph
from fxp.model import FixedModel
from fxp.quantization.calibrate import Method, Statistics, observe
from fxp.quantization.lowering import Settings, lower
from fxp.quantization.refinement import Refinement, equalize, refine
from fxp.quantization.search import search_bits, search_fracs
from fxp.support.errors import ArgumentError, ArgumentTypeError
from fxp.support.progress import Progress


def quantize(
    model: torch.nn.Module | Graph,
    calibration: Iterable[Any],
    *,
    weight_bits: int | Iterable[int] = 10,
    activation_bits: int | Iterable[int] = 14,
    min_sqnr: float | None = None,
    method: Method | Literal["search"] = "mse",
    percentile: float = 99.99,
    per_channel: bool = False,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
    wide_bits: int = 32,
    input_format: Format | Mapping[str, Format] | None = None,
    output_format: Format | Mapping[str, Format] | None = None,
    fracs: Mapping[str, int] | None = None,
    equalization: bool = False,
    bias_correction: bool = False,
    add_biases: bool = True,
    weight_rounding: Literal["nearest", "learned"] = "nearest",
    states: Sequence[tuple[int, int]] = (),
    initial_states: Sequence[torch.Tensor] = (),
    name: str | None = None,
    progress: Progress | None = None,
) -> FixedModel:
    """Turn a trained network into a bit-accurate fixed-point model.

    Parameters
    ----------
    model
        A module in eval mode, or a float `Graph`.
    calibration
        Typical inputs: an iterable of tensors or arrays with batch, ``(N, C, H, W)`` or ``(N, F)``
        (``(C, H, W)`` is taken as a batch of one), or of tuples of them for several inputs. For a
        recurrent network it is one sequence, in order, and the batch axis is time.
    weight_bits, activation_bits
        Widths of weights and activations; several, such as ``range(4, 13)``, to search for the
        smallest that reach `min_sqnr` (`fxp.quantization.search.search_bits`).
    min_sqnr
        SQNR in dB of the output on the calibration data, against the float network, that several
        widths are searched for.
    method
        How fraction bits are chosen: ``minmax``, ``percentile`` or ``mse`` per tensor
        (`fxp.quantization.calibrate.choose_frac`); ``search`` starts from ``mse`` and improves
        every fraction greedily by the network's output (`fxp.quantization.search.search_fracs`).
    percentile
        For the method of that name.
    per_channel
        Whether weights get fraction bits per output channel.
    rounding, overflow
        Modes wherever a value is rounded.
    wide_bits
        Accumulators up to this width flow into ReLUs and additions without being rounded; 0 rounds
        after every op.
    input_format, output_format
        Fixed formats, for all or by name; chosen from the calibration data if not given.
    fracs
        Fraction bits by value or weight name that override the method; the search keeps them.
    equalization
        Whether channels are scaled first so that weights before and after them have similar ranges
        (`fxp.quantization.refinement.equalize`); the float network computes the same.
    bias_correction
        Whether biases take off the mean errors of their layers on the calibration data.
    add_biases
        Whether layers that have no bias get one for that.
    weight_rounding
        Rounding of weights: ``nearest``, or ``learned``, up or down for the least error of each
        layer's outputs on the calibration data.
    states
        Pairs of input and output position of a module: the output is fed back as that input, which
        the calibration data leaves out.
    initial_states
        For each of `states` a tensor of zeros with batch, of the size that fits the first
        calibration input.
    name
        Name of the graph; the module's class name by default.
    progress
        ``progress(done, total, text)`` during search and refinement.

    Returns
    -------
    FixedModel

    Raises
    ------
    fxp.frontend.FrontendError
        If the module holds something the graph cannot express; the message says what and where.
    GraphError
        If an accumulator would need more than 63 bits, or a given name is not in the graph.
    ValueError
        If the calibration data is empty or holds NaN, or an option is out of range.
    TypeError
        If the model is neither a module nor a graph.
    """
    if not isinstance(model, torch.nn.Module | Graph):
        raise ArgumentTypeError(
            f"fxp.quantize takes a torch.nn.Module or a float Graph, got {type(model).__name__}; "
            "arrays are quantized by fxp.formats.quantize"
        )
    refinement = Refinement(weight_rounding, bias_correction, add_biases)
    calls = calibration_calls(calibration)
    graph = model
    if isinstance(graph, torch.nn.Module):
        graph = float_graph(graph, calls[0], states, initial_states, name)
    if graph.states:
        calls = one_by_one(calls)
    if equalization:
        graph = equalize(graph)
    statistics, settings = choose_settings(
        graph,
        calls,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        min_sqnr=min_sqnr,
        method=method,
        percentile=percentile,
        per_channel=per_channel,
        rounding=rounding,
        overflow=overflow,
        wide_bits=wide_bits,
        input_format=input_format,
        output_format=output_format,
        fracs=fracs,
        progress=progress,
    )
    lowered = refine(graph, statistics, settings, calls, refinement, progress)
    return with_clip_rates(lowered, calls)


def calibration_calls(calibration: Iterable[Any]) -> list[list[torch.Tensor]]:
    """Tensors with batch of every calibration item; raises ValueError if there is none."""
    calls = [_as_tensors(item, position) for position, item in enumerate(calibration)]
    if not calls:
        raise ArgumentError("the calibration data is empty; give at least one input")
    return calls


def float_graph(
    model: torch.nn.Module,
    call: Sequence[torch.Tensor],
    states: Sequence[tuple[int, int]] = (),
    initial_states: Sequence[torch.Tensor] = (),
    name: str | None = None,
) -> Graph:
    """Convert a module with one calibration call as its example."""
    dtype = next((weight.dtype for weight in model.parameters()), torch.get_default_dtype())
    example = [tensor.to(dtype) for tensor in _example_inputs(call, states, initial_states)]
    return from_torch(model, example, name=name, states=states)


def one_by_one(calls: Iterable[Sequence[torch.Tensor]]) -> list[list[torch.Tensor]]:
    """Split calls whose batch axis is time into calls with a batch of one."""
    return [
        [tensor[index : index + 1] for tensor in call]
        for call in calls
        for index in range(len(call[0]))
    ]


def choose_formats(graph: Graph, calls: Sequence[Sequence[torch.Tensor]], **settings: Any) -> Graph:
    """Turn a float graph into an integer graph; the settings are those of `choose_settings`."""
    return lower(graph, *choose_settings(graph, calls, **settings))


def choose_settings(
    graph: Graph,
    calls: Sequence[Sequence[torch.Tensor]],
    *,
    weight_bits: int | Iterable[int] = 10,
    activation_bits: int | Iterable[int] = 14,
    min_sqnr: float | None = None,
    method: Method | Literal["search"] = "mse",
    percentile: float = 99.99,
    per_channel: bool = False,
    rounding: Rounding = Rounding.HALF_UP,
    overflow: Overflow = Overflow.SATURATE,
    wide_bits: int = 32,
    input_format: Format | Mapping[str, Format] | None = None,
    output_format: Format | Mapping[str, Format] | None = None,
    fracs: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> tuple[Mapping[str, Statistics], Settings]:
    """Return what `fxp.quantization.lowering.lower` needs; the keywords are those of `quantize`."""
    widths = [
        (bits,) if isinstance(bits, int) else tuple(bits) for bits in (weight_bits, activation_bits)
    ]
    if not all(widths) or (min_sqnr is None and max(map(len, widths)) > 1):
        raise ArgumentError("several widths need min_sqnr, and none at all cannot be searched")
    settings = Settings(
        weight_bits=widths[0][0],
        activation_bits=widths[1][0],
        method="mse" if method == "search" else method,
        percentile=percentile,
        per_channel=per_channel,
        rounding=rounding,
        overflow=overflow,
        wide_bits=wide_bits,
        input_formats=_by_name(input_format, [value.name for value in graph.inputs]),
        output_formats=_by_name(output_format, graph.outputs),
        fracs=dict(fracs or {}),
    )
    statistics = observe(graph, calls)
    searched = method == "search" or min_sqnr is not None
    inputs, references = _references(graph, calls) if searched else ([], [])
    if min_sqnr is not None:
        settings, _ = search_bits(
            graph,
            statistics,
            settings,
            inputs,
            references,
            weight_bits=widths[0],
            activation_bits=widths[1],
            min_sqnr=min_sqnr,
            progress=progress,
        )
    if method == "search":
        settings, _ = search_fracs(
            graph, statistics, settings, inputs, references, progress=progress
        )
    return statistics, settings


def with_clip_rates(graph: Graph, calls: Sequence[Sequence[torch.Tensor]]) -> FixedModel:
    """Return the model of an integer graph, with its clip rates on the calibration data."""
    fixed = FixedModel(graph)
    images = (
        [tensor[index].double().cpu().numpy() for tensor in call]
        for call in calls
        for index in range(len(call[0]))
    )
    fixed.calibration_clipping = fixed.clip_rates(images)
    return fixed


def _example_inputs(
    call: Sequence[torch.Tensor],
    states: Sequence[tuple[int, int]],
    initial_states: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    """Put the states' tensors at their positions among the inputs."""
    if len(states) != len(initial_states):
        raise ArgumentError(f"{len(states)} states need as many initial states, "
                         f"got {len(initial_states)}")  # fmt: skip
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


def _as_tensors(item: Any, position: int) -> list[torch.Tensor]:
    """Tensors with batch of one calibration item."""
    parts = item if isinstance(item, tuple | list) else (item,)
    # A copy, because torch takes neither negative strides nor read-only memory.
    tensors = [torch.as_tensor(np.array(p) if isinstance(p, np.ndarray) else p).detach()
               for p in parts]  # fmt: skip
    tensors = [tensor[None] if tensor.ndim in (1, 3) else tensor for tensor in tensors]
    sizes = {len(tensor) if tensor.ndim else 0 for tensor in tensors}
    if len(sizes) != 1 or 0 in sizes:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        raise ArgumentError(f"calibration item {position}: {shapes} are not batches of equal size")
    return tensors


def _by_name(
    given: Format | Mapping[str, Format] | None, names: Iterable[str]
) -> Mapping[str, Format]:
    if isinstance(given, Format):
        return dict.fromkeys(names, given)
    return dict(given or {})


def _references(
    graph: Graph, calls: Sequence[Sequence[torch.Tensor]]
) -> tuple[list[list[NDArray]], list[list[NDArray]]]:
    """Return inputs and float outputs of every calibration image, without batch axis."""
    inputs: list[list[NDArray]] = []
    references: list[list[NDArray]] = []
    states: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        for call in calls:
            result = run(graph, call, states)
            states = result.states
            for index in range(call[0].shape[0]):
                inputs.append([tensor[index].double().cpu().numpy() for tensor in call])
                references.append([tensor[index].cpu().numpy() for tensor in result.outputs])
    return inputs, references
