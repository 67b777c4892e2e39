"""What a run may need is checked before anything is planned or computed."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import fxp
from fxp.cli import main
from fxp.engine import Engine
from fxp.executors import oracle, torch_forward
from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Limits, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Conv2d, ConvTranspose2d, MaxPool, Nearest, Op, Pad, Relu

FORM = Format(8, 0)
SHAPE = (1, Extent("H"), Extent("W"))


def graph_of(*ops: Op, constants: tuple[Constant, ...] = ()) -> Graph:
    """Return a graph that applies ops one after the other; each reads the constants too."""
    names = tuple(constant.name for constant in constants)
    nodes = []
    last = "x"
    for number, op in enumerate(ops):
        form = Format(40, 0) if constants else FORM
        nodes.append(Node(f"n{number}", op, (last, *names), Quantization(form)))
        last = f"n{number}"
    return Graph("g", (Value("x", SHAPE, FORM),), tuple(nodes), (last,), constants)


def weight(*shape: int) -> Constant:
    return Constant("w", np.ones(shape, np.int64), (FORM,))


PAD = graph_of(Pad((2**20 - 8, 0, 0, 0)))
ENLARGED = graph_of(*(Nearest(64) for _ in range(4)))
BORDERS = graph_of(
    Conv2d(padding=(2**19, 2**19, 0, 0), dilation=(2**20 - 1, 1)), constants=(weight(1, 1, 2, 1),)
)
CUT = graph_of(
    ConvTranspose2d(padding=(2**19, 0), dilation=(2**20 - 1, 1)), constants=(weight(1, 1, 2, 1),)
)
POOL = MaxPool((255, 255), (1, 1), (127, 127, 127, 127))
POOLS = graph_of(Nearest(64), Nearest(64), POOL, POOL)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (PAD, r"'n0' \(pad\): its result, of shape \(1, 1048576, 8\), has 1,048,576 rows, more "
              r"than the limit of 262,144.*limits=fxp.Limits\(rows=1048576\)"),
        (ENLARGED, r"'n2' \(nearest\): its result, of shape \(1, 2097152, 2097152\)"),
        (BORDERS, r"'n0' \(conv2d\): the image with its borders, of shape \(1, 1048584, 8\), has "
                  r"1,048,584 rows"),
        (CUT, r"'n0' \(conv_transpose2d\): the image with its borders.*1,048,583 rows"),
        (POOLS, r"'n3' \(max_pool\): the nodes so far need [\d,]+ operations, more than"),
    ],
)  # fmt: skip
def test_every_executor_refuses_at_once(graph: Graph, message: str) -> None:
    image = np.zeros((1, 8, 8), np.int64)
    with pytest.raises(fxp.GraphError, match=message):
        Engine(graph).plan([image.shape])
    with pytest.raises(fxp.GraphError, match=message):
        Engine(graph).run([image])
    with pytest.raises(fxp.GraphError, match=message):
        oracle.run(graph, [image])
    with pytest.raises(fxp.GraphError, match=message):
        torch_forward.run(graph, [torch.zeros(1, 1, 8, 8)])


def test_a_caller_raises_the_limit(tmp_path: Path) -> None:
    graph = graph_of(Pad((4, 0, 0, 0)))
    fxp.FixedModel(graph).save(tmp_path / "tall.fxp")
    image = np.full((1, 2, 2), 3)
    with pytest.raises(fxp.GraphError, match="6 rows, more than the limit of 5"):
        fxp.load(tmp_path / "tall.fxp", limits=Limits(rows=5)).run_raw(image)
    with pytest.raises(fxp.GraphError, match="6 rows, more than the limit of 5"):
        oracle.run(graph, [image], limits=Limits(rows=5))
    limits = Limits(rows=6)
    model = fxp.load(tmp_path / "tall.fxp", limits=limits)
    for found in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert found.limits == limits
        assert found.run_raw(image).shape == (1, 6, 2)
        assert found.oracle(image.astype(float)).sum() == 12
    (result,) = oracle.run(graph, [image], limits=limits).outputs
    assert result.shape == (1, 6, 2)


def test_the_command_line_raises_the_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph = graph_of(Pad((2**18, 0, 0, 0)))
    fxp.FixedModel(graph).save(tmp_path / "tall.fxp")
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 2)))
    paths = [str(tmp_path / name) for name in ("tall.fxp", "x.npy", "y.npy")]
    assert main(["run", *paths]) == 1
    refusal = capsys.readouterr().err
    assert "262,146 rows" in refusal
    assert "--unlimited" in refusal
    assert main(["run", *paths, "--unlimited"]) == 0
    assert np.load(tmp_path / "y.npy").shape == (1, 2**18 + 2, 2)


def test_limits_count_bytes_of_a_value_and_of_all_that_are_needed() -> None:
    # x and n0 are needed by n1, beside its own result: three times 100 int16.
    nodes = (
        Node("n0", Relu(), ("x",), Quantization(FORM)),
        Node("n1", Add(), ("x", "n0"), Quantization(FORM)),
        Node("n2", Relu(), ("n1",), Quantization(FORM)),
    )
    graph = Graph("g", (Value("x", SHAPE, FORM),), nodes, ("n2",))
    sizes = {"H": 10, "W": 10}
    assert graph.concrete_shapes(sizes, Limits(value_bytes=200, run_bytes=600))["n2"] == (1, 10, 10)
    with pytest.raises(fxp.GraphError, match=r"value 'x': it, of shape .* 200 bytes.*limit of 199"):
        graph.concrete_shapes(sizes, Limits(value_bytes=199))
    with pytest.raises(fxp.GraphError, match=r"'n1' \(add\): the values needed at this point have "
                                             r"600 bytes, more than the limit of 599"):  # fmt: skip
        graph.concrete_shapes(sizes, Limits(run_bytes=599))
    # 100 + 100 of n0, 100 + 200 of n1, 100 + 100 of n2.
    graph.concrete_shapes(sizes, Limits(operations=700))
    with pytest.raises(fxp.GraphError, match="700 operations, more than the limit of 699"):
        graph.concrete_shapes(sizes, Limits(operations=699))


def test_weights_count_once_for_every_pixel() -> None:
    graph = graph_of(Conv2d(), constants=(weight(3, 1, 2, 2),))
    # 12 weights at 9 x 9 pixels, 3 * 81 results, 100 + 12 operands.
    graph.concrete_shapes({"H": 10, "W": 10}, Limits(operations=12 * 81 + 3 * 81 + 112))
    with pytest.raises(fxp.GraphError, match="1,327 operations"):
        graph.concrete_shapes({"H": 10, "W": 10}, Limits(operations=1326))


def test_a_state_of_absurd_size_is_refused() -> None:
    tall = (1, Extent("H") * (2**31 - 1), Extent("W"))
    node = Node("n", Relu(), ("s",), Quantization(Format(7, 0, signed=False)))
    other = Node("y", Relu(), ("x",), Quantization(FORM))
    state = State(Value("s", tall, Format(7, 0, signed=False)), "n")
    graph = Graph("g", (Value("x", SHAPE, FORM),), (node, other), ("y",), (), (state,))
    with pytest.raises(fxp.GraphError, match=r"value 's': it, of shape .* 17,179,869,176 rows"):
        Engine(graph).run([np.zeros((1, 8, 8), np.int64)])


@pytest.mark.parametrize("rows", [0, -1, 1.5, True, "many"])
def test_limits_are_positive_integers(rows: object) -> None:
    with pytest.raises(ValueError, match="limit of rows must be an integer of at least 1"):
        Limits(rows=rows)  # type: ignore[arg-type]
