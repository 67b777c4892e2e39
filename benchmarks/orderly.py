"""Benchmarks that start compilers and simulators, and end them when they are ended."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fxp.support.signals import Terminated, orderly_end


def run(command: Callable[[], object]) -> None:
    """Call a benchmark; a signal ends its child processes, and the exit code tells of it.

    Parameters
    ----------
    command
        Takes its options from the command line.
    """
    try:
        with orderly_end():
            command()
    except Terminated as end:
        print(end, file=sys.stderr)
        raise SystemExit(end.exit_code) from None
