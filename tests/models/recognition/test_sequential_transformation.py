"""Normalization and projection of features: by hand, and equal in every executor."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from equality import check_engine, check_onnx, check_torch, run_oracle

from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value, load
from fxp.graph import Constant
from fxp.graph.ops import Conv2d, GlobalAveragePool
from fxp.model.refinements import CHOICE
from fxp.models.recognition.sequential import (
    FeatureExtractor,
    Gallery,
    GalleryError,
    build_gallery,
    pooled,
)
from fxp.models.recognition.sequential.transformation import Transformation, narrowed, quantized
from fxp.support.errors import ArgumentError, PrecisionWarning

PIXEL = Format(8, 0, signed=False)
WEIGHT = Format(6, 5)
NARROW = Format(14, 3)


def network(kernel: int = 3, form: Format = NARROW) -> FixedModel:
    """Return a network whose value is (4, 3, 3), or with a pool (4, 1, 1), for 5 pixels a side."""
    random = np.random.default_rng(0)
    source = Value("picture", (3, Extent("H"), Extent("W")), PIXEL)
    weight = Constant("weight", random.integers(-32, 32, (4, 3, kernel, kernel)), (WEIGHT,))
    nodes = [Node("features", Conv2d(), ("picture", "weight"), Quantization(form))]
    if kernel == 1:
        nodes.append(Node("pooled", GlobalAveragePool(), ("features",), Quantization(form)))
    graph = Graph("small", (source,), tuple(nodes), (nodes[-1].name,), (weight,))
    return FixedModel(graph, metadata={"divide_by": "1"})


def pictures(count: int = 12) -> list[np.ndarray]:
    return list(np.random.default_rng(1).integers(0, 256, (count, 5, 5, 3)).astype(np.uint8))


def gallery_of(extractor: FeatureExtractor, components: int | None) -> Gallery:
    features = extractor(pictures())
    return build_gallery(
        features, np.arange(12) % 3, components=components, source=extractor.source,
        feature_format=extractor.feature_format,
    )  # fmt: skip


def test_normalized_by_hand():
    # 3-4-5: 0.6 and 0.8 of 16384 are 9830.4 and 13107.2; a power of two changes nothing.
    rows = np.array([[3.0, -4.0], [0.375, -0.5], [0.0, 0.0], [0.0, 1e-300], [-1e300, 0.0]])
    expected = [[9830, -13107], [9830, -13107], [0, 0], [0, 16384], [-16384, 0]]
    assert Transformation(2, None, "l2", None)(rows).tolist() == expected
    # Sums: 3/4 and 1/4.
    rows = np.array([[3.0, 1.0], [0.0, 0.0]])
    assert Transformation(2, None, "chi2", None)(rows).tolist() == [[12288, 4096], [0, 0]]
    # The integers 3 and 1 of a network: their length is 12952 / 2**12, rounded down, and
    # 3 * 2**26 / 12952 = 15544.05, 2**26 / 12952 = 5181.35.
    assert Transformation(2, None, "l2", Format(4, 0))(rows).tolist() == [[15544, 5181], [0, 0]]


def test_one_feature_keeps_its_sign():
    rows = np.array([[7.0], [-0.001], [0.0]])
    assert Transformation(1, None, "l2", None)(rows).tolist() == [[16384], [-16384], [0]]


def test_projected_by_hand():
    # 9830/2 = 4915; -13107/2 = -6553.5 is rounded up to -6553, and 6553.5 to 6554.
    axes = np.array([[8192, 0], [0, 8192], [0, -8192]], np.int16)
    make = Transformation(2, axes, "l2", None)
    assert make(np.array([[3.0, -4.0]])).tolist() == [[4915, -6553, 6554]]
    # 16384 * 16384 / 16384 does not fit, -16384 does.
    axes = np.array([[-16384, 0]], np.int16)
    make = Transformation(2, axes, "l2", None)
    assert make(np.array([[-1.0, 0.0], [1.0, 0.0]])).tolist() == [[16383], [-16384]]


def test_quantized_by_hand():
    # Two real numbers have 23 bits; 4 is below 2**3, so that 22 - 3 bits are behind the point.
    assert quantized(np.array([[3.0, -4.0]]), None).tolist() == [[3 << 19, -4 << 19]]
    rows = np.array([
        [7.9375, -8.0],  # the ends of the format
        [0.03125, -0.03125],  # half a step, rounded up
        [16.0, -4.0],  # beyond it: a quarter of it fits
        [0.0, 9.0],  # half of it fits, with a bit less
    ])  # fmt: skip
    expected = [[127, -128], [1, 0], [64, -16], [0, 72]]
    assert quantized(rows, Format(8, 4)).tolist() == expected
    assert quantized(np.array([[3.0, 16.0]]), Format(8, 4, signed=False)).tolist() == [[48, 255]]


@pytest.mark.parametrize(
    ("form", "features", "expected"),
    [
        (Format(14, 9), 256, Format(14, 9)),
        (Format(24, 10), 256, Format(20, 6)),
        (Format(24, 10), 257, Format(19, 5)),
        (Format(40, -3, signed=False), 1 << 15, Format(16, -27, signed=False)),
        (Format(40, 3), 1, Format(24, -13)),
    ],
)
def test_narrowed(form: Format, features: int, expected: Format):
    # Squares of w bits of n values and 12 bits more have 2*w + log2(n) + 12 bits, at most 60.
    assert narrowed(form, features) == expected


def test_most_features_do_not_overflow():
    rows = np.zeros((2, 1 << 15))
    rows[0] = 1.0
    rows[1, ::2] = -1.0
    vectors = Transformation(1 << 15, None, "l2", None)(rows)
    # 16384 / sqrt(32768) = 90.51 and 16384 / sqrt(16384) = 128.
    assert set(vectors[0].tolist()) == {91}
    assert set(vectors[1].tolist()) == {-128, 0}


@pytest.mark.parametrize("features", [2, 37, 3000])
@pytest.mark.parametrize("form", [None, Format(16, 0), Format(8, 4), Format(63, 50)])
def test_vectors_have_the_length_one(features: int, form: Format | None):
    """Also where the integers are as small as can be."""
    form = form and narrowed(form, features)
    step = form.step if form else 1.0
    random = np.random.default_rng(0)
    rows = step * random.integers(-100, 101, (9, features)).astype(float)
    rows[0], rows[1], rows[2, 1:] = 0.0, step, 0.0
    rows[2, 0] = step
    rows[0, -1] = -step
    rows[3] = -step
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found = Transformation(features, None, "l2", form)(rows) / 2.0**14
    # Half a step of the result, and 1/64 for the root of a few small squares.
    assert (np.abs(found - unit) <= 2.0**-15 + np.abs(unit) / 64 + 1e-12).all()
    lengths = np.linalg.norm(found, axis=1)
    assert (np.abs(lengths - 1) < 1 / 64 + 2.0**-15 * np.sqrt(features)).all()


def test_many_rows_are_those_one_by_one():
    rows = np.random.default_rng(2).normal(size=(4099, 6))
    axes = np.round(np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0] * 16383)
    make = Transformation(6, axes.astype(np.int16), "l2", None)
    together = make(rows)
    assert together.shape == (4099, 6)
    assert together.dtype == np.int16
    for number in (0, 1, 4095, 4096, 4098):
        assert (make(rows[number : number + 1])[0] == together[number]).all()


@pytest.mark.parametrize(
    ("kernel", "form", "components"),
    [
        (1, Format(14, 3), 3),  # a vector
        (3, Format(14, 3), 8),  # an image, flattened
        (3, Format(26, 12), 8),  # wider than squares allow: requantized
        (3, Format(12, 1), None),  # without axes
        (3, Format(13, 2, signed=False), 5),  # as behind a ReLU
    ],
)
def test_network_and_gallery_in_every_executor(kernel: int, form: Format, components: int | None):
    extractor = FeatureExtractor(network(kernel, form), network(kernel).graph.outputs[0], side=5)
    gallery = gallery_of(extractor, components)
    assert gallery.feature_format == narrowed(form, 4 if kernel == 1 else 36)
    whole = extractor.with_gallery(gallery)
    batch = [[picture.transpose(2, 0, 1).astype(np.int64)] for picture in pictures(5)]
    results = run_oracle(whole.graph, batch)
    found = np.stack([result.outputs[0] for result in results])
    assert (found == gallery.transformed(extractor(pictures(5)))).all()
    check_engine(whole.graph, results[0], batch[0], options=((1, True), (1, False)))
    check_torch(whole.graph, run_oracle(whole.graph, batch), batch)
    check_onnx(whole.graph, results, batch)


@pytest.mark.parametrize("components", [None, 3])
def test_graph_of_real_features_in_every_executor(components: int | None):
    rows = np.random.default_rng(4).normal(size=(7, 5))
    gallery = build_gallery(rows, np.arange(7) % 2, components=components)
    raws = quantized(rows, None)
    batch = [[row] for row in raws]
    results = run_oracle(gallery.graph, batch)
    found = np.stack([result.outputs[0] for result in results])
    assert (found == gallery.transformed(rows)).all()
    check_engine(gallery.graph, results[0], batch[0], options=((1, False),))
    check_torch(gallery.graph, results, batch)
    check_onnx(gallery.graph, results, batch)


def test_model_with_gallery_takes_pictures_and_is_a_file(tmp_path: Path):
    extractor = FeatureExtractor(network(1), "pooled", side=5)
    gallery = gallery_of(extractor, 3)
    whole = extractor.with_gallery(gallery)
    whole.save(tmp_path / "whole.fxp")
    gallery.save(tmp_path / "small.gallery")
    planes = np.stack(pictures(2)).transpose(0, 3, 1, 2).astype(float)
    again, known = load(tmp_path / "whole.fxp"), Gallery.load(tmp_path / "small.gallery")
    assert known.feature_format == Format(14, 3)
    expected = known.transformed(extractor(pictures(2))) / 2.0**14
    assert (again(planes) == expected).all()


def test_equalized_networks_are_warned_of(recwarn: pytest.WarningsRecorder):
    model = network(1)
    trials = [{"name": "equalization of values", "sqnr": 40.0, "kept": True}]
    model.metadata[CHOICE] = json.dumps({"effort": "auto", "trials": trials})
    with pytest.warns(PrecisionWarning, match="small was equalized when it was quantized"):
        FeatureExtractor(model, "features", side=5)
    # An output keeps its scale, and so does everything if the trial was not kept.
    recwarn.clear()
    FeatureExtractor(model, "pooled", side=5)
    trials[0]["kept"] = False
    for text in (json.dumps({"effort": "auto", "trials": trials}), "[]", "{"):
        model.metadata[CHOICE] = text
        FeatureExtractor(model, "features", side=5)
    assert not recwarn.list


def test_pooled_frames_exceed_the_format():
    """The sum of frames is halved until it fits, so that it keeps its direction."""
    rows = np.array([[500.0, 3.0], [500.0, -997.0], [2.0, 3.0]])
    gallery = build_gallery(rows, [0, 1, 1], feature_format=Format(10, 0))
    # The sum, (1000, -994), becomes (500, -497) in 10 bits: 0.709231 and -0.704976.
    assert gallery.transformed(pooled(rows[:2])).tolist() == [[11620, -11550]]


def test_copies_leave_the_engine_out():
    gallery = build_gallery(np.random.default_rng(0).normal(size=(6, 4)), [0, 1] * 3, components=4)
    size = len(pickle.dumps(gallery))
    asked = np.ones((1, 4))
    expected = gallery.transformed(asked)
    stored = pickle.dumps(gallery)
    assert len(stored) == size
    assert (pickle.loads(stored).transformed(asked) == expected).all()


def refused(components: int | None = 3, **changes: object) -> Gallery:
    features = FeatureExtractor(network(1), "pooled", side=5)
    options: dict = {
        "features": features(pictures()), "labels": np.arange(12) % 3, "components": components,
        "source": features.source, "feature_format": features.feature_format, **changes,
    }  # fmt: skip
    return build_gallery(options.pop("features"), options.pop("labels"), **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_format": None}, "the gallery was made from real numbers; build it with the"),
        ({"feature_format": Format(14, 4)}, r"features of ap_fixed<14,11>, .* ap_fixed<14,10>"),
        ({"features": np.eye(12)}, "gives 4 features, not the 12 integers"),
        ({"source": {"value": "other"}}, "made with network None, not 'small'"),
        ({"features": np.ones((12, 4)), "components": None, "metric": "chi2"}, "a graph cannot"),
    ],
)
def test_networks_that_do_not_fit(changes: dict, message: str):
    extractor = FeatureExtractor(network(1), "pooled", side=5)
    with pytest.raises(ArgumentError, match=message):
        extractor.with_gallery(refused(**changes))


def test_formats_too_wide_for_squares():
    gallery = refused()
    with pytest.raises(GalleryError, match=r"are of ap_fixed<24,11>, over 23 bits"):
        Gallery(gallery.classes, gallery.counts, gallery.components, gallery.axes,
                feature_format=Format(24, 13))  # fmt: skip
