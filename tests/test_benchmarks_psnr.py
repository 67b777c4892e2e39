"""The PSNR benchmark: its tasks, tables and clusters, and that it never leaves a row out."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from distributed import LocalCluster

import benchmarks.psnr.__main__ as psnr
import fxp
from benchmarks import report
from benchmarks.psnr import methods, pictures, plots, published, tables, tasks
from fxp.formats import Format
from fxp.imaging.files import ImageError, read_image
from fxp.models import sr
from fxp.models.common.compare import ComparedMethod, Comparison, score_tasks
from fxp.models.common.measure import FixedPixels, FloatPixels
from fxp.support import parallel

NAME = "kimsr_x2_bicubic"


def run(**options: Any) -> None:
    """Call the command with its defaults."""
    defaults = {"data": None, "quick": False, "only": None, "sweep_set": None, "jobs": 2,
                "backend": "loky", "scheduler": None, "out": None}  # fmt: skip
    psnr.main(**{**defaults, **options})


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the results of a run on small pieces of photographs."""
    folder = tmp_path_factory.mktemp("psnr")
    run(quick=True, out=folder)
    return folder


@pytest.fixture(scope="module")
def record(quick_run: Path) -> dict[str, Any]:
    return json.loads((quick_run / "psnr.json").read_text())


def test_every_method_is_measured_under_its_conditions(record: dict[str, Any]):
    names = [item["name"] for item in record["methods"]]
    kinds = ("float", "shipped file")
    assert set(names) >= {"bicubic", *(f"{NAME}, {kind}" for kind in kinds)}
    shipped = ["bicubic", *(name for name in names if name.endswith("shipped file"))]
    expected = [(condition, name) for condition in ("real input", "8-bit input") for name in names]
    expected += [(condition, name) for condition in record["degraded"] for name in shipped]
    assert [(item["condition"], item["method"]) for item in record["scores"]] == expected
    assert all(20 < item["psnr"] < 45 and 0.5 < item["ssim"] < 1 for item in record["scores"])
    points = record["sweep"]["points"]
    pairs = [(point["weight_bits"], point["activation_bits"]) for point in points]
    assert pairs == [(6, 14), (10, 14)]


def test_page_holds_the_tables_and_its_pictures_exist(quick_run: Path, record: dict[str, Any]):
    page = (quick_run / "psnr.md").read_text()
    assert tables.overview(record) in page
    assert tables.details(record, "") in page
    links = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert links == [tables.COMPRESSED, tables.HEATMAP, tables.PARETO]
    for link in links:
        assert read_image(quick_run / link).std() > 1


def test_every_measured_figure_comes_from_the_record(record: dict[str, Any]):
    lost = json.loads(json.dumps(record), parse_float=lambda _: math.nan)
    page = f"{tables.summary(lost)}\n\n{tables.overview(lost)}\n\n{tables.details(lost, '')}"
    cells = [cell for line in page.splitlines() for cell in re.findall(r"\d\.\d{3,}", line)]
    assert "nan / nan" in page
    assert cells == []


def test_published_rows_stand_beside_their_sets(record: dict[str, Any]):
    assert "published" not in tables.overview(record)
    renamed = {
        **record,
        "sets": {"Set14": record["sets"][pictures.QUICK_SET], "mine": {}},
        "scores": [item | {"set": name} for item in record["scores"] for name in ("Set14", "mine")],
    }
    table = tables.overview(renamed)
    assert "| VDSR | published | float | 33.03 / 0.9124 |  |  |" in table
    assert "| KimSR quantized | published | 10/14 | 32.52 / 0.9071 |  | +0.00 |" in table
    differences = [
        next(row for row in published.ROWS if row.method == "KimSR quantized").scores[name].psnr
        - next(row for row in published.ROWS if row.method == "KimSR").scores[name].psnr
        for name in published.SETS
    ]
    assert differences == pytest.approx([-0.02, 0, -0.01])


def test_a_dask_cluster_gives_the_same_figures(tmp_path: Path):
    (images,) = pictures.quick_sets().values()
    fixed = ComparedMethod("fixed", NAME, "", methods.fixed_pixels(sr.load(NAME)))
    compared = (ComparedMethod("bicubic", "", "", methods.bicubic), fixed)
    comparisons = tuple(Comparison(item, compared) for item in
                   (pictures.EIGHT_BITS, *pictures.DEGRADED))  # fmt: skip
    work = score_tasks(images, comparisons, pictures.SCALE)
    options = {"threads_per_worker": 1, "dashboard_address": None, "local_directory": str(tmp_path)}
    with (
        LocalCluster(n_workers=1, **options) as cluster,
        parallel.workers("dask", -1, cluster.scheduler_address),
    ):
        found = list(parallel.run_tasks(work))
    assert len(found[0]) == 2 * len(comparisons)
    assert found == [task() for task in work]


def test_the_command_reaches_the_cluster(monkeypatch: pytest.MonkeyPatch, record: dict[str, Any]):
    active: list[str] = []

    def measured(*_: Any) -> dict[str, Any]:
        active.append(type(joblib.parallel.get_active_backend()[0]).__name__)
        return record

    monkeypatch.setattr(psnr, "measure", measured)
    with LocalCluster(n_workers=0, dashboard_address=None, processes=False) as cluster:
        run(quick=True, backend="dask", scheduler=cluster.scheduler_address)
    run(quick=True)
    assert active == ["DaskDistributedBackend", "LokyBackend"]


def test_results_come_in_the_order_of_the_tasks():
    work: list[parallel.Task] = [partial(pow, base, 2) for base in range(7)]
    for backend in ("loky", "threading", "multiprocessing"):  # the last has no generator
        with parallel.workers(backend, 2):
            assert list(parallel.run_tasks(work)) == [0, 1, 4, 9, 16, 25, 36]


def test_real_input_keeps_the_network():
    graph = sr.load(NAME).graph
    wide = FixedPixels(fxp.FixedModel(methods.with_real_input(graph)))
    narrow = FixedPixels(fxp.FixedModel(graph))
    generator = np.random.default_rng(0)
    codes = generator.integers(0, 256, (9, 14)).astype(np.float64)
    assert np.array_equal(wide(codes), narrow(codes))
    # Codes between two pixels reach the network instead of being rounded before it.
    (images,) = pictures.quick_sets().values()
    between = pictures.REAL(images[0])
    real = FloatPixels(sr.load_float(NAME))(between)
    assert np.abs(wide(between) - real).mean() < 0.9 * np.abs(narrow(between) - real).mean()
    model = wide.model
    assert np.array_equal(model(between / 256), model.oracle(between / 256))
    raw = np.floor(between * 64 + 0.5).astype(np.int64)
    assert np.array_equal(model.run_raw(raw), wide(between))
    with pytest.raises(ValueError, match="more fraction bits"):
        methods.with_real_input(graph, Format(7, 7, signed=False))


def test_multiplier_bits_of_kimsr():
    bits = methods.multiplier_bits(sr.load(NAME).graph)
    # The first depthwise layer reads what a ReLU left of 14 signed bits.
    assert bits == 288 * 10 * 8 + 160 * 10 * 13 + (2560 - 288 - 160) * 10 * 14


def test_multiplier_bits_need_one_size():
    graph = sr.load(NAME).graph
    upscaled = sr.Upscaler(sr.load(NAME)).pipeline.luma.graph
    assert methods.multiplier_bits(upscaled) == methods.multiplier_bits(graph)
    with pytest.raises(ValueError, match="size"):
        methods.multiplier_bits(_convolved_after_shuffle())


def _convolved_after_shuffle() -> Any:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.PixelShuffle(2), torch.nn.Conv2d(1, 1, 1)
    )
    return fxp.quantize(network.eval(), [torch.rand(1, 1, 8, 8)]).graph


def test_pareto_front():
    points = [
        {"multiplier_bits": bits, "psnr": quality}
        for bits, quality in ((3, 30.0), (1, 20.0), (2, 19.0), (3, 31.0), (4, 31.0))
    ]
    assert tables.pareto_front(points) == [points[1], points[3]]


def test_conditions():
    (images,) = pictures.quick_sets().values()
    assert [picture.colours for picture in images] == ["colour", "grey"]
    grey = np.repeat(images[1].truth[..., None], 3, axis=2)
    assert pictures.picture("x", grey, 0).colours == "grey as RGB"
    lows = {item.name: item(images[0]) for item in
            (pictures.REAL, pictures.EIGHT_BITS, *pictures.DEGRADED)}  # fmt: skip
    shape = tuple(side // 2 for side in images[0].truth.shape)
    assert all(low.shape == shape for low in lows.values())
    error = {name: np.abs(low - lows["real input"]).mean() for name, low in lows.items()}
    assert 0 < error["8-bit input"] <= 0.5
    assert error["JPEG 99"] < error["JPEG 90"] < error["JPEG 80"] < error["JPEG 70"]
    for name, low in lows.items():
        assert np.array_equal(low, np.rint(low)) == (name != "real input")
    random = pictures.DEGRADED[-1]
    assert np.array_equal(random(images[0]), lows["random"])
    other = replace(images[0], seed=1)
    assert not np.array_equal(random(other), lows["random"])


def test_set5_has_the_published_bicubic_figures():
    if "FXP_DATA" not in os.environ:
        pytest.skip("set FXP_DATA to the folder that holds Set5")
    sets = pictures.read_sets(Path(os.environ["FXP_DATA"]), ["Set5"])
    with parallel.workers("loky", 2):
        record = psnr.measure(sets, "Set5", ((10,), (14,)))
    found = tables.qualities(record)
    bicubic = found["Set5", "real input", "bicubic"]
    assert (round(bicubic.psnr, 2), round(bicubic.ssim, 4)) == (33.66, 0.9299)
    bicubic = found["Set5", "8-bit input", "bicubic"]
    assert (round(bicubic.psnr, 3), round(bicubic.ssim, 4)) == (33.652, 0.9296)
    quantized = found["Set5", "8-bit input", f"{NAME}, shipped file"]
    (point,) = record["sweep"]["points"]
    assert (point["psnr"], point["ssim"]) == quantized
    for condition in ("real input", "8-bit input"):
        fixed, real = (found["Set5", condition, f"{NAME}, {kind}"] for kind in
                       ("shipped file", "float"))  # fmt: skip
        assert abs(fixed.psnr - real.psnr) < 0.05


def test_missing_folder_is_one_line(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.psnr", "--data", str(tmp_path / "none"), "--only",
         "Set5", "--out", str(tmp_path / "out")],
        cwd=report.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert re.fullmatch(r"error: .*none.*\n", done.stderr)
    assert not (tmp_path / "out").exists()


def test_missing_set_is_an_error(tmp_path: Path):
    (tmp_path / "Set5").mkdir()
    with pytest.raises(ImageError, match="no images in folder"):
        run(data=tmp_path, only=["Set5"])
    with pytest.raises(ImageError, match="Set14"):
        run(data=tmp_path, only=["Set14"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "dask"}, "needs the address"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "takes no --scheduler"),
        ({"backend": "none"}, "none"),
        ({"sweep_set": "Set5"}, "--sweep-set Set5 is none of photographs"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        run(quick=True, **options)


def test_a_model_that_cannot_be_loaded_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(name: str) -> Any:
        raise sr.WeightsError(f"weights not found: {name}")

    monkeypatch.setattr(tasks, "shipped_methods", fails)
    with pytest.raises(sr.WeightsError, match=NAME):
        run(quick=True, jobs=1, out=tmp_path / "out")
    monkeypatch.setattr(methods, "SHIPPED", ("kimsr_x2_none",))
    with pytest.raises(sr.WeightsError, match="kimsr_x2_none"):
        run(quick=True, jobs=1, out=tmp_path / "out")
    monkeypatch.setattr(methods, "SHIPPED", ())
    with pytest.raises(ValueError, match="is shipped"):
        run(quick=True, jobs=1, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_readme_section_is_checked_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("")
    with pytest.raises(ValueError, match="no table"):
        run()


def test_a_whole_run_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: dict[str, Any]
):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("<!-- figures:begin -->\n<!-- figures:end -->\n")
    sets: Callable[..., Any] = lambda *_: pictures.quick_sets()  # noqa: E731
    monkeypatch.setattr(pictures, "read_sets", sets)
    monkeypatch.setattr(psnr, "measure", lambda *_: record)
    run(data=tmp_path)
    page = (tmp_path / "docs" / "benchmarks" / "psnr.md").read_text()
    links = re.findall(r"!\[.*?\]\((.*?)\)", page)
    assert len(links) == 3
    assert all((tmp_path / "docs" / "benchmarks" / link).is_file() for link in links)
    assert tables.overview(record) in page
    for what, figure in tables.summary(record):
        assert f"| {what} | {figure} |" in page
        assert f"| {what} | {figure} | [psnr]" in (tmp_path / "README.md").read_text()
    assert json.loads((tmp_path / "docs" / "benchmarks" / "psnr.json").read_text()) == record


def test_colours_of_the_heat_map_do_not_need_good_widths(record: dict[str, Any]):
    poor = record["sweep"] | {
        "points": [point | {"psnr": 5.0} for point in record["sweep"]["points"]]
    }
    assert plots.heat_map(poor).axes
    assert plots.pareto_plot(poor).axes
