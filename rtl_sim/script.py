"""What a bench does, and what it saw: data that pass between this process and the simulator's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fxp.hls.rtl.register_map import BY_NAME
from fxp.rtl_sim.stalls import Stalls
from fxp.support.errors import ArgumentError

USER, LAST = 1, 2
"""Bits of the flags of a beat."""
WIDTH, HEIGHT, STATUS, FRAMES, ERRORS, CONTROL, SIZE = (
    BY_NAME[name].address
    for name in ("WIDTH", "HEIGHT", "STATUS", "FRAMES", "ERRORS", "CONTROL", "SIZE")
)
"""Addresses of registers that change."""

_JOB, _BEATS, _LOG, _OUTPUT = "job.json", "beats.npz", "log.json", "output.npz"
PROGRESS = "progress"
"""File that holds the number of beats that came out so far."""

Bytes = NDArray[np.uint8]


@dataclass
class Script:
    """Steps of a bench, in order.

    Parameters
    ----------
    stalls
        Of both streams.
    patience
        Clocks without any transfer after which the bench gives up waiting.
    steps
        What to do, which the methods add to.
    more
        Streams of results beside ``m_axis``, to be taken and recorded too.
    loops
        Streams into the core, each with the stream of results whose beats it brings back.

    Examples
    --------
    >>> script = Script(Stalls("random25", "bursts"), patience=1000)
    >>> script.reset()
    >>> script.send(np.zeros((6, 1), np.uint8), np.array([USER, 0, LAST, 0, 0, LAST], np.uint8))
    >>> script.drain(6)
    """

    stalls: Stalls
    patience: int
    steps: list[dict[str, Any]] = field(default_factory=list)
    more: tuple[str, ...] = ()
    loops: dict[str, str] = field(default_factory=dict)
    _data: list[Bytes] = field(default_factory=list)
    _flags: list[Bytes] = field(default_factory=list)

    def reset(self, clocks: int = 4) -> None:
        """Hold the core in reset; what it was doing is lost."""
        self.steps.append({"do": "reset", "clocks": clocks})

    def write(self, address: int, value: int) -> None:
        """Write a register."""
        self.steps.append({"do": "write", "address": address, "value": value})

    def read(self, address: int) -> None:
        """Read a register; the log holds its content."""
        self.steps.append({"do": "read", "address": address})

    def stall(self, stalls: Stalls) -> None:
        """Let both streams follow other patterns from here on."""
        self.steps.append({"do": "stall", **asdict(stalls)})

    def wait(self, clocks: int) -> None:
        """Let clocks pass."""
        self.steps.append({"do": "wait", "clocks": clocks})

    def send(self, data: Bytes, flags: Bytes) -> None:
        """Send beats and wait until the last is taken.

        Parameters
        ----------
        data
            ``(beats, bytes)``, low byte first.
        flags
            `USER` and `LAST` of every beat.
        """
        count = len(data)
        if flags.shape != (count,) or data.ndim != 2:
            raise ArgumentError(f"{data.shape} beats have {flags.shape} flags")
        first = sum(map(len, self._data))
        self._data.append(np.ascontiguousarray(data, np.uint8))
        self._flags.append(np.ascontiguousarray(flags, np.uint8))
        self.steps.append({"do": "send", "first": first, "count": count})

    def drain(self, count: int, *more: int) -> None:
        """Wait until that many beats have come out since the last reset, or nothing moves.

        Parameters
        ----------
        count
            Beats of ``m_axis``.
        more
            Beats of each of the other streams; none by default.
        """
        self.steps.append({"do": "drain", "counts": [count, *more]})

    def save(self, folder: Path) -> None:
        """Write the script for the simulator's process."""
        none = np.zeros((0, 1), np.uint8)
        np.savez(
            folder / _BEATS,
            data=np.concatenate(self._data) if self._data else none,
            flags=np.concatenate(self._flags) if self._flags else none[:, 0],
        )
        job = {
            "stalls": asdict(self.stalls), "patience": self.patience, "steps": self.steps,
            "more": self.more, "loops": self.loops,
        }  # fmt: skip
        (folder / _JOB).write_text(json.dumps(job), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> tuple[Script, Bytes, Bytes]:
        """Read what `save` wrote; returns the script, and data and flags of all beats."""
        job = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        with np.load(folder / _BEATS) as arrays:
            data, flags = arrays["data"], arrays["flags"]
        stalls = Stalls(**job["stalls"])
        script = cls(stalls, job["patience"], job["steps"], tuple(job["more"]), job["loops"])
        return script, data, flags


@dataclass(frozen=True)
class StreamLog:
    """What came out of one stream.

    Attributes
    ----------
    data, keep
        Beats ``(beats, bytes)``; `keep` has a flag per byte, or None.
    flags
        Their `USER` and `LAST`.
    clocks
        Number of the clock at whose end each beat was taken.
    """

    data: Bytes
    keep: Bytes | None
    flags: Bytes
    clocks: NDArray[np.int64]

    def arrays(self, end: str) -> dict[str, NDArray]:
        """Return everything by names that end so."""
        named = {"data": self.data, "flags": self.flags, "clocks": self.clocks}
        kept = {} if self.keep is None else {"keep": self.keep}
        return {name + end: array for name, array in (named | kept).items()}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray], end: str) -> StreamLog:
        """Read what `arrays` gave.

        Parameters
        ----------
        arrays
            The arrays.
        end
            What their names end with.
        """
        keep = arrays.get(f"keep{end}")
        return cls(arrays[f"data{end}"], keep, arrays[f"flags{end}"], arrays[f"clocks{end}"])


@dataclass(frozen=True)
class Log:
    """What a bench saw.

    Attributes
    ----------
    results
        Streams of results, ``m_axis`` first.
    input_clocks
        Number of the clock at whose end each pixel was taken.
    steps
        For every step of the script: how many beats had ``outputs`` come out when it ended, the
        ``clock``, the ``response`` to an access, the ``value`` of a register read with the wire
        ``irq`` at that time, and whether it was ``completed``.
    violations
        Breaches of the rules of the interfaces, in words.
    """

    results: tuple[StreamLog, ...]
    input_clocks: NDArray[np.int64]
    steps: tuple[dict[str, Any], ...]
    violations: tuple[str, ...]

    @property
    def data(self) -> Bytes:
        """Beats of ``m_axis``."""
        return self.results[0].data

    @property
    def keep(self) -> Bytes | None:
        """Bytes of ``m_axis`` that count, if it says so."""
        return self.results[0].keep

    @property
    def flags(self) -> Bytes:
        """`USER` and `LAST` of ``m_axis``."""
        return self.results[0].flags

    @property
    def output_clocks(self) -> NDArray[np.int64]:
        """Number of the clock at whose end each beat of ``m_axis`` was taken."""
        return self.results[0].clocks

    @property
    def values(self) -> list[int]:
        """Contents of the registers read, in order."""
        return [step["value"] for step in self.steps if "value" in step]

    def save(self, folder: Path) -> None:
        """Write the log for the process that started the simulator."""
        arrays = {"input_clocks": self.input_clocks}
        for number, result in enumerate(self.results):
            arrays |= result.arrays(f"_{number}")
        np.savez(folder / _OUTPUT, **arrays)  # type: ignore[arg-type]
        content = {
            "results": len(self.results), "steps": self.steps, "violations": self.violations
        }  # fmt: skip
        (folder / _LOG).write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Log | None:
        """Read what `save` wrote; None if the bench did not come to its end."""
        if not (folder / _LOG).is_file():
            return None
        content = json.loads((folder / _LOG).read_text(encoding="utf-8"))
        with np.load(folder / _OUTPUT) as arrays:
            results = [StreamLog.of(arrays, f"_{number}") for number in range(content["results"])]
            return cls(
                tuple(results),
                arrays["input_clocks"],
                tuple(content["steps"]),
                tuple(content["violations"]),
            )
