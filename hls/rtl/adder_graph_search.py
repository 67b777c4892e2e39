"""Search for shared adders: signed digits, and the pairs of digits that occur most often.

Every row of a constant matrix is a sum of digits `±x[i] << s`. The pair of digits that occurs most
often becomes an adder of its own, its result a new term that stands for both; this repeats until no
pair occurs twice (R. Hartley, "Subexpression sharing in filters using canonic signed digit
multipliers", IEEE TCAS-II 43(10), 1996). What is left of each row is added up in a tree.

A depth limit keeps pipelines short: a row whose terms have depths `d` can be added up within `D`
levels exactly if `Σ 2^d <= 2^D` (Kraft), so pairs that would break this are left alone.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

Digits = dict[int, dict[int, int]]
"""Terms of a row: for every value, its shifts, and their signs."""


@dataclass(frozen=True)
class Sum:
    """A sum of two values: ``(left << a) + (right << b)``, or the difference.

    A positive `shift` is that of `right`, a negative one that of `left`.
    """

    left: int
    right: int
    shift: int
    negate: bool


class ShiftedTerm(NamedTuple):
    """A value, shifted to the left, and added (1) or subtracted (-1)."""

    value: int
    shift: int
    sign: int


_VALUE_BITS, _SHIFT_BITS = 24, 7
_VALUES, _SHIFTS = 1 << _VALUE_BITS, 1 << _SHIFT_BITS


def signed_digits(number: int) -> Iterator[tuple[int, int]]:
    """Yield shift and sign of the canonical signed digits of an integer.

    No two neighbours are both non-zero, and no other signed form has fewer digits.
    """
    shift = 0
    while number:
        if number & 1:
            digit = 2 - (number & 3)
            yield shift, digit
            number -= digit
        number >>= 1
        shift += 1


class Pair(NamedTuple):
    """Two digits, up to a common shift and sign: `first + sign * (second << shift)`."""

    first: int
    second: int
    shift: int
    sign: int


def _key(a: int, a_shift: int, a_sign: int, b: int, b_shift: int, b_sign: int) -> int:
    """Return the pattern of two digits as one integer, in whichever order they are given."""
    if a > b or (a == b and a_shift > b_shift):
        a, a_shift, b, b_shift = b, b_shift, a, a_shift
    shift = b_shift - a_shift + _SHIFTS // 2
    return ((a * _VALUES + b) * _SHIFTS + shift) * 2 + (a_sign == b_sign)


def _pair(key: int) -> Pair:
    key, equal = divmod(key, 2)
    key, shift = divmod(key, _SHIFTS)
    first, second = divmod(key, _VALUES)
    return Pair(first, second, shift - _SHIFTS // 2, 1 if equal else -1)


class RowTerms:
    """The rows of a matrix while pairs of their digits are replaced by shared adders.

    Parameters
    ----------
    rows
        Digits of every row.
    depths
        Depth of every value so far: zero for the inputs.
    limit
        Greatest depth of a row's sum.
    """

    def __init__(self, rows: list[Digits], depths: list[int], limit: int) -> None:
        self.rows = rows
        self.depths = depths
        self.limit = 1 << limit
        self.levels = [
            sum(len(shifts) << depths[value] for value, shifts in row.items()) for row in rows
        ]
        self.users: dict[int, set[int]] = defaultdict(set)
        self.counts: dict[int, int] = defaultdict(int)
        for index, row in enumerate(rows):
            for value in row:
                self.users[value].add(index)
        self._count_all()
        self.queue = [self._rank(count, key) for key, count in self.counts.items() if count > 1]
        heapq.heapify(self.queue)

    def _count_all(self) -> None:
        for row in self.rows:
            terms = [(v, s, g) for v in sorted(row) for s, g in sorted(row[v].items())]
            for position, first in enumerate(terms):
                for second in terms[position + 1 :]:
                    self.counts[_key(*first, *second)] += 1

    def _rank(self, count: int, key: int) -> tuple[int, int, int, int]:
        """Return the place in the queue: frequent pairs first, then early and narrow sums."""
        pair = key >> 1 + _SHIFT_BITS
        depths = self.depths
        depth = max(depths[pair >> _VALUE_BITS], depths[pair & _VALUES - 1])
        return -count, depth, abs((key >> 1 & _SHIFTS - 1) - _SHIFTS // 2), key

    def best(self) -> tuple[Pair, list[tuple[int, int, int]]] | None:
        """Return the most frequent pair and its occurrences, or None if none occurs twice."""
        while self.queue:
            negative, *_, key = heapq.heappop(self.queue)
            count = self.counts.get(key, 0)
            if count < 2:
                continue
            if count < -negative:
                heapq.heappush(self.queue, self._rank(count, key))
                continue
            pair = _pair(key)
            found = list(self._occurrences(pair))
            if len(found) < 2:
                continue
            # Digits that overlap are counted twice, and rows may be too deep already.
            if len(found) < count and self.queue and len(found) < -self.queue[0][0]:
                heapq.heappush(self.queue, self._rank(len(found), key))
                self.counts[key] = len(found)
                continue
            return pair, found
        return None

    def _occurrences(self, pair: Pair) -> Iterator[tuple[int, int, int]]:
        """Yield row, shift and sign of every place where the pair can be replaced."""
        first, second = pair.first, pair.second
        depth = 1 + max(self.depths[first], self.depths[second])
        growth = (1 << depth) - (1 << self.depths[first]) - (1 << self.depths[second])
        for index in sorted(self.users[first] & self.users[second]):
            row = self.rows[index]
            level = self.levels[index]
            others = row[second]
            taken: set[int] = set()
            for shift, sign in sorted(row[first].items()):
                partner = shift + pair.shift
                if first == second and (shift in taken or partner in taken):
                    continue
                if others.get(partner) == sign * pair.sign and level + growth <= self.limit:
                    taken.update((shift, partner))
                    level += growth
                    yield index, shift, sign

    def replace(
        self, pair: Pair, occurrences: list[tuple[int, int, int]], value: int, sign: int
    ) -> None:
        """Put a value, whose depth is known by now, in place of the occurrences of a pair.

        The value is the pattern, negated if `sign` is -1.

        Parameters
        ----------
        pair
            The pair.
        occurrences
            Row, shift and sign of each.
        value
            Number of the value.
        sign
            1, or -1 if the value is the negated pattern.
        """
        offset = min(0, pair.shift)
        for index, shift, found in occurrences:
            self._remove(index, pair.first, shift)
            self._remove(index, pair.second, shift + pair.shift)
            self._insert(index, value, shift + offset, sign * found)

    def _remove(self, index: int, value: int, shift: int) -> None:
        row = self.rows[index]
        sign = row[value].pop(shift)
        if not row[value]:
            del row[value]
            self.users[value].discard(index)
        self.levels[index] -= 1 << self.depths[value]
        counts = self.counts
        for other, shifts in row.items():
            for other_shift, other_sign in shifts.items():
                counts[_key(value, shift, sign, other, other_shift, other_sign)] -= 1

    def _insert(self, index: int, value: int, shift: int, sign: int) -> None:
        row = self.rows[index]
        counts = self.counts
        for other, shifts in row.items():
            for other_shift, other_sign in shifts.items():
                key = _key(value, shift, sign, other, other_shift, other_sign)
                counts[key] += 1
                if counts[key] > 1:
                    heapq.heappush(self.queue, self._rank(counts[key], key))
        row.setdefault(value, {})[shift] = sign
        self.users[value].add(index)
        self.levels[index] += 1 << self.depths[value]


def shared_sums(
    rows: list[Digits], sources: int, zero: int, extra_depth: int
) -> tuple[list[Sum], list[ShiftedTerm]]:
    """Return sums that give every row, and where each row is then.

    Parameters
    ----------
    rows
        Digits of every row, over values 0 to `sources` - 1; a row has at least one positive digit.
    sources
        Number of values that are given; sums are numbered after them.
    zero
        Which of them is always zero.
    extra_depth
        Levels more than the fewest that the longest row needs without sharing.
    """
    builder = _Builder(sources, zero)
    longest = max(sum(map(len, row.values())) for row in rows)
    terms = RowTerms(rows, builder.depths, (longest - 1).bit_length() + extra_depth)
    while (found := terms.best()) is not None:
        pair, occurrences = found
        # As few negative terms as possible: a row of negative terms alone costs a subtraction.
        flip = pair.sign < 0 and sum(sign for _, _, sign in occurrences) < 0
        sign = -1 if flip else 1
        first = ShiftedTerm(pair.first, 0, sign)
        total = builder.add(first, ShiftedTerm(pair.second, pair.shift, sign * pair.sign))
        terms.replace(pair, occurrences, total.value, sign)
    return builder.sums, [builder.tree(row) for row in terms.rows]


class _Builder:
    """Collects sums, each one once."""

    def __init__(self, sources: int, zero: int) -> None:
        self.sources = sources
        self.zero = zero
        self.depths = [0] * sources
        self.sums: list[Sum] = []
        self._numbers: dict[Sum, int] = {}

    def add(self, first: ShiftedTerm, second: ShiftedTerm) -> ShiftedTerm:
        """Return the sum of two terms; it is negative if both are."""
        negative = first.sign < 0 and second.sign < 0
        if first.sign < 0 < second.sign or (
            first.sign == second.sign and (second.value, second.shift) < (first.value, first.shift)
        ):
            first, second = second, first
        item = Sum(first.value, second.value, second.shift - first.shift,
                   first.sign != second.sign)  # fmt: skip
        if item not in self._numbers:
            self._numbers[item] = self.sources + len(self.sums)
            self.sums.append(item)
            self.depths.append(1 + max(self.depths[first.value], self.depths[second.value]))
        return ShiftedTerm(
            self._numbers[item], min(first.shift, second.shift), -1 if negative else 1
        )

    def tree(self, row: Digits) -> ShiftedTerm:
        """Return the sum of all terms of a row, with as few levels as possible."""
        terms = [ShiftedTerm(v, s, g) for v, shifts in row.items() for s, g in shifts.items()]
        if all(term.sign < 0 for term in terms):
            terms.append(ShiftedTerm(self.zero, 0, 1))
        queue = [(self.depths[term.value], term.shift, term) for term in terms]
        heapq.heapify(queue)
        while len(queue) > 1:
            total = self.add(heapq.heappop(queue)[2], heapq.heappop(queue)[2])
            heapq.heappush(queue, (self.depths[total.value], total.shift, total))
        return queue[0][2]
