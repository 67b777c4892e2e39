"""The search of fraction bits: never worse, repeatable, and it keeps what the user fixed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_graphs import constant, format_of, graph, image, node, random_image

import fxp
from fxp.executors.torch_forward import run
from fxp.graph import Graph, State, Value
from fxp.graph.extents import Extent
from fxp.graph.ops import Add, Conv2d, Multiply, Relu
from fxp.quantization.calibrate import observe
from fxp.quantization.lowering import lower, rounded_names
from fxp.quantization.search import output_sqnr, search_fracs
from fxp.quantization.settings import LoweringSettings

GENERATOR = np.random.default_rng(2)
SAME = (1, 1, 1, 1)
CONSTANTS = [
    constant("w1", GENERATOR.normal(size=(4, 1, 3, 3)) * GENERATOR.uniform(0.01, 1, (4, 1, 1, 1))),
    constant("w2", GENERATOR.standard_t(2, (1, 4, 3, 3))),
]
NODES = [
    node("first", Conv2d(padding=SAME), "x", "w1"),
    node("relu", Relu(), "first"),
    node("second", Conv2d(padding=SAME), "relu", "w2"),
]
NETWORK = graph(image(), NODES, constants=CONSTANTS)
CALLS = [[random_image(seed=seed)] for seed in range(3)]
COARSE = LoweringSettings(weight_bits=4, activation_bits=5, wide_bits=0, per_channel=False)


def arrays(network: Graph, calls) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]]]:
    """Inputs and float outputs of calls of one image each."""
    inputs, references, states = [], [], {}
    for call in calls:
        result = run(network, call, states)
        states = result.states
        inputs.append([tensor[0].numpy() for tensor in call])
        references.append([tensor[0].numpy() for tensor in result.outputs])
    return inputs, references


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("method", ["mse", "minmax"])
def test_every_accepted_change_improves_the_output(per_channel, method):
    start = LoweringSettings(4, 5, method=method, per_channel=per_channel, wide_bits=0)
    statistics = observe(NETWORK, CALLS)
    inputs, references = arrays(NETWORK, CALLS)
    found, trials = search_fracs(NETWORK, statistics, start, inputs, references)
    before = output_sqnr(lower(NETWORK, statistics, start), inputs, references)
    after = output_sqnr(lower(NETWORK, statistics, found), inputs, references)
    qualities = [before, *(trial.sqnr for trial in trials)]
    assert qualities == sorted(set(qualities))
    assert after == qualities[-1]
    assert per_channel or after > before
    assert all(found.fracs[trial.name] == trial.frac for trial in trials[-1:])
    again = search_fracs(NETWORK, statistics, start, inputs, references)
    assert again == (found, trials)


def test_quantize_gives_what_the_search_finds():
    inputs, references = arrays(NETWORK, CALLS)
    options = {"weight_bits": 4, "activation_bits": 5, "wide_bits": 0, "per_channel": False}
    quality = {
        method: output_sqnr(
            fxp.quantize(NETWORK, [call[0] for call in CALLS], method=method, **options).graph,
            inputs, references,
        )
        for method in ("mse", "search")
    }  # fmt: skip
    found, _ = search_fracs(NETWORK, observe(NETWORK, CALLS), COARSE, inputs, references)
    integer = lower(NETWORK, observe(NETWORK, CALLS), found)
    assert quality["search"] == output_sqnr(integer, inputs, references) > quality["mse"]


def test_the_sqnr_by_hand():
    inputs, references = arrays(NETWORK, CALLS)
    integer = lower(NETWORK, observe(NETWORK, CALLS), COARSE)
    outputs = [run(integer, call).outputs[0][0].numpy() for call in CALLS]
    noise = sum(((a - b[0]) ** 2).sum() for a, b in zip(outputs, references, strict=True))
    power = sum((b[0] ** 2).sum() for b in references)
    assert output_sqnr(integer, inputs, references) == pytest.approx(10 * np.log10(power / noise))
    assert output_sqnr(integer, inputs, [[output] for output in outputs]) == math.inf
    zeros = [[np.zeros_like(output)] for output in outputs]
    assert output_sqnr(integer, inputs, zeros) == -math.inf


def test_given_fraction_bits_stay():
    statistics = observe(NETWORK, CALLS)
    inputs, references = arrays(NETWORK, CALLS)
    fixed = {"relu": 7, "w2": -1, "first": 40}
    start = LoweringSettings(
        weight_bits=4, activation_bits=5, wide_bits=0, fracs=fixed, per_channel=False
    )
    found, trials = search_fracs(NETWORK, statistics, start, inputs, references)
    assert {name: found.fracs[name] for name in fixed} == fixed
    assert not {trial.name for trial in trials} & fixed.keys()
    assert format_of(lower(NETWORK, statistics, found), "first").frac == 40
    free = rounded_names(lower(NETWORK, statistics, start), start)
    assert set(free) == {"x", "w1", "second"}


def test_progress_counts_up():
    calls: list[tuple[int, int, str]] = []
    inputs, references = arrays(NETWORK, CALLS[:1])
    search_fracs(NETWORK, observe(NETWORK, CALLS[:1]), COARSE, inputs, references, rounds=1,
                 progress=lambda *args: calls.append(args))  # fmt: skip
    names = rounded_names(lower(NETWORK, observe(NETWORK, CALLS[:1]), COARSE), COARSE)
    assert calls == [(i + 1, len(names), name) for i, name in enumerate(names)]


def test_a_batch_of_a_recurrent_network_is_a_sequence():
    state = State(Value("before", (1, Extent("H"), Extent("W"))), "now")
    nodes = [node("faded", Multiply(), "before", "factor"), node("now", Add(), "faded", "x")]
    source = graph(image(), nodes, constants=[constant("factor", [[[0.7]]])], states=[state])
    frames = [random_image(low=-1, seed=seed) for seed in range(4)]
    options = {"method": "search", "weight_bits": 4, "activation_bits": 6}
    together = fxp.quantize(source, [torch.cat(frames)], **options)  # type: ignore[arg-type]
    apart = fxp.quantize(source, frames, **options)  # type: ignore[arg-type]
    assert together.graph == apart.graph
    assert together.calibration_clipped == apart.calibration_clipped
    sequence = torch.cat(frames)
    assert torch.equal(together(sequence), apart(sequence))
