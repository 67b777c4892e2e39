"""Ways to find the class of a query, each as a function of one feature vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.models.recognition.sequential import Gallery, Rule, Search, build_gallery
from fxp.support.parallel import run_tasks

Answer = Callable[[NDArray], int]
"""Takes a query ``(features,)``, prepared as its method says, and returns the number of a class."""

THRESHOLDS: Final[dict[str, tuple[float, ...]]] = {
    "classes": (1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0),
    "posteriors": (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999),
    "bayes_factor": (1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0),
    "distance_factor": (1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 3.0),
}
"""Thresholds that are tried, from the quickest to the most careful."""
TREES: Final = 100
SHARED_PIVOTS: Final = 8
"""Of the 32 nearest pivots of a row, those that it must share with a query to be compared. Eight
find the nearest row of clusters and of noise; with 20 most queries find no row."""
NOTHING: Final = -1
"""Row and class of a query for which an index finds no row at all: a wrong answer."""


def unit(features: NDArray) -> NDArray[np.float32]:
    """Return rows divided by their length."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(length == 0, 1, length)).astype(np.float32)


def validation_errors(
    features: NDArray, labels: NDArray, components: int, rule: Rule, granule: int
) -> int:
    """Count wrong answers for every other row of a gallery, by the rows between.

    Parameters
    ----------
    features, labels
        The gallery; classes of one row are passed over.
    components
        Of its principal components.
    rule, granule
        As for `Search`.
    """
    order = np.argsort(labels, kind="stable")
    place = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    known, asked = order[place % 2 == 0], order[place % 2 == 1]
    gallery = build_gallery(features[known], labels[known], components=min(components, len(known)))
    search = Search(gallery, rule, granule=granule)
    rows = gallery.transformed(features[asked])
    found = np.array([search.decide(row[None]).number for row in rows])
    return int((found != labels[asked]).sum())


def tuned(name: str, features: NDArray, labels: NDArray, components: int, granule: int) -> Rule:
    """Return a rule with the quickest threshold that answers as well as a full search.

    Parameters
    ----------
    name
        Of the rule.
    features, labels
        The gallery, half of which is asked for by the other half.
    components, granule
        As for `validation_errors`.
    """
    rules = [Rule(name, threshold) for threshold in THRESHOLDS[name]]
    full = Rule(threshold=float("inf"))
    wrong = list(
        run_tasks(
            [
                partial(validation_errors, features, labels, components, rule, granule)
                for rule in (full, *rules)
            ]
        )
    )
    best = [rule for rule, count in zip(rules, wrong[1:], strict=True) if count <= wrong[0]]
    return best[0] if best else rules[-1]


def integer_methods(
    features: NDArray, labels: NDArray, tune: bool = True
) -> dict[str, tuple[Gallery, Answer]]:
    """Return the methods in integers, with the gallery that prepares queries.

    Parameters
    ----------
    features, labels
        The gallery.
    tune
        Whether thresholds are chosen on the gallery.
    """
    count = min(256, *features.shape)
    whole = build_gallery(features, labels)
    many = build_gallery(features, labels, components=count)
    few = build_gallery(features, labels, components=min(64, count))
    methods: dict[str, tuple[Gallery, Answer]] = {
        "NN all": (whole, _nearest(whole)),
        "NN 256": (many, _nearest(many)),
        "NN 64 PCA": (few, _nearest(few)),
    }
    for title, name, granule in (
        ("TWD posteriors", "posteriors", 32),
        ("TWD BF", "bayes_factor", 32),
        ("TWD DF", "distance_factor", 32),
        ("proposed m = 32", "classes", 32),
        ("proposed m = 64", "classes", 64),
    ):
        rule = tuned(name, features, labels, count, granule) if tune else _default(name)
        search = Search(many, rule, granule=granule)
        methods[title] = (many, partial(_decided, search))
    return methods


def _default(name: str) -> Rule:
    return Rule(name, THRESHOLDS[name][len(THRESHOLDS[name]) // 2])


def _decided(search: Search, query: NDArray) -> int:
    return search.decide(query[None]).number


def _nearest(gallery: Gallery) -> Answer:
    search = Search(gallery, granule=64)
    labels = gallery.labels
    return lambda query: int(labels[search.nearest(query[None])[0]])


def float_methods(features: NDArray, labels: NDArray) -> dict[str, Answer]:
    """Return the methods of libraries, which take float32 vectors of length 1.

    Parameters
    ----------
    features, labels
        The gallery.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import LinearSVC

    rows = unit(features)
    fitted: dict[str, Any] = {
        "SVM": LinearSVC(),
        "RF": RandomForestClassifier(TREES, random_state=0, n_jobs=1),
        "scikit-learn brute force": KNeighborsClassifier(1, algorithm="brute", n_jobs=1),
    }
    methods: dict[str, Answer] = {
        name: partial(_predicted, model.fit(rows, labels)) for name, model in fitted.items()
    }
    return methods | {
        name: partial(by_row, find, labels) for name, find in neighbours(rows).items()
    }


def _predicted(model: Any, query: NDArray) -> int:
    return int(model.predict(query[None])[0])


def by_row(find: Callable[[NDArray], int], labels: NDArray, query: NDArray) -> int:
    """Return the class of the row that is found for a query, or `NOTHING`.

    Parameters
    ----------
    find
        Gives the row nearest to a query ``(1, D)``.
    labels
        Classes of the rows.
    query
        Of ``(D,)``.
    """
    row = find(query[None])
    return int(labels[row]) if row >= 0 else NOTHING


def neighbours(rows: NDArray[np.float32]) -> dict[str, Callable[[NDArray], int]]:
    """Return indexes of libraries as functions that find the row nearest to a query ``(1, D)``.

    A function returns `NOTHING` where its index finds no row.

    Parameters
    ----------
    rows
        The gallery.
    """
    found = {"faiss flat": faiss_index("Flat", rows)}
    lists = max(1, int(4 * len(rows) ** 0.5) if len(rows) > 10_000 else len(rows) // 40)
    found["faiss IVF"] = faiss_index(f"IVF{lists},Flat", rows)
    found["faiss HNSW"] = faiss_index("HNSW32,Flat", rows)
    found |= {"pynndescent": _descent(rows), "FLANN KD trees": _trees(rows)}
    return found | {"nmslib NAPP": permutation_index(rows)}


def faiss_index(kind: str, rows: NDArray[np.float32]) -> Callable[[NDArray], int]:
    """Return an index of faiss, one thread.

    Parameters
    ----------
    kind
        As for `faiss.index_factory`.
    rows
        The gallery.
    """
    import faiss

    faiss.omp_set_num_threads(1)
    index: Any = faiss.index_factory(rows.shape[1], kind)
    index.train(rows)
    index.add(rows)
    if kind.startswith("IVF"):
        index.nprobe = max(1, index.nlist // 8)
    return lambda query: int(index.search(query, 1)[1][0, 0])


def _descent(rows: NDArray[np.float32]) -> Callable[[NDArray], int]:
    from pynndescent import NNDescent

    index = NNDescent(rows, n_jobs=1, random_state=0)
    index.prepare()
    return lambda query: int(index.query(query, 1)[0][0, 0])


def _trees(rows: NDArray[np.float32]) -> Callable[[NDArray], int]:
    import cv2

    # Randomized KD trees are algorithm 1 of FLANN, which cv2's type stubs leave out.
    index = vars(cv2)["flann_Index"](np.ascontiguousarray(rows), {"algorithm": 1, "trees": 4})
    return lambda query: int(index.knnSearch(query, 1, params={"checks": 64})[0][0, 0])


def permutation_index(rows: NDArray[np.float32]) -> Callable[[NDArray], int]:
    """Return the index of permutations of nmslib; it gives `NOTHING` where it finds no row.

    Parameters
    ----------
    rows
        The gallery.
    """
    import nmslib

    # Permutation sort itself is in no wheel of the library; NAPP is its index of permutations.
    index = nmslib.init(method="napp", space="l2")
    index.addDataPointBatch(rows)
    pivots = min(512, len(rows) // 2)
    index.createIndex({"numPivot": pivots, "numPivotIndex": min(32, pivots)}, print_progress=False)
    index.setQueryTimeParams({"numPivotSearch": min(SHARED_PIVOTS, pivots)})

    def nearest(query: NDArray[np.float32]) -> int:
        # A row is a candidate only if it shares enough of its pivots with the query.
        found = index.knnQuery(query[0], k=1)[0]
        return int(found[0]) if len(found) else NOTHING

    return nearest


def errors(answers: Sequence[int], labels: NDArray) -> float:
    """Return the share of wrong answers in percent."""
    return 100.0 * float(np.mean(np.asarray(answers) != labels))
