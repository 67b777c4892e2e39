"""Frames, benches and the count of simulations that the tests of emitted cores share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import streaming_graphs
from skimage.data import camera

from fxp.formats import IntArray
from fxp.graph import Graph
from fxp.model import FixedModel
from fxp.rtl_sim.build import Bench, build_bench
from fxp.rtl_sim.comparison import CosimResult, compare, emit
from fxp.rtl_sim.simulators import find_simulator
from fxp.rtl_sim.stalls import Stalls

SIMULATIONS: Counter[str] = Counter()
"""Simulations that ran to their end, by simulator."""
MAX_WIDTH, MAX_HEIGHT = 64, 48
SIZES = ((1, 1), (2, 3), (3, 3), (5, 1), (7, 9), (17, 16), (MAX_WIDTH, MAX_HEIGHT))
"""Width and height."""
CONTENTS = ("random", "photo", "lowest", "highest", "checkerboard")


def graph(name: str) -> Graph:
    """Return a graph of `streaming_graphs`, with weights that let no layer vanish or saturate."""
    options = {"seed": 15} if name == "kimsr_shaped" else {}
    return getattr(streaming_graphs, name)(**options)


def frame(model: FixedModel, size: tuple[int, int], content: str, seed: int = 0) -> IntArray:
    """Return raw integers ``(C, H, W)`` of the model's input for a width and height."""
    width, height = size
    source = model.graph.inputs[0]
    form = source.format
    assert form is not None
    assert isinstance(source.shape[0], int)
    shape = (source.shape[0], height, width)
    random = np.random.default_rng([seed, width, height])
    if content == "random":
        return random.integers(form.min_raw, form.max_raw, shape, endpoint=True)
    if content == "photo":
        photo = camera()[100:].astype(np.int64)
        offset = int(random.integers(0, 300))
        planes = [
            photo[offset + 7 * c :][:height, offset : offset + width] for c in range(shape[0])
        ]
        return np.stack(planes) * (form.max_raw - form.min_raw) // 255 + form.min_raw
    ends = {"lowest": (form.min_raw,) * 2, "highest": (form.max_raw,) * 2}
    even, odd = ends.get(content, (form.min_raw, form.max_raw))
    return np.where(np.indices(shape).sum(axis=0) % 2 == 0, even, odd).astype(np.int64)


def frames(
    model: FixedModel, sizes: Sequence[tuple[int, int]], contents: Sequence[str] = CONTENTS
) -> list[IntArray]:
    """Return a frame of every content for every size, those of one size after each other."""
    return [
        frame(model, size, content, seed)
        for size in sizes
        for seed, content in enumerate(contents)
    ]  # fmt: skip


def bench_of(
    model: FixedModel | Graph, simulator: str, work_dir: Path, **options: object
) -> tuple[FixedModel, Bench]:
    """Emit a core and compile it, once for all tests with the same work folder."""
    model = FixedModel(model) if isinstance(model, Graph) else model
    settings = {"max_width": MAX_WIDTH, "max_height": MAX_HEIGHT, **options}
    folder = emit(model, [], work_dir, **settings)
    return model, build_bench(folder, find_simulator(simulator), work_dir, quickly=True)


def check(
    bench: Bench,
    model: FixedModel,
    images: Sequence[IntArray],
    stalls: Stalls | None = None,
    **options: object,
) -> CosimResult:
    """Simulate and assert that every integer equals the engine's."""
    result = compare(bench, model, images, stalls or Stalls(), **options)  # type: ignore[arg-type]
    SIMULATIONS[bench.simulator.name] += 1
    assert result.bit_exact, str(result)
    return result
