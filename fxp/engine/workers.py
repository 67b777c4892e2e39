"""Threads that share numbered pieces of work."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Workers:
    """Hands out pieces of work; keeps its threads for the next time.

    Any number of calls may share it. The calling thread always takes part, so that a call never
    waits for threads that are busy with another one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

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
        threads = min(threads, count)
        numbers = itertools.count()
        errors: list[BaseException] = []

        def take(thread: int) -> None:
            try:
                while not errors and (number := next(numbers)) < count:
                    work(thread, number)
            except BaseException as error:  # raised below, in the caller's thread
                errors.append(error)

        if threads > 1:
            pool = self._threads(threads)
            futures = [pool.submit(take, thread) for thread in range(1, threads)]
            take(0)
            for future in futures:
                if not future.cancel():
                    future.result()
        else:
            take(0)
        if errors:
            raise errors[0]

    def _threads(self, threads: int) -> ThreadPoolExecutor:
        """Return the pool, large enough; a new one in a forked process, which has no threads."""
        with self._lock:
            size = 0 if self._pool is None else self._pool._max_workers
            if self._pool is None or size < threads - 1 or self._process != os.getpid():
                self._pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="fxp")
                self._process = os.getpid()
            return self._pool
