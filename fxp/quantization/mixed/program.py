"""The choice of widths as an integer program, solved by HiGHS.

The cost is a sum of parts, and each part depends on few widths: which ones is found by trying. A
part of one width is a table, a part of two a table of pairs, exactly; a part of more is taken for a
sum of what each width alone changes. The noise is the sum of what each width adds. So the program
is linear in variables that are 1 for the width chosen, and in one variable for each pair of widths
(HAWQ-V3, Yao et al., arXiv:2011.10680, solves one such program for the weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fxp.quantization.mixed.sensitivity import Noise
from fxp.quantization.mixed.trials import Choice, Trials
from fxp.support.lazy import lazy_import

optimize: Any = lazy_import("scipy.optimize", "search")
sparse: Any = lazy_import("scipy.sparse", "search")

GAP: Final = 1e-6
"""Share of the cost by which a solution may miss the best."""


@dataclass(frozen=True)
class CostTables:
    """What the widths cost, as a sum of tables.

    Attributes
    ----------
    single
        By choice, the cost of each of its widths.
    pairs
        By two choices, the cost of each pair of their widths, ``(widths, widths)``.
    """

    single: Mapping[str, NDArray[np.float64]]
    pairs: Mapping[tuple[str, str], NDArray[np.float64]]

    def depends_on(self, name: str) -> bool:
        """Whether the width of a choice changes the cost."""
        return bool(self.single[name].any()) or any(name in pair for pair in self.pairs)


def cost_tables(trials: Trials) -> CostTables:
    """Try every width alone, and pairs of widths where a part of the cost depends on two.

    Parameters
    ----------
    trials
        Makes the graphs.
    """
    widest = trials.widest
    reference = trials.parts(widest)
    alone: dict[str, dict[int, Mapping[str, float]]] = {}
    readers: dict[str, list[str]] = {part: [] for part in reference}
    for choice in trials.choices:
        alone[choice.name] = {
            width: trials.parts({**widest, choice.name: width}) for width in choice.widths
        }
        for part, cost in reference.items():
            if any(parts[part] != cost for parts in alone[choice.name].values()):
                readers[part].append(choice.name)
    by_name = {choice.name: choice for choice in trials.choices}
    single = {choice.name: np.zeros(len(choice.widths)) for choice in trials.choices}
    pairs: dict[tuple[str, str], NDArray[np.float64]] = {}
    for part, names in readers.items():
        if len(names) == 2:
            first, second = (by_name[name] for name in names)
            table = pairs.setdefault(
                (first.name, second.name), np.zeros((len(first.widths), len(second.widths)))
            )
            table += _pair_table(trials, part, first, second)
        else:
            for name in names:
                single[name] += [
                    alone[name][width][part] - reference[part] for width in by_name[name].widths
                ]
    return CostTables(single, pairs)


def _pair_table(trials: Trials, part: str, first: Choice, second: Choice) -> NDArray[np.float64]:
    kinds = {first.kind: first, second.kind: second}
    rows = []
    for one in first.widths:
        row = []
        for other in second.widths:
            if len(kinds) == 2:
                # The graph of one width for all weights and one for all values serves all layers.
                widths = {first.kind: one, second.kind: other}
                bits = trials.uniform(widths["weight"], widths["value"])
            else:
                bits = {**trials.widest, first.name: one, second.name: other}
            row.append(trials.parts(bits)[part])
        rows.append(row)
    return np.array(rows)


def solve(
    choices: Sequence[Choice], tables: CostTables, noise: Noise, budget: float
) -> dict[str, int] | None:
    """Return the widths of least cost whose noise is within a budget, or None if there are none.

    Parameters
    ----------
    choices
        What may be chosen.
    tables
        What it costs.
    noise
        What it adds to the noise of the widest model.
    budget
        The most that may be added.
    """
    starts: dict[str, int] = {}
    costs: list[float] = []
    added: list[float] = []
    for choice in choices:
        starts[choice.name] = len(costs)
        costs += tables.single[choice.name].tolist()
        added += [noise[choice.name][width] for width in choice.widths]
    counts = {choice.name: len(choice.widths) for choice in choices}
    integers = len(costs)
    rows: list[dict[int, float]] = []
    low: list[float] = []
    high: list[float] = []

    def constrain(entries: dict[int, float], least: float, most: float) -> None:
        rows.append(entries)
        low.append(least)
        high.append(most)

    for choice in choices:
        start = starts[choice.name]
        constrain({start + i: 1.0 for i in range(counts[choice.name])}, 1, 1)
    scale = max(*added, 1e-300)
    constrain({i: amount / scale for i, amount in enumerate(added) if amount}, 0, budget / scale)
    for (first, second), table in tables.pairs.items():
        # A pair's variable is 1 where both of its widths are chosen: its rows and columns add up to
        # the variables of the two choices.
        start = len(costs)
        costs += table.reshape(-1).tolist()
        for i in range(counts[first]):
            entries = {start + i * counts[second] + j: 1.0 for j in range(counts[second])}
            constrain({**entries, starts[first] + i: -1.0}, 0, 0)
        for j in range(counts[second]):
            entries = {start + i * counts[second] + j: 1.0 for i in range(counts[first])}
            constrain({**entries, starts[second] + j: -1.0}, 0, 0)
    matrix = sparse.csr_array(
        (
            [value for entries in rows for value in entries.values()],
            (
                [number for number, entries in enumerate(rows) for _ in entries],
                [column for entries in rows for column in entries],
            ),
        ),
        shape=(len(rows), len(costs)),
    )
    largest = max(map(abs, costs), default=0.0) or 1.0
    result = optimize.milp(
        np.array(costs) / largest,
        constraints=optimize.LinearConstraint(matrix, low, high),
        integrality=np.arange(len(costs)) < integers,
        bounds=optimize.Bounds(0, 1),
        options={"mip_rel_gap": GAP, "node_limit": 20_000},
    )
    if result.x is None:
        return None
    found: dict[str, int] = {}
    for choice in choices:
        chosen = result.x[starts[choice.name] :][: counts[choice.name]]
        # What no cost depends on stays as wide as it was.
        free = not tables.depends_on(choice.name)
        found[choice.name] = choice.widths[-1 if free else int(np.argmax(chosen))]
    return found
