"""Values that are stored as unsigned bytes, between stages that all know it.

A value is a byte each where it is proved to be 0 to 255, its stage stores bytes, and every stage
that reads it takes them. Every other value is int16 or int32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fxp.engine.stages import CommandStage, Stage
from fxp.kernels.finish import INT16, UINT8, Finish

LARGEST: Final = int(np.iinfo(np.uint8).max)


class ByteStage(CommandStage):
    """Stage that may store its result as bytes, and read bytes.

    Kernels are chosen when commands are written, after it is decided which values are bytes.
    """

    finish: Finish
    """How sums become results."""
    bytes_are_inputs: bool = False
    """Whether its own input could be read as it is, if it were bytes."""
    reads_bytes: bool = False
    """Whether its own input is bytes."""

    def may_store_bytes(self) -> bool:
        """Whether every result is an unsigned byte."""
        return self.finish.result == INT16 and 0 <= self.finish.low <= self.finish.high <= LARGEST

    def may_read_bytes(self, name: str) -> bool:
        """Whether a value that it reads may be bytes."""
        return self.bytes_are_inputs or name not in self.main_inputs

    def take_bytes(self, name: str) -> None:
        """From now on, a value that it stores or reads is bytes."""
        if name == self.result:
            self.dtype = UINT8
            self.finish = replace(self.finish, result=UINT8)
        if name == self.chain.other:
            self.finish = replace(self.finish, other=UINT8)
        if name in self.main_inputs:
            self.reads_bytes = True


def store_bytes(stages: Sequence[Stage], kept: Iterable[str]) -> None:
    """Decide which values are stored as bytes, and tell the stages.

    Parameters
    ----------
    stages
        All stages of a program.
    kept
        Values that are read by others than stages.
    """
    seen = frozenset(kept)
    readers: dict[str, list[Stage]] = {}
    for stage in stages:
        for name in stage.inputs:
            readers.setdefault(name, []).append(stage)
    for stage in stages:
        name = stage.result
        concerned = [stage, *readers.get(name, ())]
        knowing = [other for other in concerned if isinstance(other, ByteStage)]
        if (
            name not in seen
            and len(knowing) == len(concerned)
            and knowing[0].may_store_bytes()
            and all(reader.may_read_bytes(name) for reader in knowing[1:])
        ):
            for each in knowing:
                each.take_bytes(name)
