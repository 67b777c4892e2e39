"""Threads that work together on one call."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

import numpy as np

from fxp.kernels.commands import FEW_PAUSES, PAUSES_BEFORE_SLEEP, wait_for_change
from fxp.support.errors import ArgumentError

MAX_THREADS = 1024
"""More threads than this are a mistake: each has memory of its own."""


_Item = TypeVar("_Item")


class _Signal:
    """A number that changes when something has happened, which waiting threads look at.

    A thread that sleeps takes longer to wake up than a small call lasts.
    """

    def __init__(self) -> None:
        self._number = np.zeros(1, np.int64)
        self._place = self._number.ctypes.data

    def send(self) -> None:
        """Change the number."""
        self._number[0] += 1

    def take(self, queue: SimpleQueue[_Item], *, looks: bool) -> _Item:
        """Take from a queue; `send` follows whatever is put there.

        Parameters
        ----------
        queue
            The queue.
        looks
            Whether to look for a while before sleeping.
        """
        known = int(self._number[0])
        try:
            return queue.get_nowait()
        except Empty:
            pass
        if looks:
            wait_for_change(self._place, known, PAUSES_BEFORE_SLEEP)
        return queue.get()


class Workers:
    """Threads that help with a call, and soon after sleep until the next one.

    Any number of calls may share them. The calling thread always takes part, so that a call never
    waits for threads that are busy with another one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._called, self._ended = _Signal(), _Signal()
        self._helpers = 0
        self._process = 0
        self._processors = check_threads(None)

    def pauses(self, threads: int) -> int:
        """Return how often one of so many threads looks for the others before it sleeps."""
        return PAUSES_BEFORE_SLEEP if threads <= self._processors else FEW_PAUSES

    def together(self, work: Callable[[int], None], threads: int) -> None:
        """Call ``work(0)`` in this thread, and ``work(1)``, ... in others that are free by then.

        The calls must share the work in a way that ``work(0)`` alone does all of it.

        Parameters
        ----------
        work
            Called as ``work(thread)``; `thread` is below `threads`.
        threads
            Threads to use at most.

        Raises
        ------
        BaseException
            The first error of any thread.
        """
        if threads <= 1:
            work(0)
            return
        job = _Job(work, threads, self._ended, looks=threads <= self._processors)
        jobs = self._queue(threads - 1)
        for _ in range(threads - 1):
            jobs.put(job)
        self._called.send()
        try:
            work(0)
        finally:
            errors = job.end()
        if errors:
            raise errors[0]

    def share(self, work: Callable[[int, int], None], count: int, threads: int) -> None:
        """Call ``work(thread, number)`` for every number below `count`, on several threads.

        Parameters
        ----------
        work
            Called as ``work(thread, number)``; `thread` is below `threads`.
        count
            How many numbers there are, from 0 on.
        threads
            Threads to use at most.

        Raises
        ------
        BaseException
            The first error of any thread.
        """
        numbers = itertools.count()
        failed: list[bool] = []

        def take(thread: int) -> None:
            try:
                while not failed and (number := next(numbers)) < count:
                    work(thread, number)
            except BaseException:
                failed.append(True)
                raise

        self.together(take, min(threads, count))

    def _queue(self, helpers: int) -> SimpleQueue[_Job | None]:
        """Return the queue of as many helpers; a new one in a forked process, which has none."""
        with self._lock:
            if self._process != os.getpid():
                self._jobs, self._helpers, self._process = SimpleQueue(), 0, os.getpid()
            for number in range(self._helpers, helpers):
                # Threads without a processor of their own would only hinder the others.
                looks = number + 1 < self._processors
                threading.Thread(
                    target=_help,
                    args=(self._jobs, self._called, looks),
                    name="fxp_worker",
                    daemon=True,
                ).start()
                # Ends the thread when nobody can ask for it any more.
                weakref.finalize(self, self._jobs.put, None)
            self._helpers = max(self._helpers, helpers)
            return self._jobs


class _Job:
    """One call of `Workers.together`.

    Parameters
    ----------
    work, threads
        As there.
    signal
        Is sent when a helper is done.
    looks
        Whether the caller looks for that for a while, before it sleeps.
    """

    def __init__(
        self, work: Callable[[int], None], threads: int, signal: _Signal, *, looks: bool
    ) -> None:
        self._work, self._signal, self._looks = work, signal, looks
        self._free = deque(range(1, threads))
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads = threads

    def help(self) -> None:
        """Take part, unless the call is over."""
        try:
            thread = self._free.pop()
        except IndexError:
            return
        try:
            self._work(thread)
        except BaseException as error:  # raised in the caller's thread
            self._ended.put(error)
        else:
            self._ended.put(None)
        self._signal.send()

    def end(self) -> list[BaseException]:
        """Let nobody in any more, and wait for those that take part; returns their errors."""
        helping = self._threads - 1
        while True:
            try:
                self._free.pop()
            except IndexError:
                break
            helping -= 1
        ends = [self._signal.take(self._ended, looks=self._looks) for _ in range(helping)]
        return [error for error in ends if error is not None]


def _help(jobs: SimpleQueue[_Job | None], called: _Signal, looks: bool) -> None:
    """Help with jobs until there is a None."""
    while (job := called.take(jobs, looks=looks)) is not None:
        job.help()
        del job  # what it holds is not ours to keep while we sleep


def check_threads(threads: int | None) -> int:
    """Return the number of threads to use; raises ValueError unless None or 1 to `MAX_THREADS`."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise ArgumentError(f"threads must be an integer from 1 to {MAX_THREADS}, got {threads!r}")
    return threads
