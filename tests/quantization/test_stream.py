"""Recurrent networks step by step: streams, and their state in memory and in files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fxp
from fxp.formats import Format, FormatError, Quantization
from fxp.graph.ops import Add, MaxPool, Requantize
from fxp.model.stream import RecurrentStream
from fxp.store import container


class Cell(nn.Module):
    """Two states, one of half the size, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x: torch.Tensor, h: torch.Tensor, low: torch.Tensor):
        up = nn.functional.interpolate(low, scale_factor=2)
        h = 0.5 * h + torch.tanh(self.gate(torch.cat([x, h, up], 1)))
        return h - x, nn.functional.avg_pool2d(h, 2), h, nn.functional.max_pool2d(h, 2)


@pytest.fixture(scope="module")
def model() -> fxp.FixedModel:
    torch.manual_seed(1)
    return fxp.quantize(
        Cell().eval(), [torch.randn(6, 1, 8, 10)], states=[(1, 2), (2, 3)],
        initial_states=[torch.zeros(1, 1, 8, 10), torch.zeros(1, 1, 4, 5)], effort="fast",
    )  # fmt: skip


@pytest.fixture
def frames() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(7, 1, 6, 8))


def raws(model: fxp.FixedModel, frames: np.ndarray) -> np.ndarray:
    form = model.graph.inputs[0].format
    assert form is not None
    return fxp.formats.quantize(frames, form)


def same_states(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(
        np.array_equal(left[key], right[key]) for key in left
    )


def test_steps_equal_the_whole_sequence(model: fxp.FixedModel, frames: np.ndarray):
    wanted = model(frames)
    stream = model.stream()
    for index, frame in enumerate(frames):
        # With batch axis, without, and as a plain image.
        given = (frame[None], frame, frame[0])[index % 3]
        for output, whole in zip(stream.step(given, threads=1 + index % 2), wanted, strict=True):
            assert np.array_equal(output.reshape(whole[index].shape), whole[index])
            assert output.ndim == given.ndim
    raw_wanted = model.run_raw(raws(model, frames))
    stream.reset_state()
    for index, frame in enumerate(raws(model, frames)):
        for output, whole in zip(stream.step_raw(frame), raw_wanted, strict=True):
            assert output.dtype == np.int64
            assert np.array_equal(output, whole[index])


def test_the_model_has_a_stream_of_its_own(model: fxp.FixedModel, frames: np.ndarray):
    wanted = model(frames)[0]
    model.reset_state()
    assert model.state == {}
    first = model.step(frames[0])[0]
    # Whole sequences and other streams leave the state alone.
    assert np.array_equal(model(frames)[0], wanted)
    model.stream().step(frames[3])
    assert np.array_equal(model.step(frames[1])[0], wanted[1])
    assert np.array_equal(model.step_raw(raws(model, frames[2]))[0] * model.graph.values[
        model.graph.outputs[0]].format.step, wanted[2])  # fmt: skip
    model.reset_state()
    assert np.array_equal(model.step(frames[0])[0], first)
    tensor = model.step(torch.from_numpy(frames[1]))[0]
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), wanted[1])
    model.reset_state()


def test_the_state_is_a_copy(model: fxp.FixedModel, frames: np.ndarray):
    stream = model.stream()
    stream.step(frames[0])
    before = stream.state
    assert list(before) == [state.value.name for state in model.graph.states]
    assert all(array.dtype == np.int64 for array in before.values())
    for array in stream.state.values():
        array[:] = 0
    assert same_states(stream.state, before)
    given = {name: array.copy() for name, array in before.items()}
    stream.load_state(given)
    given["h"][:] = 0
    assert same_states(stream.state, before)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_continued_from_the_middle(
    kind: str, model: fxp.FixedModel, frames: np.ndarray, tmp_path: Path
):
    wanted = model(frames)
    stream = model.stream()
    for frame in frames[:4]:
        stream.step(frame)
    path = tmp_path / "sequence.state"
    stream.save_state(path)
    model.save(tmp_path / "model.fxp")
    other = fxp.load(tmp_path / "model.fxp")
    other.load_state(path if kind == "file" else stream.state)
    assert same_states(other.state, stream.state)
    for index, frame in enumerate(frames[4:], 4):
        for output, whole in zip(other.step(frame), wanted, strict=True):
            assert np.array_equal(output, whole[index])
    assert list(tmp_path.glob(".*")) == []


def test_the_reset_state_can_be_saved(model: fxp.FixedModel, frames: np.ndarray, tmp_path: Path):
    model.stream().save_state(tmp_path / "reset.state")
    stream = model.stream()
    stream.step(frames[0])
    stream.load_state(tmp_path / "reset.state")
    assert stream.state == {}
    stream.step(frames[0])
    stream.load_state({})
    assert stream.state == {}


def test_equal_states_give_equal_files(model: fxp.FixedModel, frames: np.ndarray, tmp_path: Path):
    for name in "ab":
        stream = model.stream()
        stream.step(frames[0])
        stream.save_state(str(tmp_path / name))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_network_without_states_steps_too(tmp_path: Path):
    x = fxp.Value("x", (1, fxp.Extent("H"), fxp.Extent("W")), Format(8, 4))
    graph = fxp.Graph(
        "g", (x,), (fxp.Node("y", MaxPool(), ("x",), Quantization(x.format)),), ("y",)
    )
    model = fxp.FixedModel(graph)
    image = np.random.default_rng(0).normal(size=(4, 6))
    assert np.array_equal(model.step(image), model(image))
    model.save_state(tmp_path / "state")
    model.load_state(tmp_path / "state")
    assert model.state == {}


def test_an_error_leaves_the_state(model: fxp.FixedModel, frames: np.ndarray):
    stream = model.stream()
    stream.step(frames[0])
    before = stream.state
    bad = frames[1].copy()
    bad[0, 2, 3] = np.nan
    for wrong, message in (
        (bad, r"input 'x': cannot quantize nan at index \(0, 2, 3\)"),
        (frames[:2], r"a step takes one image per input, got a batch of 2"),
        (np.zeros((1, 10, 8)), r"state 'h' needs shape \(1, 10, 8\), got \(1, 6, 8\); the images"),
        (np.zeros((1, 7, 8)), r"x"),
        (np.zeros((2, 6, 8)), r"input 'x' needs shape"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            stream.step(wrong)
        assert "\n" not in str(caught.value)
        assert same_states(stream.state, before)
    with pytest.raises(TypeError, match="'x': raw values must be integers"):
        stream.step_raw(frames[1])
    with pytest.raises(fxp.GraphError, match="takes 1 inputs"):
        stream.step()
    assert same_states(stream.state, before)


def changed(name: str, change: Callable[[np.ndarray], object]) -> Callable[[dict], dict]:
    return lambda state: {**state, name: change(state[name])}


BAD_STATES = {
    "unknown": (lambda s: {**s, "z": s["h"]}, r"has no state 'z', only \['h', 'low'\]"),
    "missing": (lambda s: {"h": s["h"]}, r"state 'low' is missing; give all of"),
    "axes": (changed("h", lambda a: a[0]), r"state h: \(1, 2\*H, 2\*W\) .* not fit the shape"),
    "no axes": (
        lambda s: {name: array.ravel() for name, array in s.items()},
        r"state (h|low): .* does not fit the shape",
    ),
    "channels": (changed("low", lambda a: np.repeat(a, 2, 0)), r"state low: .*shape \(2, 3, 4\)"),
    "odd": (changed("h", lambda a: a[:, 1:]), r"state (h|low): .* does not fit the shape"),
    "sizes": (changed("h", lambda a: a[:, :4]), r"state (h|low): .* does not fit the shape"),
    "empty": (changed("h", lambda a: a[:, :0]), r"state (h|low): .* does not fit the shape"),
    "floats": (changed("h", lambda a: a * 0.5), r"state 'h': raw values must be integers"),
    "range": (changed("low", lambda a: a + 2**20), r"state 'low': raw \d+ at index .* not fit"),
    "huge": (changed("h", lambda a: a.astype(np.uint64) + 2**63), r"state 'h': raw values above"),
    "ragged": (changed("h", lambda a: [[1, 2], [3]]), r"state 'h': "),
    "nothing": (changed("h", lambda a: None), r"state 'h': raw values must be integers"),
    "gradient": (
        changed("h", lambda a: torch.ones(a.shape, requires_grad=True)),
        r"state 'h': .*requires grad",
    ),
    "no names": (lambda s: list(s.values()), "a state is integers by name.* got list"),
    "no state": (lambda s: None, "a state is integers by name.* got NoneType"),
}


@pytest.mark.parametrize(("make", "message"), BAD_STATES.values(), ids=BAD_STATES)
def test_bad_states_are_refused(make, message: str, model: fxp.FixedModel, frames: np.ndarray):
    stream = model.stream()
    stream.step(frames[0])
    before = stream.state
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        stream.load_state(make(before))
    assert "\n" not in str(caught.value)
    assert same_states(stream.state, before)


def state_file(model: fxp.FixedModel, frames: np.ndarray, path: Path) -> bytes:
    stream = model.stream()
    stream.step(frames[0])
    stream.save_state(path)
    return path.read_bytes()


def refused(model: fxp.FixedModel, path: Path) -> str:
    """Message with which a file is refused: one line with the path in front."""
    stream = model.stream()
    with pytest.raises(FormatError) as caught:
        stream.load_state(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert stream.state == {}
    return message


def test_every_truncated_file_is_refused(model, frames: np.ndarray, tmp_path: Path):
    path = tmp_path / "state"
    data = state_file(model, frames, path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        refused(model, path)
    path.write_bytes(data + b"\0")
    refused(model, path)


def test_every_changed_byte_is_noticed(model, frames: np.ndarray, tmp_path: Path):
    path = tmp_path / "state"
    data = state_file(model, frames, path)
    wanted = model.stream()
    wanted.load_state(path)
    random, accepted, messages = np.random.default_rng(0), 0, []
    for index in range(len(data)):
        broken = bytearray(data)
        broken[index] ^= 1 << int(random.integers(8))
        path.write_bytes(broken)
        stream = model.stream()
        try:
            stream.load_state(path)
        except FormatError as error:
            messages.append(str(error))
            continue
        # Such as a letter of the name, which nothing depends on.
        accepted += 1
        assert same_states(stream.state, wanted.state)
    assert accepted < 20
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("seed", range(40))
def test_random_bytes_are_refused(seed: int, model, frames: np.ndarray, tmp_path: Path):
    path = tmp_path / "state"
    data = bytearray(state_file(model, frames, path))
    random = np.random.default_rng(seed)
    for _ in range(int(random.integers(2, 30))):
        start = int(random.integers(len(data)))
        data[start : start + int(random.integers(1, 9))] = random.bytes(int(random.integers(9)))
    path.write_bytes(data)
    refused(model, path)


def test_files_of_another_kind_are_refused(model, frames: np.ndarray, tmp_path: Path):
    path = tmp_path / "state"
    assert "cannot be read" in refused(model, path)
    path.mkdir()
    assert "not a regular file" in refused(model, path)
    path.rmdir()
    model.save(path)
    assert "this is not the state of a model" in refused(model, path)
    tensors, texts = container.decode(state_file(model, frames, path))
    for old, new, message in (
        ('"version": 1', '"version": 2', "its version is 2, this fxp reads 1"),
        ('"version": 1', '"version": [1]', "its version is [1]"),
        ('"name"', '"title"', "the key 'name' is missing"),
        ('"graph": "', '"graph": "0', "the state of another model, 'Cell'"),
        ('"content": "', '"content": "0', "its content is damaged"),
        ("{", "[", "not valid JSON"),
    ):
        changed_text = texts["fxp.state"].replace(old, new)
        assert changed_text != texts["fxp.state"]
        path.write_bytes(container.encode(tensors, {"fxp.state": changed_text}))
        assert message in refused(model, path)


def test_the_state_of_another_model_is_refused(model, frames: np.ndarray, tmp_path: Path):
    path = tmp_path / "state"
    state_file(model, frames, path)
    torch.manual_seed(2)
    # Same shapes and formats, other weights.
    other = fxp.quantize(
        Cell().eval(), [torch.randn(6, 1, 8, 10)], states=[(1, 2), (2, 3)],
        initial_states=[torch.zeros(1, 1, 8, 10), torch.zeros(1, 1, 4, 5)], effort="fast",
    )  # fmt: skip
    assert refused(other, path).endswith("it is the state of another model, 'Cell'")


def test_a_failed_write_keeps_the_old_file(
    model, frames: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "state"
    data = state_file(model, frames, path)

    def fail(*arguments: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("fxp.support.files.os.replace", fail)
    with pytest.raises(OSError, match="no space"):
        model.stream().save_state(path)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


def test_streams_side_by_side(model: fxp.FixedModel):
    """Eight sequences of different sizes at once, each equal to itself alone."""
    random = np.random.default_rng(5)
    sequences = [random.normal(size=(6, 1, 4 + 2 * index, 12)) for index in range(8)]
    wanted = [model(sequence, threads=1) for sequence in sequences]
    barrier = threading.Barrier(8)

    def run(sequence: np.ndarray) -> list[np.ndarray]:
        stream = model.stream()
        barrier.wait()
        results = [stream.step(frame, threads=1) for frame in sequence]
        return [np.stack(output) for output in zip(*results, strict=True)]

    with ThreadPoolExecutor(8) as pool:
        for found, alone in zip(pool.map(run, sequences), wanted, strict=True):
            assert all(map(np.array_equal, found, alone))


def counter() -> fxp.FixedModel:
    """Adds its input to its state."""
    x = fxp.Value("x", (1, 2, 2), Format(16, 0))
    total = fxp.Value("total", (1, 2, 2), Format(16, 0))
    node = fxp.Node("sum", Add(), ("x", "total"), Quantization(Format(16, 0)))
    copy = fxp.Node("y", Requantize(), ("sum",), Quantization(Format(16, 0)))
    return fxp.FixedModel(
        fxp.Graph("counter", (x,), (node, copy), ("y",), (), (fxp.State(total, "sum", 5),))
    )


def test_steps_of_one_stream_wait_for_each_other():
    model = counter()
    one = np.ones((1, 2, 2), np.int64)
    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(lambda _: int(model.step_raw(one)[0, 0, 0]), range(200)))
    assert found == list(range(6, 206))
    assert model.state["total"].tolist() == [[[205, 205], [205, 205]]]


def test_stream_is_part_of_the_model():
    stream = counter().stream()
    assert isinstance(stream, RecurrentStream)
    assert stream.step_raw(np.zeros((1, 2, 2), np.int64)).tolist() == [[[5, 5], [5, 5]]]
