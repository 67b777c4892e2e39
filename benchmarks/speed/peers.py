"""What fxp is compared with: the same network in PyTorch, ONNX Runtime and OpenVINO.

Each peer gets the stated number of threads and its fastest settings for one image at a time. Its
results are compared with PyTorch's before it is timed.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.jit._trace import TracerWarning

from benchmarks.speed.normalization import with_single_nodes
from fxp.imaging.metrics import sqnr
from fxp.support.distribution import install_advice

OPSET: Final = 17
INT8: Final = "onnxruntime_int8"
TITLES: Final = {
    "onnxruntime": "ONNX Runtime float32",
    "openvino": "OpenVINO float32",
    "torch": "PyTorch float32",
    INT8: "ONNX Runtime int8",
}
"""Names of the peers, in the order of the tables."""
LEAST_SQNR: Final = 3.0
"""Decibels against the float network below which an int8 network is taken to be broken."""

Arrays = Sequence[NDArray[np.float32]]
Call = Callable[[], Sequence[NDArray]]


class PeerError(ValueError):
    """A peer is not there, refuses the network or gives something else."""


class Peers:
    """One float network as files that other programs read.

    Parameters
    ----------
    network
        The float network in eval mode.
    inputs
        What it is run on, with batch; states last.
    calibration
        Further inputs, of the same shapes, that the int8 network is calibrated on; without any
        there is none.

    Attributes
    ----------
    reasons
        Why a peer is missing, by name.
    int8_sqnr
        SQNR of the int8 network's first output against the float network, dB, once it has run.
    """

    def __init__(
        self, network: torch.nn.Module, inputs: Arrays, calibration: Sequence[Arrays] = ()
    ) -> None:
        self._network = network
        self._inputs = inputs
        self._tensors = [torch.from_numpy(array) for array in inputs]
        self._names = [f"x{number}" for number in range(len(inputs))]
        with torch.inference_mode():
            self._expected = as_arrays(network(*self._tensors))
        self._float = export(network, inputs)
        self.reasons: dict[str, str] = {}
        self.int8_sqnr: float | None = None
        self._int8: bytes | None = None
        feeds = [dict(zip(self._names, item, strict=True)) for item in calibration]
        try:
            self._int8 = quantized(self._float, feeds) if feeds else None
        # Whatever the tool raises is its reason not to be in the table.
        except Exception as error:
            self.reasons[INT8] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"

    def calls(self, threads: int, names: Collection[str] = tuple(TITLES)) -> dict[str, Call]:
        """Return what to time by name of the peer; those that fail are in `reasons`.

        Parameters
        ----------
        threads
            Threads of ONNX Runtime and OpenVINO; those of PyTorch are set for the process.
        names
            The peers.
        """
        makers: dict[str, Callable[[int], Call]] = {
            "onnxruntime": partial(self._onnxruntime, self._float),
            "openvino": self._openvino,
            "torch": lambda count: lambda: as_arrays(self._network(*self._tensors)),
        }
        if self._int8 is not None:
            makers[INT8] = partial(self._onnxruntime, self._int8)
        calls = {}
        for name, make in makers.items():
            if name in self.reasons or name not in names:
                continue
            try:
                call = make(threads)
                self._check(name, call())
            except PeerError as error:
                self.reasons[name] = str(error)
            else:
                calls[name] = call
        return calls

    def _check(self, name: str, found: Sequence[NDArray]) -> None:
        """Raise unless a peer gives the results of the float network."""
        if [array.shape for array in found] != [array.shape for array in self._expected]:
            raise RuntimeError(f"{TITLES[name]} gives results of other shapes than PyTorch")
        if name == INT8:
            self.int8_sqnr = float(sqnr(self._expected[0], found[0]))
            if self.int8_sqnr < LEAST_SQNR:
                raise PeerError(f"its output is wrong: {self.int8_sqnr:.1f} dB SQNR")
            return
        for one, other in zip(found, self._expected, strict=True):
            if not np.allclose(one, other, rtol=1e-3, atol=1e-3 * float(np.abs(other).max())):
                raise RuntimeError(f"{TITLES[name]} and PyTorch give different results")

    def _onnxruntime(self, model: bytes, threads: int) -> Call:
        session = onnx_session(model, threads)
        feed = dict(zip(self._names, self._inputs, strict=True))
        return lambda: [np.asarray(item) for item in session.run(None, feed)]

    def _openvino(self, threads: int) -> Call:
        if find_spec("openvino") is None:
            raise PeerError(f"not installed; {install_advice('bench')}")
        import openvino

        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            # By default it takes bfloat16 where the processor has it.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = core.compile_model(
            core.read_model(self._float), "CPU", settings
        ).create_infer_request()
        tensors = dict(enumerate(self._inputs))

        def call() -> list[NDArray]:
            results = request.infer(tensors, share_inputs=True, share_outputs=True)
            return [results[number] for number in range(len(self._expected))]

        return call


def as_arrays(results: Any) -> list[NDArray]:
    """Return the output of a network, or its outputs, as arrays."""
    several = isinstance(results, tuple | list)
    return [item.numpy() for item in (results if several else (results,))]


def export(network: torch.nn.Module, inputs: Arrays) -> bytes:
    """Return the float network as an ONNX model of fixed sizes, inputs ``x0``, ``x1``, ...

    Parameters
    ----------
    network
        In eval mode.
    inputs
        Arrays of the sizes, with batch.
    """
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The older exporter writes the same few nodes, and needs no further package. Its own
        # warnings are of shapes that become constants, as they should.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            with_single_nodes(network),
            tuple(torch.from_numpy(np.zeros_like(array)) for array in inputs),
            path,
            input_names=[f"x{number}" for number in range(len(inputs))],
            opset_version=OPSET,
            dynamo=False,
        )
        return path.read_bytes()


def quantized(model: bytes, calibration: Sequence[dict[str, NDArray]]) -> bytes:
    """Return a float ONNX model in 8 bits, as ONNX Runtime's own tools quantize it.

    QuantizeLinear and DequantizeLinear around every operation, weights int8 per channel, values
    uint8 with a zero point: what ONNX Runtime recommends for processors that multiply 8 bits.

    Parameters
    ----------
    model
        The float model.
    calibration
        Inputs by name.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter(calibration)

        def get_next(self) -> dict[str, NDArray]:
            return next(self._feeds, None)  # type: ignore[return-value] - its end of data is None

    with tempfile.TemporaryDirectory() as folder, _quiet_root_logger():
        source, prepared, target = (Path(folder) / f"{name}.onnx" for name in "abc")
        source.write_bytes(model)
        quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return target.read_bytes()


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Leave out the tool's advice, which it gives on the root logger."""
    before = logging.root.level
    logging.root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.root.setLevel(before)


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
