"""How the engine's time and memory grow with pixels, and how long it takes to start."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.speed import process
from benchmarks.speed.timing import Settings, processors
from benchmarks.speed.versus import Say, fixed_model
from benchmarks.speed.works import WORKS

SIZES = ((135, 240), (270, 480), (540, 960), (1080, 1920), (2160, 3840))
"""Heights and widths in; the last gives an 8K frame."""
QUICK_SIZES = ((9, 16), (18, 32), (27, 48), (36, 64), (45, 80))


def measure_pixels(settings: Settings, say: Say) -> list[dict[str, Any]]:
    """Time and peak memory of KimSR at five sizes, each in a process of its own, all threads."""
    records = []
    with tempfile.TemporaryDirectory() as folder:
        path = _saved_kimsr(Path(folder))
        for height, width in QUICK_SIZES if settings.quick else SIZES:
            say(f"KimSR, {width}×{height}: time and memory")
            result = process.start(path, (1, height, width), processors(), settings.rounds)
            records.append({"height": height, "width": width, "threads": processors(), **result})
    return records


def measure_startup(settings: Settings, say: Say) -> dict[str, Any]:
    """Start-up of a second process, after a first one has filled Numba's cache."""
    height, width = QUICK_SIZES[0] if settings.quick else (540, 960)
    with tempfile.TemporaryDirectory() as folder:
        path = _saved_kimsr(Path(folder))
        say("start-up: filling Numba's cache")
        process.start(path, (1, height, width), processors(), 0)
        say("start-up: a second process")
        results = [
            process.start(path, (1, height, width), processors(), 3) for _ in range(settings.rounds)
        ]
    best = min(results, key=lambda result: sum(result[name] for name in STARTUP))
    return {"height": height, "width": width, "threads": processors(), **best}


STARTUP = ("import_fxp", "import_rest", "load", "first_run")
"""Parts of a start, in order."""


def _saved_kimsr(folder: Path) -> Path:
    work = next(work for work in WORKS if work.name == "kimsr-540")
    path = folder / "kimsr.fxp"
    fixed_model(work, work.network()).save(path)
    return path
