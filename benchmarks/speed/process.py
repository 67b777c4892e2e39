"""A second process: start-up time, time and peak memory of one saved model.

``python -m benchmarks.speed.process MODEL CHANNELS HEIGHT WIDTH THREADS RUNS`` prints JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def start(
    model: Path,
    shape: tuple[int, int, int],
    threads: int,
    runs: int,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run `model` on a random 8-bit image in a process of its own.

    Parameters
    ----------
    model
        A ``.fxp`` file.
    shape
        Channels, height and width of the image.
    threads
        Threads of each run.
    runs
        Runs after the first.
    environment
        As for `second_process`.

    Returns
    -------
    dict
        Seconds of ``import fxp``, of the further imports that loading needs, of loading, of the
        first run and of the fastest of `runs` further ones; whether torch was imported; bytes of
        resident memory before the first run and at most.
    """
    return second_process(__name__, model, *shape, threads, runs, environment=environment)


def second_process(
    module: str, *arguments: object, environment: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run a module of the benchmarks in a process of its own, and return the JSON it prints.

    Parameters
    ----------
    module
        Name of the module, as for ``python -m``.
    arguments
        Its arguments.
    environment
        Variables beside those of this process.

    Raises
    ------
    RuntimeError
        If it fails; the message holds what it wrote.
    """
    process = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        raise RuntimeError(f"a second process failed:\n{process.stderr}")
    return json.loads(process.stdout)


def main(
    model: str, channels: int, height: int, width: int, threads: int, runs: int
) -> dict[str, Any]:
    """Do what `start` says, in this process.

    Parameters
    ----------
    model, threads, runs
        As for `start`.
    channels, height, width
        Its shape.
    """
    begun = time.perf_counter()
    import fxp

    imported = time.perf_counter()
    load = fxp.load  # imports Numba and the ops
    ready = time.perf_counter()
    loaded = load(model)
    bound = time.perf_counter()
    import numpy as np

    raw = np.random.default_rng(0).integers(0, 256, (channels, height, width), np.int16)
    before = resident_bytes()
    seconds = []
    for _ in range(1 + runs):
        started = time.perf_counter()
        loaded.run(raw, threads=threads, count_clipped=False, narrow=True)
        seconds.append(time.perf_counter() - started)
    return {
        "import_fxp": imported - begun,
        "import_rest": ready - imported,
        "load": bound - ready,
        "first_run": seconds[0],
        "run": min(seconds[1:], default=seconds[0]),
        "torch_imported": "torch" in sys.modules,
        "bytes_before": before,
        "bytes_peak": resident_bytes(),
    }


def resident_bytes() -> int:
    """Return the most memory this process has had so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Unlike `getrusage`, not inherited from the process that started this one.
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:]))))
