"""Integer distances and sequential decisions: by hand, and against the definition in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from fxp.kernels.distances import arranged, padded
from fxp.models.recognition.sequential import Gallery, Rule, Search
from fxp.models.recognition.sequential import definition as oracle
from fxp.models.recognition.sequential.transformation import Transformation
from fxp.support.errors import ArgumentError

ONE = 1 << 14


def gallery_of(rows: np.ndarray, counts: list[int], metric: str = "l2") -> Gallery:
    names = tuple(f"class {number}" for number in range(len(counts)))
    return Gallery(names, np.array(counts), rows.astype(np.int16), None, metric)


def random_gallery(metric: str, *, components: int = 40) -> tuple[Gallery, np.ndarray]:
    random = np.random.default_rng(3)
    counts = [1, 5, 17, 2, 40, 3]
    rows = random.random((sum(counts), components)) - (0.5 if metric == "l2" else 0)
    queries = rows[::7] + 0.3 * random.random((len(rows[::7]), components))
    make = Transformation(components, None, metric, None)
    return gallery_of(make(rows), counts, metric), make(queries)


def test_arrangement():
    components = np.arange(17 * 10).reshape(17, 10).astype(np.int16)
    made = arranged(components, 8).reshape(2, 2, 4, 16, 2)
    # Granule, block, pair, row and place in the pair.
    assert made[0, 0, 3, 5, 1] == components[5, 7]
    assert made[1, 1, 0, 0].tolist() == components[16, 8:].tolist()
    assert made[1, 0, 1:].max() == 0
    assert padded(components, 8).shape == (17, 16)


def test_chi_squared_by_hand():
    # (3-1)^2/4 = 1; (5-0)^2/5 = 5; (2-1)^2/3 = 1/3: 5461.33; (7-4)^2/11: 13405.09; 0/0 counts 0.
    rows = np.zeros((2, 8), np.int16)
    rows[0, :5] = 1, 0, 1, 4, 0
    query = np.zeros((1, 8), np.int16)
    query[0, :5] = 3, 5, 2, 7, 0
    search = Search(gallery_of(rows, [1, 1], "chi2"), granule=8)
    assert search.distances(query)[0, 0] == 6 * ONE + 5461 + 13405
    assert oracle.distances(query, rows, "chi2")[0, 0] == 6 * ONE + 5461 + 13405


@pytest.mark.parametrize("metric", ["l2", "chi2"])
def test_distances_equal_the_definition(metric: str):
    gallery, queries = random_gallery(metric)
    search = Search(gallery, granule=16)
    expected = oracle.distances(queries, gallery.components, metric)
    assert (search.distances(queries) == expected).all()
    assert (search.nearest(queries) == expected.argmin(axis=1)).all()


def test_longest_distances():
    """Opposite unit vectors: the difference leaves int16, its square is right all the same."""
    rows = np.zeros((2, 8), np.int16)
    rows[:, 0] = -ONE, ONE
    search = Search(gallery_of(rows, [1, 1]), granule=8)
    assert search.distances(rows[1:]).tolist() == [[1 << 30, 0]]


RULES = [
    *(Rule("classes", threshold) for threshold in (1.0001, 1.1, 1.5, 3.0, float("inf"))),
    *(Rule("posteriors", share) for share in (0.3, 0.9, 1.0)),
    *(Rule("bayes_factor", ratio) for ratio in (1.5, 20.0, 1e9)),
    *(Rule("distance_factor", ratio) for ratio in (1.05, 1.5, 4.0)),
]


@pytest.mark.parametrize("metric", ["l2", "chi2"])
@pytest.mark.parametrize("granule", [8, 32])
def test_decisions_equal_the_definition(metric: str, granule: int):
    """The kernel adds granules up; the definition computes every distance anew."""
    gallery, queries = random_gallery(metric)
    levels = set()
    for rule in RULES:
        search = Search(gallery, rule, granule=granule)
        for frames in (queries[:1], queries[1:2], queries[2:3], queries[:3], queries):
            found = search.decide(frames)
            number, granules, distances = oracle.decide(
                frames, gallery.components, gallery.starts, granule, rule, metric
            )
            assert (found.number, found.granules) == (number, granules)
            left = np.flatnonzero(found.distances >= 0)
            assert {int(c): int(found.distances[c]) for c in left} == distances
            levels.add(granules)
    assert len(levels) > 1


def test_infinite_threshold_is_the_full_search():
    gallery, queries = random_gallery("l2")
    search = Search(gallery, Rule(threshold=float("inf")), granule=8)
    expected = gallery.labels[search.nearest(queries)]
    assert [search.decide(query[None]).number for query in queries] == expected.tolist()


def test_ties_and_zero_distances():
    rows = np.zeros((4, 16), np.int16)
    rows[:, 0] = ONE
    search = Search(gallery_of(rows, [1, 2, 1]), granule=8)
    found = search.decide(rows[:1])
    # All are equal and stay to the end; at a distance of 0 only distances of 0 stay.
    assert (found.number, found.granules, found.distances.tolist()) == (0, 2, [0, 0, 0])
    rows[3, 8] = 100
    rows[0, 1] = 1
    found = Search(gallery_of(rows, [1, 2, 1]), granule=8).decide(rows[1:2])
    # Class 0 is dropped at a distance of 1; row 3 differs only in the second granule.
    assert (found.number, found.granules) == (1, 2)
    assert found.distances.tolist() == [-2, 0, 10_000]


def test_fewer_rows_are_looked_at():
    rows = np.zeros((3, 16), np.int16)
    rows[0, 0] = rows[1, 0] = ONE
    rows[2, 1] = ONE
    search = Search(gallery_of(rows, [1, 1, 1]), granule=8)
    # Three rows in the first granule, the two that are equal in the second; or none.
    assert search.decide(rows[:1]).rows == 5
    assert search.decide(rows[2:]).rows == 3
    assert search.decide(rows[2:]).granules == 1


def test_wide_granules_take_no_room():
    """A granule of more components than there are holds those alone."""
    gallery, queries = random_gallery("l2")
    search, usual = Search(gallery, granule=80_000_000), Search(gallery, granule=40)
    assert search.granules == 1
    assert (search.distances(queries) == usual.distances(queries)).all()
    assert search.decide(queries[:1]).number == usual.decide(queries[:1]).number


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (np.zeros((1, 39), np.int16), r"int16 of shape \(1, 39\)"),
        (np.zeros((1, 64), np.int16), r"int16 of shape \(1, 64\)"),
        (np.zeros((0, 40), np.int16), r"int16 of shape \(0, 40\)"),
        (np.zeros(40, np.int16), r"int16 of shape \(40,\)"),
        (np.zeros((1, 40)), r"float64 of shape \(1, 40\)"),
    ],
)
def test_rows_that_are_no_components(rows: np.ndarray, found: str):
    """The kernels read memory by the shapes of the gallery."""
    search = Search(random_gallery("l2")[0])
    for ask in (search.decide, search.distances, search.nearest):
        with pytest.raises(ArgumentError, match=f"must be rows of 40 int16, .* not {found}"):
            ask(rows)


def test_too_many_frames():
    search = Search(random_gallery("l2")[0])
    with pytest.raises(ArgumentError, match="32769 frames, over 32768"):
        search.decide(np.zeros((32769, 40), np.int16))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rule(threshold=1), "not above 1"),
        (lambda: Rule(threshold=float("nan")), "not above 1"),
        (lambda: Rule("distance_factor", 0.5), "not above 1"),
        (lambda: Rule("posteriors", 1.5), "at most 1"),
        (lambda: Rule("nearest"), "no rule 'nearest', only classes"),
        (lambda: Rule(["classes"]), "no rule"),  # type: ignore[arg-type]
        (lambda: Rule(sharpness=0), "sharpness=0"),
        (lambda: Rule(sharpness=1e-14), "sharpness=1e-14 must be at least 0.000001"),
        (lambda: Rule(threshold="high"), "threshold='high' is no number"),  # type: ignore[arg-type]
        (lambda: Rule(sharpness=None), "sharpness=None is no number"),  # type: ignore[arg-type]
        (lambda: Search(random_gallery("l2")[0], granule=12), "multiple of 8"),
        (lambda: Search(random_gallery("l2")[0], granule=8.0), "multiple of 8"),  # type: ignore[arg-type]
    ],
)
def test_refusals(make, message: str):  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=message):
        make()


def late_gallery() -> tuple[Gallery, np.ndarray]:
    """Two classes that are equal in the first granule, and 0 there like the query."""
    rows = np.zeros((2, 16), np.int16)
    rows[:, 8] = 100, 20
    query = np.zeros((1, 16), np.int16)
    query[0, 8] = 10
    return gallery_of(rows, [1, 1]), query


@pytest.mark.parametrize("threshold", [1.01, 3.0, np.inf])
def test_distances_of_zero_are_no_reason_to_stop(threshold: float):
    gallery, query = late_gallery()
    rule = Rule("distance_factor", threshold)
    found = Search(gallery, rule, granule=8).decide(query)
    # The first granule has 0 and 0; the second 90 * 90 and 10 * 10.
    assert (found.number, found.granules) == (1, 2)
    number, granules, left = oracle.decide(query, gallery.components, gallery.starts, 8, rule)
    assert (number, granules, left) == (1, 2, {0: 8100, 1: 100})


def test_an_infinite_threshold_drops_no_class():
    """The first class is the query itself in the first granule, and far from it afterwards."""
    rows = np.zeros((2, 16), np.int16)
    rows[0, [0, 8]] = 80, 120
    rows[1, [0, 8]] = 82, -120
    query = np.zeros((1, 16), np.int16)
    query[0, [0, 8]] = 80, -120
    gallery, rule = gallery_of(rows, [1, 1]), Rule(threshold=np.inf)
    search = Search(gallery, rule, granule=8)
    assert (search.decide(query).number, search.nearest(query)[0]) == (1, 1)
    number, granules, left = oracle.decide(query, gallery.components, gallery.starts, 8, rule)
    assert (number, granules, left) == (1, 2, {0: 240 * 240, 1: 4})


def test_the_least_sharpness_equals_the_definition():
    gallery, queries = random_gallery("l2")
    rule = Rule("posteriors", 0.26, 1e-6)
    search = Search(gallery, rule, granule=8)
    for query in queries:
        found = search.decide(query[None])
        number, granules, _ = oracle.decide(
            query[None], gallery.components, gallery.starts, 8, rule
        )
        assert (found.number, found.granules) == (number, granules)
