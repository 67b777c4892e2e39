"""Simulators and linters have nothing to say of what is emitted."""

from __future__ import annotations

import subprocess

import pytest
import stage_graphs
import streaming_graphs as graphs
from lint import slang_findings, verilator_findings
from test_emit import SHAPES

from fxp.hls import emit_rtl
from fxp.rtl_sim.simulators import find_simulator

STYLES = {
    "dsp": {},
    "fold": {"fold": 3},
    "shift_add": {"multipliers": "shift_add"},
    "raster": {"raster": True},
}
# Every style with the first shapes, and one with each of the others.
STYLED = [
    (shape, style) for shape in list(SHAPES)[:5] for style in ("dsp", "fold", "shift_add", "raster")
]
STYLED += [
    (shape, ("dsp", "shift_add", "fold", "raster")[number % 4])
    for number, shape in enumerate(stage_graphs.SHAPES)
]


@pytest.mark.parametrize(("shape", "style"), STYLED)
def test_linters_have_nothing_to_say(shape, style, tmp_path):
    core = emit_rtl(SHAPES[shape](), tmp_path / "core", max_width=30, **STYLES[style])
    assert verilator_findings(tmp_path / "core", core) == ""
    assert slang_findings(tmp_path / "core", core.sources, core.top) == ""


def test_slang_finds_what_verilator_lets_pass(tmp_path):
    core = emit_rtl(graphs.srcnn_shaped(), tmp_path / "core", max_width=30)
    source = tmp_path / "core" / "rtl" / "fxp_tags.sv"
    text = source.read_text()
    source.write_text(text.replace("endmodule", "assign early = late; logic late; endmodule"))
    findings = slang_findings(tmp_path / "core", core.sources, core.top)
    assert "identifier 'late' used before its declaration" in findings


@pytest.mark.parametrize("raster", [False, True])
def test_linters_have_nothing_to_say_of_a_bypass(raster, tmp_path):
    core = emit_rtl(
        graphs.kimsr_shaped(), tmp_path / "core", max_width=30, raster=raster, bypass=True,
        bus_errors=True,
    )  # fmt: skip
    assert verilator_findings(tmp_path / "core", core) == ""
    assert slang_findings(tmp_path / "core", core.sources, core.top) == ""


@pytest.mark.parametrize("style", STYLES)
def test_icarus_compiles(style, tmp_path):
    icarus = find_simulator("icarus")
    core = emit_rtl(graphs.kimsr_shaped(), tmp_path / "core", max_width=30, **STYLES[style])
    command = [str(icarus.program), "-g2012", "-o", "core.vvp", "-s", core.top, *core.sources]
    result = subprocess.run(
        command, cwd=tmp_path / "core", env=icarus.environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "error" not in result.stderr
