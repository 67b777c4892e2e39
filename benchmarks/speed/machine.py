"""What the figures were taken on."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import llvmlite.binding

from benchmarks.report import version_of
from benchmarks.speed.timing import processors

PACKAGES = (
    "fxp", "numpy", "numba", "llvmlite", "torch", "onnx", "onnxruntime", "openvino",
    "torchvision", "hls4ml", "fxpmath", "apytypes", "qonnx",
)  # fmt: skip
INSTRUCTIONS = (
    "sse4.1", "avx", "f16c", "fma", "avx2", "avxvnni", "avx512f", "avx512bw", "avx512vl",
    "avx512vnni", "avx512bf16", "avx512fp16", "amx-int8", "amx-bf16", "neon", "dotprod", "i8mm",
    "sve",
)  # fmt: skip
"""Instruction sets that the speed of integer or float arithmetic depends on."""
PEAK = ("fxp.kernels.peak", "pair_multiply_rate")
"""Module and function: ``pair_multiply_rate(threads)`` gives GMAC/s of int16 pair multiplication.

A pair multiplication is ``acc += x0*w0 + x1*w1``, which counts as two multiply-accumulates."""


def describe(packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """Return processor, instruction sets and versions."""
    features = llvmlite.binding.get_host_cpu_features()
    versions = {}
    for package in packages:
        try:
            versions[package] = version_of(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "core": llvmlite.binding.get_host_cpu_name(),
        "processors": processors(),
        "instructions": [name for name in INSTRUCTIONS if features.get(name)],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "compiler": _compiler(),
        "versions": versions,
    }


def find_peak() -> Callable[[int], float] | None:
    """Return the function that measures the machine's peak in GMAC/s, if the package has one."""
    module, function = PEAK
    return getattr(import_module(module), function, None) if find_spec(module) else None


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _compiler() -> str | None:
    if shutil.which("g++") is None:
        return None
    command = ["g++", "-dumpfullversion"]
    return (
        "g++ " + subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    )
