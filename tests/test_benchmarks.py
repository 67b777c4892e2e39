"""The benchmark scripts and their tables."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import typer
from torch import Tensor, nn

import benchmarks.quantization.__main__ as quantization
import benchmarks.speed.__main__ as speed
from benchmarks import report
from benchmarks.quantization import kimsr, released, tasks
from benchmarks.speed import (
    details,
    libraries,
    peers,
    pictures,
    records,
    tables,
    timing,
    versus,
)
from benchmarks.speed.timing import Settings, best_times
from benchmarks.speed.works import WORKS, Work
from fxp.executors.execution import Result


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with a README that benchmarks write to."""
    monkeypatch.setattr(report, "ROOT", tmp_path)
    marks = "<!-- figures:begin -->\n<!-- figures:end -->\n"
    (tmp_path / "README.md").write_text(marks)
    return tmp_path


def test_quantization_benchmark_runs(published: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kimsr, "VARIANTS", kimsr.VARIANTS[:1])
    monkeypatch.setattr(kimsr, "REFINED", kimsr.REFINED[:1])
    photographs = kimsr.photographs()
    small = [kimsr.Photograph(p.small[:40, :40], p.truth[:80, :80]) for p in photographs]
    monkeypatch.setattr(kimsr, "photographs", lambda: small)
    calibration = [image[..., :48, :48] for image in kimsr.calibration_images()]
    monkeypatch.setattr(kimsr, "calibration_images", lambda: calibration)
    quantization.main(only=["KimSR"])
    page = (published / "docs" / "benchmarks" / "quantization.md").read_text()
    assert "| bicubic |" in page
    assert "| 10/14, mse |" in page
    assert "| 10/14, nothing |" in page
    assert "Released networks" not in page
    assert (
        "14-bit activations, against float32, 2 photographs | "
        in (published / "README.md").read_text()
    )


class Doubled(nn.Module):
    """Gives twice its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + x


def test_released_networks_are_measured_one_at_a_time(
    published: Path, monkeypatch: pytest.MonkeyPatch
):
    """Inputs are sixteenths; six bits of 0 to 2 hold their doubles, three bits lose some."""
    inputs = [torch.tensor([[[[0.0625, 0.25], [0.75, 1.0 - 0.0625]]]])]
    wanted = np.array([[[0.125, 0.5], [1.5, 1.875]]])
    whole = tasks.TestSet("all", inputs, lambda output, number: 1 - np.abs(output - wanted).max())
    flat = tasks.TestSet("flat", inputs, lambda output, number: 70.0, ["white"])
    task = tasks.Task(Doubled().eval(), inputs, [whole], "PSNR dB", flat)
    monkeypatch.setattr(quantization, "TASKS", {"doubled": lambda data: task})
    formats = {"effort": "fast", "input_format": "ap_ufixed<4,0>"}
    variants = [
        (name, {**formats, "output_format": form})
        for name, form in (
            ("10/14", "ap_ufixed<6,2>"),
            ("8/12", "ap_ufixed<3,1>"),
            ("8/12 best", "ap_ufixed<2,1>"),
        )
    ]
    monkeypatch.setattr(released, "VARIANTS", tuple(variants))
    quantization.main(data=published, only=["doubled"])
    record = json.loads((published / "docs" / "benchmarks" / "quantization.json").read_text())
    (row,) = record["released"]["doubled"]["sets"]
    assert row["images"] == 1
    assert row["float"] == 1
    # 0.125 is a half step of 1/4, rounded up; 1.875 is clipped to 1.75.
    assert [row[name]["difference"] for name, _ in variants] == [0, -0.125, -0.375]
    assert record["released"]["doubled"]["extremes"]["10/14"] == {
        "picture": "white", "difference": 0,
    }  # fmt: skip
    page = (published / "docs" / "benchmarks" / "quantization.md").read_text()
    assert "| doubled, all | PSNR dB | 1 | 1.000 | +0.000 | -0.125 | -0.375 | inf |" in page
    assert "KimSR" not in page
    with pytest.raises(ValueError, match="--only VGG is none of KimSR, doubled, times"):
        quantization.main(only=["VGG"])


QUICK = ("conv3x3", "kimsr-540", "firenet", "digits", "hls4ml", "fxpmath", "apytypes",
         "qonnx", "pixels", "startup")  # fmt: skip


def run_speed(out: Path, **options: Any) -> dict[str, Any]:
    """Call the command with its defaults on tiny sizes; return what the one file holds."""
    defaults = {"only": None, "skip": None, "missing": False, "page": False, "threads": None}
    speed.main(**{**defaults, **options}, quick=True, rounds=1, out=out)
    (path,) = (out / "speed").glob("*.json")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """Page and record of a run on tiny sizes."""
    folder = tmp_path_factory.mktemp("speed")
    record = run_speed(folder, only=list(QUICK), skip=["qonnx"])
    return (folder / "speed.md").read_text(), record


def test_speed_benchmark_runs(quick_run: tuple[str, dict[str, Any]]):
    page, record = quick_run
    assert [work["name"] for work in record["works"]] == list(QUICK[:4])
    contenders = {"fxp", "fxp_8", "fxp_real", "onnxruntime", "onnxruntime_int8", "openvino",
                  "torch"}  # fmt: skip
    for work in record["works"]:
        assert work["missing"] == {}
        assert list(work["seconds"]) == ["1", "2"]
        assert all(set(seconds) == contenders for seconds in work["seconds"].values())
        assert work["equal_values"] > 0
        assert set(work["portable"]) == {"fxp", "fxp_8"}
        assert min(work["sqnr"].values()) > 3
    assert [item["name"] for item in record["libraries"]] == ["hls4ml", "fxpmath", "apytypes"]
    assert not any("reason" in item for item in record["libraries"])
    assert not record["startup"]["torch_imported"]
    assert len(record["pixels"]) == 5
    assert tables.page([record]) in page


def test_every_figure_of_the_speed_tables_is_measured(quick_run: tuple[str, dict[str, Any]]):
    page, record = quick_run
    assert "nan" not in "".join(cell for _, cell in _figures(page))
    cells = list(_figures(tables.page([_without_measurements(record)])))
    assert len(cells) == len(list(_figures(page))) > 50
    for column, cell in cells:
        assert cell.startswith("nan") or cell in (tables.DASH, ""), (column, cell)


FIXED = ("network", "at least", "aim", "target", "tool", "what it runs", "frame", "frame in",
         "threads", "step", "at most")  # fmt: skip


def _figures(page: str) -> Iterator[tuple[str, str]]:
    """Yield heading and text of the cells that hold measured figures."""
    header: list[str] | None = None
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            header = None
        elif header is None:
            header = cells
        elif not cells[0].startswith(":"):
            yield from (pair for pair in zip(header, cells, strict=True) if pair[0] not in FIXED)


def _without_measurements(item: Any, name: str = "") -> Any:
    if isinstance(item, dict):
        return {key: _without_measurements(value, key) for key, value in item.items()}
    if isinstance(item, list):
        return [_without_measurements(value) for value in item]
    measured = isinstance(item, float) or name.startswith("bytes")
    return math.nan if measured and name not in ("target", "aim") else item


def test_speed_needs_its_section_before_it_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(report, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("")
    with pytest.raises(ValueError, match="no table"):
        speed.main()
    with pytest.raises(typer.BadParameter, match="'conv' is none of"):
        run_speed(tmp_path, only=["conv"])
    with pytest.raises(typer.BadParameter, match="nothing is left"):
        run_speed(tmp_path, only=["qonnx"], skip=["qonnx"])


def machine_of(processor: str, core: str) -> dict[str, Any]:
    return {"processor": processor, "core": core, "processors": 2, "instructions": ["avx2"],
            "system": "Linux", "python": "3.11", "compiler": None,
            "versions": {"fxp": "1.0", "openvino": None}}  # fmt: skip


def work_record(name: str, one: dict[str, float], **more: Any) -> dict[str, Any]:
    return {"name": name, "title": name, "input": [1, 8, 9], "output": [1, 16, 18],
            "macs": 1000, "seconds": {"1": one}, **more}  # fmt: skip


INTEL = {
    "machine": machine_of("Intel(R) Xeon(R) Processor @ 2.00GHz", "rocketlake"),
    "settings": {"quick": False, "rounds": 3, "threads": [1]}, "peak": {},
    "works": [
        work_record("kimsr-540", {"fxp": 0.5, "fxp_real": 0.6, "onnxruntime": 2.0, "torch": 5.0}),
    ],
}  # fmt: skip
AMD = {
    "machine": machine_of("AMD EPYC", "znver5"),
    "settings": {"quick": False, "rounds": 5, "threads": [1, 2]}, "peak": {"1": 2e-6},
    "works": [
        work_record(
            "kimsr-540",
            {"fxp": 1.0, "fxp_real": 1.0, "fxp_8": 0.5, "onnxruntime": 3.0, "openvino": 1.0,
             "onnxruntime_int8": 0.75, "torch": 2.5},
            portable={"fxp": 2, "fxp_8": 0}, load=1.0, equal_values=7,
        ),
        work_record("conv3x3", {"fxp": 1.0, "fxp_real": 1.0, "onnxruntime": 4.0, "torch": 9.0}),
        {"name": "tiny", "failed": "RuntimeError: different"},
    ],
}  # fmt: skip
AMD["works"][1]["seconds"]["2"] = {"fxp": 0.5, "fxp_real": 0.5, "onnxruntime": 4.0, "torch": 9.0}


def test_processors_stand_side_by_side():
    lines = tables.page([AMD, INTEL]).splitlines()
    assert "| network | at least | aim | AMD EPYC, znver5 | Intel Xeon, rocketlake |" in lines
    assert "| conv3x3, 9×8 → 18×16 | 2.8× | 3.5× | 4.00× | — |" in lines
    assert "| kimsr-540, 9×8 → 18×16 | 3.5× | 5× | 3.00× | 4.00× |" in lines
    goals = [line for line in lines if line.startswith("* ")]
    assert goals == [
        "* ONNX Runtime float32, 1 thread, as in the table above: 1 of 2 networks; not kimsr-540.",
        "* OpenVINO float32, 1 thread, 1.5×: 0 of 1 networks; not kimsr-540.",
        "* PyTorch float32, 1 thread, 1×: 2 of 2 networks.",
        "* ONNX Runtime int8, 8/8 bits, 1 thread, 1×: 1 of 1 networks.",
        "* 2 threads against 1, 1.85×: 1 of 1 networks.",
        "* ONNX Runtime float32, 1 thread, as in the table above: 1 of 1 networks.",
        "* PyTorch float32, 1 thread, 1×: 1 of 1 networks.",
    ]
    # 1,000 multiply-accumulates in a second are half of the peak.
    assert any(
        line.startswith("| kimsr-540, 9×8 → 18×16 | 1 |") and "| 50% |" in line for line in lines
    )
    assert "tiny: RuntimeError: different" in lines
    assert "there should be none: AMD EPYC, znver5: 2 in 1 networks" in "\n".join(lines)


def test_summary_names_the_processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    (tmp_path / "docs" / "benchmarks").mkdir(parents=True)
    zoo = {"alexnet": {"portable_stages": 1}, "vgg16": {"portable_stages": 2}, "vit": {}}
    (tmp_path / "docs" / "benchmarks" / "zoo.json").write_text(json.dumps(zoo))
    assert tables.summary([AMD, INTEL]) == [
        ("Speed against ONNX Runtime float32, 1 thread",
         "AMD EPYC, znver5: 3.00× to 4.00×, 2 networks; "
         "Intel Xeon, rocketlake: 4.00× to 4.00×, 1 networks"),
        ("Speed against OpenVINO float32, 1 thread",
         "AMD EPYC, znver5: 1.00× to 1.00×, 1 networks"),
        ("Speed against PyTorch float32, 1 thread",
         "AMD EPYC, znver5: 2.50× to 9.00×, 2 networks; "
         "Intel Xeon, rocketlake: 10.00× to 10.00×, 1 networks"),
        ("8/8 bits: speed against ONNX Runtime int8, 1 thread",
         "AMD EPYC, znver5: 1.50× to 1.50×, 1 networks"),
        ("Speed of 2 threads against 1", "AMD EPYC, znver5: 2.00× to 2.00×, 1 networks"),
        ("Stages that no fast kernel runs",
         "AMD EPYC, znver5: 2 in 1 networks; torchvision's: 3 in 2 networks"),
    ]  # fmt: skip


def test_speed_record_has_a_file_of_its_processor(tmp_path: Path):
    assert records.path_of(AMD, tmp_path) == tmp_path / "speed" / "amd-epyc-znver5.json"
    assert records.path_of(INTEL, tmp_path) == tmp_path / "speed" / "intel-xeon-rocketlake.json"
    for record in (INTEL, AMD):
        records.write(record, tmp_path)
    assert records.read_all(tmp_path) == [AMD, INTEL]


def test_published_speed_files_have_their_processors_names():
    paths = sorted(records.folder(None).glob("*.json"))
    assert paths
    assert [records.path_of(records.read(path), None) for path in paths] == paths


def test_what_a_speed_record_has():
    assert records.names(AMD, [1]) == {"kimsr-540", "conv3x3"}
    assert records.names(AMD, [1, 2]) == {"conv3x3"}
    record = {
        "works": [{"name": "vdsr", "refused": "a reason", "seconds": {}}],
        "libraries": [{"name": "hls4ml", "reason": "no g++"}, {"name": "qonnx", "failed": "x"}],
        "startup": {"load": 1.0},
    }  # fmt: skip
    assert records.names(record, [1, 2]) == {"vdsr", "hls4ml", "startup"}


def test_table_of_large_networks():
    first = {"quantize": 100.0, "plan": 20.0, "first_run": 3.0, "bytes_peak": 3 << 30}
    later = {"load": 0.5, "first_run": 1.0, "bytes_peak": 1 << 30}
    item = {"title": "VGG-19", "first": first, "later": later, "bytes_file": 5 << 20}
    _, table = details.sections({"large": [item]}, "AMD")
    assert table.endswith(
        "| VGG-19 | 100 | 20.0 | 3.00 | 123 | 3.00 | 5.00 | 0.500 | 1.00 | 1.50 |"
    )


def test_speed_runs_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def measured(work: Work, settings: Settings, say: Any) -> dict[str, Any]:
        asked.append(work.name)
        if work.name == "conv5x5":
            raise RuntimeError("different")
        return work_record(work.name, {"fxp": 1.0, "fxp_real": 1.0, "onnxruntime": 2.0})

    monkeypatch.setattr(versus, "measure", measured)
    run_speed(tmp_path, only=["vdsr"])
    with pytest.raises(ValueError, match="conv5x5: RuntimeError: different"):
        run_speed(tmp_path, only=["conv5x5", "dncnn"])
    assert asked == ["vdsr", "conv5x5", "dncnn"]
    assert "conv5x5: RuntimeError: different" in (tmp_path / "speed.md").read_text()
    names = ["vdsr", "conv5x5", "dncnn", "resblocks"]
    with pytest.raises(ValueError, match="different"):
        run_speed(tmp_path, only=names, missing=True, threads=[1])
    assert asked[3:] == ["conv5x5", "resblocks"]
    # Written after every row.
    record = run_speed(tmp_path, page=True)
    assert [item["name"] for item in record["works"]] == ["vdsr", "conv5x5", "dncnn", "resblocks"]


def test_macs_are_the_parameters_of_kimsr_per_pixel():
    model, raw = libraries.small_kimsr(6, last="clamp")
    assert versus.count_macs(model.graph, raw.shape) == 36 * 2560


def test_oracle_check_sees_one_wrong_value(monkeypatch: pytest.MonkeyPatch):
    model, raw = libraries.small_kimsr(40, last="clamp")
    assert versus.check(model, raw, margin=7) == 2 * (2 * versus.ORACLE_SIDE) ** 2
    run = model.run

    def wrong(*arguments: Any, **options: Any) -> Result:
        result = run(*arguments, **options)
        result.outputs[0][0, -1, -2] ^= 1
        return result

    monkeypatch.setattr(model, "run", wrong)
    with pytest.raises(RuntimeError, match="differ"):
        versus.check(model, raw, margin=7)


def test_a_library_that_fails_says_why(monkeypatch: pytest.MonkeyPatch):
    def fails(_: libraries.Layer) -> Any:
        raise OSError("no disk\nat all")

    def differs(layer: libraries.Layer) -> Any:
        return (lambda: layer.expected + 1), (lambda result: result)

    quick = Settings(quick=True, rounds=1)
    for prepare, reason in ((fails, "OSError: no disk"), (differs, "its integers differ")):
        monkeypatch.setitem(libraries.LIBRARIES, "fxpmath", prepare)
        assert libraries.measure("fxpmath", quick, print)["reason"] == reason
    monkeypatch.setattr(libraries, "find_spec", lambda _: None)
    assert "not installed" in libraries.measure("fxpmath", quick, print)["reason"]


IMAGES = [work for work in WORKS if work.kind == "luma" and work.pixels]


@pytest.mark.parametrize("work", IMAGES, ids=lambda work: work.name)
def test_outputs_of_the_networks_are_images(work: Work):
    # A black or white output would equal the oracle's whatever the layers before it do.
    with torch.inference_mode():
        output = work.network()(torch.from_numpy(work.tiny().frame())).numpy()
    assert ((output == 0) | (output == 1)).mean() < 0.1
    assert output.std() > 0.05


def test_published_networks_have_their_parameters():
    counts = {
        "mobilenet_v1": 4_231_976, "vdsr": 664_704, "firenet": 37_777,
        "cista-tc": 669_251, "e2vid": 10_710_401,
    }  # fmt: skip
    for work in WORKS:
        if work.name in counts:
            parameters = work.network().parameters()
            assert sum(item.numel() for item in parameters) == counts[work.name]


def test_normalization_before_an_adaptive_pool_is_exported() -> None:
    layers = nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0), nn.MaxPool2d(3, 2), nn.AdaptiveAvgPool2d(2)
    network = nn.Sequential(*layers).eval()
    image = np.random.default_rng(0).random((1, 8, 9, 9), np.float32)
    model = onnx.load_model_from_string(peers.export(network, [image]))
    assert model.graph.node[0].op_type == "LRN"
    assert network[0] is layers[0]


def test_peer_that_computes_something_else_is_found(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    network = nn.Conv2d(1, 2, 3).eval()
    image = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    found = peers.Peers(network, [image], [[image]])
    with torch.inference_mode():
        assert set(found.calls(1)) == {"onnxruntime", "openvino", "torch", "onnxruntime_int8"}
    assert found.reasons == {}
    assert found.int8_sqnr is not None
    assert found.int8_sqnr > 25
    other = peers.Peers(nn.Conv2d(1, 2, 3).eval(), [image], [[image]])
    found._int8 = other._int8
    with torch.inference_mode():
        assert "onnxruntime_int8" not in found.calls(1)
    assert "its output is wrong" in found.reasons["onnxruntime_int8"]
    found._float = other._float
    with torch.inference_mode():
        for name in ("onnxruntime", "openvino"):
            with pytest.raises(RuntimeError, match="different results"):
                found.calls(1, [name])
    monkeypatch.setattr(peers, "find_spec", lambda _: None)
    assert found.calls(1, ["openvino"]) == {}
    assert "not installed" in found.reasons["openvino"]


def test_events_are_sparse_and_scaled():
    grid = pictures.event_bins("coffee", 2, 24, 32)
    assert grid.shape == (2, 5, 24, 32)
    used = grid[grid != 0]
    assert 0.02 < used.size / grid.size < 0.9
    assert used.std() == pytest.approx(1, rel=1e-3)
    assert used.min() < 0 < used.max()


def test_tiles_are_parts_of_the_picture():
    tiles = pictures.picture("digits", "coffee", (1, 6, 4), 3)
    image = pictures.luma_of_size("coffee", 12, 8)[0, 0]
    assert np.array_equal(tiles[:, 0], [image[:6, :4], image[:6, 4:], image[6:, :4]])


def test_contenders_take_turns():
    order: list[str] = []
    calls = {name: (lambda name=name: order.append(name)) for name in "ab"}
    best = best_times(calls, Settings(rounds=2, turn_seconds=0.0))
    assert "".join(order) == "ab" + 2 * "aabb"
    assert all(0 < seconds < 1 for seconds in best.values())


def test_turn_waits_until_threads_stop(monkeypatch: pytest.MonkeyPatch):
    # Seconds of the processors: 5 ms are used in the first pause, 4 in the second, none after.
    used = iter([0.0, 0.005, 0.005, 0.009, 0.009, 0.009])
    pauses: list[float] = []
    monkeypatch.setattr(timing.time, "process_time", lambda: next(used))
    monkeypatch.setattr(timing.time, "sleep", pauses.append)
    timing.wait_until_idle()
    assert pauses == 3 * [timing.PAUSE_SECONDS]


def test_slow_contender_has_fewer_turns(monkeypatch: pytest.MonkeyPatch):
    clock = [0.0]
    calls = {"slow": 0, "quick": 0}

    def call(name: str, seconds: float) -> None:
        clock[0] += seconds
        calls[name] += 1

    monkeypatch.setattr(timing, "wait_until_idle", lambda: None)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    best = best_times(
        {"slow": lambda: call("slow", 2.0), "quick": lambda: call("quick", 0.25)},
        Settings(rounds=4, turn_seconds=0.5, most_seconds=3.0),
    )
    assert best == {"slow": 2.0, "quick": 0.25}
    # One call to warm up; then two turns of one call, and four of two calls.
    assert calls == {"slow": 1 + 2, "quick": 1 + 8}
