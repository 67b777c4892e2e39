"""An orderly end when the process is told to end, so that nothing is left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)  # Windows has no SIGHUP.
"""Signals that end a process at once unless it handles them; an interrupt raises by itself."""


class Terminated(BaseException):
    """The process was told to end by a signal.

    It is no `Exception`, so that nothing on its way takes it for a failure of the work: blocks of
    ``with`` and ``finally`` end child processes and remove temporary files, and the process ends.

    Parameters
    ----------
    number
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code by which a shell reports an end by this signal: 128 and its number."""
        return 128 + self.number

    def __str__(self) -> str:
        if self.number == signal.SIGINT:
            return "interrupted"
        return f"ended by {signal.Signals(self.number).name}"


@contextmanager
def orderly_end() -> Iterator[None]:
    """Raise `Terminated` in this block when the process is told to end.

    Only the first signal raises: another one must not interrupt the cleaning up. Signals that are
    handled or ignored already, as under ``nohup``, stay so. Outside the main thread, which alone
    may handle signals, this does nothing.
    """

    def end(number: int, _: object) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)
        raise Terminated(number)

    taken: list[int] = []
    if threading.current_thread() is threading.main_thread():
        taken += [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
