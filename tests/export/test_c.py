"""C files compile without a warning, and compute the integers of the oracle."""

from __future__ import annotations

import subprocess
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from cases import CASES, Case, enumerated

from fxp import Constant, Format, Graph, GraphError, Node, Overflow, Quantization, Rounding, Value
from fxp.executors import oracle
from fxp.export.c import to_c
from fxp.export.c_loops import LOOPS, MOVES
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Conv2d, Relu, Requantize, Softmax

FLAGS = ("-std=c99", "-O0", "-Wall", "-Wextra", "-Werror", "-pedantic")
WRITTEN = {op.name for op in LOOPS} | {*MOVES}  # type: ignore[attr-defined]


def run(folder: Path, *texts: str) -> None:
    """Compile files with the sanitizer, and run their test vectors."""
    for number, text in enumerate(texts):
        name = text.partition("/* ")[2].partition(":")[0]
        source, program = folder / f"{name}.c", folder / name
        source.write_text(text)
        command = ["gcc", *FLAGS, "-fsanitize=undefined", "-fno-sanitize-recover=all",
                   f"-D{name}_TEST", str(source), "-o", str(program)]  # fmt: skip
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr[:2000]
        done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{number}: {done.stdout} {done.stderr}"
        assert done.stdout.startswith("0 of ")


def one_of_each() -> list[Case]:
    """Return the first cases of every op that is written, and of one table."""
    found: dict[str, list[Case]] = {}
    for case in CASES:
        example = next(iter(enumerated(case)))
        name = example.node.op.name
        if name in WRITTEN or name == "sigmoid":
            found.setdefault(name, []).append(case)
    most = {"conv2d": 4, "conv_transpose2d": 2}
    return [case for name, cases in found.items() for case in cases[: most.get(name, 1)]]


@pytest.mark.parametrize("case", one_of_each(), ids=lambda case: case.name)
def test_case(case: Case, tmp_path: Path) -> None:
    (example,) = islice(enumerated(case), 3, 4)
    run(tmp_path, to_c(example.graph, example.inputs[0], name="case"))


def test_a_clamp_makes_no_needless_comparison(tmp_path: Path) -> None:
    x = Value("x", (4,), Format(16, 0))
    node = Node("y", Relu(), ("x",), Quantization(Format(16, 0, signed=False)))
    run(tmp_path, to_c(Graph("case", (x,), (node,), ("y",)), [[-32768, -1, 0, 32767]]))


def network(**sizes: int) -> Graph:
    """Return two convolutions with a sum over them, whose arrays are used again."""
    generator = np.random.default_rng(0)
    rows, columns = (sizes.get(name, Extent(name)) for name in ("H", "W"))
    weights = generator.integers(-8, 8, (2, 3, 3, 3, 3))
    conv = Conv2d(padding=(1, 1, 1, 1))
    wide = Quantization(Format(16, 6), Rounding.HALF_EVEN, Overflow.WRAP)
    nodes = (
        Node("int", conv, ("x", "first.w"), Quantization(Format(9, 3), Rounding.HALF_AWAY)),
        Node("relu", Relu(), ("int",), Quantization(Format(8, 3, signed=False))),
        Node("sum", conv, ("relu", "second.w"), wide),
        Node("again", Add(), ("sum", "relu"), Quantization(Format(12, 4), Rounding.TO_ZERO)),
        Node("end", Requantize(), ("again",), Quantization(Format(6, 2), Rounding.HALF_DOWN)),
    )
    formats = (tuple(Format(4, frac) for frac in (2, 3, 1)), (Format(4, 3),))
    constants = tuple(
        Constant(f"{name}.w", data, form)
        for name, data, form in zip(("first", "second"), weights, formats, strict=True)
    )
    x = Value("x", (3, rows, columns), Format(8, 4))
    return Graph("my net", (x,), nodes, ("end",), constants)


def test_a_network(tmp_path: Path) -> None:
    graph = network()
    generator = np.random.default_rng(1)
    raw = generator.integers(-128, 128, (3, 7, 5))
    text = to_c(graph, [raw])
    assert "   in  x: 3 x 7 x 5, ap_fixed<8,4>\n" in text
    assert "void my_net_run(const int8_t *x_2, int8_t *end);" in text
    run(tmp_path, text)
    (wanted,) = oracle.run(graph, [raw]).outputs
    assert ", ".join(map(str, wanted.ravel()[:16])) in text
    run(tmp_path, to_c(network(H=6, W=6), name="case"))


def test_a_wrong_integer_is_found(tmp_path: Path) -> None:
    text = to_c(network(), sizes={"H": 4, "W": 4}, name="damaged")
    at = text.index("\n  ", text.index("expected_end[")) + 3
    damaged = text[:at] + "99" + text[text.index(",", at) :]
    with pytest.raises(AssertionError, match="integers differ"):
        run(tmp_path, damaged)


def test_what_is_refused() -> None:
    with pytest.raises(GraphError, match="C code is for one; give the sizes H, W"):
        to_c(network())
    x = Value("x", (2, 3, 3), Format(4, 2))
    table = Constant("t", np.arange(16)[::-1], (Format(5, 2, signed=False),))
    node = Node("y", Softmax(), ("x", "t"), Quantization(Format(5, 2)))
    with pytest.raises(GraphError, match=r"'y' .*softmax.*there is no C code for it"):
        to_c(Graph("g", (x,), (node,), ("y",), (table,)))
