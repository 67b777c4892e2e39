"""Claims of docs/number-semantics.md on accumulators, ops and states.

`golden_ops` holds the integers of every op; here are the claims that no single result shows: proved
ranges, what is refused, and what equals what.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from claims import SECTIONS, claim
from golden_runs import EXECUTORS
from golden_tables import FUNCTIONS

from fxp.formats import Format, Quantization
from fxp.graph import Constant, Graph, Node, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import (
    REGISTRY,
    Add,
    AveragePool,
    BicubicUpsample,
    BilinearUpsample,
    Clamp,
    Concat,
    Conv2d,
    ConvTranspose2d,
    GlobalAveragePool,
    GroupNorm,
    Interpolate,
    Linear,
    LineCodec,
    LocalResponseNorm,
    MaxPoolIndices,
    MaxUnpool,
    Multiply,
    Op,
    Pad,
    Relu,
    Sigmoid,
    Softmax,
    SoftThreshold,
    StandardDeviation,
    StoredTable,
    Subtract,
    Tanh,
)
from fxp.graph.ops.base import Accumulator, GraphError
from fxp.model import FixedModel
from fxp.store import FileError

BYTE, PIXEL = Format(8, 0), Format(8, 0, signed=False)
WIDE = Quantization(Format(40, 0))


def constant(raw: object, *formats: Format) -> Constant:
    return Constant("k", np.array(raw, np.int64), formats or (Format(32, 0),))


def graph(op: Op, *operands: Value | Constant, to: Quantization = WIDE, name: str = "y") -> Graph:
    """Graph of one node."""
    values = tuple(item for item in operands if isinstance(item, Value))
    constants = tuple(item for item in operands if isinstance(item, Constant))
    node = Node(name, op, tuple(item.name for item in operands), to)
    return Graph("claims", values, (node,), (name,), constants)


def proved(op: Op, *operands: Value | Constant) -> Accumulator:
    """Accumulator of a node."""
    found = graph(op, *operands).nodes[0].accumulator
    assert found is not None
    return found


def run(executor: str, model: Graph, *inputs: object) -> list:
    """First output of a graph."""
    arrays = [np.array(item, np.int64) for item in inputs]
    return EXECUTORS[executor](model, arrays)[0].tolist()


def vector(features: int, form: Format = BYTE, name: str = "x") -> Value:
    return Value(name, (features,), form)


def image(*shape: int | Extent, form: Format = BYTE, name: str = "x") -> Value:
    return Value(name, shape, form)


EXACT = "Exact accumulators, one requantization per node"


@claim(EXACT, "A format that holds an accumulator exactly: its requantization changes nothing.")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_two_ops_round_once_if_the_first_has_an_exact_format(executor: str) -> None:
    # 7/4 * 1/4 = 7/16 rounds to 0. Rounded to halves first it is 1/2, which rounds to 1.
    source = Format(8, 2)

    def chain(middle: Format) -> Graph:
        nodes = (
            Node("product", Multiply(), ("a", "b"), Quantization(middle)),
            Node("y", Relu(), ("product",), Quantization(BYTE)),
        )
        inputs = (vector(1, source, "a"), vector(1, source, "b"))
        return Graph("claims", inputs, nodes, ("y",))

    product = proved(Multiply(), vector(1, source, "a"), vector(1, source, "b"))
    assert product.exact_format == Format(16, 4)  # -128 * 127 to 128 * 128 = 2^14
    assert run(executor, chain(product.exact_format), [7], [1]) == [0]
    assert run(executor, chain(Format(8, 1)), [7], [1]) == [1]


@claim("Alignment", "Operands are shifted to the most fraction bits of all; products add them up.")
def test_fraction_bits_of_sums_and_products() -> None:
    a, b = vector(1, Format(6, 2), "a"), vector(1, Format(6, 4), "b")
    assert proved(Add(), a, b).fracs == (4,)
    assert proved(Subtract(), a, b).fracs == (4,)
    assert proved(Concat(), a, b).fracs == (4, 4)
    assert proved(Multiply(), a, b).fracs == (6,)
    # -32*4 - 32 and 31*4 + 31; -32*4 - 31 and 31*4 + 32.
    assert (proved(Add(), a, b).low, proved(Add(), a, b).high) == ((-160,), (155,))
    assert (proved(Subtract(), a, b).low, proved(Subtract(), a, b).high) == ((-159,), (156,))


@claim("Weighted sums", "The bias must have exactly the fraction bits of the products.")
@pytest.mark.parametrize("frac", [4, 6])
def test_a_bias_with_other_fraction_bits_is_refused(frac: int) -> None:
    weight = Constant("w", np.array([[1]]), (Format(4, 3),))
    bias = Constant("b", np.array([1]), (Format(8, frac),))
    with pytest.raises(GraphError, match="fraction bits"):
        graph(Linear(), vector(1, Format(8, 2)), weight, bias)
    assert proved(Linear(), vector(1, Format(8, 2)), weight).fracs == (5,)


WIDTH = "How wide is the accumulator?"


@claim(WIDTH, "Weights 3 and -2, bias 10, a signed byte: -628 to 647, 11 bits; reached.")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_bound_of_the_page_is_tight(executor: str) -> None:
    weight, bias = (
        Constant("w", np.array([[3, -2]]), (BYTE,)),
        Constant("b", np.array([10]), (BYTE,)),
    )
    model = graph(Linear(), vector(2), weight, bias)
    accumulator = model.nodes[0].accumulator
    assert accumulator == Accumulator((-628,), (647,), (0,))
    assert accumulator.bits == 11
    assert run(executor, model, [127, -128]) == [647]
    assert run(executor, model, [-128, 127]) == [-628]


@claim(WIDTH, "The width is that of the register which holds `min` to `max` of all channels.")
@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 0, 1), (-1, 0, 1), (0, 1, 2), (-128, 127, 8), (-129, 0, 9), (0, 128, 9), (-1, 127, 8)],
)
def test_bits_of_a_range(low: int, high: int, bits: int) -> None:
    assert Accumulator((low,), (high,), (0,)).bits == bits
    assert Accumulator((0, low), (high, 0), (0, 0)).bits == bits


@claim(WIDTH, "A node that needs more than 63 bits is refused with these numbers.")
def test_more_than_63_bits_are_refused() -> None:
    wide = vector(1, Format(63, 0))
    with pytest.raises(GraphError, match="64 bit"):
        graph(Add(), wide, Value("z", (1,), Format(63, 0)))
    assert proved(Add(), vector(1, Format(62, 0)), vector(1, Format(62, 0), "z")).bits == 63


@claim(WIDTH, "Only the final sum must fit; what wraps out wraps back in.")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_partial_sums_may_leave_the_register(executor: str) -> None:
    # Four times -16384 * 65535 is -4294901760, which needs 33 bits; with the bias, 2^31 - 1, the
    # sum is -2147418113, and the register has 32.
    weight = Constant("w", np.full((1, 4, 1, 1), -16384), (Format(16, 0),))
    bias = Constant("b", np.array([2147483647]), (Format(32, 0),))
    model = graph(Conv2d(), image(4, 1, 2, form=Format(16, 0, signed=False)), weight, bias)
    accumulator = model.nodes[0].accumulator
    assert accumulator is not None
    assert accumulator.bits == 32
    assert run(executor, model, [[[65535, 0]]] * 4) == [[[-2147418113, 2147483647]]]


@claim(WIDTH, "No output of a transposed convolution sees all taps: the largest of the phases.")
def test_the_bound_of_a_transposed_convolution_is_that_of_its_phases() -> None:
    # Even columns see the taps 10 and 30, odd ones -20.
    weight = constant([[[[10, -20, 30]]]], BYTE)
    found = proved(ConvTranspose2d(stride=(1, 2)), image(1, 1, 4, form=PIXEL), weight)
    assert (found.low, found.high) == ((-20 * 255,), (40 * 255,))


@claim("Averages", "A 3x3 window has f = 20 and m = 116508, below 2^-17 off; 2x2 is a quarter.")
def test_reciprocals_of_windows() -> None:
    nine = proved(AveragePool((3, 3)), image(1, 3, 3, form=PIXEL))
    assert (nine.fracs, nine.high) == ((20,), (116508 * 9 * 255,))
    assert abs(116508 * 9 / 2**20 - 1) < 2**-17
    four = proved(AveragePool((2, 2)), image(1, 2, 2, form=PIXEL))
    assert (four.fracs, four.high) == ((18,), (65536 * 4 * 255,))


@claim("Averages", "`global_average_pool` takes f = 34 and an image of at most 2^26 pixels.")
def test_global_averages_are_of_at_most_64_million_pixels() -> None:
    assert proved(GlobalAveragePool(), image(1, 8192, 8192, form=PIXEL)).fracs == (34,)
    with pytest.raises(GraphError, match="pixels"):
        graph(GlobalAveragePool(), image(1, 8192, 8193, form=PIXEL))


@claim("Interpolation by any ratio", "Bilinear x4 has 3 bits an axis; a ratio of 3/2 has 16.")
def test_bits_of_interpolation() -> None:
    four = proved(Interpolate("bilinear", (4, 4)), image(1, 8, 8, form=PIXEL))
    assert (four.fracs, four.high) == ((6,), (255 * 64,))
    other = proved(Interpolate("bilinear", (3, 3), (2, 2)), image(1, 8, 8, form=PIXEL))
    assert (other.fracs, other.high) == ((32,), (255 * 2**32,))


@claim("Statistics and normalization", "14-bit images have m = 5, p = 22; 19 bits are the most.")
def test_bits_of_statistics() -> None:
    fourteen = proved(GroupNorm(1), image(1, 4, 4, form=Format(14, 10)))
    assert fourteen.fracs == (47 - 22 // 2,)
    root = proved(StandardDeviation(1), image(1, 4, 4, form=Format(14, 10)))
    assert root.fracs == (10 + 5 + 22 // 2,)
    assert proved(GroupNorm(1), image(1, 4, 4, form=Format(19, 0))).bits <= 63
    with pytest.raises(GraphError, match="more than 62 bits"):
        graph(GroupNorm(1), image(1, 4, 4, form=Format(20, 0)))


@claim("Clamp and ReLU", "Bounds are floor(bound * 2^frac + 1/2), cut to the operand's range.")
def test_bounds_are_rounded_half_up() -> None:
    halves = vector(1, Format(4, 1))
    # 2.5, 1.5, -1.5 and -2.5 halves; the last bounds lie outside -8 to 7 halves.
    assert proved(Clamp(high=1.25), halves).high == (3,)
    assert proved(Clamp(high=0.75), halves).high == (2,)
    assert proved(Clamp(low=-0.75), halves).low == (-1,)
    assert proved(Clamp(low=-1.25), halves).low == (-2,)
    assert proved(Clamp(-100.0, 100.0), halves) == Accumulator((-8,), (7,), (1,))


@claim("Tables", "One entry for each code of the operand's format, which has at most 16 bits.")
def test_tables_have_one_entry_for_each_code() -> None:
    with pytest.raises(GraphError, match="needs a table of 4 entries"):
        graph(StoredTable(), vector(1, Format(2, 0)), constant([1, 2, 3]))
    with pytest.raises(GraphError, match="16"):
        graph(StoredTable(), vector(1, Format(17, 0)), constant(np.zeros(2**17)))


@claim("Tables", "No executor evaluates the function.")
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("op", [Sigmoid(), Tanh()])
def test_executors_read_the_table_whatever_it_holds(op: Op, executor: str) -> None:
    model = graph(op, vector(4, Format(2, 0)), constant([7, -3, 100, 5]))
    assert run(executor, model, [-2, -1, 0, 1]) == [7, -3, 100, 5]


@claim("Tables", "`tabulate`: the function in float64 at each code, rounded half up and saturated.")
def test_tabulate_rounds_half_up_and_saturates() -> None:
    for name, entries in FUNCTIONS.items():
        tabulated = REGISTRY[name]().tabulate(Format(2, 0), Format(8, 3))  # type: ignore
        assert tabulated.tolist() == entries, name
    # A half of the last bit at zero is a tie: 0.5 with no fraction bits.
    assert Sigmoid().tabulate(Format(2, 0), Format(4, 0)).tolist() == [0, 0, 1, 1]
    # tanh at -2 -1 0 1: -0.964 -0.762 0 0.762, in quarters -3.9 -3.0 0 3.05; two bits hold 1.
    assert Tanh().tabulate(Format(2, 0), Format(4, 2)).tolist() == [-4, -3, 0, 3]
    assert Tanh().tabulate(Format(2, 0), Format(2, 2)).tolist() == [-2, -2, 0, 1]


@claim("Tables", "`table` exists in integer graphs only.")
def test_a_table_of_any_function_needs_formats() -> None:
    node = Node("y", StoredTable(), ("x", "k"))
    with pytest.raises(GraphError, match="float graph"):
        Graph("g", (Value("x", (1,)),), (node,), ("y",), (Constant("k", np.zeros(4)),))


@claim("Softmax", "`k` is 16 more than the bit length of the largest possible sum.")
def test_fraction_bits_of_a_softmax() -> None:
    table = constant([8, 4, 2, 1], Format(4, 0, signed=False))
    assert proved(Softmax(), vector(3), table).fracs == (16 + 5,) * 3  # 3 * 8 = 24
    assert proved(Softmax(), vector(4), table).fracs == (16 + 6,) * 4  # 4 * 8 = 32


@claim("Local response normalization", "The length of the table must fit exactly.")
def test_the_table_of_a_response_normalization_fits_exactly() -> None:
    source = image(3, 1, 1, form=Format(3, 0))

    def build(entries: int) -> Graph:
        return graph(LocalResponseNorm(size=3), source, constant(np.ones(entries), PIXEL))

    # Sums up to 3*16 = 48: shifted by 3, 2, 1 and 0 bits the last index is 6, 12, 24, 48.
    for entries in (7, 13, 25, 49):
        assert build(entries).is_integer
    for entries in (6, 8, 12, 24, 48, 50):
        with pytest.raises(GraphError, match="does not fit"):
            build(entries)


@claim("Soft threshold", "No executor needs more bits than `x` and one threshold of its size.")
def test_a_threshold_beyond_all_magnitudes_costs_no_bits() -> None:
    found = proved(SoftThreshold(), vector(1, Format(4, 0)), constant([-(2**30)]))
    assert (found.low, found.high) == ((-16,), (14,))  # 0 - (8 + 8) and (7 + 8) - (8 - 7)


@claim("Upsampling", "Each axis adds the fraction bits of its taps.")
@pytest.mark.parametrize(
    ("op", "frac"),
    [(BilinearUpsample(), 4), (BicubicUpsample(), 14), (BicubicUpsample(-0.75), 16)],
)
def test_fraction_bits_of_upsampling(op: Op, frac: int) -> None:
    assert proved(op, image(1, 2, 2, form=Format(8, 3))).fracs == (3 + frac,)


@claim("Upsampling", "Rows and then columns are summed without rounding in between.")
@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize(
    ("op", "frac"),
    [(BilinearUpsample(), 4), (BicubicUpsample(), 14), (BicubicUpsample(-0.75), 16)],
)
def test_a_constant_image_stays_as_it_is(op: Op, frac: int, executor: str) -> None:
    model = graph(op, image(1, 2, 3), to=Quantization(Format(40, frac)))
    assert run(executor, model, [[[-3] * 3] * 2]) == [[[-3 * 2**frac] * 6] * 4]


INDICES = "Indices of a max pooling"


@claim(INDICES, "It needs only the bits that number the taps of a window, whatever the image.")
def test_indices_count_the_taps_of_a_window() -> None:
    found = proved(MaxPoolIndices((2, 3), (2, 3)), image(1, 2000, 3000))
    assert (found.low, found.high, found.fracs) == ((0,), (5,), (0,))


@claim(INDICES, "Windows must not overlap (`stride` at least `window`).")
def test_overlapping_windows_are_refused() -> None:
    with pytest.raises((GraphError, ValueError), match="stride"):
        MaxUnpool((2, 2), (2, 1))
    assert MaxUnpool((2, 2), (2, 3)).stride == (2, 3)


@claim("Line codec", "A group of fewer than 2^d - 2^(B-p) + 1 steps comes back unchanged.")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_narrow_group_of_14_bits_is_unchanged(executor: str) -> None:
    # d = 5, p = 12: fewer than 32 - 4 + 1 = 29 steps, wherever the group begins.
    form = Format(14, 0, signed=False)
    model = graph(LineCodec(), image(1, 8, 8, form=form), to=Quantization(form))
    rows = [[low, low + 28, low + 1, low + 2, low + 3, low + 5, low + 9, low + 27]
            for low in range(100, 108)]  # fmt: skip
    assert run(executor, model, [rows]) == [rows]
    # 29 steps from 103 on: base 100, 132 - 100 = 32 needs s = 1, and (103 - 100 + 1) >> 1 = 2
    # stands for 104.
    assert run(executor, model, [[[103, 132] * 4] * 8]) == [[[104, 132] * 4] * 8]


@claim("Padding", "None of the modes changes a format.")
@pytest.mark.parametrize("mode", ["zero", "reflect", "replicate", "symmetric"])
def test_padding_keeps_the_range(mode: str) -> None:
    found = proved(Pad((1, 1, 1, 1), mode), image(1, 4, 4, form=Format(8, 3)))  # type: ignore
    assert found == Accumulator((-128,), (127,), (3,))


STATE = State(Value("total", (1,), BYTE), "y", -5)


def recurrent(state: State = STATE, weight: int = 2) -> Graph:
    """``y = weight * x + total``, kept as the total."""
    nodes = (
        Node("product", Multiply(), ("x", "k"), WIDE),
        Node("y", Add(), ("product", "total"), Quantization(BYTE)),
    )
    return Graph("sum", (vector(1),), nodes, ("y",), (constant([weight]),), (state,))


@claim("States", "A state and the value that feeds it have the same format and shape.")
@pytest.mark.parametrize(
    "state",
    [
        State(Value("total", (1,), Format(9, 0)), "y"),
        State(Value("total", (2,), BYTE), "x"),
        State(Value("total", (1,), BYTE), "product"),
    ],
)
def test_a_state_of_another_format_or_shape_is_refused(state: State) -> None:
    with pytest.raises(GraphError, match="total"):
        recurrent(state)


@claim("States", "Before the first call every element of a state is its reset value.")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_state_begins_with_its_reset_value(executor: str) -> None:
    assert run(executor, recurrent(), [3]) == [1]


@claim("States", "`model.step(x)` and `model(frames)` give the same integers.")
def test_steps_and_sequences_are_equal() -> None:
    model = FixedModel(recurrent())
    frames: Sequence[int] = (3, -2, 60, 60, 1)
    expected = [[1], [-3], [117], [127], [127]]  # 237 and 129 saturate
    assert model.run_raw(np.array(frames)[:, None]).tolist() == expected
    assert [model.step_raw(np.array([frame])).tolist() for frame in frames] == expected
    model.reset_state()
    assert [model.step(np.array([float(frame)])).tolist() for frame in frames] == expected


@claim("States", "`load_state` continues, equal to the last bit; others and damage are refused.")
def test_a_saved_state_continues(tmp_path: Path) -> None:
    path = tmp_path / "state"
    model = FixedModel(recurrent())
    assert model.step_raw(np.array([3])).tolist() == [1]
    model.save_state(path)
    again = FixedModel(recurrent())
    again.load_state(path)
    assert again.step_raw(np.array([20])).tolist() == [41]
    with pytest.raises(FileError):
        FixedModel(recurrent(weight=3)).load_state(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError):
        again.load_state(path)


def test_every_section_has_a_claim() -> None:
    """Headings of the page, and the words in bold that begin its paragraphs on ops."""
    import test_claims_formats  # noqa: F401

    page = Path(__file__).parents[2] / "docs" / "number-semantics.md"
    text = page.read_text(encoding="utf-8")
    headings = set(re.findall(r"^##+ (.+)$", text, re.MULTILINE))
    headings |= set(re.findall(r"^\*\*(.+?)\.\*\*", text, re.MULTILINE))
    # PReLU and max pooling have integers in `golden_ops`, and nothing besides.
    assert headings - {"Details of some ops", "PReLU", "Max pooling"} == SECTIONS
