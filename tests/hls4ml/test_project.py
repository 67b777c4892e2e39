"""Projects: exact, verified layer by layer, self-contained, written whole or not at all."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fxp.formats import Format, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Clamp, Conv2d, Nearest, PixelShuffle, Relu
from fxp.model import FixedModel

pytest.importorskip("hls4ml")

from fxp import hls
from fxp.hls.hls4ml_export import ExportError, HlsError, VerificationError
from fxp.hls.hls4ml_export.verification import compare

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
SIZE = (5, 6)
PIXEL = Format(8, 8, signed=False)


def small_graph() -> Graph:
    """KimSR in little: asymmetric padding, depthwise, rounding at the ReLU, shuffle, residual."""
    generator = np.random.default_rng(7)

    def weights(name: str, *shape: int) -> Constant:
        return Constant(name, generator.integers(-100, 101, shape), (Format(8, 6),))

    exact = Rounding.FLOOR, Overflow.WRAP
    image = Value("luma", (1, Extent("H"), Extent("W")), PIXEL)
    nodes = (
        Node("head", Conv2d(padding=(1, 1, 2, 0)), ("luma", "head.weight"),
             Quantization(Format(20, 14), *exact)),
        Node("relu", Relu(), ("head",),
             Quantization(Format(10, 7, signed=False), Rounding.HALF_EVEN)),
        Node("depth", Conv2d(padding=(0, 0, 2, 2), padding_mode="reflect", groups=4),
             ("relu", "depth.weight"), Quantization(Format(12, 8))),
        Node("shuffle", PixelShuffle(2), ("depth",), Quantization(Format(12, 8))),
        Node("copies", Nearest(2), ("luma",), Quantization(PIXEL)),
        Node("sum", Add(), ("shuffle", "copies"), Quantization(Format(14, 8), *exact)),
        Node("clamp", Clamp(0.0, 1.0), ("sum",), Quantization(PIXEL)),
    )  # fmt: skip
    constants = (weights("head.weight", 4, 1, 3, 3), weights("depth.weight", 4, 1, 1, 5))
    return Graph("small", (image,), nodes, ("clamp",), constants)


def pictures(count: int = 2) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 1, *SIZE)) / 256


@pytest.fixture(scope="module")
def model() -> FixedModel:
    return FixedModel(small_graph())


@pytest.fixture(scope="module")
def project(model, tmp_path_factory) -> hls.HlsProject:
    folder = tmp_path_factory.mktemp("hls4ml") / "small"
    told = []
    made = hls.export(model, folder, size=SIZE, progress=lambda *step: told.append(step))
    assert told == [
        (0, 3, "hls4ml writes the project"),
        (1, 3, "g++ compiles the C simulation"),
        (2, 3, "every layer is compared with the engine"),
    ]
    return made


def edited(project: hls.HlsProject, folder: Path, name: str, pattern: str, new: str):
    """Return a copy of a project with one place of one file changed."""
    shutil.copytree(project.folder, folder)
    path = folder / "firmware" / name
    text, count = re.subn(pattern, new, path.read_text(), count=1)
    assert count == 1
    assert text != path.read_text()
    path.write_text(text)
    return hls.HlsProject(folder)


@needs_compiler
class TestExact:
    def test_results_are_the_engines(self, model, project):
        images = pictures()
        raw = (images * 256).astype(np.int64)
        assert np.array_equal(project.predict_raw(raw), model.run_raw(raw))
        assert np.array_equal(project.predict(images), model(images))
        assert project.predict(images[0, 0]).shape == (10, 12)

    @pytest.mark.parametrize("backend", ["Vivado", "Catapult", "Quartus"])
    @pytest.mark.parametrize("io_type", ["io_stream", "io_parallel"])
    def test_other_backends(self, model, tmp_path, backend, io_type):
        """All layers: hls4ml's Quartus knows no depthwise ones, and traces one stream alone."""
        project = hls.export(model, tmp_path / "p", size=SIZE, backend=backend, io_type=io_type)
        found = compare(project, model, pictures())
        assert found
        assert found.layers == 7

    def test_trace_holds_every_node(self, model, project):
        raw = (pictures(1) * 256).astype(np.int64)
        (traced,) = project.trace(raw)
        values = model.run(raw[0], keep_values=True).values
        assert [*traced] == [node.name for node in model.graph.nodes]
        assert all(np.array_equal(traced[name], values[name]) for name in traced)

    def test_verified_layers_are_counted(self, model, project):
        found = compare(project, model, pictures())
        assert found
        assert found.layers == 7
        assert "are equal" in str(found)

    def test_elsewhere_with_its_own_script(self, model, project, tmp_path):
        """Nothing of the export's place, of Python or of hls4ml is needed."""
        folder = tmp_path / "elsewhere"
        shutil.copytree(project.folder, folder)
        (folder / "simulate").unlink()
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix in (".cpp", ".h", ".sh", ".tcl", ".yml", ".json"):
                assert str(project.folder.parent) not in path.read_text(errors="replace"), path
        subprocess.run(["sh", "build.sh"], cwd=folder, check=True, env={"PATH": "/usr/bin:/bin"})
        raw = (pictures() * 256).astype(np.int64)
        raw.astype("<i8").tofile(tmp_path / "in_luma.bin")
        out = tmp_path / "out"
        out.mkdir()
        subprocess.run([str(folder / "simulate"), str(tmp_path), str(out)], check=True)
        (result,) = out.iterdir()
        found = np.fromfile(result, "<i8").reshape(2, 1, 10, 12)
        assert np.array_equal(found, model.run_raw(raw))
        (tmp_path / "in_luma.bin").write_bytes(b"123")
        failed = subprocess.run([str(folder / "simulate"), str(tmp_path), str(out)],
                                capture_output=True, text=True, check=False)  # fmt: skip
        assert failed.returncode == 1
        assert "ends within a frame" in failed.stderr


@needs_compiler
class TestMutations:
    """A change in the exported C++ is found, and where."""

    def test_weight(self, model, project, tmp_path):
        mutant = edited(project, tmp_path / "m", "weights/w2.h", r"(= \{)(-?\d)", r"\g<1>1\2")
        found = hls.verify(mutant, model, pictures())
        assert not found
        assert found.difference.layer == "head"

    def test_accumulator(self, model, project, tmp_path):
        mutant = edited(project, tmp_path / "m", "defines.h",
                        r"ap_fixed<\d+,-?\d+> v_depth_accum_t",
                        "ap_fixed<9,0> v_depth_accum_t")  # fmt: skip
        found = hls.verify(mutant, model, pictures())
        assert found.difference.layer == "depth"
        assert "differs in" in str(found)

    def test_rounding(self, model, project, tmp_path):
        mutant = edited(project, tmp_path / "m", "defines.h", "AP_RND_CONV", "AP_TRN")
        assert hls.verify(mutant, model, pictures()).difference.layer == "relu"

    def test_inexact_export_writes_nothing(self, model, tmp_path, monkeypatch):
        """A backend that gives other integers must not pass: here the header is broken."""
        import fxp.hls.hls4ml_export.exporting as module

        def spoiled(made, folder, settings):
            right(made, folder, settings)
            path = folder / "firmware" / "defines.h"
            path.write_text(path.read_text().replace("AP_RND_CONV", "AP_TRN"))

        right = module.write_project
        monkeypatch.setattr(module, "write_project", spoiled)
        with pytest.raises(VerificationError, match=r"Vitis, io_stream.*'relu'.*emit_rtl"):
            hls.export(model, tmp_path / "p", size=SIZE)
        assert [*tmp_path.iterdir()] == []


class TestFolder:
    def test_nothing_is_replaced_unasked(self, model, tmp_path):
        target = tmp_path / "p"
        hls.export(model, target, size=SIZE, verify=False)
        before = (target / "fxp_project.json").read_text()
        with pytest.raises(FileExistsError, match="overwrite=True"):
            hls.export(model, target, size=SIZE, verify=False)
        hls.export(model, target, size=(4, 4), verify=False, overwrite=True)
        assert (target / "fxp_project.json").read_text() != before
        assert [*tmp_path.iterdir()] == [target]

    def test_other_folders_are_never_replaced(self, model, tmp_path):
        (tmp_path / "p").mkdir()
        (tmp_path / "p" / "mine.txt").write_text("mine")
        with pytest.raises(FileExistsError, match="something else"):
            hls.export(model, tmp_path / "p", size=SIZE, overwrite=True)
        assert (tmp_path / "p" / "mine.txt").read_text() == "mine"

    def test_what_hls4ml_stops_with_is_named(self, model, tmp_path, monkeypatch):
        import fxp.hls.hls4ml_export.writing as module

        def stopped(made, folder, settings):
            {}["weight"]

        monkeypatch.setattr(module, "_build", stopped)
        message = (
            "hls4ml could not build the project for Vivado, io_parallel, strategy resource; it "
            "stopped with KeyError: 'weight'. Choose another strategy or io_type"
        )
        options = {"backend": "Vivado", "io_type": "io_parallel", "strategy": "resource"}
        with pytest.raises(hls.ExportError) as caught:
            hls.export(model, tmp_path / "p", size=SIZE, verify=False, **options)
        assert str(caught.value) == message
        assert [*tmp_path.iterdir()] == []

    def test_failure_leaves_the_earlier_project(self, model, tmp_path, monkeypatch):
        import fxp.hls.hls4ml_export.exporting as module

        target = tmp_path / "p"
        hls.export(model, target, size=SIZE, verify=False)

        def fails(*_):
            raise OSError("disk full")

        monkeypatch.setattr(module, "write_project", fails)
        with pytest.raises(OSError, match="disk full"):
            hls.export(model, target, size=SIZE, overwrite=True)
        assert [*tmp_path.iterdir()] == [target]
        assert hls.HlsProject(target).backend == "Vitis"

    def test_no_parent(self, model, tmp_path):
        with pytest.raises(FileNotFoundError, match="no folder"):
            hls.export(model, tmp_path / "a" / "b")

    def test_no_project(self, tmp_path):
        with pytest.raises(HlsError, match="holds no hls4ml project"):
            hls.HlsProject(tmp_path)


class TestTools:
    def test_missing_ones_are_named(self, model, tmp_path, monkeypatch):
        project = hls.export(model, tmp_path / "p", size=SIZE, verify=False)
        with pytest.raises(HlsError, match="not compiled"):
            project.predict(pictures())
        with pytest.raises(HlsError, match="call build first"):
            project.report()
        monkeypatch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(HlsError, match=r"vitis-run.*emit_rtl"):
            project.build()
        with pytest.raises(HlsError, match=r"no g\+\+"):
            project.compile()

    def test_compiler_errors_are_told(self, model, tmp_path):
        project = hls.export(model, tmp_path / "p", size=SIZE, verify=False)
        (project.folder / "simulate.cpp").write_text("int main() { return nothing; }")
        (project.folder / "firmware" / "network.cpp").write_text("")
        (project.folder / "network_bridge.cpp").write_text("")
        with pytest.raises(HlsError, match="nothing"):
            project.compile()

    def test_another_model_is_refused(self, model, tmp_path):
        project = hls.export(model, tmp_path / "p", size=SIZE, verify=False)
        graph = small_graph()
        other = graph.with_nodes(
            [*graph.nodes[:-1], Node("clamp", Clamp(0.0, 0.5), ("sum",), Quantization(PIXEL))],
            graph.constants,
        )
        with pytest.raises(HlsError, match="another model"):
            compare(project, other, pictures())

    def test_another_size_is_refused(self, project):
        with pytest.raises(HlsError, match="sizes are fixed"):
            project.predict(np.zeros((1, 1, 4, 4)))


def test_every_type_comes_from_the_graph(model, tmp_path):
    """Types of the written C++, weights as exact numbers, once."""
    folder = hls.export(model, tmp_path / "p", size=SIZE, verify=False).folder
    types = (folder / "firmware" / "defines.h").read_text()
    for node in model.graph.nodes:
        # The modes that C++ takes by default are left out.
        expected = str(node.quantization)[:-1].removesuffix(",AP_TRN,AP_WRAP")
        assert expected in types, node.name
        if node.op.name == "conv2d":
            assert f"{node.accumulator.exact_format} v_{node.name}_accum_t" in types
    text = (folder / "firmware" / "weights" / "w2.h").read_text()
    numbers = [float(item) for item in re.search(r"= \{(.*)\}", text)[1].split(",")]
    weights = model.graph.constants_by_name["head.weight"].values
    assert numbers == weights.transpose(2, 3, 1, 0).ravel().tolist()
    assert not [*folder.rglob("*.txt")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "oneAPI"}, "icpx"),
        ({"backend": "Vitus"}, "backend must be one of Vivado, Vitis"),
        ({"io_type": "stream"}, "io_type must be one of"),
        ({"strategy": "fast"}, "strategy must be one of"),
        ({"strategy": "distributed_arithmetic", "backend": "Quartus"}, "needs Vivado or Vitis"),
        ({"reuse_factor": 0}, "above zero"),
        ({"size": (1, 1)}, "size"),
        ({"size": (0, 3)}, "height and a width"),
    ],
)
def test_bad_arguments(model, tmp_path, options, message):
    with pytest.raises(ExportError, match=message):
        hls.export(model, tmp_path / "p", **{"size": SIZE, **options})
    assert [*tmp_path.iterdir()] == []
