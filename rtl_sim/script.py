"""What a bench does, and what it saw: data that pass between this process and the simulator's."""

from __future__ import annotations

import json
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

    def drain(self, count: int) -> None:
        """Wait until that many beats have come out since the last reset, or nothing moves."""
        self.steps.append({"do": "drain", "count": count})

    def save(self, folder: Path) -> None:
        """Write the script for the simulator's process."""
        none = np.zeros((0, 1), np.uint8)
        np.savez(
            folder / _BEATS,
            data=np.concatenate(self._data) if self._data else none,
            flags=np.concatenate(self._flags) if self._flags else none[:, 0],
        )
        job = {"stalls": asdict(self.stalls), "patience": self.patience, "steps": self.steps}
        (folder / _JOB).write_text(json.dumps(job), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> tuple[Script, Bytes, Bytes]:
        """Read what `save` wrote; returns the script, and data and flags of all beats."""
        job = json.loads((folder / _JOB).read_text(encoding="utf-8"))
        with np.load(folder / _BEATS) as arrays:
            data, flags = arrays["data"], arrays["flags"]
        return cls(Stalls(**job["stalls"]), job["patience"], job["steps"]), data, flags


@dataclass(frozen=True)
class Log:
    """What a bench saw.

    Attributes
    ----------
    data, keep
        Beats that came out, ``(beats, bytes)``; `keep` has a flag per byte, or None.
    flags
        Their `USER` and `LAST`.
    output_clocks, input_clocks
        Number of the clock at whose end each beat was taken, out of and into the core.
    steps
        For every step of the script: how many beats had ``outputs`` come out when it ended, the
        ``clock``, the ``response`` to an access, the ``value`` of a register read with the wire
        ``irq`` at that time, and whether it was ``completed``.
    violations
        Breaches of the rules of the interfaces, in words.
    """

    data: Bytes
    keep: Bytes | None
    flags: Bytes
    output_clocks: NDArray[np.int64]
    input_clocks: NDArray[np.int64]
    steps: tuple[dict[str, Any], ...]
    violations: tuple[str, ...]

    @property
    def values(self) -> list[int]:
        """Contents of the registers read, in order."""
        return [step["value"] for step in self.steps if "value" in step]

    def save(self, folder: Path) -> None:
        """Write the log for the process that started the simulator."""
        arrays = {
            "data": self.data,
            "flags": self.flags,
            "output_clocks": self.output_clocks,
            "input_clocks": self.input_clocks,
        }
        if self.keep is not None:
            arrays["keep"] = self.keep
        np.savez(folder / _OUTPUT, **arrays)  # type: ignore[arg-type]
        content = {"steps": self.steps, "violations": self.violations}
        (folder / _LOG).write_text(json.dumps(content), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Log | None:
        """Read what `save` wrote; None if the bench did not come to its end."""
        if not (folder / _LOG).is_file():
            return None
        content = json.loads((folder / _LOG).read_text(encoding="utf-8"))
        with np.load(folder / _OUTPUT) as arrays:
            return cls(
                arrays["data"],
                arrays.get("keep"),
                arrays["flags"],
                arrays["output_clocks"],
                arrays["input_clocks"],
                tuple(content["steps"]),
                tuple(content["violations"]),
            )
