"""Galleries and the classifier in the manner of scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.utils.estimator_checks import estimator_checks_generator

from fxp.models.recognition.sequential import (
    Gallery,
    GalleryError,
    Rule,
    Search,
    SequentialClassifier,
    build_gallery,
    pooled,
)
from fxp.store.container import encode
from fxp.support.errors import ArgumentError


def name_of(check: Any) -> str:
    return getattr(check, "func", check).__name__


UNINSTALLED = {
    "check_array_api_input",
    "check_classifier_data_not_an_array",
    "check_dataframe_column_names_consistency",
}
"""Checks of scikit-learn that need packages which are not installed: pandas, for example."""
CHECKS = [
    pytest.param(estimator, check, id=f"{estimator.metric}-{number}-{name_of(check)}")
    for estimator in (
        SequentialClassifier(),
        SequentialClassifier(metric="chi2", rule="distance_factor"),
    )
    for number, (_, check) in enumerate(estimator_checks_generator(estimator))
    if name_of(check) not in UNINSTALLED
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_manners_of_scikit_learn(estimator: SequentialClassifier, check: Any):
    check(clone(estimator))


def blobs() -> tuple[np.ndarray, np.ndarray]:
    return make_blobs(60, 24, centers=4, cluster_std=3.0, random_state=0)[:2]


@pytest.fixture(scope="module")
def made() -> Gallery:
    features, labels = blobs()
    return build_gallery(
        features, labels, components=16, classes=["oak", "elm", "fir", "ash"],
        source={"network": "a network"},
    )  # fmt: skip


def test_components_are_the_projection(made: Gallery):
    features, labels = blobs()
    assert made.counts.tolist() == np.bincount(labels).tolist()
    assert made.axes is not None
    order = np.argsort(labels, kind="stable")
    assert (made.components == made.transformed(features[order])).all()
    # Components stand in the order of their variance.
    spread = made.components.var(axis=0)
    assert (spread[:-1] >= spread[1:] * 0.999).all()
    # All axes keep the distances of normalized vectors, but for what is rounded.
    whole = build_gallery(features, labels, components=24)
    unit = features[order] / np.linalg.norm(features[order], axis=1, keepdims=True)
    real = ((unit[:5, None] - unit[None]) ** 2).sum(axis=2)
    found = Search(whole).distances(whole.components[:5]) / 2.0**28
    assert np.abs(found - real).max() < 2e-3


def test_raw_integers_and_reals_are_the_same_features(made: Gallery):
    raws = np.random.default_rng(1).integers(-8000, 8000, (9, 24))
    assert (made.transformed(raws) == made.transformed(raws / 2.0**11)).all()


def test_file(made: Gallery, tmp_path: Path):
    path = tmp_path / "trees.gallery"
    made.save(path)
    again = Gallery.load(path)
    assert (again.classes, again.metric, again.source) == (made.classes, "l2", made.source)
    for name in ("counts", "components", "axes"):
        assert (getattr(again, name) == getattr(made, name)).all()
    features, labels = blobs()
    search = Search(again)
    found = [search.decide(again.transformed(row[None])).number for row in features]
    assert found == labels.tolist()


def test_half_written_file_replaces_nothing(
    made: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "trees.gallery"
    made.save(path)
    before = path.read_bytes()

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fxp.support.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        made.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def damaged(made: Gallery, **changes: Any) -> bytes:
    """Bytes of a gallery file with other tensors or metadata; None leaves one out."""
    tensors = {"components": made.components, "counts": made.counts, "axes": made.axes}
    metadata = {"kind": "fxp gallery", "version": "2", "metric": "l2",
                "classes": '["oak", "elm", "fir", "ash"]', "source": "{}"}  # fmt: skip
    for name, value in changes.items():
        target: dict[str, Any] = tensors if name in tensors else metadata
        target.pop(name, None)
        if value is not None:
            target[name] = value
    return encode(tensors, metadata)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": None}, "is no gallery"),
        (
            {"version": "1"},
            "is of version '1', and this program reads '2'; build the gallery again",
        ),
        ({"metric": "cosine"}, "metric 'cosine' is none of l2, chi2"),
        ({"metric": "chi2"}, "for chi2 its rows"),
        ({"classes": '["oak", "elm"]'}, "one row at least"),
        ({"classes": '["oak"]', "counts": np.array([60])}, "has 1 class"),
        ({"classes": '["oak", "elm", "fir", "oak"]'}, "the same name"),
        ({"classes": "[1, 2, 3, 4]"}, "must be texts"),
        ({"classes": "{"}, "not valid JSON"),
        ({"source": "[]"}, "must be texts"),
        ({"components": None}, "must hold components"),
        ({"components": np.ones((60, 16), np.int32)}, "rows of int16"),
        ({"components": np.full((60, 16), 16000, np.int16)}, "length of its rows"),
        ({"counts": np.array([15, 15, 15, 14])}, "not as many"),
        ({"counts": np.array([30, -15, 30, 15])}, "one row at least"),
        ({"counts": np.array([2**62, 2**62, 2**62, 2**62 + 60])}, "not as many"),
        ({"axes": np.ones((16, 24), np.int16)}, "right angles"),
        ({"axes": np.ones((15, 24), np.int16)}, "one axis"),
        ({"axes": np.ones((16, 8), np.int16)}, "16 axes of 8 features"),
        ({"axes": np.ones(16, np.int16)}, "one axis"),
        ({"features": "ap_fixed<60,4>"}, r"are of ap_fixed<60,4>, over 21 bits"),
        ({"features": "real"}, "cannot read 'real' as a fixed-point"),
    ],
)
def test_damaged_files(made: Gallery, tmp_path: Path, changes: dict[str, Any], message: str):
    path = tmp_path / "bad.gallery"
    path.write_bytes(damaged(made, **changes))
    with pytest.raises(GalleryError, match=message) as failure:
        Gallery.load(path)
    assert str(path) in str(failure.value)


def test_unreadable_files(made: Gallery, tmp_path: Path):
    path = tmp_path / "bad.gallery"
    with pytest.raises(GalleryError, match="No such file"):
        Gallery.load(path)
    whole = damaged(made)
    for size in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(GalleryError, match=r"truncated|too few"):
            Gallery.load(path)
    path.write_bytes(whole)
    assert Gallery.load(path).classes == made.classes


def test_other_networks_are_refused(made: Gallery):
    made.check_source({"network": "a network"})
    with pytest.raises(GalleryError, match="made with network 'a network', not 'another'"):
        made.check_source({"network": "another"})
    with pytest.raises(ArgumentError, match=r"there are 23 features, but .* from 24"):
        made.transformed(np.ones((1, 23)))


def build(rows: int = 8, count: int = 6, **changes: Any) -> Gallery:
    shape = (rows, count)
    options: dict[str, Any] = {
        "features": np.random.default_rng(0).random(shape), "labels": np.arange(rows) % 2
    }  # fmt: skip
    options.update(changes)
    return build_gallery(options.pop("features"), options.pop("labels"), **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.zeros(8, int)}, "1 class"),
        ({"labels": np.zeros(7, int)}, "a whole number each"),
        ({"labels": np.zeros(8)}, "a whole number each"),
        ({"labels": np.arange(8) - 1}, "labels must be from 0"),
        ({"labels": np.array([0, 2] * 4)}, "class '1' has no rows"),
        ({"labels": np.array([0, 10**9] * 4)}, "to 7, the last of the rows, not 0 to 1000000000"),
        ({"classes": ["a"]}, "to 0, the last of the classes, not 0 to 1"),
        ({"classes": ["a", "b", "c"]}, "class 'c' has no rows"),
        ({"classes": [1, 2]}, "must be texts"),
        ({"classes": ["a", "b\nc: d"]}, r"the class 'b\\nc: d' holds a character"),
        ({"classes": ["\ud800", "b"]}, "the class '.ud800' holds a character"),
        ({"source": {"side": 5}}, "must be texts"),
        ({"components": 2.0}, "2.0 components cannot be found"),
        ({"components": 7}, "7 components cannot be found in 8 rows of 6 features"),
        ({"rows": 4, "count": 9, "components": 5}, "5 components cannot be found in 4 rows"),
        ({"components": 0}, "0 components"),
        ({"features": np.full((8, 6), np.nan)}, "row 0 hold NaN"),
        ({"features": np.full((8, 6), "a")}, "real numbers"),
        ({"features": np.full((8, 6), 1j)}, "real numbers, not complex128 of"),
        ({"features": np.ones((8, 0))}, "real numbers"),
        ({"features": np.ones((8, (1 << 15) + 1))}, "over 32768"),
        ({"features": -np.ones((8, 6)), "metric": "chi2"}, "below 0; use l2"),
        ({"metric": "chi2", "components": 2}, "takes no components"),
        ({"metric": "cosine"}, "no metric 'cosine'"),
    ],
)
def test_refused_features(changes: dict[str, Any], message: str):
    with pytest.raises(ArgumentError, match=message):
        build(**changes)


def test_infinity_is_found_in_its_row():
    features = np.ones((8, 6))
    features[5, 2] = np.inf
    with pytest.raises(ArgumentError, match="row 5 hold NaN or infinity"):
        build(features=features)


def test_answers_of_the_classifier():
    features, labels = blobs()
    names = np.array(["oak", "elm", "fir", "ash"])[labels]
    model = SequentialClassifier(16, granule=8, threshold=1.5).fit(features, names)
    assert model.score(features, names) == 1.0
    shares = model.predict_proba(features)
    assert np.allclose(shares.sum(axis=1), 1)
    assert (model.classes_[shares.argmax(axis=1)] == model.predict(features)).all()
    distances, rows = model.kneighbors(features[:3], 5)
    assert distances[:, 0].tolist() == [0.0] * 3
    assert (np.diff(distances, axis=1) >= 0).all()
    assert (model.classes_[model.gallery_.labels[rows[:, 0]]] == names[:3]).all()
    with pytest.raises(ArgumentError, match="n_neighbors=61 must be from 1 to 60"):
        model.kneighbors(features, 61)
    with pytest.raises(ArgumentError, match=r"n_neighbors=2\.5 must be from 1 to 60"):
        model.kneighbors(features, 2.5)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="not above 1"):
        clone(model).set_params(threshold=1.0).fit(features, names)


def test_many_axes_are_checked_exactly():
    """Many small errors exceed the bound that is tried first."""
    axes = np.zeros((60, 60), np.int16)
    axes[range(60), range(60)] = 16384 * np.sqrt(0.99)
    rows = np.zeros((2, 60), np.int16)
    names, counts = ("a", "b"), np.array([1, 1])
    # Each length is off by 0.01: the Frobenius norm is 0.077, the spectral norm 0.01.
    assert Gallery(names, counts, rows, axes).features == 60
    axes[0, 0] = 16384 * np.sqrt(0.94)
    with pytest.raises(GalleryError, match="right angles"):
        Gallery(names, counts, rows, axes)


def test_frames_add_up():
    """Two frames that lean to one class each are decided by the sum of their distances."""
    gallery = build_gallery([[1.0, 0.0], [0.0, 1.0]], [0, 1])
    search = Search(gallery, Rule(threshold=float("inf")), granule=8)
    frames = gallery.transformed([[1.0, 0.9], [0.2, 1.0]])
    numbers = [search.decide(frame[None]).number for frame in frames]
    assert numbers == [0, 1]
    together = search.decide(frames)
    assert together.number == 1
    apart = [search.decide(frame[None]).distances for frame in frames]
    assert together.distances.tolist() == (apart[0] + apart[1]).tolist()
    # The mean points to the same side.
    mean = pooled(np.array([[1.0, 0.9], [0.2, 1.0]]))
    assert search.decide(gallery.transformed(mean)).number == 1
    model = SequentialClassifier(threshold=float("inf")).fit([[1.0, 0.0], [0.0, 1.0]], ["a", "b"])
    assert model.predict_frames([[1.0, 0.9], [0.2, 1.0]]) == "b"
