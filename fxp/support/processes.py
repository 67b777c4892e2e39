"""Child processes that end with the block that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any


@contextmanager
def process_group(
    command: Sequence[str | PathLike[str]], **options: Any
) -> Iterator[subprocess.Popen]:
    """Run a program in a process group of its own.

    If the block ends by an exception, an interrupt or a signal included, the program and all that
    it started itself (a shell or ``make`` starts compilers) are killed and waited for. Otherwise
    the program is waited for.

    Parameters
    ----------
    command
        The program and its arguments.
    options
        As for `subprocess.Popen`.

    Yields
    ------
    subprocess.Popen
        The running program.
    """
    with subprocess.Popen(
        [str(word) for word in command], start_new_session=True, **options
    ) as process:
        try:
            yield process
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
