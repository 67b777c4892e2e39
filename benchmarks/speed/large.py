"""How long large networks take to become a plan that runs, and to start again from their file."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.speed import process
from benchmarks.speed.timing import Settings
from benchmarks.speed.versus import Say, fixed_model
from benchmarks.speed.works import CLASSIFIER, WORKS, Work, torchvision_work

NETWORKS: Final = ("vgg19", "resnet152", "flash")
QUICK: Final = ("squeezenet1_0",)
TITLES: Final = {"vgg19": "VGG-19", "resnet152": "ResNet-152"}
CACHE: Final = "NUMBA_CACHE_DIR"
"""What tells where compiled kernels are kept, which begins empty here."""


def work_of(name: str) -> Work:
    """Return one of the networks, on the frame that other measurements take too."""
    found = next((work for work in WORKS if work.name == name), None)
    return found or torchvision_work(name, TITLES[name], CLASSIFIER)


def measure(settings: Settings, say: Say) -> list[dict[str, Any]]:
    """Measure every network in processes of its own, without compiled kernels and with them.

    Parameters
    ----------
    settings
        Whether to take a small network only.
    say
        Called with what is being done.
    """
    records = []
    for name in QUICK if settings.quick else NETWORKS:
        work = work_of(name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.fxp")
            kernels = {CACHE: str(Path(folder, "kernels"))}
            say(f"{work.title}: quantizing, planning and running")
            first = process.second_process(__name__, name, path, environment=kernels)
            say(f"{work.title}: starting from the file")
            later = process.start(path, work.shape, 1, 0, kernels)
            records.append(
                {
                    "name": name,
                    "title": work.title,
                    "input": list(work.shape),
                    "bytes_file": path.stat().st_size,
                    "first": first,
                    "later": later,
                }
            )
    return records


def main(name: str, path: str) -> dict[str, Any]:
    """Quantize a network, save it, plan it and run it once, in this process.

    Parameters
    ----------
    name
        Of the network.
    path
        File to save it to.
    """
    from benchmarks.speed.versus import raw_input

    work = work_of(name)
    network, frame = work.network(), work.frame()
    torch.set_num_threads(1)
    begun, used = time.perf_counter(), time.process_time()
    model = fixed_model(work, network)
    quantized = time.perf_counter()
    raw = raw_input(model, frame[:1])
    model.plan(raw.shape, threads=1)
    planned = time.perf_counter()
    model.run(raw, threads=1, count_clipped=False, narrow=True)
    done = time.perf_counter()
    processor = time.process_time() - used
    model.save(path)
    return {
        "quantize": quantized - begun,
        "plan": planned - quantized,
        "first_run": done - planned,
        "processor": processor,
        "bytes_peak": process.resident_bytes(),
    }


if __name__ == "__main__":
    import json

    print(json.dumps(main(*sys.argv[1:])))
