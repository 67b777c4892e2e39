"""The summary and ``fxp info`` say in a sentence which refinements were tried and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fxp import Extent, FixedModel, Format, Graph, Node, Quantization, Value
from fxp.cli import main
from fxp.graph.ops import Relu
from fxp.model.refinements import CHOICE, refinements_text

TRIALS = [
    {"name": "none", "sqnr": 41.26, "kept": True},
    {"name": "equalization", "sqnr": None, "kept": False},
    {"name": "learned rounding", "sqnr": 50.0, "kept": True},
]
SENTENCE = (
    "Effort balanced, judged on calibration data left out: plain 41.3 dB; equalization, not kept; "
    "learned rounding 50.0 dB, kept."
)


def text_of(found: object) -> str | None:
    return refinements_text({CHOICE: json.dumps(found)})


def test_in_words():
    assert text_of({"effort": "balanced", "trials": TRIALS}) == SENTENCE
    assert text_of({"effort": "fast", "trials": []}) == (
        "Effort fast: no refinements but those that were asked for."
    )
    assert refinements_text({}) is None


@pytest.mark.parametrize(
    "found",
    [
        3,
        [],
        None,
        {"effort": "fast"},
        {"trials": []},
        {"effort": "best", "trials": [3]},
        {"effort": "best", "trials": [{"name": "none", "sqnr": "x", "kept": True}]},
        {"effort": "best", "trials": [{"name": "none", "kept": True}]},
        {"effort": "\x1b[2J", "trials": TRIALS},
        {"effort": "\x1b[2J", "trials": []},
        {"effort": "best", "trials": 7},
    ],
)
def test_of_a_file_that_holds_something_else(found: object):
    assert text_of(found) is None
    assert refinements_text({CHOICE: "{"}) is None


def test_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    form = Format(8, 8, signed=False)
    image = Value("x", (1, Extent("H"), Extent("W")), form)
    node = Node("y", Relu(), ("x",), Quantization(form))
    model = FixedModel(Graph("same", (image,), (node,), ("y",)))
    model.metadata[CHOICE] = json.dumps({"effort": "balanced", "trials": TRIALS})
    assert SENTENCE in model.summary().splitlines()
    assert SENTENCE in model._repr_html_()
    model.save("same.fxp")
    assert main(["info", "same.fxp"]) == 0
    printed = capsys.readouterr().out
    assert SENTENCE in printed.splitlines()
    assert CHOICE not in printed
    model.metadata[CHOICE] = "something else"
    model.save("same.fxp")
    assert main(["info", "same.fxp"]) == 0
    assert f"  {CHOICE}: something else" in capsys.readouterr().out.splitlines()
