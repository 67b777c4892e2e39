"""``fxp classify``: pictures and folders, labels and probabilities, errors of one line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from cli_checks import error_of

from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.graph.ops import GlobalAveragePool, Relu
from fxp.imaging.files import read_image, write_image
from fxp.models.recognition.recognizer import Recognizer, classify

PIXEL = Format(8, 0, signed=False)
CLASSES = {"classes": "red\ngreen\nblue", "divide_by": "1"}


def mean_of_channels(metadata: dict[str, str], *, side: int | None = None) -> FixedModel:
    """Return a classifier whose scores are the means of the three channels."""
    sizes = (Extent("H"), Extent("W")) if side is None else (side, side)
    source = Value("picture", (3, *sizes), PIXEL)
    node = Node("scores", GlobalAveragePool(), ("picture",), Quantization(PIXEL))
    graph = Graph("means", (source,), (node,), ("scores",))
    return FixedModel(graph, metadata=metadata)


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mean_of_channels({**CLASSES, "side": "4"}).save(tmp_path / "means.fxp")
    Path("pictures").mkdir()
    for name, colour in (("leaf", (1, 4, 2)), ("sky", (0, 0, 3))):
        picture = np.full((6, 9, 3), colour, np.uint8)
        write_image(Path("pictures") / f"{name}.png", picture)


def probabilities(*scores: float) -> list[float]:
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def test_folder(capsys: pytest.CaptureFixture[str]):
    assert main(["classify", "pictures", "--model", "means.fxp", "--top", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "pictures/leaf.png: green 84.4%, blue 11.4%",
        "pictures/sky.png: blue 90.9%, red 4.5%",
    ]


def test_figures(capsys: pytest.CaptureFixture[str]):
    assert main(["classify", "pictures/leaf.png", "--model", "means.fxp", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["model"] == "means.fxp"
    assert figures["failed"] == []
    (image,) = figures["images"]
    assert image["input"] == "pictures/leaf.png"
    assert [item["label"] for item in image["classes"]] == ["green", "blue", "red"]
    assert [item["number"] for item in image["classes"]] == [1, 2, 0]
    found = [item["probability"] for item in image["classes"]]
    assert found == pytest.approx(probabilities(4, 2, 1))


def test_labels_from_a_file(capsys: pytest.CaptureFixture[str]):
    given = ["classify", "pictures", "--model", "means.fxp", "--labels", "names.txt"]
    for encoding in ("utf-8", "utf-8-sig"):  # the second is that of editors on Windows
        Path("names.txt").write_text("rot\ngrün\nblau\n\n", encoding=encoding)
        assert main([*given, "--top", "3"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "pictures/leaf.png: grün 84.4%, blau 11.4%, rot 4.2%",
            "pictures/sky.png: blau 90.9%, rot 4.5%, grün 4.5%",
        ]


def test_a_file_that_is_no_image_does_not_stop_the_others(capsys: pytest.CaptureFixture[str]):
    Path("pictures/broken.png").write_bytes(b"no image")
    assert main(["classify", "pictures", "--model", "means.fxp", "--json"]) == 1
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    assert [item["input"] for item in figures["images"]] == [
        "pictures/leaf.png",
        "pictures/sky.png",
    ]
    (failed,) = figures["failed"]
    assert failed["input"] == "pictures/broken.png"
    assert "error: 1 of 3 images are not classified: pictures/broken.png" in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pictures/broken.png",), "cannot read image pictures/broken.png"),
        (("missing.png",), "no such file or folder: missing.png"),
        (("pictures", "--labels", "two.txt"), "there are 2 labels, but the model has 3 classes"),
        (("pictures", "--labels", "escape.txt"), r"the class 'gr\x1b[2Jn' holds a character"),
        (("pictures", "--labels", "empty.txt"), "empty.txt holds no labels; write one a line"),
        (("pictures", "--labels", "gap.txt"), "line 2 of gap.txt is empty; write one label a line"),
        (("pictures", "--labels", "none.txt"), "cannot read the labels none.txt"),
        (("pictures", "--model", "keeps.fxp"), "keeps is no classifier"),
        (("pictures", "--model", "sizeless.fxp"), "give --side"),
        (("pictures", "--model", "fixed.fxp", "--side", "5"), "takes 4 pixels a side, not 5"),
        (("pictures", "--model", "resnet"), "no shipped model 'resnet'"),
    ],
)
def test_errors(arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]):
    Path("two.txt").write_text("red\ngreen\n")
    Path("escape.txt").write_text("red\ngr\x1b[2Jn\nblue\n")
    Path("empty.txt").write_text("\n")
    Path("gap.txt").write_text("leaf\n \nsky\n")
    Path("pictures/broken.png").write_bytes(b"no image")
    source = Value("picture", (3, Extent("H"), Extent("W")), PIXEL)
    node = Node("same", Relu(), ("picture",), Quantization(PIXEL))
    FixedModel(Graph("keeps", (source,), (node,), ("same",))).save("keeps.fxp")
    mean_of_channels(CLASSES).save("sizeless.fxp")
    mean_of_channels(CLASSES, side=4).save("fixed.fxp")
    given = arguments if "--model" in arguments else (*arguments, "--model", "means.fxp")
    assert message in error_of(capsys, "classify", *given)


def test_calls_from_python():
    model = mean_of_channels({"divide_by": "1"}, side=4)
    picture = read_image("pictures/leaf.png")
    found = classify(picture, model, top=1)
    assert [(item.label, item.number) for item in found] == [("1", 1)]
    recognizer = Recognizer(model, labels=["red", "green", "blue"])
    assert recognizer.side == 4
    assert recognizer.scores(picture).tolist() == [1.0, 4.0, 2.0]
    grey = np.full((4, 4), 7, np.uint8)
    assert [item.label for item in recognizer(grey)] == ["red", "green", "blue"]
    with pytest.raises(ValueError, match="top must be at least 1, not 0"):
        recognizer(picture, top=0)


def test_only_the_middle_is_looked_at():
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[2:6, 2:6, 2] = 40
    model = mean_of_channels(CLASSES, side=4)
    assert Recognizer(model).scores(picture)[2] == 10
    assert Recognizer(model, share=0.5).scores(picture)[2] == 40
