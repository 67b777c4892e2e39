"""Calibration by several sequences, each from the reset state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_graphs import constant, node

import fxp
from fxp.executors.calls import (
    FirstStep,
    calibration_calls,
    float_results,
    in_sequences,
    one_by_one,
)
from fxp.graph.ops import Add, Multiply
from fxp.quantization.calibrate import observe
from fxp.quantization.search import output_sqnr

SHAPE = (1, 1, 2)
HALVING = fxp.Graph(
    "halving",
    (fxp.Value("x", SHAPE),),
    (node("kept", Multiply(), "s", "half"), node("y", Add(), "kept", "x")),
    ("y",),
    (constant("half", [[[0.5]]]),),
    (fxp.State(fxp.Value("s", SHAPE), "y"),),
)
"""y = 0.5 times the last y, plus x."""


def steps(*levels: float) -> torch.Tensor:
    """Return one flat picture for each level."""
    return torch.tensor(levels).reshape(-1, 1, 1, 1).repeat(1, *SHAPE)


def test_each_sequence_starts_from_the_reset_state():
    # As one sequence: 1, 1.5, then 4 + 0.75 = 4.75. As two: 1, 1.5 and 4, 0 + 2 = 2.
    one = calibration_calls([steps(1, 1), steps(4, 0)], HALVING)
    two = calibration_calls(fxp.Sequences(steps(1, 1), steps(4, 0)), HALVING)
    assert observe(HALVING, one_by_one(one))["y"].high == 4.75
    assert observe(HALVING, one_by_one(two))["y"].high == 4
    assert observe(HALVING, one_by_one(two))["y"].count == 8


def test_a_sequence_is_what_calibration_data_is():
    frames = steps(1, 2, 3)
    kinds = [frames, list(frames), [frames.numpy()], (frame[None] for frame in frames)]
    calls = one_by_one(calibration_calls(fxp.Sequences(*kinds), HALVING))
    assert [len(sequence) for sequence in in_sequences(calls)] == [3, 3, 3, 3]
    assert [isinstance(call, FirstStep) for call in calls] == [True, False, False] * 4
    assert all(torch.equal(call[0], frames[i % 3, None]) for i, call in enumerate(calls))


def test_one_sequence_needs_no_mark():
    calls = one_by_one(calibration_calls(steps(1, 2, 3), HALVING))
    assert [len(sequence) for sequence in in_sequences(calls)] == [3]


def test_everything_that_reads_calibration_data_resets():
    # As one sequence: 1, 1.5, then 1.5 + 0.75 = 2.25, which an output below 2 clips, and 1.125.
    parts = (steps(1, 1), steps(1.5, 0))
    joined = fxp.quantize(HALVING, list(parts), output_format="ap_ufixed<8,1>")
    assert joined.calibration_clipped["y.output"] == 2 / 8
    sequences = fxp.Sequences(*parts)
    model = fxp.quantize(HALVING, sequences, output_format="ap_ufixed<8,1>")
    assert model.calibration_clipped["y.output"] == 0
    wanted = [1, 1.5, 1.5, 0.75]
    calls = one_by_one(calibration_calls(sequences, HALVING))
    found = [result.values["y"][0, 0, 0, 0] for result in float_results(model.graph, calls)]
    assert found == wanted
    arrays = [type(call)(call[0].numpy()) for call in calls]
    references = [[np.full(SHAPE, level)] for level in wanted]
    assert output_sqnr(model.graph, arrays, references) == np.inf


def test_a_network_without_states_sees_all_items():
    network = torch.nn.Conv2d(1, 1, 1).eval()
    together = fxp.quantize(network, [steps(1, 1), steps(4, 0)])
    assert fxp.quantize(network, fxp.Sequences(steps(1, 1), steps(4, 0))) == together


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "fxp.Sequences needs at least one sequence"),
        ([steps(1), []], "sequence 1: the calibration data is empty; give at least one input"),
        ([fxp.Sequences(steps(1))], "sequence 0 is fxp.Sequences; give its parts directly"),
        ([steps(1), ["x"]], "sequence 1: calibration item 0 holds a value of type str"),
    ],
)
def test_what_is_no_sequence_is_named(sequences: list, message: str):
    with pytest.raises(fxp.ArgumentError) as caught:
        calibration_calls(fxp.Sequences(*sequences), HALVING)
    assert str(caught.value).startswith(message)


def pictures(sizes: list[int]) -> list[torch.Tensor]:
    """Return one step of each height."""
    return [torch.rand(1, 1, size, 16) for size in sizes]


class Recurrent(torch.nn.Module):
    """Half of the state plus the picture, whose size is twice that of the state."""

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = 0.5 * h + x[..., ::2, ::2]
        return h + h, h


OPTIONS = fxp.QuantizeOptions(
    states=[(1, 1)], initial_states=[torch.zeros(1, 1, 8, 8)], effort="fast"
)


def test_sequences_may_differ_in_size():
    torch.manual_seed(0)
    parts = pictures([16, 16]), pictures([24, 24])
    sequences: Any = fxp.Sequences(*parts)
    model = fxp.quantize(Recurrent().eval(), sequences, OPTIONS)
    assert min(model.calibration_sqnr.values()) > 60
    report = model.report(sequences)
    assert report.output_sqnr_db is not None
    assert report.output_sqnr_db > 60


def test_initial_states_of_another_size_than_the_pictures_are_refused():
    with pytest.raises(fxp.ArgumentError) as caught:
        fxp.quantize(Recurrent().eval(), pictures([24, 24]), OPTIONS)
    assert str(caught.value) == (
        "the network cannot run on the first calibration item, whose size is (1, 24, 16), with "
        "initial states of size (1, 8, 8): The size of tensor a (8) must match the size of tensor "
        "b (12) at non-singleton dimension 2; give initial states of the size that this item "
        "needs. Sequences of other sizes may follow, as fxp.Sequences"
    )


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (pictures([16, 24]), 1),
        (fxp.Sequences(pictures([16]), pictures([16, 16, 24])), 3),
    ],
)
def test_a_sequence_that_changes_its_size_is_refused(data, place: int):
    with pytest.raises(fxp.ArgumentError) as caught:
        fxp.quantize(Recurrent().eval(), data, OPTIONS)
    assert str(caught.value) == (
        f"calibration item {place} has the size (1, 24, 16), but its sequence began with "
        "(1, 16, 16), and the states keep that size; give each size as a sequence of its own: "
        "fxp.Sequences(first, second)"
    )
