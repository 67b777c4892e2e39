"""The comparisons can fail: one executor is made wrong, and the comparison must notice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import onnx
import pytest
from cases import COMPARISONS, assert_same
from equality import check_engine, check_onnx, check_torch, onnx_session, session_of
from onnx import numpy_helper

from fxp.engine import Engine, Options, stages
from fxp.executors import oracle, torch_forward
from fxp.executors.execution import Result
from fxp.export.onnx import to_onnx
from fxp.formats import Format, IntArray, Overflow, Quantization, Rounding
from fxp.graph import Constant, Graph, Node, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Conv2d, Prelu, Requantize, Tanh, convolution

SOURCE, RESULT = Format(8, 4), Format(5, 2)
CODES = np.arange(SOURCE.min_raw, SOURCE.max_raw + 1).reshape(1, 16, 16)

PORTABLE = Options("portable")

Batch = list[list[IntArray]]
Compare = Callable[[Graph, Graph, Batch], None]


def on_engine(graph: Graph, mutated: Graph, batch: Batch, options: Options = PORTABLE) -> None:
    """Compare the engine that runs `mutated` with the oracle that runs `graph`."""
    engine = Engine(mutated, options)
    check_engine(graph, oracle.run(graph, batch[0]), batch[0], engine=engine)


def on_fast_engine(graph: Graph, mutated: Graph, batch: Batch) -> None:
    """As `on_engine`, with the kernels that the processor suits."""
    on_engine(graph, mutated, batch, Options())


def on_torch(graph: Graph, mutated: Graph, batch: Batch) -> None:
    """Compare torch that runs `mutated` with the oracle that runs `graph`."""
    expected = [oracle.run(graph, arrays) for arrays in batch]
    check_torch(graph, expected, batch, executed=mutated)


def on_onnx(graph: Graph, mutated: Graph, batch: Batch) -> None:
    """Compare ONNX Runtime that runs `mutated` with the oracle that runs `graph`."""
    expected = [oracle.run(graph, arrays) for arrays in batch]
    check_onnx(graph, expected, batch, session=onnx_session(mutated))


EXECUTORS: dict[str, Compare] = {
    "engine": on_engine,
    "engine, fast": on_fast_engine,
    "torch": on_torch,
    "onnx": on_onnx,
}
every_executor = pytest.mark.parametrize("executor", EXECUTORS)


def assert_noticed(executor: str, graph: Graph, mutated: Graph, batch: Batch) -> None:
    """The untouched graph passes, the mutated one does not."""
    EXECUTORS[executor](graph, graph, batch)
    with pytest.raises(AssertionError, match=f"{executor.split(',')[0]}, .* differ, first at"):
        EXECUTORS[executor](graph, mutated, batch)


def requantizing(rounding: Rounding, overflow: Overflow, target: Format = RESULT) -> Graph:
    """Graph that requantizes an image of every code."""
    quantization = Quantization(target, rounding, overflow)
    return Graph("g", (Value("x", (1, 16, 16), SOURCE),),
                 (Node("y", Requantize(), ("x",), quantization),), ("y",))  # fmt: skip


@every_executor
def test_every_other_rounding_is_noticed(executor: str) -> None:
    for right, wrong in itertools.permutations(Rounding, 2):
        graph, mutated = (requantizing(mode, Overflow.SATURATE) for mode in (right, wrong))
        assert_noticed(executor, graph, mutated, [[CODES]])


@every_executor
def test_every_other_overflow_is_noticed(executor: str) -> None:
    narrow = Format(4, 3)
    for right, wrong in itertools.permutations(Overflow, 2):
        graph, mutated = (requantizing(Rounding.HALF_UP, mode, narrow) for mode in (right, wrong))
        assert_noticed(executor, graph, mutated, [[CODES]])


def convolution_graph(padding_mode: str = "zero") -> Graph:
    """A convolution with padding, per-channel weights and a bias, then a table, slopes, a sum."""
    generator = np.random.default_rng(0)
    free = (Extent("H"), Extent("W"))
    weight = Constant(
        "weight", generator.integers(-32, 32, (2, 2, 3, 3)), (Format(6, 4), Format(6, 5))
    )
    bias = Constant("bias", generator.integers(-99, 99, 2), (Format(9, 8), Format(9, 9)))
    slope = Constant("slope", np.array([5, -9]), (Format(6, 4),))
    middle = Quantization(Format(8, 4))
    table_format = Format(8, 7)
    table = Constant("table", Tanh().tabulate(middle.format, table_format), (table_format,))
    offset = Constant("offset", np.array([3, -4]).reshape(2, 1, 1), (Format(5, 3),))
    conv = Conv2d(padding=(1, 1, 1, 1), padding_mode=padding_mode)  # type: ignore[arg-type]
    wide = Quantization(Format(20, 11))
    return Graph(
        "g",
        (Value("x", (2, *free), SOURCE),),
        (
            Node("conv", conv, ("x", "weight", "bias"), middle),
            Node("prelu", Prelu(), ("conv", "slope"), wide),
            Node("tanh", Tanh(), ("conv", "table"), wide),
            Node("add", Add(), ("tanh", "offset"), wide),
        ),
        ("prelu", "add"),
        (weight, bias, slope, table, offset),
    )


def random_batch() -> Batch:
    """Two images."""
    generator = np.random.default_rng(1)
    return [[generator.integers(-128, 128, (2, 24, 24))] for _ in range(2)]


def flips(graph: Graph, batch: Batch) -> Iterator[tuple[str, int]]:
    """Every element of the constants, but only some of the table's, which the data must reach."""
    reached = np.unique(oracle.run(graph, batch[0]).values["conv"]) + 128
    for constant in graph.constants:
        chosen = reached[::30].tolist() if constant.name == "table" else range(constant.data.size)
        yield from ((constant.name, index) for index in chosen)


@every_executor
def test_flipped_last_bit_of_a_constant_is_noticed(executor: str) -> None:
    graph, batch = convolution_graph(), random_batch()
    EXECUTORS[executor](graph, graph, batch)
    for name, index in flips(graph, batch):
        constants = []
        for constant in graph.constants:
            data = constant.data.copy()
            if constant.name == name:
                data.reshape(-1)[index] ^= 1
            constants.append(replace(constant, data=data))
        mutated = replace(graph, constants=tuple(constants))
        with pytest.raises(AssertionError, match=f"{executor.split(',')[0]}, .* differ, first at"):
            EXECUTORS[executor](graph, mutated, batch)


@every_executor
@pytest.mark.parametrize("modes", [*itertools.permutations(("zero", "reflect", "replicate"), 2)])
def test_other_padding_is_noticed(executor: str, modes: tuple[str, str]) -> None:
    graph, mutated = (convolution_graph(mode) for mode in modes)
    assert_noticed(executor, graph, mutated, random_batch())


def mutated_kernel(
    monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., None], options: Options = PORTABLE
) -> None:
    """Replace the engine's convolution; the untouched one must pass first."""
    graph, batch = convolution_graph(), random_batch()
    on_engine(graph, graph, batch, options)
    right = convolution.convolve
    monkeypatch.setattr(convolution, "convolve", lambda *arguments: wrong(right, *arguments))
    with pytest.raises(AssertionError, match=r"engine, .* differ, first at"):
        on_engine(graph, graph, batch, options)


def test_dropped_pad_pixel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One position of the padding reads a pixel instead of zero."""

    def wrong(right, band, image, weight, bias, rows, columns, groups):
        columns = columns.copy()
        columns[0, 0] += 1
        right(band, image, weight, bias, rows, columns, groups)

    mutated_kernel(monkeypatch, wrong)


def test_last_row_of_a_band_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(right, band, *rest):
        right(band, *rest)
        band[-1, -1, -1] += 256

    mutated_kernel(monkeypatch, wrong)


def test_wrong_first_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(right, band, image, weight, bias, rows, columns, groups):
        right(band, image, weight, bias, rows - rows.min(), columns, groups)

    mutated_kernel(monkeypatch, wrong, Options("portable", band_bytes=1000))


def test_rounding_constant_in_the_kernel_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = requantizing(Rounding.HALF_UP, Overflow.SATURATE)
    right = stages.requantize_band

    def wrong(result, band, shifts, *rest):
        return right(result, band - 1, shifts, *rest)

    monkeypatch.setattr(stages, "requantize_band", wrong)
    with pytest.raises(AssertionError, match="engine, y: 31 of 256 elements differ"):
        on_engine(graph, graph, [[CODES]])


def test_wrong_count_of_clipped_elements_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = requantizing(Rounding.HALF_UP, Overflow.SATURATE)
    right = stages.requantize_band
    monkeypatch.setattr(stages, "requantize_band", lambda *rest: right(*rest) + 1)
    with pytest.raises(AssertionError, match="'y': 129"):
        on_engine(graph, graph, [[CODES]])


def test_memory_freed_too_early_is_noticed() -> None:
    graph, batch = convolution_graph(), random_batch()
    engine = Engine(graph)
    # The memory of an output is used again once nobody in the graph reads it.
    engine._program(False).kept -= {"prelu"}
    with pytest.raises(AssertionError, match=r"engine, prelu: .* differ, first at"):
        check_engine(graph, oracle.run(graph, batch[0]), batch[0], engine=engine)


@pytest.mark.parametrize("change", [-(2.0**-40), 2.0**-2])
def test_rounding_constant_in_torch_is_noticed(
    monkeypatch: pytest.MonkeyPatch, change: float
) -> None:
    graph = requantizing(Rounding.HALF_UP, Overflow.SATURATE)
    right = torch_forward._round
    monkeypatch.setattr(
        torch_forward, "_round", lambda values, rounding: right(values + change, rounding)
    )
    # Inputs are whole steps, but ties of the result meet the smaller change.
    with pytest.raises(AssertionError, match=r"torch, .* differ"):
        on_torch(graph, graph, [[CODES]])


def test_every_initializer_of_the_model_matters() -> None:
    """Each number of the requantization in the ONNX model, changed by one, is noticed."""
    graph = requantizing(Rounding.HALF_UP, Overflow.SATURATE)
    expected = [oracle.run(graph, [CODES])]
    names = [tensor.name for tensor in to_onnx(graph).graph.initializer]
    assert len(names) >= 4  # half a step, the step, the lowest and the highest code
    for name in names:
        model = onnx.ModelProto()
        model.CopyFrom(to_onnx(graph))
        for tensor in model.graph.initializer:
            if tensor.name == name:
                changed = numpy_helper.to_array(tensor) + 1
                tensor.CopyFrom(numpy_helper.from_array(changed, name))
        with pytest.raises(AssertionError, match=r"onnx, y: .* differ"):
            check_onnx(graph, expected, [[CODES]], session=session_of(model.SerializeToString()))


def test_comparison_sees_one_element_and_shape() -> None:
    expected = np.zeros((2, 3), np.int64)
    actual = expected.copy()
    actual[1, 2] = 1
    with pytest.raises(AssertionError, match=r"1 of 6 elements differ, first at \(1, 2\): 1"):
        assert_same("comparison", "y", expected, actual)
    with pytest.raises(AssertionError, match=r"\(3, 2\)"):
        assert_same("comparison", "y", expected, expected.reshape(3, 2))
    del COMPARISONS["comparison"]


def test_missing_value_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = requantizing(Rounding.HALF_UP, Overflow.SATURATE)
    right = Engine.run

    def wrong(self: Engine, *arguments, **options) -> Result:
        result = right(self, *arguments, **options)
        result.values.pop("x", None)
        return result

    monkeypatch.setattr(Engine, "run", wrong)
    with pytest.raises(AssertionError):
        on_engine(graph, graph, [[CODES]])
