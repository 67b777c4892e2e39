"""How the time of a query grows with classes and components, on galleries that are made up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.sequential.methods import faiss_index
from benchmarks.speed.timing import Settings, best_times
from fxp.models.recognition.sequential import Gallery, Rule, Search, build_gallery

ROWS: Final = 10
"""Rows of each class."""
QUERIES: Final = 8
QUICK: Final = ((1000, 256), (10_000, 256))
SIZES: Final = (
    (100, 256), (1000, 256), (10_000, 64), (10_000, 128), (10_000, 256), (100_000, 256),
)  # fmt: skip
"""Classes and components."""
THRESHOLD: Final = 1.3
"""Of the proposed rule."""
DECAY: Final = 20.0
"""Components after which the deviation has fallen to half."""
NOISE: Final = 0.3
"""Deviation within a class, of that between classes."""


def vectors(classes: int, components: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return rows, those of a class together, and queries; their variance falls like that of PCA.

    Parameters
    ----------
    classes, components
        How many.
    """
    random = np.random.default_rng(0)
    deviation = (DECAY / (DECAY + np.arange(components))).astype(np.float32)
    centres = random.standard_normal((classes, components), np.float32) * deviation
    rows = np.repeat(centres, ROWS, axis=0)
    rows += random.standard_normal(rows.shape, np.float32) * (NOISE * deviation)
    chosen = random.integers(classes, size=QUERIES)
    asked = centres[chosen]
    asked = asked + random.standard_normal(asked.shape, np.float32) * (NOISE * deviation)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)
    return rows / lengths, asked.astype(np.float32, copy=False)


def measured(sizes: Sequence[tuple[int, int]], settings: Settings) -> Iterator[dict[str, Any]]:
    """Yield the times of a query in milliseconds for each size, of one thread.

    Parameters
    ----------
    sizes
        Classes and components.
    settings
        How long to measure.
    """
    for classes, components in sizes:
        rows, asked = vectors(classes, components)
        gallery = _gallery(rows, classes)
        search = Search(gallery, Rule(threshold=THRESHOLD))
        queries = gallery.transformed(asked)
        flat = faiss_index("Flat", rows)
        unit = (asked / np.linalg.norm(asked, axis=1, keepdims=True)).astype(np.float32)
        calls = {
            "proposed": lambda search=search, queries=queries: [
                search.decide(query[None]).number for query in queries
            ],
            "brute force": lambda search=search, queries=queries: [
                int(search.nearest(query[None])[0]) // ROWS for query in queries
            ],
            "faiss flat": lambda flat=flat, unit=unit: [
                flat(query[None]) // ROWS for query in unit
            ],
        }
        answers = {name: np.array(call()) for name, call in calls.items()}
        looked = sum(search.decide(query[None]).rows for query in queries)
        best = best_times(calls, settings)
        yield {
            "classes": classes,
            "components": components,
            "rows": len(rows),
            "share": looked / (search.granules * len(rows) * QUERIES),
            "ms": {name: seconds / QUERIES * 1e3 for name, seconds in best.items()},
            "differ": {
                name: int((found != answers["faiss flat"]).sum()) for name, found in answers.items()
            },
        }


def _gallery(rows: NDArray[np.float32], classes: int) -> Gallery:
    """Return the rows as a gallery, made in parts for the memory's sake."""
    labels = np.repeat(np.arange(classes), ROWS)
    if len(rows) <= 100_000:
        return build_gallery(rows, labels)
    part = 100_000
    names = tuple(map(str, range(classes)))
    small = build_gallery(rows[: ROWS * 2], labels[: ROWS * 2])
    found = [small.transformed(rows[start : start + part]) for start in range(0, len(rows), part)]
    return Gallery(names, np.full(classes, ROWS, np.int64), np.concatenate(found))
