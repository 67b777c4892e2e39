"""What holds the accuracy of recurrent networks over many steps, and how it is measured.

Two things go wrong after the steps that calibration has shown. States grow on, and are clipped; and
rounding errors come back with the states, step by step, and add up.

*Range.* The float network runs the calibration sequence again and again from the states that it
left, `PLAYED_STEPS` in all, and formats are chosen for all of that. If the extreme of a state still
grows from one round to the next, it is carried on to `HELD_STEPS`: each round's growth is taken to
be a fixed multiple of that of the round before, as it is for everything that decays exponentially.
So are values that read such a state, directly or through others. All other values repeat what they
did in the rounds before, and get no more room than `SEQUENCE_HEADROOM`.

*Rounding.* An error that is made in every step and shrinks by the factor ``L`` from each step to
the next adds up to ``1 / (1 - L**2)`` times its power if errors are independent, and to
``1 / (1 - L)`` times its size if they are equal in all steps (L. B. Jackson, "An analysis of limit
cycles due to multiplication rounding in recursive digital filters", Allerton 1969; A. V. Oppenheim
and R. W. Schafer, "Discrete-time signal processing", 6.10). They are equal wherever a picture does
not change, so that the second holds. `error_gains` measures it, for each element by itself: there
are few where errors grow for long, but they count most. A state has log2 of it more bits,
of which layers read a narrow copy (`fxp.quantization.widths`).
What feeds states has `FEEDING_BITS` more, and weights that do have `FEEDING_WEIGHT_BITS` more:
their errors enter the sum in every step too. Weights that multiply what was computed from states
have `READING_WEIGHT_BITS` more: their errors are shares of values that grow as states fill.

Rounded weights are off by the same amount in every step, and where a picture is flat at every
pixel. The errors of a layer's weights are therefore chosen so that they cancel in what the layer
gives, at float states (`fxp.quantization.refinement.rounding`), and what it is off by on average is
taken off its bias (`fxp.quantization.refinement.biases`), unless the user refuses this. Both see
what the layer really reads, and so make up for roundings before it as well. Values that
concatenations alone read are rounded to the steps of these at once: two roundings of halves, one
after the other, would raise all values by up to a quarter of a step
(`fxp.quantization.concatenations`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from fxp.executors.calls import Calls, FirstStep, float_results, in_sequences
from fxp.executors.torch_forward import TorchResult, run
from fxp.graph import Graph
from fxp.graph.ops import Add, Multiply, Subtract
from fxp.quantization.calibrate import observe
from fxp.quantization.ranges import known_ranges
from fxp.quantization.statistics import Statistics

SEQUENCE_HEADROOM: Final = 1.0
"""Headroom in bits, where the user gives none: room for values twice as large. A sequence is one
image to the rule for images, which would leave far more; but it shows many steps."""
PLAYED_STEPS: Final = 40
"""Steps that the float network runs of each sequence, by repetition if there are fewer. A sequence
of so many at most is run `ROUNDS` times at least."""
ROUNDS: Final = 3
"""So many rounds show how growth changes from one to the next."""
DISTURBED_STEPS: Final = 24
"""Steps at most by which `error_gains` measures."""
PLAYED_PRODUCTS: Final = 2e11
"""Multiplications by weights in these, at most, unless the sequence itself has more."""
HELD_STEPS: Final = 1000
"""Number of steps that formats are meant to hold for."""
SETTLED: Final = 0.01
"""An extreme that grows by less than this share from round to round has settled."""
FEEDING_BITS: Final = 2
"""Values that feed states have so many bits more."""
FEEDING_WEIGHT_BITS: Final = 4
"""Weights that feed states have so many bits more. The engine multiplies weights of 14 bits as fast
as those of 12; beyond, it splits sums."""
READING_WEIGHT_BITS: Final = 2
"""Weights that multiply what states reach, and feed none, have so many bits more. Most sums of so
many products still fit 32 bits."""
DISTURBANCE: Final = 2.0**-20
"""Size of the errors by which `error_gains` measures, as a share of a state's own size."""


def observe_on(graph: Graph, calls: Calls) -> dict[str, Statistics]:
    """Gather statistics as `fxp.quantization.calibrate.observe` does, and of the steps to come.

    Parameters
    ----------
    graph
        A float graph with states.
    calls
        Calibration data with a batch of one; one sequence, or several that begin with `FirstStep`.
    """
    sequences = in_sequences(calls)
    played = [_played(graph, sequence, len(sequences)) for sequence in sequences]
    together = [call for sequence in played for call in sequence]
    ends = itertools.accumulate(len(sequence) for sequence in played)
    extremes = _Extremes({end - 1 for end in ends})
    statistics = observe(graph, together, extremes.recorded(float_results(graph, together)))
    first = 0
    for sequence, longer in zip(sequences, played, strict=True):
        last = first + len(longer)
        growth = extremes.growth(first, last, len(sequence))
        ranges = known_ranges(graph, statistics, {})
        bounded = {
            name
            for name, (low, high) in ranges.items()
            if name in statistics and _has_room(statistics[name], max(-low, high))
        }
        for name in growth.keys() & growing(graph, growth.keys(), bounded):
            reach = growth[name]
            # As much as one step more, with the values of the last one, so much larger.
            statistics[name].update(extremes.values[last - 1][name] * reach, continues=True)
        first = last
    return statistics


def growing(graph: Graph, grown: Collection[str], bounded: Collection[str]) -> frozenset[str]:
    """Return the names of values that can go on growing: those that growing states reach.

    Parameters
    ----------
    graph
        A float graph with states.
    grown
        Names of values whose extremes have grown.
    bounded
        Names of values that are known to stay about as small as they are, such as a sigmoid's.
    """
    reached = {
        state.value.name
        for state in graph.states
        if state.source in grown and state.source not in bounded
    }
    for node in graph.nodes:
        if node.name not in bounded and not reached.isdisjoint(node.inputs):
            reached.add(node.name)
    return frozenset(reached)


def _has_room(statistics: Statistics, bound: float) -> bool:
    """Whether `SEQUENCE_HEADROOM` leaves room for all that does not pass a bound."""
    return bound <= max(-statistics.low, statistics.high) * 2**SEQUENCE_HEADROOM


def _played(
    graph: Graph, sequence: Calls, sequences: int, steps: int = PLAYED_STEPS
) -> list[Sequence[torch.Tensor]]:
    """Repeat a sequence; whole rounds only, so that they can be compared."""
    shapes = graph.concrete_shapes(graph.bind([tuple(x.shape[1:]) for x in sequence[0]]))
    products = 0
    for node in graph.nodes:
        for position, name in enumerate(node.inputs):
            if node.op.constant_roles.get(position) == "weight":
                pixels = math.prod(shapes[node.name][1:])
                products += graph.constants_by_name[name].data.size * pixels
    affordable = PLAYED_PRODUCTS / max(products, 1) / sequences
    rounds = steps // len(sequence)
    if rounds:
        rounds = max(min(max(rounds, ROUNDS), int(affordable) // len(sequence)), 1)
    again = [list(call) for call in sequence]
    return [FirstStep(sequence[0]), *sequence[1:], *(again * max(rounds - 1, 0))]


class _Extremes:
    """Extremes of every value in every step, and all values of the last step of each sequence.

    Parameters
    ----------
    last_steps
        Numbers of these steps.
    """

    def __init__(self, last_steps: Collection[int]) -> None:
        self.low: list[dict[str, float]] = []
        self.high: list[dict[str, float]] = []
        self.values: dict[int, dict[str, NDArray[np.float64]]] = {}
        self._last_steps = last_steps

    def recorded(self, results: Iterator[TorchResult]) -> Iterator[TorchResult]:
        """Pass results on, and keep their extremes."""
        for result in results:
            arrays = {name: tensor.cpu().numpy() for name, tensor in result.values.items()}
            if len(self.low) in self._last_steps:
                self.values[len(self.low)] = arrays
            self.low.append({name: float(array.min()) for name, array in arrays.items()})
            self.high.append({name: float(array.max()) for name, array in arrays.items()})
            yield result

    def growth(self, first: int, last: int, length: int) -> dict[str, float]:
        """By how much the values of steps `first` to `last` in rounds of `length` will grow yet."""
        found: dict[str, float] = {}
        rounds = range(first, last, length)
        if len(rounds) < ROUNDS:
            return found
        remaining = max(HELD_STEPS - (last - first), 0) / length
        for name in self.low[first]:
            sizes = [
                max(
                    max(-self.low[step][name], self.high[step][name])
                    for step in range(begin, begin + length)
                )
                for begin in rounds
            ]
            reach = _reach(sizes, remaining)
            if reach > 1:
                found[name] = reach
        return found


def _reach(sizes: Sequence[float], remaining: float) -> float:
    """Return how many times as large a value becomes, after so many further rounds."""
    before, then, now = sizes[-3:]
    return float(_carried_on(before, then, now, remaining)) / now if now > 0 else 1.0


def _carried_on(
    before: ArrayLike, then: ArrayLike, now: ArrayLike, remaining: float
) -> NDArray[np.float64]:
    """Carry three sizes at equal distances on, whose growth changes by equal factors.

    Parameters
    ----------
    before, then, now
        The sizes, or arrays of them.
    remaining
        How many such distances follow.
    """
    first, last = np.subtract(then, before), np.subtract(now, then)
    grows = (last > SETTLED * np.asarray(now)) & (first > 0)
    ratio = np.minimum(np.divide(last, first, out=np.zeros(grows.shape), where=grows), 1.0)
    powers = ratio * (1 - ratio**remaining)
    rounds = np.divide(
        powers, 1 - ratio, out=np.full(grows.shape, float(remaining)), where=ratio < 1
    )
    # What has settled, or was not growing before, has a ratio of 0.
    return np.where(last > SETTLED * np.asarray(now), now + rounds * last, now)


@torch.no_grad()
def error_gains(graph: Graph, calls: Calls) -> dict[str, float]:
    """Return how many times as large an error becomes that every state gets in every step.

    A run with such errors, of equal size and random sign, is compared with one without.

    Parameters
    ----------
    graph
        A float graph with states.
    calls
        Calibration data with a batch of one; the first sequence is used.

    Returns
    -------
    dict
        For every state, the root mean square of its error after `HELD_STEPS` over that of the error
        in one step, at least 1.
    """
    sequence = in_sequences(calls)[0][:DISTURBED_STEPS]
    sizes: dict[str, float] = {}
    states: dict[str, torch.Tensor] = {}
    for result in float_results(graph, sequence):
        for name, tensor in result.states.items():
            sizes[name] = max(sizes.get(name, 0.0), float(tensor.abs().max()))
    errors: dict[str, torch.Tensor] = {}
    growing: dict[str, list[NDArray[np.float64]]] = {name: [] for name in sizes}
    random = np.random.default_rng(0)
    for call in _played(graph, sequence, 1, DISTURBED_STEPS):
        both = [torch.cat([tensor, tensor]) for tensor in call]
        states = dict(run(graph, both, states).states)
        for name, tensor in states.items():
            if name not in errors:
                signs = random.choice([-1.0, 1.0], tensor.shape[1:])
                errors[name] = torch.from_numpy(signs * DISTURBANCE * (sizes[name] or 1.0))
            grown = (tensor[1] + errors[name] - tensor[0]) / errors[name].abs()
            states[name] = torch.stack([tensor[0], tensor[1] + errors[name]])
            growing[name].append(grown.abs().numpy())
    found = {}
    for name, gains in growing.items():
        now, half = gains[-1], (len(gains) - 1) // 2
        remaining = HELD_STEPS - len(gains)
        if half and remaining > 0:
            before, then = gains[-1 - 2 * half], gains[-1 - half]
            # Each element by itself: where a picture stands still errors grow on, while they have
            # settled where it moves.
            now = np.maximum(_carried_on(before, then, now, remaining / half), now)
        found[name] = max(float(np.sqrt(np.square(now).mean())), 1.0)
    return found


def feeding(graph: Graph) -> frozenset[str]:
    """Names of all values and constants that feed states, directly or through others."""
    names = {state.source for state in graph.states}
    for node in reversed(graph.nodes):
        if node.name in names:
            names.update(node.inputs)
    return frozenset(names)


def behind(graph: Graph) -> frozenset[str]:
    """Names of the weights that multiply states, or values computed from them."""
    reached = growing(graph, {state.source for state in graph.states}, ())
    return frozenset(
        name
        for node in graph.nodes
        if not reached.isdisjoint(node.inputs)
        for position, name in enumerate(node.inputs)
        if node.op.constant_roles.get(position) == "weight"
    )


def extra_bits(graph: Graph, calls: Calls) -> dict[str, int]:
    """Return the bits that values and weights get beyond those of others, by name.

    Parameters
    ----------
    graph, calls
        As for `error_gains`.
    """
    weights = graph.constants_by_name
    extra = {
        name: FEEDING_WEIGHT_BITS if name in weights else FEEDING_BITS for name in feeding(graph)
    }
    for name in behind(graph):
        extra.setdefault(name, READING_WEIGHT_BITS)
    gains = error_gains(graph, calls)
    for state in graph.states:
        bits = math.ceil(math.log2(gains[state.value.name]))
        extra[state.source] = max(extra[state.source], bits)
    # What a state is the sum of needs steps as fine as those of the state.
    values = {node.name for node in graph.nodes}
    for node in reversed(graph.nodes):
        if node.name in extra and isinstance(node.op, Add | Subtract | Multiply):
            for name in values.intersection(node.inputs):
                extra[name] = max(extra[name], extra[node.name])
    return extra
