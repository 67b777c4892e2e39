"""Time and memory of one step of the networks, against the same network in float32 elsewhere."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import fxp
from benchmarks.report import markdown_table
from benchmarks.speed.peers import Arrays, Peers, as_arrays, export, onnx_session, torch_threads
from benchmarks.speed.process import resident_bytes
from benchmarks.speed.timing import Settings, best_times
from benchmarks.speed.versus import fastest, float_steps, raw_inputs

CONTENDERS: Final = ("fxp", "onnxruntime", "torch")
MEBIBYTE: Final = 1 << 20
STEPS: Final = 3
"""Steps before the one that is timed, so that states are not zero."""
SETTINGS: Final = Settings(threads=(1,))


class Speed(NamedTuple):
    """Seconds of a step, and bytes of memory beyond those before the first step.

    Each is by the names of `CONTENDERS`.
    """

    seconds: dict[str, float]
    memory: dict[str, int]

    @property
    def ratio(self) -> float:
        """How many times as fast as ONNX Runtime."""
        return self.seconds["onnxruntime"] / self.seconds["fxp"]


def measure(
    network: Any,
    model: fxp.FixedModel,
    grid: NDArray[np.float32],
    settings: Settings = SETTINGS,
) -> Speed:
    """Time one step on one thread, with the states as inputs and outputs.

    Parameters
    ----------
    network
        In eval mode, float32.
    model
        Its fixed-point model.
    grid
        A voxel grid ``(bins, H, W)``.
    settings
        How long to measure.
    """
    frames = np.stack([grid] * (STEPS + 1))
    inputs = float_steps(network, frames)[-1]
    raw = raw_inputs(model, frames[:1])[0]
    states: Any = None
    for _ in range(STEPS):
        states = model.run(raw, states=states, count_clipped=False, narrow=True).states
    peers = Peers(network, inputs)
    with torch_threads(1), torch.inference_mode():
        calls: dict[str, Callable[[], object]] = {"fxp": fastest(model, raw, 1, states)}
        calls |= peers.calls(1, CONTENDERS)
        seconds = best_times(calls, settings)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.fxp"
        model.save(path)
        memory = {
            "fxp": _apart(_fxp_memory, path, raw),
            "onnxruntime": _apart(_onnx_memory, export(network, inputs), inputs),
            "torch": _apart(_torch_memory, network, inputs),
        }
    return Speed(seconds, memory)


def _apart(work: Callable[..., int], *arguments: object) -> int:
    """Call a function in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def _growth(call: Callable[[], object]) -> int:
    """Return by how many bytes a process grows while it makes two steps."""
    before = resident_bytes()
    call()
    call()
    return resident_bytes() - before


def _fxp_memory(path: Path, raw: NDArray) -> int:
    model = fxp.load(path)
    states: Any = None

    def call() -> None:
        nonlocal states
        states = model.run(raw, states=states, threads=1, count_clipped=False, narrow=True).states

    return _growth(call)


def _onnx_memory(model: bytes, inputs: Arrays) -> int:
    session = onnx_session(model, 1)
    feed = {f"x{number}": array for number, array in enumerate(inputs)}
    return _growth(lambda: session.run(None, feed))


def _torch_memory(network: torch.nn.Module, inputs: Arrays) -> int:
    torch.set_num_threads(1)
    tensors = [torch.from_numpy(array) for array in inputs]

    def call() -> None:
        with torch.inference_mode():
            as_arrays(network(*tensors))

    return _growth(call)


def row(title: str, size: tuple[int, int], speed: Speed) -> list[str]:
    """Return a row of the table of `table`.

    Parameters
    ----------
    title
        Of the network.
    size
        Width and height.
    speed
        What was measured.
    """
    width, height = size
    seconds = [f"{1e3 * speed.seconds[name]:.1f}" for name in CONTENDERS]
    memory = [f"{speed.memory[name] / MEBIBYTE:.0f}" for name in CONTENDERS]
    return [title, f"{width}×{height}", *seconds, f"{speed.ratio:.2f}×", *memory]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the table of speeds as Markdown, from what `row` gives."""
    header = ("network", "size", "fxp, ms", "ONNX Runtime", "PyTorch", "against ONNX Runtime",
              "fxp, MiB", "ONNX Runtime", "PyTorch")  # fmt: skip
    return markdown_table(header, rows)
