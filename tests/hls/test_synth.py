"""Synthesis and placement with the real tools, on designs whose resources are known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matrices import normal_matrix
from rich.console import Console

from fxp import FixedModel, Format, Quantization
from fxp.cli import main
from fxp.graph import Constant, Graph, Node, Value, ops
from fxp.graph.extents import Extent
from fxp.hls.rtl.adder_graph_verilog import constant_matrix_module
from fxp.hls.synth import (
    TARGETS,
    Resources,
    SynthesisError,
    nextpnr,
    place,
    placement,
    synthesize,
    tools,
)
from fxp.hls.synth.command import placement_text, resource_table
from fxp.hls.synth.harness import ModulePort, harness, ports_of
from fxp.hls.synth.multiplier_registers import INSIDE_NS
from fxp.hls.synth.synthesis import InstanceResources, Synthesis
from fxp.hls.synth.targets import RESOURCE_NAMES

ADD = """module add (
  input  logic clk_i,
  input  logic [15:0] a_i,
  input  logic [15:0] b_i,
  output logic [16:0] sum_o
);
  always_ff @(posedge clk_i) sum_o <= {a_i[15], a_i} + {b_i[15], b_i};
endmodule
"""
MULTIPLY = """module multiply #(parameter int Width = 8) (
  input  logic clk_i,
  input  logic [Width-1:0] a_i,
  input  logic [Width-1:0] b_i,
  output logic [2*Width-1:0] product_o
);
  logic signed [2*Width-1:0] product;
  assign product = $signed(a_i) * $signed(b_i);
  always_ff @(posedge clk_i) product_o <= product;
endmodule
"""
MEMORY = """module memory (
  input  logic clk_i,
  input  logic enable_i,
  input  logic [10:0] address_i,
  input  logic [7:0] data_i,
  output logic [7:0] data_o
);
  logic [7:0] words [0:1919];
  always_ff @(posedge clk_i) if (enable_i) begin
    data_o <= words[address_i];
    words[address_i] <= data_i;
  end
endmodule
"""
DESIGN = """module design_top (
  input  logic clk_i,
  input  logic [10:0] address_i,
  input  logic [15:0] a_i,
  input  logic [15:0] b_i,
  output logic [16:0] sum_o,
  output logic [33:0] products_o,
  output logic [7:0] data_o
);
  logic extra;
  always_ff @(posedge clk_i) extra <= ^a_i;
  add u_add (.clk_i, .a_i, .b_i, .sum_o);
  multiply #(.Width(16)) u_first (.clk_i, .a_i, .b_i, .product_o(products_o[31:0]));
  assign products_o[33:32] = {extra, 1'b0};
  memory u_memory (.clk_i, .enable_i(a_i[0]), .address_i, .data_i(b_i[7:0]), .data_o);
endmodule
"""
SOURCES = {"add.sv": ADD, "multiply.sv": MULTIPLY, "memory.sv": MEMORY, "top.sv": DESIGN}


def write(folder: Path, **sources: str) -> list[str]:
    for name, text in sources.items():
        (folder / name).write_text(text)
    return list(sources)


@pytest.mark.parametrize("name", ["ecp5-85k", "xilinx-us", "gowin-18k"])
def test_resources_of_every_instance(tmp_path: Path, name: str):
    target = TARGETS[name]
    result = synthesize(tmp_path, write(tmp_path, **SOURCES), "design_top", target)
    used = {item.name: item for item in result.instances}
    assert {item.module for item in result.instances} == {"add", "multiply", "memory", "design_top"}
    assert used["u_add"].resources.registers == 17
    assert used["u_add"].resources.carries in (5, 9, 17)  # of 4 bits, of 2, of 1
    assert 16 <= used["u_add"].resources.luts <= 18
    assert used["u_first"].resources.multipliers == 1
    assert used["u_memory"].resources.block_rams == 1
    assert used["u_memory"].resources.luts <= 2
    assert used[""].resources.registers == 1
    for kind in RESOURCE_NAMES:
        figures = [getattr(item.resources, kind) for item in result.instances]
        assert getattr(result.total, kind) == sum(figures)
    assert target.lacking(result.total) == []
    console = Console(width=200, record=True, file=(tmp_path / "table.txt").open("w"))
    console.print(resource_table(result, target, "title"))
    text = console.export_text()
    assert "u_memory" in text
    assert target.device in text


def test_estimate_of_adder_graphs_is_near(tmp_path: Path):
    made = constant_matrix_module(normal_matrix(8, 9), Format(14, 8), "layer")
    result = synthesize(tmp_path, write(tmp_path, **{"layer.sv": made.text}), "layer",
                        TARGETS["ecp5-85k"])  # fmt: skip
    assert result.total.luts == pytest.approx(made.counts.luts, rel=0.1)
    assert result.total.registers == pytest.approx(made.counts.registers, rel=0.1)
    assert result.total.multipliers == 0


def test_placement_finds_a_frequency(tmp_path: Path):
    ports = ports_of(MULTIPLY, "multiply", {"Width": 12})
    result = place(tmp_path, write(tmp_path, **{"multiply.sv": MULTIPLY}), "multiply", ports,
                   parameters={"Width": 12}, placer="static", timeout_s=900)  # fmt: skip
    # Nothing but the way inside the block takes long here.
    assert result.megahertz == round(1000 / INSIDE_NS[8], 1)
    assert result.cells["MULT18X18D"] == 1
    assert result.bitstream == (tmp_path / "seed1_speed8.bit").stat().st_size > 10_000
    # Those of the surroundings, less the last one before the multiplier; its own are inside.
    assert 23 + 24 + 24 <= result.cells["TRELLIS_FF"] < 23 + 24 + 24 + 24
    assert result.logic_ns + result.routing_ns == pytest.approx(1000 / result.megahertz, rel=0.02)
    assert f"{result.megahertz:.1f} MHz on speed grade 8" in placement_text(result)


def test_placement_on_a_gowin_device(tmp_path: Path):
    ports = ports_of(ADD, "add")
    result = place(tmp_path, write(tmp_path, **{"add.sv": ADD}), "add", ports, target="gowin-18k",
                   megahertz=100)  # fmt: skip
    assert result.megahertz > 100
    assert result.bitstream == 0
    # Its own, and those of the surroundings, which need no reset here.
    assert result.cells["DFF"] == 17 + 32 + 17 + 17
    with pytest.raises(SynthesisError, match="GW2A-18 has no speed grade 6; choose one of 8"):
        place(tmp_path, ["add.sv"], "add", ports, target="gowin-18k", speed=6)


def test_a_placement_continues_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ports = ports_of(ADD, "add")
    sources = write(tmp_path, **{"add.sv": ADD})
    options: dict[str, Any] = {"target": "ecp5-25k", "package": "CABGA381", "speed": 6,
                               "megahertz": 1}  # fmt: skip
    steps: list[str] = []

    def tell(done: int, total: int, text: str) -> None:
        steps.append(text)

    first = place(tmp_path, sources, "add", ports, progress=tell, **options)
    assert first.speed == 6
    assert steps == ["yosys on the whole design", "nextpnr, seed 1", "packing the bitstream"]
    runs: list[str] = []
    run = placement.run_synthesis_tool

    def counted(tool: str, *arguments: Any, **more: Any) -> str:
        runs.append(tool)
        return run(tool, *arguments, **more)

    monkeypatch.setattr(placement, "run_synthesis_tool", counted)
    monkeypatch.setattr(nextpnr, "run_synthesis_tool", counted)
    monkeypatch.setattr(placement, "synthesize", None)  # not called again
    again = place(tmp_path, sources, "add", ports, **options)
    assert replace(again, seconds=first.seconds) == first
    assert runs == ["ecppack"]
    place(tmp_path, sources, "add", ports, seed=2, **options)
    assert runs == ["ecppack", "nextpnr-ecp5", "ecppack"]
    # Placed first and routed later, by the other router: it is not placed again.
    estimate = place(tmp_path, sources, "add", ports, seed=3, route=False, **options)
    assert not estimate.routed
    assert estimate.megahertz > 100
    assert estimate.bitstream == 0
    assert estimate.cells == first.cells
    assert "estimated from the placement; not routed" in placement_text(estimate)
    routed = place(tmp_path, sources, "add", ports, seed=3, router="router2", **options)
    assert routed.routed
    assert routed.cells == first.cells
    assert runs[3:] == ["nextpnr-ecp5", "nextpnr-ecp5", "ecppack"]
    log = (tmp_path / "seed3_speed6.log").read_text()
    assert "Running router2" in log
    assert "placer" not in log


def test_designs_that_do_not_fit_are_refused(tmp_path: Path):
    lines = [f"  multiply #(.Width(16)) u_{i} (.clk_i, .a_i(a_i + 16'd{i}), .b_i, "
             f".product_o(out_o[{32 * i + 31}:{32 * i}]));" for i in range(157)]  # fmt: skip
    many = ("module many (\n  input logic clk_i,\n  input logic [15:0] a_i,\n"
            f"  input logic [15:0] b_i,\n  output logic [{157 * 32 - 1}:0] out_o\n);\n"
            + "\n".join(lines) + "\nendmodule\n")  # fmt: skip
    sources = write(tmp_path, **{"multiply.sv": MULTIPLY, "many.sv": many})
    with pytest.raises(SynthesisError, match=r"many does not fit LFE5U-85F: 157 of 156 mult"):
        place(tmp_path, sources, "many", ports_of(many, "many"))


def test_lacking_names_every_kind():
    target = TARGETS["ecp5-85k"]
    needed = Resources(luts=10**6, carries=10**6, block_rams=209)
    assert target.lacking(needed) == ["1000000 of 83640 luts", "209 of 208 block rams"]
    assert Resources(1, 2, 3, 4, 5) * 2 + Resources(1) == Resources(3, 4, 6, 8, 10)


def test_ports_and_harness():
    ports = ports_of(MULTIPLY, "multiply", {"Width": 5})
    assert ports == (
        ModulePort("clk_i", 1, False),
        ModulePort("a_i", 5, False),
        ModulePort("b_i", 5, False),
        ModulePort("product_o", 10, True),
    )
    text = harness("multiply", ports, {"Width": 5})
    assert ".Width(5)" in text
    assert ".b_i(stimulus[9:5])" in text
    assert ".clk_i(clk)" in text
    with pytest.raises(ValueError, match="width 'Width-1' is not known"):
        ports_of(MULTIPLY, "multiply")
    with pytest.raises(ValueError, match="no ports of a module divide"):
        ports_of(MULTIPLY, "divide")


def test_errors_of_the_tools_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    target = TARGETS["ecp5-85k"]
    broken = write(tmp_path, **{"broken.sv": "module broken (input logic a_i);\n  assign\n"})
    with pytest.raises(SynthesisError, match=r"^yosys failed: .*broken\.sv:.*syntax error.*$"):
        synthesize(tmp_path, broken, "broken", target)
    with pytest.raises(SynthesisError, match=r"did not finish within 0\.01 seconds"):
        synthesize(tmp_path, write(tmp_path, **{"add.sv": ADD}), "add", target, timeout_s=0.01)
    monkeypatch.setattr(tools, "find_spec", lambda _: None)
    with pytest.raises(SynthesisError, match=r"pip install -e '\.\[synth\]'"):
        synthesize(tmp_path, ["add.sv"], "add", target)


def test_cells_that_are_not_known_are_refused(tmp_path: Path):
    text = "module box (input logic a_i, output logic q_o);\n  OSCG u_o (.OSC(q_o));\nendmodule\n"
    with pytest.raises(SynthesisError, match="a cell OSCG, which is not known for ecp5-85k"):
        synthesize(tmp_path, write(tmp_path, **{"box.sv": text}), "box", TARGETS["ecp5-85k"])


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    weight = Constant(
        "weight", np.array([-11, -7, -5, -3, 0, 3, 5, 7, 11]).reshape(1, 1, 3, 3), (Format(6, 4),)
    )
    target = Quantization(Format(8, 8, signed=False))
    graph = Graph(
        "small",
        (Value("image", (1, Extent("H"), Extent("W")), Format(8, 8, signed=False)),),
        (Node("conv", ops.Conv2d(padding=(1, 1, 1, 1)), ("image", "weight"), target),),
        ("conv",),
        (weight,),
    )
    path = tmp_path / "small.fxp"
    FixedModel(graph).save(path)
    return path


def test_command(small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out, build = tmp_path / "report.json", tmp_path / "build"
    arguments = ["synth", str(small_model), "--target", "ecp5-85k", "--max-width", "64",
                 "--out", str(out), "--build", str(build)]  # fmt: skip
    assert main(arguments) == 0
    assert "LFE5U-85F" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert report["fits"]
    assert 0 < report["synthesis"]["total"]["multipliers"] <= 8
    assert report["placement"] is None
    assert (build / "core" / "core.json").exists()
    assert main([*arguments[:2], "--multipliers", "shift_add", "--out", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["core"]["multipliers"] == "shift_add"
    assert report["synthesis"]["total"]["multipliers"] == 0


def test_command_places(small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "report.json"
    arguments = ["synth", str(small_model), "--max-width", "64", "--place", "--out", str(out),
                 "--build", str(tmp_path / "build")]  # fmt: skip
    assert main([*arguments, "--no-route"]) == 0
    assert "MHz on speed grade 8, estimated" in capsys.readouterr().out
    estimate = json.loads(out.read_text())["placement"]
    assert main(arguments) == 0
    assert "MHz on speed grade 8; the slowest path" in capsys.readouterr().out
    placed = json.loads(out.read_text())["placement"]
    assert placed["cells"] == estimate["cells"]
    assert (estimate["routed"], placed["routed"]) == (False, True)
    assert placed["megahertz"] > 100


def test_command_refuses(small_model: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["synth", str(small_model), "--target", "xilinx-us", "--place"]) == 1
    message = capsys.readouterr().err
    assert message == (
        "error: --place needs one of the targets ecp5-12k, ecp5-25k, ecp5-45k, ecp5-85k, "
        "gowin-18k: there is no open placer for XCZU7EV\n"
    )
    assert main(["synth", str(small_model), "--place", "--package", "BGA1"]) == 1
    assert "LFE5U-85F has no package BGA1; choose one of CSFBGA285" in capsys.readouterr().err
    missing = small_model.parent / "missing" / "report.json"
    assert main(["synth", str(small_model), "--out", str(missing)]) == 1
    assert "no folder" in capsys.readouterr().err


def test_names_in_brackets_are_no_markup(tmp_path: Path):
    target = TARGETS["ecp5-85k"]
    none = Resources()
    instances = (InstanceResources("u[/x]", "[bold]part", none),)
    result = Synthesis("top", "ecp5-85k", instances, none, 0.0)
    console = Console(width=200, record=True, file=(tmp_path / "table.txt").open("w"))
    console.print(resource_table(result, target, "[red]core"))
    text = console.export_text()
    assert "u[/x]" in text
    assert "[bold]part" in text
    assert "[red]core" in text
