"""Malformed frames are repaired as the documentation says, and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from simulations import MAX_WIDTH, SIMULATIONS, bench_of, frame, graph

from fxp.formats import IntArray
from fxp.rtl_sim import SIMULATORS, Stalls
from fxp.rtl_sim.comparison import patience_of
from fxp.rtl_sim.differences import output_difference
from fxp.rtl_sim.packing import input_beats
from fxp.rtl_sim.script import ERRORS, HEIGHT, LAST, STATUS, USER, WIDTH, Script

SIZE = COLUMNS, ROWS = 5, 4
SHORT, LONG, EARLY, MISSING = 1, 2, 4, 8
Beats = list[tuple[int, int]]
"""Value and flags."""


@dataclass
class Repaired:
    """What the documentation says about a stream of beats, in plain words of Python."""

    frames: list[list[int]] = field(default_factory=list)
    status: int = 0
    errors: int = 0
    inside: bool = False
    dropping: bool = False
    lost: bool = False
    bad: bool = False

    def take(self, value: int, flags: int) -> None:
        if flags & USER:
            self.dropping = self.lost = False
            if self.inside:
                # The rest of the frame is filled, and this pixel starts the next.
                self._mark(EARLY)
                self.frames[-1] += [0] * (COLUMNS * ROWS - len(self.frames[-1]))
            self.frames.append([])
            self.inside, self.bad = True, False
        elif self.dropping:
            self.dropping = not flags & LAST
            return
        elif not self.inside:
            if not self.lost:
                self._mark(MISSING)
            self.lost = True
            return
        pixels = self.frames[-1]
        pixels.append(value)
        at_end = len(pixels) % COLUMNS == 0
        if flags & LAST and not at_end:
            self._mark(SHORT)
            pixels += [0] * (-len(pixels) % COLUMNS)
        if at_end and not flags & LAST:
            self._mark(LONG)
            self.dropping = True
        self.inside = len(pixels) < COLUMNS * ROWS

    def _mark(self, bit: int) -> None:
        self.status |= bit
        self.errors += not self.bad
        self.bad = True


def sound(value: int) -> Beats:
    """Return the beats of a sound frame."""
    flags = [
        (USER if i == 0 else 0) | (LAST if i % COLUMNS == COLUMNS - 1 else 0)
        for i in range(COLUMNS * ROWS)
    ]
    return [(value + i, flag) for i, flag in enumerate(flags)]


def _without(beats: Beats, *places: int) -> Beats:
    return [beat for i, beat in enumerate(beats) if i not in places]


def _flipped(beats: Beats, place: int, bit: int) -> Beats:
    return [(v, f ^ bit if i == place else f) for i, (v, f) in enumerate(beats)]


GOOD = sound(10)
CASES: dict[str, tuple[Callable[[], Beats], int]] = {
    "sound": (lambda: GOOD, 0),
    "short line": (lambda: _without(GOOD, 7), SHORT),
    "line of one pixel": (lambda: _without(GOOD, 6, 7, 8), SHORT),
    "short last line": (lambda: _without(GOOD, 17, 18), SHORT),
    "short first line": (lambda: _without(GOOD, 1), SHORT),
    "long line": (lambda: [*GOOD[:9], (200, 0), (201, 0), *GOOD[9:]], LONG),
    "long last line": (lambda: [*GOOD[:19], (200, 0), (201, 0), *GOOD[19:]], LONG),
    "no end of a line": (lambda: _flipped(GOOD, 9, LAST), LONG | EARLY),
    "no end of line at all": (lambda: [(v, f & USER) for v, f in GOOD], LONG | EARLY),
    "early start in a line": (lambda: GOOD[:7] + sound(60), EARLY),
    "early start of a line": (lambda: GOOD[:10] + sound(60), EARLY),
    "early start at the last pixel": (lambda: GOOD[:19] + sound(60), EARLY),
    "three starts in a row": (lambda: GOOD[:1] * 2 + sound(60), EARLY),
    "missing start": (lambda: _flipped(GOOD, 0, USER), MISSING),
    "a line too many": (lambda: GOOD + GOOD[15:], MISSING),
    "only garbage": (lambda: [(99, 0), (98, LAST), (97, 0)], MISSING),
    "a frame that ends early": (lambda: GOOD[:13], EARLY),
    "several faults": (lambda: [*_without(GOOD, 3, 12)[:11], (5, 0), *GOOD[12:]], SHORT | LONG),
}


def _random_case(seed: int) -> Beats:
    """Return a few frames with flags flipped, and beats lost and doubled, here and there."""
    random = np.random.default_rng(seed)
    beats = sound(20) + sound(50) + sound(80)
    for _ in range(int(random.integers(1, 6))):
        place = int(random.integers(len(beats)))
        kind = int(random.integers(4))
        if kind < 2:
            beats = _flipped(beats, place, (USER, LAST)[kind])
        else:
            beats = (
                beats[:place]
                + beats[place : place + 1] * (0 if kind == 2 else 2)
                + beats[place + 1 :]
            )
    return beats


@pytest.mark.parametrize("simulator", SIMULATORS)
@pytest.mark.parametrize("stalls", [Stalls(), Stalls("random50", "bursts", seed=9)], ids=str)
def test_malformed_frames_are_repaired_and_counted(simulator, stalls, work_dir):
    model, bench = bench_of(graph("kimsr_shaped"), simulator, work_dir)
    core = bench.core
    cases = [(name, make(), bits) for name, (make, bits) in CASES.items()]
    cases += [(f"random {seed}", _random_case(seed), None) for seed in range(12)]
    good = frame(model, SIZE, "random")
    script = Script(stalls, patience_of(core, stalls, MAX_WIDTH))
    script.reset()
    script.write(WIDTH, COLUMNS)
    script.write(HEIGHT, ROWS)
    wanted: list[tuple[str, int, int]] = []
    images: list[IntArray] = []
    repaired = Repaired()
    for name, beats, bits in cases:
        # A sound frame follows; it must be right whatever came before.
        sent = [
            *beats,
            *zip(good.reshape(-1).tolist(), input_beats(good, core.input)[1], strict=True),
        ]
        repaired.status = 0
        for value, flags in sent:
            repaired.take(value, int(flags))
        assert bits is None or repaired.status == bits, name
        data, flags = map(list, zip(*sent, strict=True))
        script.send(np.array(data, np.uint8)[:, None], np.array(flags, np.uint8))
        script.drain(len(repaired.frames) * COLUMNS * ROWS)
        script.read(STATUS)
        script.write(STATUS, 0x1F)
        script.read(ERRORS)
        wanted.append((name, repaired.status, repaired.errors))
        np.testing.assert_array_equal(repaired.frames[-1], good.reshape(-1))
    images = [np.array(pixels).reshape(1, ROWS, COLUMNS) for pixels in repaired.frames]
    log, _ = bench.run(script)
    SIMULATIONS[simulator] += 1
    assert log.violations == ()
    expected = [model.run(image).outputs[0] for image in images]
    assert output_difference(core, log.results[0], images, expected) is None
    seen = [
        (name, status & 0x1F, errors)
        for (name, _, _), status, errors in zip(
            wanted, log.values[::2], log.values[1::2], strict=True
        )
    ]
    assert seen == wanted
