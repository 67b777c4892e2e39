"""One network in fxp and, in float32, in ONNX Runtime and PyTorch."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

import fxp
from benchmarks.speed.timing import Settings, best_times, threads_text
from benchmarks.speed.works import Work
from fxp.executors import oracle
from fxp.formats import quantize
from fxp.frontend import FrontendError
from fxp.graph import Graph
from fxp.models.sr import PIXEL

ORACLE_SIDE = 16
"""Side of the part of each corner in which engine and oracle are compared, without its margin."""
OPSET = 17

Say = Callable[[str], None]


def measure(work: Work, settings: Settings, say: Say) -> dict[str, Any]:
    """Quantize a network, check it against the oracle, and time it against float32.

    Parameters
    ----------
    work
        The network and its frame.
    settings
        Sizes, rounds and numbers of threads.
    say
        Called with what is being done.
    """
    record: dict[str, Any] = {
        "name": work.name,
        "title": work.title,
        "target": work.target,
        "aim": work.aim,
        "input": list(work.shape),
        "seconds": {},
    }
    network, frame = work.network(), work.frame()
    say(f"{work.title}: quantizing")
    try:
        model = fixed_model(work, network)
    except FrontendError as error:
        return record | {"refused": str(error).splitlines()[0]}
    raw = raw_input(model, frame)
    record["output"] = list(
        model.graph.concrete_shapes(model.graph.bind([raw.shape]))[model.graph.outputs[0]]
    )
    record["macs"] = count_macs(model.graph, raw.shape)
    say(f"{work.title}: comparing with the oracle")
    record["equal_values"] = check(model, raw, work.margin)
    onnx_model = export(network, work.shape)
    for threads in settings.threads:
        say(f"{work.title}: {threads_text(threads)}")
        with torch_threads(threads), torch.inference_mode():
            calls = float_calls(network, onnx_model, frame, threads)
            calls["fxp"] = fastest(model, raw, threads)
            calls["fxp_real"] = partial(model, frame, threads=threads)
            record["seconds"][str(threads)] = best_times(calls, settings)
    return record


def float_calls(
    network: torch.nn.Module, onnx_model: bytes, frame: NDArray[np.float32], threads: int
) -> dict[str, Callable[[], object]]:
    """Return the two float32 runs, after a look whether they compute the same.

    Parameters
    ----------
    network
        The float network.
    onnx_model
        The same as an ONNX file.
    frame
        An input with batch.
    threads
        Threads of ONNX Runtime; those of PyTorch are set for the process.
    """
    session, tensor = onnx_session(onnx_model, threads), torch.from_numpy(frame)
    expected = network(tensor).numpy()
    found = np.asarray(session.run(None, {"x": frame})[0])
    if not np.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(np.abs(expected).max())):
        raise RuntimeError("ONNX Runtime and PyTorch give different results")
    return {
        "onnxruntime": lambda: session.run(None, {"x": frame}),
        "torch": lambda: network(tensor),
    }


def fixed_model(
    work: Work, network: torch.nn.Module, *, per_channel: bool = True
) -> fxp.FixedModel:
    """Quantize to 10-bit weights and 14-bit activations; images have 8 bits.

    Parameters
    ----------
    work
        What runs.
    network
        Its float network.
    per_channel
        Whether weights have fraction bits per output channel.
    """
    pixel = PIXEL if work.on_pixels else None
    return fxp.quantize(
        network,
        work.calibration(),
        weight_bits=10,
        activation_bits=14,
        input_format=pixel,
        output_format=pixel,
        per_channel=per_channel,
        effort="fast",
    )


def fastest(model: fxp.FixedModel, raw: NDArray, threads: int) -> Callable[[], object]:
    """Return the fastest call on raw integers: nothing is counted or widened.

    Parameters
    ----------
    model
        What to run.
    raw
        Raw integers in the dtype of the input format, ``(C, H, W)``.
    threads
        Threads of the run.
    """
    return partial(model.run, raw, threads=threads, count_clipped=False, narrow=True)


def raw_input(model: fxp.FixedModel, frame: NDArray[np.float32]) -> NDArray:
    """Return the raw integers of a ``(1, C, H, W)`` frame in the dtype of the input format."""
    (value,) = model.graph.inputs
    assert value.format is not None
    return quantize(frame[0], value.format).astype(value.format.dtype)


def check(model: fxp.FixedModel, raw: NDArray, margin: int) -> int:
    """Compare a run on the whole frame with the oracle on two opposite corners of it.

    Pixels of a corner whose surroundings are cut off are left out.

    Parameters
    ----------
    model
        What to run.
    raw
        Raw integers of the whole frame, ``(C, H, W)``.
    margin
        Input pixels that a result depends on to each side.

    Returns
    -------
    int
        How many values were compared.

    Raises
    ------
    RuntimeError
        If any differs.
    """
    result = model.run(raw).outputs[0]
    factor = result.shape[1] // raw.shape[1]
    compared = 0
    for end in (False, True):
        rows, columns = (_corner(size, margin, end=end) for size in raw.shape[1:])
        corner = oracle.run(model.graph, [raw[:, rows[0], columns[0]]]).outputs[0]
        expected = np.zeros_like(result)
        expected[:, _scaled(rows[0], factor), _scaled(columns[0], factor)] = corner
        kept = (slice(None), _scaled(rows[1], factor), _scaled(columns[1], factor))
        if not np.array_equal(result[kept], expected[kept]):
            raise RuntimeError(f"{model}: the engine and the oracle differ")
        compared += result[kept].size
    return compared


def _corner(size: int, margin: int, *, end: bool) -> tuple[slice, slice]:
    """Return, along one axis, what the oracle gets of the frame, and what of that is compared."""
    taken = min(size, ORACLE_SIDE + margin)
    lost = 0 if taken == size else margin
    if end:
        return slice(size - taken, size), slice(size - taken + lost, size)
    return slice(0, taken), slice(0, taken - lost)


def _scaled(part: slice, factor: int) -> slice:
    return slice(part.start * factor, part.stop * factor)


def count_macs(graph: Graph, shape: tuple[int, ...]) -> int:
    """Count the multiply-accumulates of the convolutions and linear layers for one input shape."""
    shapes = graph.concrete_shapes(graph.bind([shape]))
    total = 0
    for node in graph.nodes:
        roles = node.op.constant_roles.items()
        weights = [node.inputs[position] for position, role in roles if role == "weight"]
        # A transposed convolution multiplies every input by all its taps.
        per_input = "transpose" in node.op.name
        _, *pixels = shapes[node.inputs[0] if per_input else node.name]
        for name in weights:
            total += graph.constants_by_name[name].data.size * int(np.prod(pixels))
    return total


def export(network: torch.nn.Module, shape: tuple[int, ...]) -> bytes:
    """Return the float network as an ONNX model of fixed size, input ``x``."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The older exporter writes the same few nodes, and needs no further package.
        warnings.simplefilter("ignore", DeprecationWarning)
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            network,
            (torch.zeros(1, *shape),),
            path,
            input_names=["x"],
            opset_version=OPSET,
            dynamo=False,
        )
        return path.read_bytes()


def onnx_session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    """Return a session with every graph optimization and so many threads."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Run PyTorch with so many threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
