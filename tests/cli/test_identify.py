"""``fxp identify``: galleries from folders, recognition by them, errors of one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_checks import error_of

from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.graph.ops import Flatten, GlobalAveragePool, Relu
from fxp.imaging.files import write_image
from fxp.models.recognition.sequential import FeatureExtractor, Gallery
from fxp.support.errors import ArgumentError

PIXEL = Format(8, 0, signed=False)
COLOURS = {"leaf": (20, 200, 30), "sky": (10, 30, 220), "wood": (120, 80, 20)}


def network(name: str = "means", *, states: bool = False) -> FixedModel:
    """Return a network whose value `pooled` is the mean of each channel."""
    source = Value("picture", (3, Extent("H"), Extent("W")), PIXEL)
    nodes = (
        Node("pooled", GlobalAveragePool(), ("picture",), Quantization(PIXEL)),
        Node("flat", Flatten(), ("pooled",), Quantization(PIXEL)),
        Node("scores", Relu(), ("flat",), Quantization(PIXEL)),
    )
    graph = Graph(name, (source,), nodes, ("scores",))
    return FixedModel(graph, metadata={"divide_by": "1", "side": "4"})


def picture(colour: tuple[int, int, int], seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-9, 10, (6, 7, 3))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network().save(tmp_path / "means.fxp")
    for name, colour in COLOURS.items():
        Path("things", name).mkdir(parents=True)
        for number in range(3):
            write_image(Path("things", name, f"{number}.png"), picture(colour, number))
    Path("new").mkdir()
    write_image(Path("new", "a.png"), picture(COLOURS["sky"], 10))
    write_image(Path("new", "b.png"), picture(COLOURS["wood"], 11))


BUILD = ("identify", "things.gallery", "--build", "things", "--model", "means.fxp",
         "--value", "pooled")  # fmt: skip


def figures(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_build_and_recognize(capsys: pytest.CaptureFixture[str]):
    built = figures(capsys, *BUILD)
    assert (built["classes"], built["images"], built["components"]) == (3, 9, 3)
    gallery = Gallery.load("things.gallery")
    assert gallery.classes == ("leaf", "sky", "wood")
    assert gallery.source["value"] == "pooled"
    assert gallery.source["side"] == "4"
    found = figures(capsys, "identify", "things.gallery", "new")
    assert [item["class"] for item in found["images"]] == ["sky", "wood"]
    assert found["failed"] == []
    assert all(0 <= item["distance"] < 0.02 for item in found["images"])
    assert main(["identify", "things.gallery", "new/b.png"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("new/b.png: wood (distance 0.0")
    assert line.endswith(", 1 of 1 granules)\n")


def test_build_and_recognize_in_one_call(capsys: pytest.CaptureFixture[str]):
    assert main([*BUILD, "new"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" (")[0] for line in lines] == ["new/a.png: sky", "new/b.png: wood"]


@pytest.mark.parametrize("frames", ["map", "pool"])
def test_frames_of_one_thing(capsys: pytest.CaptureFixture[str], frames: str):
    assert main([*BUILD]) == 0
    for number in range(3):
        write_image(Path("new", f"{number}.png"), picture(COLOURS["wood"], 20 + number))
    found = figures(capsys, "identify", "things.gallery", "new", "--frames", frames)
    assert [(item["input"], item["class"]) for item in found["images"]] == [("new", "wood")]


def test_rules_and_full_search(capsys: pytest.CaptureFixture[str]):
    assert main([*BUILD, "--metric", "chi2"]) == 0
    for options in (
        ("--threshold", "inf"),
        ("--rule", "posteriors", "--threshold", "0.9"),
        ("--rule", "bayes_factor", "--threshold", "9"),
        ("--rule", "distance_factor", "--granule", "8"),
    ):
        found = figures(capsys, "identify", "things.gallery", "new", *options)
        assert [item["class"] for item in found["images"]] == ["sky", "wood"]


def test_one_bad_picture_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]):
    assert main([*BUILD]) == 0
    Path("new", "bad.png").write_bytes(b"no picture")
    found = figures(capsys, "identify", "things.gallery", "new", code=1)
    assert [item["class"] for item in found["images"]] == ["sky", "wood"]
    (failed,) = found["failed"]
    assert failed["input"] == "new/bad.png"


def test_a_failed_build_keeps_the_gallery(capsys: pytest.CaptureFixture[str]):
    assert main([*BUILD]) == 0
    before = Path("things.gallery").read_bytes()
    Path("things", "sky", "bad.png").write_bytes(b"no picture")
    assert "bad.png" in error_of(capsys, *BUILD)
    assert Path("things.gallery").read_bytes() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("identify", "none.gallery", "new"), "none.gallery: cannot be read"),
        (("identify", "means.fxp", "new"), "is no gallery; make one with fxp identify --build"),
        (("identify", "things.gallery"), "nothing to do"),
        ((*BUILD, "--threshold", "1"), "--threshold 1.0 is not above 1"),
        (
            ("identify", "things.gallery", "new", "--metric", "chi2"),
            "of a new gallery; give --build",
        ),
        (("identify", "things.gallery", "new", "--components", "2"), "of a new gallery; give"),
        ((*BUILD, "--components", "4"), "4 components cannot be found in 9 rows of 3 features"),
        ((*BUILD, "--metric", "l1"), "no metric 'l1', only l2, chi2"),
        ((*BUILD[:4], "--build", "nowhere"), "nowhere is no folder"),
        ((*BUILD, "--value", "nothing"), "no value 'nothing'; its last ones are pooled, flat"),
        ((*BUILD[:-2],), "no layer of features before its last one; give --value"),
        (("identify", "things.png", *BUILD[2:]), "things.png must end in .gallery"),
        ((*BUILD, "new", "--granule", "12"), "--granule 12 must be a multiple of 8"),
        ((*BUILD, "new", "--frames", "mean"), "--frames 'mean' is none of map, pool"),
    ],
)
def test_refusals(capsys: pytest.CaptureFixture[str], given: tuple[str, ...], message: str):
    capsys.readouterr()
    assert main(list(given)) == 1
    assert message in capsys.readouterr().err


def test_folders_that_are_no_gallery(capsys: pytest.CaptureFixture[str]):
    Path("things", "empty").mkdir()
    assert "no images in folder things/empty" in error_of(capsys, *BUILD)
    Path("lone", "one").mkdir(parents=True)
    assert "holds 1 folders" in error_of(
        capsys, "identify", "things.gallery", "--build", "lone", "--model", "means.fxp"
    )
    assert not Path("things.gallery").exists()


def test_another_network_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main([*BUILD]) == 0
    network("other").save("other.fxp")
    message = error_of(capsys, "identify", "things.gallery", "new", "--model", "other.fxp")
    assert "the gallery was made with network 'means', not 'other'" in message
    message = error_of(capsys, "identify", "things.gallery", "new", "--side", "5")
    assert "made with side '4', not '5'" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": {"side": "abc"}}, "the gallery's side 'abc' is no number"),
        ({"source": {"side": "inf"}}, "the gallery's side 'inf' is no number"),
        ({"source": {"share": "x"}}, "the gallery's share 'x' is no number"),
        ({"feature_format": Format(4, 2)}, "gives features of ap_ufixed<8,8>, but the gallery"),
    ],
)
def test_galleries_that_were_edited(
    capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
):
    assert main([*BUILD]) == 0
    gallery = Gallery.load("things.gallery")
    if "source" in changes:
        changes = {"source": {**gallery.source, **changes["source"]}}
    replace(gallery, **changes).save("things.gallery")
    assert message in error_of(capsys, "identify", "things.gallery", "new")


def test_features_are_the_named_value():
    extractor = FeatureExtractor(network(), "pooled")
    flat = np.full((8, 8, 3), (7, 0, 255), np.uint8)
    assert extractor([flat, flat[:4, :4]]).tolist() == [[7, 0, 255]] * 2
    assert [node.name for node in extractor.model.graph.nodes] == ["pooled"]
    with pytest.raises(ArgumentError, match="share of a picture"):
        FeatureExtractor(network(), "pooled", share=2.0)
