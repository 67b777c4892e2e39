"""A second process: time and peak memory of one network on one photograph.

``python -m benchmarks.deblur.process FILE HEIGHT WIDTH THREADS RUNS`` prints JSON. FILE is a
``.fxp`` or an ``.onnx`` file.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.speed.process import resident_bytes, second_process


def start(path: Path, height: int, width: int, threads: int, runs: int) -> dict[str, float]:
    """Run a network on a random photograph in a process of its own.

    Parameters
    ----------
    path
        ``.fxp`` or ``.onnx``.
    height, width
        Of the photograph, pixels.
    threads
        Of each run.
    runs
        Runs, the first included.

    Returns
    -------
    dict
        Seconds of the first and of the fastest run, bytes of resident memory at most.
    """
    return second_process(__name__, path, height, width, threads, runs)


def main(path: str, height: int, width: int, threads: int, runs: int) -> dict[str, float]:
    """Do what `start` says, in this process.

    Parameters
    ----------
    path, height, width, threads, runs
        As for `start`.
    """
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    call = (_onnx if path.endswith(".onnx") else _engine)(path, image, threads)
    seconds = []
    for _ in range(runs):
        begun = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begun)
    return {"first": seconds[0], "best": min(seconds), "bytes": resident_bytes()}


def _engine(path: str, image: np.ndarray, threads: int) -> Callable[[], object]:
    import fxp
    from fxp.models.deblur import Deblurrer

    deblurrer = Deblurrer(fxp.load(path))
    return lambda: deblurrer(image, threads=threads)


def _onnx(path: str, image: np.ndarray, threads: int) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = (image.transpose(2, 0, 1)[None] / 255).astype(np.float32)
    return lambda: session.run(None, {"x0": given})


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:]))))
