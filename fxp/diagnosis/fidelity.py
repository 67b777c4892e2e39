"""SQNR of every value right after quantization, and a warning where precision is lost."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import torch

from fxp.diagnosis.advice import POOR, concatenations, weight_constant
from fxp.diagnosis.measure import LARGE, bounded, compare_values, work_of
from fxp.diagnosis.pair import Pair
from fxp.diagnosis.sums import ValueSums
from fxp.executors.calls import Calls
from fxp.graph import Graph

PER_CHANNEL: Final = "per_channel=True"
LEARNED: Final = "weight_rounding='learned'"
"""Options that help where weights are rounded."""
IMAGES: Final = 4
STEPS: Final = 8
SIDES: Final = (128, 64, 32)
WORK: Final = 1e8
"""How much of the calibration data is compared at most: images, steps, pixels of a side, the most
that fits, and operations in all; a small part of what quantization itself takes."""
PASSES: Final = 32
"""Operations on every value, beside the multiplications that compute it."""


@dataclass(frozen=True)
class Fidelity:
    """What the values of a model have left of those of its float network.

    Attributes
    ----------
    sqnr
        SQNR in dB of every value, infinite where it is exact.
    warnings
        What should not go unsaid, one sentence or two each.
    """

    sqnr: Mapping[str, float]
    warnings: tuple[str, ...]


def fidelity(
    network: Graph, fixed: Graph, calls: Calls, *, tried: Collection[str] = ()
) -> Fidelity:
    """Compare a model with its float network on a part of the calibration data.

    Parameters
    ----------
    network
        The float graph that was lowered.
    fixed
        The integer graph.
    calls
        The calibration data.
    tried
        Options that the model has already, such as ``per_channel=True``: not to be advised.
    """
    pair = Pair(network, fixed, same_weights=True)
    part, products = _affordable(network, fixed, calls)
    # The errors of float32 are far below those that count here.
    dtype = torch.float32 if products > LARGE else torch.float64
    values = compare_values(pair, part, dtype)
    sqnr = {name: sums.sqnr for name, sums in values.items()}
    texts = [change.reason for change in concatenations(pair, values)]
    worst = min(fixed.outputs, key=lambda name: sqnr[name])
    if sqnr[worst] < POOR:
        texts.insert(0, _explained(pair, values, worst, part[0], tried))
    return Fidelity(sqnr, tuple(texts))


def _affordable(network: Graph, fixed: Graph, calls: Calls) -> tuple[list[list[torch.Tensor]], int]:
    """Return a part of the data, small parts of several images rather than few large ones.

    Beside it the multiplications of one of its images.
    """
    part: list[list[torch.Tensor]] = []
    products = work = 0
    for side in SIDES:
        part = bounded(calls, network, STEPS if network.states else IMAGES, side)
        shapes = fixed.concrete_shapes(fixed.bind([tuple(tensor.shape[1:]) for tensor in part[0]]))
        products = work_of(fixed, shapes)
        work = products + PASSES * sum(math.prod(shapes[node.name]) for node in fixed.nodes)
        if work * len(part) <= WORK:
            break
    return part[: max(int(WORK / max(work, 1)), 1)], products


def _explained(
    pair: Pair,
    values: Mapping[str, ValueSums],
    output: str,
    call: list[torch.Tensor],
    tried: Collection[str],
) -> str:
    """Say how far an output is off, where that begins, and what to do about it."""
    name = _first_poor(pair, values, output)
    reads = _reads(pair, name)
    before = min((values[source].sqnr for source in reads), default=math.inf)
    fall = f" from {before:.1f}" if math.isfinite(before) else ""
    where = f"It falls at {name!r},{fall} to {values[name].sqnr:.1f} dB"
    return (
        f"output {output!r} has an SQNR of {values[output].sqnr:.1f} dB against the float network "
        f"on the calibration data. {where}: {_cause(pair, name, call, tried)}. "
        "model.report(images), or fxp report, says what each value costs and what a change would "
        "gain"
    )


def _first_poor(pair: Pair, values: Mapping[str, ValueSums], output: str) -> str:
    """First value, of those that lead to an output, that is poor though all that it reads is not.

    That of the largest fall where all that is read is poor already, as in a state.
    """
    wanted = {output}
    for node in reversed(pair.fixed.nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
    for name in pair.names:
        if (
            name in wanted
            and values[name].sqnr < POOR
            and all(values[source].sqnr >= POOR for source in _reads(pair, name))
        ):
            return name
    return output


def _reads(pair: Pair, name: str) -> list[str]:
    node = pair.fixed_nodes.get(name)
    if node is None:
        return [state.source for state in pair.fixed.states if state.value.name == name]
    return [source for source in node.inputs if source in pair.source]


def _cause(pair: Pair, name: str, call: list[torch.Tensor], tried: Collection[str]) -> str:
    """Say what most of a value's own error comes from, and which option helps."""
    if name not in pair.roundable:
        return "a state carries its errors on; give more activation_bits"
    sums = ValueSums()
    with torch.no_grad():
        sums.add_local(pair.local(name, pair.run_float(call)))
    form = pair.fixed.values[name].format
    node = pair.fixed_nodes.get(name)
    largest = max(sums.by_clipping, sums.by_weights, sums.by_rounding)
    if largest == 0:
        return "small errors add up here; give more activation_bits or weight_bits"
    if largest == sums.by_clipping:
        return f"{form} clips it; try method='minmax', or give more typical calibration data"
    if largest == sums.by_rounding:
        return f"it is rounded to {form}; give more activation_bits, or try equalization=True"
    weights = weight_constant(pair, node) if node is not None else None
    if weights is None:
        return f"the table of {name!r} is coarse; give more activation_bits"
    shared = len(set(weights[0].formats)) == 1 and len(weights[0].data) > 1
    if shared and PER_CHANNEL not in tried:
        return f"its weights share one format; try {PER_CHANNEL}, or more weight_bits"
    if LEARNED not in tried:
        return f"its weights are rounded; try {LEARNED}, or more weight_bits"
    return "its weights are rounded; give more weight_bits"
