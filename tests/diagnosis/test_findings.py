"""The report as data, text and page, and what it refuses."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from culprits import Accumulating, images, plain
from torch import nn

import fxp
from fxp.diagnosis.analysis import analyse
from fxp.diagnosis.findings import SCHEMA, Findings
from fxp.diagnosis.panels import sparkline
from fxp.diagnosis.report import Report
from fxp.quantization.refinement import scaled_like

PAGE = Path(__file__).parents[2] / "docs" / "diagnosis.md"


@pytest.fixture(scope="module")
def model() -> fxp.FixedModel:
    return fxp.quantize(plain(), images())


@pytest.fixture(scope="module")
def report(model: fxp.FixedModel) -> Report:
    return model.report(images())


class Page(HTMLParser):
    """What a page loads, its rows, and whether its elements are closed in order."""

    EMPTY = ("meta", "img", "br", "rect", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.targets: set[str] = set()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "data", "srcset", "action") or (name == "href" and tag != "a"):
                self.loads.append(value or "")
            if name == "id":
                self.targets.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_a_page_needs_no_other_file_and_has_every_value(report: Report):
    text = report.to_html()
    page = Page(text)
    assert page.open == []
    assert page.loads
    assert all(load.startswith("data:image/") for load in page.loads)
    assert not re.search(r"url\(|@import|https?://", text)
    assert {f"value-{value.name}" for value in report.values} <= page.targets
    assert len(text) < 1_000_000


def test_names_are_escaped(report: Report):
    hostile = "<script>alert('x')</script>&\""
    values = (dataclasses.replace(report.values[0], name=hostile), *report.values[1:])
    bad = dataclasses.replace(report, model=hostile, values=values)
    text = bad.to_html()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "<script>alert" not in bad._repr_html_()
    assert Page(text).open == []


def test_json_has_the_fields_that_the_page_documents(report: Report):
    figures = json.loads(report.to_json())
    assert figures["schema"] == SCHEMA == 1
    documented = PAGE.read_text()
    fields = {*figures, *figures["values"][0], *figures["changes"][0], *figures["outputs"][0],
              *figures["crop"], *figures["totals"], *figures["values"][1]["weights"]}  # fmt: skip
    assert sorted(name for name in fields if f"`{name}`" not in documented) == []
    assert [value["name"] for value in figures["values"]] == list(report_names(report))
    assert figures["output_sqnr_db"] == report.output_sqnr_db


def report_names(found: Findings) -> tuple[str, ...]:
    return tuple(value.name for value in found.values)


def test_the_schema_is_stable(report: Report):
    """Whoever renames a field gives the schema another number and changes this list."""
    figures = report.to_dict()
    assert sorted(figures) == [
        "agreement", "changes", "crop", "images", "images_alone", "images_given", "model",
        "output_sqnr_db", "outputs", "schema", "steps_db", "sum_of_losses_db", "totals", "values",
    ]  # fmt: skip
    assert sorted(figures["values"][0]) == [
        "accumulator_bits", "accumulator_bits_used", "alone_sqnr_db", "by_clipping", "by_rounding",
        "by_weights", "channel_sqnr_db", "clipped", "dead_channels", "format", "format_high",
        "format_low", "high", "histogram", "local_sqnr_db", "loss_share", "low", "multiplications",
        "name", "op", "shape", "sqnr_db", "step", "value_bits", "weight_bits", "weights", "zeros",
    ]  # fmt: skip


def test_text_has_every_value_and_change(report: Report):
    lines = str(report).splitlines()
    for value in report.values:
        assert any(line.startswith(f"{value.name} ") for line in lines)
    for number, change in enumerate(report.changes, 1):
        assert f"{number}. {change.reason}" in lines


def test_files_are_written_whole_under_their_own_endings(report: Report, tmp_path: Path):
    report.save(tmp_path / "report.html")
    report.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == report.to_dict()
    assert Page((tmp_path / "report.html").read_text()).open == []
    for name in ("net.fxp", "photo.png", "report"):
        kept = tmp_path / name
        kept.write_bytes(b"precious")
        with pytest.raises(fxp.ArgumentError, match=r"\.html or \.json"):
            report.save(kept)
        assert kept.read_bytes() == b"precious"


def test_a_loaded_model_takes_the_network(model: fxp.FixedModel, report: Report, tmp_path: Path):
    model.save(tmp_path / "net.fxp")
    loaded = fxp.load(tmp_path / "net.fxp")
    assert loaded.calibration_sqnr == pytest.approx(model.calibration_sqnr, abs=0.006)
    for other in (loaded, copy.deepcopy(model)):
        with pytest.raises(fxp.ArgumentError, match="pass network="):
            other.report(images())
    with pytest.raises(fxp.ArgumentError, match="measure"):
        loaded.report(images(), network=plain(), measure=True)
    assert loaded.report(images(), network=plain()) == report
    assert model.origin is not None
    assert loaded.report(images(), network=model.origin.network) == report


def other_weights() -> nn.Module:
    network = plain()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.neg_()
    return network


class Shorter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x)


@pytest.mark.parametrize(
    ("calibration", "network", "words"),
    [
        ([], None, "empty"),
        ([torch.full((1, 1, 8, 8), float("nan"))], None, "item 0: input 'x' holds NaN"),
        ([torch.rand(1, 2, 8, 8)], None, "item 0: input 'x' needs shape"),
        (images(), other_weights(), "weights of 'first' are not those"),
        (images(), Shorter().eval(), "the network has no 'relu'"),
        (images(), "net", "torch.nn.Module or a float Graph, got str"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    model: fxp.FixedModel, calibration: Any, network: Any, words: str
):
    with pytest.raises((fxp.ArgumentError, fxp.ArgumentTypeError), match=re.escape(words)):
        model.report(calibration, network=network)
    with pytest.raises(fxp.ArgumentError, match="images=0"):
        model.report(images(), images=0)


def test_an_equalized_model_takes_the_equalized_graph():
    network = plain()
    with torch.no_grad():
        network.first.weight[0] *= 1000
        network.first.bias[0] *= 1000
        network.middle.weight[:, 0] /= 1000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fxp.PrecisionWarning)
        model = fxp.quantize(network, images(), equalization=True, effort="fast")
        plainly = fxp.quantize(network, images(), effort="fast")
    assert plainly.origin is not None
    graph = plainly.origin.network
    with pytest.raises(fxp.ArgumentError, match="scaled_like"):
        analyse(model.graph, images(), graph)
    report = analyse(model.graph, images(), scaled_like(graph, model.graph))
    assert report == model.report(images())
    assert report.value("relu").sqnr_db is not None
    assert report.value("relu").sqnr_db > 40


def test_a_recurrent_network_is_measured_step_by_step():
    torch.manual_seed(0)
    network = Accumulating().eval()
    steps = torch.rand(10, 1, 8, 8)
    states = {"states": [(1, 1)], "initial_states": [torch.zeros(1, 2, 8, 8)]}
    model = fxp.quantize(network, steps, **states)
    report = model.report(steps)
    assert len(report.steps_db) == report.images == 10
    fixed, state = model(steps.double()), torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    network.double()
    for step, level in enumerate(report.steps_db):
        with torch.no_grad():
            wanted, state = network(steps[step : step + 1].double(), state)
        error = torch.as_tensor(fixed[step]) - wanted[0]
        ratio = float((wanted**2).sum() / (error**2).sum())
        assert level == pytest.approx(10 * math.log10(ratio), abs=0.01)
    assert "Growth over steps" in report.to_html()
    # The state's own rounding is carried on, and so it costs more than that of the output.
    assert report.sum_of_losses_db == pytest.approx(report.output_sqnr_db, abs=3)
    network.float()
    again = analyse(model.graph, steps, network, states=[(1, 1)])
    assert again == report
    with pytest.raises(fxp.ArgumentError, match="1 states, but states names 0"):
        analyse(model.graph, steps, network)


def test_large_images_are_cut_and_data_is_bounded(model: fxp.FixedModel):
    data = [torch.rand(5, 1, 300, 270)]
    report = model.report(data, images=2)
    assert (report.images, report.images_given) == (2, 5)
    assert report.values[0].shape == (1, 256, 256)


def test_progress_is_told(model: fxp.FixedModel):
    told: list[tuple[int, int, str]] = []
    model.report(images(), progress=lambda *step: told.append(step))
    assert [name for _, _, name in told[:6]] == list(model.graph.values)
    assert all(done < total for done, total, _ in told)


def test_a_histogram_of_text_shows_what_lies_outside(report: Report):
    item = dataclasses.replace(
        report.values[0], step=2.0**-2, format_high=2.0, histogram={-9: 1, -1: 5, 3: 7}
    )
    assert re.fullmatch(r".\[.+\].", sparkline(item))
    assert sparkline(item)[0] != " "
    assert sparkline(item)[-1] == "█"
    inside = dataclasses.replace(item, histogram={-1: 5})
    assert (sparkline(inside)[0], sparkline(inside)[-1]) == (" ", " ")
