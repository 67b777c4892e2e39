"""Any array a user may hold, from any number of threads: right integers or one clear line."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fxp
from fxp.executors import oracle
from fxp.formats import Format, Quantization, quantize
from fxp.graph.ops import Add, Concat, Requantize, Slice


@pytest.fixture(scope="module")
def model() -> fxp.FixedModel:
    """Every kind of stage: convolutions, pools, a shuffle, a border, a sum and a table."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect")
            self.body = nn.Conv2d(8, 8, 3, padding=1)
            self.tail = nn.Conv2d(8, 12, 1)

        def forward(self, colours: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.head(colours))
            x = torch.sigmoid(self.body(x)) + nn.functional.max_pool2d(x, 3, 1, 1)
            return nn.functional.pixel_shuffle(self.tail(x), 2)

    torch.manual_seed(0)
    return fxp.quantize(Network().eval(), [torch.rand(2, 3, 9, 8)], effort="fast")


@pytest.fixture(scope="module")
def raw_model() -> fxp.FixedModel:
    """Hands its input on unchanged, and keeps it as a state."""
    form = Format(12, 4)
    x = fxp.Value("x", (2, fxp.Extent("H"), fxp.Extent("W")), form)
    last = fxp.State(fxp.Value("last", x.shape, form), "x")
    nodes = (
        fxp.Node("same", Requantize(), ("x",), Quantization(form)),
        fxp.Node("before", Requantize(), ("last",), Quantization(form)),
    )
    outputs = ("same", "x", "last", "before", "same")
    return fxp.FixedModel(fxp.Graph("identity", (x,), nodes, outputs, (), (last,)))


def image(seed: int = 0, height: int = 7, width: int = 6) -> np.ndarray:
    """Values that float16 holds, in (0, 1)."""
    random = np.random.default_rng(seed)
    return random.integers(0, 1024, (3, height, width)).astype(np.float64) / 1024


def unaligned(array: np.ndarray) -> np.ndarray:
    """Return a copy that begins at an odd address."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = np.frombuffer(memory, array.dtype, array.size, 1).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def read_only(array: np.ndarray) -> np.ndarray:
    frozen = array.copy()
    frozen.setflags(write=False)
    return frozen


def spread(array: np.ndarray) -> np.ndarray:
    """Return a view with gaps between all elements."""
    memory = np.full([2 * size for size in array.shape], np.nan)
    memory[::2, 1::2, ::2] = array
    return memory[::2, 1::2, ::2]


def content(given: Any) -> np.ndarray:
    """Return a copy of the numbers in an array or tensor."""
    return given.detach().numpy().copy() if isinstance(given, torch.Tensor) else np.array(given)


LAYOUTS: dict[str, Callable[[np.ndarray], Any]] = {
    "Fortran": np.asfortranarray,
    "channels last": lambda a: np.ascontiguousarray(a.transpose(1, 2, 0)).transpose(2, 0, 1),
    "mirrored": lambda a: np.ascontiguousarray(a[::-1, ::-1, ::-1])[::-1, ::-1, ::-1],
    "spread": spread,
    "read only": read_only,
    "unaligned": unaligned,
    "big-endian": lambda a: a.astype(">f8"),
    "float16": lambda a: a.astype(np.float16),
    "float32": lambda a: a.astype(np.float32),
    "big-endian float32": lambda a: a.astype(">f4"),
    "unaligned float32": lambda a: unaligned(a.astype(np.float32)),
    "matrix subclass": lambda a: a.view(np.recarray),
    "lists": lambda a: a.tolist(),
    "memory view": lambda a: memoryview(a),
    "tensor": torch.from_numpy,
    "tensor, half": lambda a: torch.from_numpy(a).half(),
    "tensor, with gradient": lambda a: torch.from_numpy(a).requires_grad_(),
    "tensor, channels last": lambda a: torch.from_numpy(a)[None].to(
        memory_format=torch.channels_last
    )[0],
    "tensor, transposed": lambda a: torch.from_numpy(a.swapaxes(1, 2).copy()).transpose(1, 2),
    "tensor, parameter": lambda a: nn.Parameter(torch.from_numpy(a)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layouts_and_types(layout: str, model: fxp.FixedModel):
    values = image()
    wanted = model(values)
    given = LAYOUTS[layout](values)
    before = content(given)
    for run in (model, model.oracle, model.stream().step):
        found = run(given)
        assert isinstance(found, torch.Tensor) == isinstance(given, torch.Tensor)
        assert np.array_equal(np.asarray(found), wanted)
    # A batch of views, too, and the input is as it was.
    if isinstance(given, np.ndarray):
        assert np.array_equal(model(given[None])[0], wanted)
        assert model.clipped(given) == model.clipped(values)
    assert np.array_equal(before, content(given))


@pytest.mark.parametrize(
    "dtype", [np.bool_, *(f"{order}{kind}" for order in "<>" for kind in ("i1", "u1", "i2", "u2",
                                                                         "i4", "u4", "i8", "u8"))]
)  # fmt: skip
def test_integers_are_numbers(dtype: Any, model: fxp.FixedModel):
    bits = np.random.default_rng(0).integers(0, 2, (3, 5, 4))
    assert np.array_equal(model(bits.astype(dtype)), model(bits * 1.0))
    form = model.graph.inputs[0].format
    assert form is not None
    assert np.array_equal(model.run_raw(bits.astype(dtype)), model.run_raw(bits))


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int16, torch.int64, torch.bfloat16]
)
def test_tensors_of_other_types(dtype: torch.dtype, model: fxp.FixedModel):
    bits = torch.randint(0, 2, (3, 5, 4))
    found = model(bits.to(dtype))
    assert found.dtype == torch.float32
    assert torch.equal(found, model(bits.float()))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "complex": (lambda: np.zeros((3, 4, 4), complex), "cannot quantize an array of dtype complex"),
    "long double": (lambda: np.zeros((3, 4, 4), np.longdouble), "dtype float128|dtype longdouble"),
    "objects": (lambda: np.full((3, 4, 4), None), "dtype object"),
    "text": (lambda: np.full((3, 4, 4), "a"), "dtype <U1"),
    "dates": (lambda: np.zeros((3, 4, 4), "M8[s]"), "dtype datetime64"),
    "ragged": (lambda: [[[1.0, 2.0], [3.0]]] * 3, "cannot be read as an array"),
    "nothing": (lambda: None, r"got shape \(\)"),
    "number": (lambda: 0.5, r"got shape \(\)"),
    "complex tensor": (lambda: torch.zeros(3, 4, 4, dtype=torch.complex64), "dtype complex64"),
    "NaN": (lambda: np.full((3, 4, 4), np.nan), r"cannot quantize nan at index \(0, 0, 0\)"),
    "infinity": (lambda: np.full((3, 4, 4), -np.inf, np.float32), "cannot quantize -inf at index"),
    "half infinity": (lambda: np.full((3, 4, 4), np.inf, np.float16), "cannot quantize inf"),
    "second frame": (
        lambda: np.stack([image(), np.where(image() > 2, 0, np.nan)]), "cannot quantize nan"
    ),
    "channels": (lambda: np.zeros((4, 5, 5)), r"needs shape \(3, H, W\), got \(4, 5, 5\)"),
    "channels last": (lambda: np.zeros((5, 5, 3)), r"needs shape \(3, H, W\), got \(5, 5, 3\)"),
    "batch of channels": (lambda: np.zeros((2, 1, 5, 5)), r"needs shape \(3, H, W\), got"),
    "plane": (lambda: np.zeros((5, 5)), r"takes 4 axes with batch, or 3 without; got shape"),
    "five axes": (lambda: np.zeros((1, 1, 3, 5, 5)), r"takes 4 axes with batch"),
    "no rows": (lambda: np.zeros((3, 0, 5)), r"is empty: shape \(3, 0, 5\)"),
    "no columns": (lambda: torch.zeros(1, 3, 5, 0), r"is empty: shape \(1, 3, 5, 0\)"),
    "no images": (lambda: np.zeros((0, 3, 5, 5)), r"is empty: shape \(0, 3, 5, 5\)"),
    "no channels": (lambda: np.zeros((0, 5, 5)), r"is empty: shape \(0, 5, 5\)"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_one_line_that_names_the_input(
    make: Callable[[], Any], message: str, model: fxp.FixedModel
):
    frames = getattr(make(), "ndim", 0) == 4 and len(make()) > 1
    for run in (model, model.oracle) if frames else (model, model.oracle, model.step):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            run(make())
        assert "\n" not in str(caught.value)
        assert "colours" in str(caught.value)
    assert model.state == {}


RAW_REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "floats": (lambda: np.zeros((2, 4, 4)), "raw values must be integers, got dtype float64"),
    "above": (lambda: np.full((2, 4, 4), 2048), r"raw 2048 at index \(0, 0, 0\) does not fit"),
    "below": (lambda: np.full((2, 4, 4), -2049), r"raw -2049 at index \(0, 0, 0\) does not fit"),
    "far above": (lambda: np.full((2, 4, 4), 2**64 - 1, np.uint64), "raw values above"),
    "objects": (lambda: np.full((2, 4, 4), 10**30), "raw values must be integers"),
    "empty": (lambda: np.zeros((2, 0, 4), np.int64), "is empty"),
    "channels": (lambda: np.zeros((1, 4, 4), np.int64), r"needs shape \(2, H, W\)"),
}


@pytest.mark.parametrize(("make", "message"), RAW_REFUSED.values(), ids=RAW_REFUSED)
def test_one_line_for_raw_integers(
    make: Callable[[], Any], message: str, raw_model: fxp.FixedModel
):
    for run in (raw_model.run_raw, raw_model.step_raw):
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            run(make())
        assert "\n" not in str(caught.value)
        assert "x" in str(caught.value).partition(":")[0]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_batches(count: int, model: fxp.FixedModel):
    images = np.stack([image(seed) for seed in range(count)])
    found = model(images)
    assert found.shape == (count, 3, 14, 12)
    for index in range(count):
        assert np.array_equal(found[index], model(images[index]))


def runs(model: fxp.FixedModel, raw: np.ndarray) -> dict[str, Callable[[], list[np.ndarray]]]:
    """Arrays that every way to run a model returns."""

    def of_result(result: Any) -> list[np.ndarray]:
        return [*result.outputs, *result.states.values()]

    def of_stream() -> list[np.ndarray]:
        stream = model.stream()
        return [*stream.step_raw(raw), *stream.step_raw(raw), *stream.state.values()]

    held = {"last": raw}
    return {
        "call": lambda: [*model(raw)],
        "tensor": lambda: [tensor.numpy() for tensor in model(torch.from_numpy(raw) * 1.0)],
        "raw": lambda: [*model.run_raw(raw)],
        "oracle call": lambda: [*model.oracle(raw)],
        "run": lambda: of_result(model.run(raw)),
        "run, state": lambda: of_result(model.run(raw, states=held)),
        "run, narrow": lambda: of_result(model.run(raw, states=held, narrow=True)),
        "run, keep": lambda: [*model.run(raw, keep_values=True).values.values()],
        "oracle": lambda: of_result(oracle.run(model.graph, [raw], held)),
        "stream": of_stream,
    }


@pytest.mark.parametrize("dtype", [np.int64, np.int16])
@pytest.mark.parametrize("kind", list(runs(None, None)))  # type: ignore[arg-type]
def test_results_share_no_memory(kind: str, dtype: type, raw_model: fxp.FixedModel):
    raw = np.random.default_rng(0).integers(-100, 100, (2, 5, 6)).astype(dtype)
    kept = raw.copy()
    run = runs(raw_model, raw)[kind]
    arrays, wanted = run(), [array.copy() for array in run()]
    for array in arrays:
        assert not np.shares_memory(array, raw)
        assert array.flags.writeable
    for left, right in itertools.combinations(arrays, 2):
        assert not np.shares_memory(left, right)
    # What one call returned neither changes with later calls nor changes them.
    for array in arrays:
        array[...] = 77
    assert all(map(np.array_equal, run(), wanted))
    assert all((array == 77).all() for array in arrays)
    assert np.array_equal(raw, kept)


def test_eight_threads_with_images_of_their_own(model: fxp.FixedModel):
    """More sizes than plans are kept, each thread with several; real values and raw integers."""
    form = model.graph.inputs[0].format
    assert form is not None
    images = [image(seed, 5 + seed % 11, 4 + seed % 7) for seed in range(64)]
    wanted = [model(item, threads=1) for item in images]
    raws = [quantize(item, form) for item in images]
    raw_wanted = [model.run_raw(item, threads=1) for item in raws]
    barrier = threading.Barrier(8)

    def work(thread: int) -> int:
        barrier.wait()
        equal = 0
        for index in range(thread, 64, 8):
            threads = 1 + index % 3
            equal += np.array_equal(model(images[index], threads=threads), wanted[index])
            equal += np.array_equal(model.run_raw(raws[index], threads=threads), raw_wanted[index])
        return equal

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 128


def test_eight_threads_with_one_size(model: fxp.FixedModel):
    """All share one plan, whose memory one call at a time may use."""
    images = np.stack([image(seed, 24, 20) for seed in range(8)])
    wanted = model(images, threads=1)
    barrier = threading.Barrier(8)

    def work(index: int) -> bool:
        barrier.wait()
        return all(np.array_equal(model(images[index], threads=2), wanted[index]) for _ in range(9))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_an_error_in_one_thread_leaves_the_others_alone(model: fxp.FixedModel):
    images = [image(seed, 12, 10) for seed in range(16)]
    wanted = [model(item) for item in images]

    def work(index: int) -> bool:
        if index % 2:
            with pytest.raises(fxp.GraphError, match="needs shape"):
                model(images[index][:2])
        return np.array_equal(model(images[index]), wanted[index])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))


def test_several_inputs_are_told_apart():
    form = Format(8, 4)
    inputs = tuple(fxp.Value(name, (1, 2, 2), form) for name in ("left", "right"))
    nodes = (
        fxp.Node("sum", Add(), ("left", "right"), Quantization(form)),
        fxp.Node("both", Concat(), ("left", "sum"), Quantization(form)),
        fxp.Node("y", Slice(start=1), ("both",), Quantization(form)),
    )
    model = fxp.FixedModel(fxp.Graph("g", inputs, nodes, ("y",)))
    good, bad = np.zeros((1, 2, 2)), np.full((1, 2, 2), np.nan)
    for arguments, name in (((bad, good), "left"), ((good, bad), "right")):
        with pytest.raises(fxp.FormatError, match=f"^input '{name}': cannot quantize nan"):
            model(*arguments)
    with pytest.raises(fxp.GraphError, match="input 'right' needs shape"):
        model(good, np.zeros((1, 2, 3)))
    with pytest.raises(TypeError, match=r"input 'right': cannot quantize .* object"):
        model(good, np.full((1, 2, 2), None))
