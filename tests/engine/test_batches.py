"""Batches of images, and threads that work together."""

from __future__ import annotations

import gc
import threading
import time

import numpy as np
import pytest
from engine_graphs import BYTE, Network, random_images

import fxp
from fxp.engine import Engine, Options
from fxp.engine.workers import Workers
from fxp.executors import oracle
from fxp.formats import Format, FormatError
from fxp.graph import Graph, State, Value
from fxp.graph.ops import Add, GlobalAveragePool, PixelShuffle, Relu
from fxp.graph.ops.base import GraphError
from fxp.kernels.commands import wait_for_change


def networks() -> dict[str, Graph]:
    """Graphs whose inputs and outputs lie in memory in every way."""
    made = {}
    network = Network()
    conv = network.conv(network.conv(network.image(3), 8), 12)
    network.node(PixelShuffle(2), conv, to=BYTE)
    made["three planes"] = network.graph()
    network = Network()
    made["one plane"] = (network.conv(network.image(1), 1, (5, 5)), network.graph())[1]
    network = Network()
    first, second = network.image(4), network.image(4)
    total = network.node(Add(), first, second, to=Format(24, 4))
    pooled = network.node(GlobalAveragePool(), total, to=Format(12, 6))
    made["two inputs, two outputs"] = network.graph(total, pooled)
    network = Network()
    source = network.image(2)
    network.node(Relu(), source, to=BYTE)
    made["an input is an output"] = network.graph(source, network.nodes[-1].name)
    return made


NETWORKS = networks()


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 6, 17])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_many_images(name: str, count: int, threads: int) -> None:
    graph = NETWORKS[name]
    generator = np.random.default_rng(count)
    images = [random_images(graph, (7, 9), generator) for _ in range(count)]
    batches = [np.stack(arrays) for arrays in zip(*images, strict=True)]
    for options in (Options(), Options("portable")):
        found = Engine(graph, options).run_batch(batches, threads=threads)
        assert len(found) == len(graph.outputs)
        for number, image in enumerate(images):
            expected = oracle.run(graph, image).outputs
            for want, got in zip(expected, found, strict=True):
                assert np.array_equal(want, got[number])


def test_an_image_out_of_range_is_named() -> None:
    graph = NETWORKS["one plane"]
    batch = np.zeros((5, 1, 4, 4), np.int64)
    batch[3, 0, 2, 1] = 128
    with pytest.raises(FormatError, match=r"'input0': raw 128 at index \(3, 0, 2, 1\)"):
        Engine(graph).run_batch([batch])


def test_steps_of_a_sequence_are_no_batch() -> None:
    network = Network()
    source = network.image(1)
    network.known["state"] = network.known[source]
    total = network.node(Add(), source, "state", to=BYTE)
    state = State(Value("state", network.inputs[0].shape, BYTE), total)
    network.states.append(state)
    graph = network.graph()
    with pytest.raises(GraphError, match="has states"):
        Engine(graph).run_batch([np.zeros((2, 1, 4, 4), np.int64)])
    model = fxp.FixedModel(graph)
    steps = np.full((3, 1, 1, 1), 1 / 16, np.float32)
    assert (model(steps).ravel() * 16).tolist() == [1, 2, 3]


def test_models_take_batches() -> None:
    model = fxp.FixedModel(NETWORKS["three planes"])
    batch = np.random.default_rng(0).uniform(-8, 8, (9, 3, 5, 6)).astype(np.float32)
    found = model(batch, threads=2)
    raws = np.floor(batch * 16 + 0.5).clip(-128, 127).astype(np.int64)
    assert found.dtype == np.float32
    assert np.array_equal(found, model.oracle(batch))
    assert np.array_equal(model.run_raw(raws, threads=2), found * 16)


def test_batches_at_once() -> None:
    """Callers that share an engine do not share what they write."""
    graph = NETWORKS["three planes"]
    engine = Engine(graph)
    batches = [random_images(graph, (8, 8), np.random.default_rng(i))[0][None] for i in range(4)]
    batches = [np.repeat(batch, 40, axis=0) for batch in batches]
    expected = [oracle.run(graph, [batch[0]]).outputs[0] for batch in batches]
    wrong: list[int] = []

    def run(index: int) -> None:
        for _ in range(5):
            (found,) = engine.run_batch([batches[index]], threads=2)
            if not all(np.array_equal(image, expected[index]) for image in found):
                wrong.append(index)

    callers = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


def test_every_number_is_taken_once() -> None:
    workers = Workers()
    for threads in (1, 2, 4):
        taken: list[int] = []
        workers.share(lambda _, number, taken=taken: taken.append(number), 50, threads)
        assert sorted(taken) == list(range(50))


def test_helpers_take_part() -> None:
    workers = Workers()
    meeting = threading.Barrier(3, timeout=30)
    seen: list[int] = []

    def work(thread: int) -> None:
        meeting.wait()
        seen.append(thread)

    workers.together(work, 3)
    assert sorted(seen) == [0, 1, 2]


def test_busy_helpers_are_not_waited_for() -> None:
    workers = Workers()
    begun, release = threading.Event(), threading.Event()

    def hold(thread: int) -> None:
        if thread == 1:
            begun.set()
            release.wait(30)
        else:
            begun.wait(30)

    holding = threading.Thread(target=workers.together, args=(hold, 2))
    holding.start()
    begun.wait(30)
    taken: list[int] = []
    workers.share(lambda thread, _: taken.append(thread), 5, 2)
    assert taken == [0] * 5
    release.set()
    holding.join(30)
    assert not holding.is_alive()


@pytest.mark.parametrize("failing", [0, 1])
def test_errors_of_any_thread_are_raised(failing: int) -> None:
    workers = Workers()
    meeting = threading.Barrier(2, timeout=30)

    def work(thread: int) -> None:
        meeting.wait()
        if thread == failing:
            raise ValueError(f"thread {thread}")

    with pytest.raises(ValueError, match=f"thread {failing}"):
        workers.together(work, 2)


def test_helpers_end_with_their_workers() -> None:
    before = threading.active_count()
    workers = Workers()
    workers.together(lambda _: time.sleep(0.01), 4)
    assert threading.active_count() > before
    del workers
    gc.collect()
    for _ in range(300):
        if threading.active_count() <= before:
            break
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_waiting_for_a_signal() -> None:
    """A change that came before the wait is seen at once; without one the wait ends."""
    number = np.array([7])
    assert wait_for_change(number.ctypes.data, 6, 1)
    assert not wait_for_change(number.ctypes.data, 7, 10)
    waiting = threading.Timer(0.05, lambda: number.__setitem__(0, 8))
    waiting.start()
    assert wait_for_change(number.ctypes.data, 7, 10**10)
    waiting.join()
