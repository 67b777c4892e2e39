"""Writes the tables of docs/benchmarks/hls4ml.md.

Run with ``python -m benchmarks.hls4ml``; takes minutes per combination.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from benchmarks import orderly
from benchmarks.hls4ml.classifiers import lenet, resnet8
from benchmarks.report import ROOT, environment
from fxp import hls
from fxp.hls.hls4ml_export import ExportError, HlsError, VerificationError
from fxp.hls.hls4ml_export.exporting import Backend, IoType, Strategy
from fxp.hls.hls4ml_export.project import TOOLS
from fxp.hls.hls4ml_export.writing import INCLUDES
from fxp.models import sr
from fxp.support.files import replace_file
from fxp.support.processes import ProcessTimeoutError, run_process

REPORT: Final = Path(__file__).parents[2] / "docs" / "benchmarks" / "hls4ml.md"
RESULTS: Final = REPORT.with_suffix(".json")
SIZE: Final = (6, 6)
"""Height and width of the frame on which combinations are tried."""
NETWORKS: Final[tuple[tuple[Backend, int], ...]] = tuple(
    itertools.product(("Vitis", "Vivado"), (32, 128))
)
"""Backends and sides of the frames on which the whole KimSR is tried."""
FRAMES: Final = 5
CLASSIFIERS: Final = {"LeNet-5": (lenet, (1, 28, 28)), "ResNet-8": (resnet8, (3, 32, 32))}
"""Classifiers that go through as a whole, and the shape of their images, of MNIST and of CIFAR."""
KEYS: Final = ("backend", "io_type", "strategy", "reuse_factor")
"""What tells combinations apart."""


_EXPORT: Final = """
import json, sys
from benchmarks.hls4ml.network import tiny_kimsr
from fxp import hls

try:
    hls.export(tiny_kimsr(), sys.argv[1], **json.loads(sys.argv[2]))
except Exception as error:
    print(type(error).__name__, error)
    sys.exit(3)
"""


def combination(
    backend: str, io_type: str, strategy: str, reuse_factor: int, limit: float
) -> dict[str, Any]:
    """Export, compile and compare one combination, in a process of its own with a time limit.

    Parameters
    ----------
    backend, io_type, strategy, reuse_factor
        As for `fxp.hls.export`.
    limit
        Time limit in seconds.

    Returns
    -------
    dict
        These names, a verdict in words, and the seconds it took.
    """
    record: dict[str, Any] = dict(
        zip(KEYS, (backend, io_type, strategy, reuse_factor), strict=True)
    )
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        options = json.dumps(record | {"size": SIZE})
        command = [sys.executable, "-c", _EXPORT, str(Path(folder, "p")), options]
        try:
            done = run_process(command, ROOT, timeout_s=limit)
            words = done.output.strip().splitlines()
            verdict = "exact" if done.code == 0 else words[-1] if words else "crashed"
        except ProcessTimeoutError:
            verdict = f"not finished in {limit:.0f} s"
    seconds = time.perf_counter() - started
    return record | {"verdict": _verdict(verdict), "seconds": seconds}


def _verdict(text: str) -> str:
    """Shorten what an error says."""
    for kind, word in (
        (VerificationError, "not exact"),
        (ExportError, "refused"),
        (HlsError, "does not compile or run"),
    ):
        if text.startswith(kind.__name__):
            reason = text.removeprefix(kind.__name__).split("is not exact:")[-1].strip()
            return f"{word}: {reason.split('; hls.emit_rtl')[0][:160]}"
    return text


def whole_network(backend: Backend, side: int) -> dict[str, Any]:
    """Export, compile and verify KimSR, and compare and time a photograph-sized batch."""
    model = sr.load("kimsr_x2")
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        project = hls.export(model, Path(folder, "p"), size=(side, side), backend=backend)
        seconds = time.perf_counter() - started
        frames = np.random.default_rng(0).integers(0, 256, (FRAMES, 1, side, side))
        expected = model.run_raw(frames, threads=1)
        if not np.array_equal(project.predict_raw(frames), expected):
            raise SystemExit(f"{backend}: the C simulation differs from the engine")
        # Reading and starting up is not simulation: the difference of many frames and one.
        simulation = _best(lambda: project.predict_raw(frames))
        simulation -= _best(lambda: project.predict_raw(frames[:1]))
    return {
        "backend": backend,
        "side": side,
        "export_seconds": seconds,
        "pixels": expected.size,
        "simulation_seconds": simulation / (FRAMES - 1),
        "engine_seconds": _best(lambda: model.run_raw(frames, threads=1)) / FRAMES,
    }


def classifier(name: str) -> dict[str, Any]:
    """Export a classifier, compile it, and compare every integer and the classes of some images."""
    made, shape = CLASSIFIERS[name]
    model = made()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        project = hls.export(model, Path(folder, "p"))
        seconds = time.perf_counter() - started
        images = np.random.default_rng(0).integers(0, 256, (FRAMES, *shape))
        expected = model.run_raw(images)
        if not np.array_equal(project.predict_raw(images), expected):
            raise SystemExit(f"{name}: the C simulation differs from the engine")
    return {
        "name": name,
        "nodes": len(model.graph.nodes),
        "weights": sum(int(np.size(constant.data)) for constant in model.graph.constants),
        "export_seconds": seconds,
        "results": int(expected.size),
    }


def _best(call: Callable[[], object], repetitions: int = 3) -> float:
    times: list[float] = []
    for _ in range(repetitions):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return min(times)


def render(results: dict[str, Any]) -> str:
    """Write the tables."""
    lines = [
        "# Combinations of backend, io_type and strategy",
        "",
        "Generated by `python -m benchmarks.hls4ml`; do not edit.",
        "",
        "A network with every kind of layer that KimSR has (`benchmarks/hls4ml/network.py`), on "
        f"{SIZE[0]}×{SIZE[1]} frames of random and of extreme pixels: every "
        "integer of every layer of the C simulation against the engine. `export` does the same "
        "check by itself, so a combination that is not exact raises an error instead of passing.",
        "",
        "| Backend | io_type | strategy | reuse factor | C simulation | seconds | hardware needs |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in results["combinations"]:
        lines.append(
            f"| {row['backend']} | `{row['io_type']}` | `{row['strategy']}` | "
            f"{row['reuse_factor']} | {row['verdict']} | "
            f"{row['seconds']:.0f} | `{TOOLS.get(row['backend'], 'icpx')}` |"
        )
    lines += [
        "",
        "oneAPI is refused by name: its C simulation alone needs Intel's icpx.",
    ]
    if networks := results.get("networks"):
        lines += [
            "",
            "## The whole KimSR",
            "",
            f"`io_stream`, `latency`; {FRAMES} random frames, one thread each. Export compiles the "
            "simulation and compares every integer of every layer; the frames' results are equal "
            "too.",
            "",
            "| Backend | frame | export, s | differing of HR pixels | "
            "C simulation, ns per LR pixel | engine | ratio |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in networks:
            simulation, engine = (
                row[f"{name}_seconds"] * 1e9 / row["side"] ** 2 for name in ("simulation", "engine")
            )
            lines.append(
                f"| {row['backend']} | {row['side']}×{row['side']} | {row['export_seconds']:.0f} | "
                f"0 of {row['pixels']:,} | {simulation:,.0f} | {engine:,.0f} | "
                f"{simulation / engine:,.0f} |"
            )
    if classifiers := results.get("classifiers"):
        lines += [
            "",
            "## Classifiers",
            "",
            f"Random weights of 8 bits, Vitis, `io_stream`, `latency`, {FRAMES} random images. "
            "Export compares every integer of every layer.",
            "",
            "| Network | nodes | weights | export, s | differing results |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['name']} | {row['nodes']} | {row['weights']:,} | "
            f"{row['export_seconds']:.0f} | 0 of {row['results']} |"
            for row in classifiers
        ]
    lines += ["", environment("hls4ml")]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for, keep the rest, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backends", nargs="*", default=[*INCLUDES], choices=[*INCLUDES])
    parser.add_argument("--io-types", nargs="*", default=[*get_args(IoType)])
    parser.add_argument("--strategies", nargs="*", default=[*get_args(Strategy)])
    parser.add_argument("--reuse-factors", nargs="*", type=int, default=[1])
    parser.add_argument("--limit", type=float, default=900, help="seconds per combination")
    parser.add_argument("--network", action="store_true", help="measure the whole KimSR")
    parser.add_argument("--classifiers", nargs="*", default=[], choices=[*CLASSIFIERS])
    options = parser.parse_args(arguments)
    if shutil.which("g++") is None:
        raise SystemExit("no g++")
    for names in itertools.product(
        options.backends, options.io_types, options.strategies, options.reuse_factors
    ):
        found = combination(*names, options.limit)
        print(found, flush=True)
        # Read again: another run may have measured meanwhile.
        results = _read()
        others = [
            row for row in results["combinations"] if tuple(row[key] for key in KEYS) != names
        ]
        results["combinations"] = sorted(
            [*others, found], key=lambda row: tuple(row[key] for key in KEYS)
        )
        _keep(results)
    results = _read()
    if options.network:
        results["networks"] = []
        for names in NETWORKS:
            results["networks"].append(whole_network(*names))
            print(results["networks"][-1], flush=True)
            _keep(results)
    for name in options.classifiers:
        found = classifier(name)
        print(found, flush=True)
        results = _read()
        others = [row for row in results.get("classifiers", []) if row["name"] != name]
        results["classifiers"] = sorted([*others, found], key=lambda row: row["name"])
        _keep(results)


def _read() -> dict[str, Any]:
    if RESULTS.is_file():
        return json.loads(RESULTS.read_text(encoding="utf-8"))
    return {"combinations": []}


def _keep(results: dict[str, Any]) -> None:
    replace_file(RESULTS, (json.dumps(results, indent=1) + "\n").encode())
    replace_file(REPORT, render(results).encode())


if __name__ == "__main__":
    orderly.run(main)
