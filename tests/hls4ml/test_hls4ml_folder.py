"""Arguments that are refused, damaged folders, the vendors' reports, and ends by a signal."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fxp.formats import Format, FormatError, Quantization
from fxp.graph import Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Relu
from fxp.graph.ops.base import GraphError
from fxp.store import save_graph

pytest.importorskip("hls4ml")

import fxp.hls.hls4ml_export.exporting as exporting
from fxp import hls
from fxp.hls.hls4ml_export import ExportError, HlsError

BYTE = Format(8, 0)
HEIGHT, WIDTH = Extent("H"), Extent("W")
NOTES = "fxp_project.json"


def relus(*shapes) -> Graph:
    """One ReLU for each input."""
    inputs = tuple(Value(f"x{i}", shape, BYTE) for i, shape in enumerate(shapes))
    nodes = tuple(Node(f"y{i}", Relu(), (f"x{i}",), Quantization(BYTE)) for i in range(len(shapes)))
    return Graph("relus", inputs, nodes, tuple(node.name for node in nodes))


FREE = relus((1, HEIGHT, WIDTH))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hls4ml") / "p"
    return hls.export(FREE, folder, size=(3, 4), verify=False).folder


@pytest.fixture
def project(exported, tmp_path) -> hls.HlsProject:
    return hls.HlsProject(shutil.copytree(exported, tmp_path / "p"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 5}, "height and a width"),
        ({"size": "56"}, "height and a width"),
        ({"size": (5.5, 6)}, "height and a width"),
        ({"size": (None, 6)}, "height and a width"),
        ({"size": (10**9, 10**9)}, "at most 65,536"),
        ({"size": (2**16, 2**16)}, "too large"),
        ({"reuse_factor": "2"}, "reuse_factor"),
        ({"reuse_factor": 1.5}, "reuse_factor"),
        ({"clock_period": float("nan")}, "clock_period"),
        ({"clock_period": "5"}, "clock_period"),
        ({"part": 'x"; exec rm'}, "part"),
        ({"part": 3}, "part"),
    ],
)
def test_arguments_are_refused(options, message, tmp_path):
    with pytest.raises(ExportError, match=message):
        hls.export(FREE, tmp_path / "p", verify=False, **options)
    assert [*tmp_path.iterdir()] == []


def test_other_things_than_models_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"or the path of a \.fxp file, not int"):
        hls.export(3, tmp_path / "p")  # type: ignore[arg-type]


def test_sizes_of_integer_kinds(tmp_path):
    size = np.array([3, 4])
    assert hls.export(FREE, tmp_path / "p", size=size, verify=False).shapes["x0"] == (1, 3, 4)


def test_inputs_with_sizes_of_their_own_are_refused(tmp_path):
    graph = relus((1, HEIGHT, WIDTH), (1, Extent("P"), WIDTH))
    with pytest.raises(ExportError, match=r"'x0' leaves P of another input open"):
        hls.export(graph, tmp_path / "p")


@pytest.mark.parametrize(
    ("graph", "size", "verified"),
    [
        (FREE, (200, 8), (1, 16, 8)),
        (relus((1, 8 * HEIGHT, 5 * WIDTH)), (800, 40), (1, 16, 15)),
        (relus((1, 200, 100)), None, (1, 200, 100)),
        (relus((1, HEIGHT, WIDTH), (1, 8 * HEIGHT, 8 * WIDTH)), None, (1, 16, 12)),
    ],
)
def test_what_is_verified_of_large_frames(graph, size, verified, tmp_path, monkeypatch):
    """A twin of the first size from 16 by 12 on that suits; the frame itself if it is fixed."""
    seen = []
    monkeypatch.setattr(exporting, "LARGEST_VERIFIED", 1000)
    monkeypatch.setattr(exporting, "_verify", lambda project, *_: seen.append(project.shapes["x0"]))
    project = hls.export(graph, tmp_path / "p", size=size)
    assert seen == [verified]
    assert project.notes["verified"]["x0"] == [*verified]
    assert hls.HlsProject(project.folder).notes == project.notes


def test_unverified_projects_say_so(project):
    assert project.notes["verified"] is None


class TestDamage:
    @pytest.mark.parametrize(
        "change",
        [
            {"backend": 3},
            {"backend": "Vitus"},
            {"shapes": []},
            {"shapes": {"x0": [1, 3, 4], "y0": [1, 4, 3]}},
            {"shapes": {"x0": "134", "y0": [1, 3, 4]}},
            {"shapes": {"x0": 3, "y0": [1, 3, 4]}},
            {"layers": {"x0": "in_x0"}},
            {"layers": {"x0": "../../in_x0", "y0": "v_y0"}},
            {"layers": {"x0": "in_x0", "y0": None}},
            {"more": 1},
            {"format": 99},
        ],
    )
    def test_notes(self, project, change):
        path = project.folder / NOTES
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        with pytest.raises(HlsError, match=r"holds no hls4ml project|another version") as caught:
            hls.HlsProject(project.folder)
        assert "\n" not in str(caught.value)

    def test_any_truncation(self, project):
        for name in (NOTES, "model.fxp"):
            path = project.folder / name
            whole = path.read_bytes()
            for length in range(0, len(whole) - 2, 31):
                path.write_bytes(whole[:length])
                with pytest.raises(HlsError, match="holds no hls4ml project"):
                    hls.HlsProject(project.folder)
            path.unlink()
            with pytest.raises(HlsError, match="holds no hls4ml project"):
                hls.HlsProject(project.folder)
            path.write_bytes(whole)
        assert hls.HlsProject(project.folder).graph == FREE

    def test_simulators_that_cannot_run(self, project):
        program = project.folder / "simulate"
        program.write_text("#!/bin/sh\nexit 0\n")
        with pytest.raises(HlsError, match="Permission denied"):
            project.predict(np.zeros((3, 4)))
        program.chmod(0o755)
        with pytest.raises(HlsError, match="y0"):
            project.predict(np.zeros((3, 4)))


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (np.full((3, 4), 128), FormatError),
        (np.full((3, 4), 0.5), TypeError),
        (np.zeros((1, 2, 3, 4), int), GraphError),
        (np.zeros((0, 1, 3, 4), int), GraphError),
        (np.zeros((3, 5), int), HlsError),
    ],
)
def test_raw_integers_are_checked_like_the_engines(project, raw, error):
    """A value outside its format would wrap in the C++ types without a word."""
    (project.folder / "simulate").write_text("never run")
    with pytest.raises(error):
        project.predict_raw(raw)
    with pytest.raises(error):
        project.trace(raw)


REPORT = """<profile><PerformanceEstimates>
<SummaryOfTimingAnalysis><EstimatedClockPeriod>3.5</EstimatedClockPeriod></SummaryOfTimingAnalysis>
<SummaryOfOverallLatency><Best-caseLatency>12</Best-caseLatency>
<Worst-caseLatency>13</Worst-caseLatency><Interval-min>7</Interval-min>
<Interval-max>8</Interval-max></SummaryOfOverallLatency></PerformanceEstimates>
<UserAssignments><TargetClockPeriod>5</TargetClockPeriod></UserAssignments>
<AreaEstimates><Resources><LUT>21</LUT></Resources>
<AvailableResources><LUT>99</LUT></AvailableResources></AreaEstimates></profile>"""
SCRIPT = """#!/bin/sh
mkdir -p network_prj/solution1/syn/report
echo '<project><solutions><solution name="solution1"/></solutions></project>' > network_prj/hls.app
cat > network_prj/solution1/syn/report/network_csynth.xml <<'END'
@
END
"""


class TestTools:
    @pytest.fixture
    def tools(self, tmp_path, monkeypatch) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return folder

    def program(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def test_build_gives_the_report(self, project, tools):
        self.program(tools / "vitis-run", SCRIPT.replace("@", REPORT))
        found = project.build(csim=False)
        assert found["CSynthesisReport"]["EstimatedClockPeriod"] == "3.5"
        assert found["CSynthesisReport"]["LUT"] == "21"
        assert hls.HlsProject(project.folder).report() == found

    def test_tools_that_fail(self, project, tools):
        self.program(tools / "vitis-run", "#!/bin/sh\nexit 3\n")
        with pytest.raises(HlsError, match="vitis-run failed"):
            project.build()

    def test_unfinished_reports(self, project, tools):
        self.program(tools / "vitis-run", SCRIPT.replace("@", REPORT[:90]))
        with pytest.raises(HlsError, match="vitis-run"):
            project.build()
        with pytest.raises(HlsError, match=r"report of vitis-run in .* cannot be read"):
            project.report()

    def test_the_report_of_quartus_is_looked_for(self, tmp_path, monkeypatch):
        import hls4ml.report

        made = hls.export(FREE, tmp_path / "p", size=(3, 4), backend="Quartus", verify=False)
        with pytest.raises(HlsError, match="call build first"):
            made.report()
        (made.folder / "network-fpga.prj" / "reports").mkdir(parents=True)
        monkeypatch.setattr(hls4ml.report, "parse_quartus_report", lambda folder: {"in": folder})
        assert made.report() == {"in": str(made.folder)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_nothing_behind(number, tmp_path):
    """While the compiler runs; it ends, too."""
    tools, work = tmp_path / "bin", tmp_path / "work"
    tools.mkdir()
    work.mkdir()
    told = tools / "told"
    (tools / "g++").write_text(
        f"#!/bin/sh\necho $$ > {told}.new\nmv {told}.new {told}\nsleep 300\n"
    )
    (tools / "g++").chmod(0o755)
    program = "import sys, fxp.cli; sys.exit(fxp.cli.main(sys.argv[1:]))"
    save_graph(FREE, tools / "model.fxp")
    arguments = ["export", "hls4ml", str(tools / "model.fxp"), str(work / "p")]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"},
        stderr=subprocess.DEVNULL,
        # A shell that runs tests in the background has interrupts ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        while not told.exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait() == 128 + number
    finally:
        process.kill()
    assert [*work.iterdir()] == []
    compiler = Path("/proc", told.read_text().strip())
    deadline = time.monotonic() + 30
    while compiler.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not compiler.exists()


def test_a_size_that_the_graph_fixes_may_be_given(tmp_path):
    pixel = Format(8, 8, signed=False)
    node = Node("y", Relu(), ("x",), Quantization(pixel))
    graph = Graph("fixed", (Value("x", (1, 3, 4), pixel),), (node,), ("y",))
    with pytest.raises(ExportError, match="takes images of 3 by 4 alone; give that size"):
        hls.export(graph, tmp_path / "p", size=(4, 3), verify=False)
    assert not (tmp_path / "p").exists()
    project = hls.export(graph, tmp_path / "p", size=(3, 4), verify=False)
    assert project.shapes["x"] == (1, 3, 4)
