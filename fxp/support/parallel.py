"""Independent tasks on several processors or on a cluster that is already there, by joblib.

Tasks are functions of no arguments; those for other processes are made by pickle, so
`functools.partial` of a function of a module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from fxp.support.errors import ArgumentError
from fxp.support.lazy import lazy_import

if TYPE_CHECKING:
    import joblib
else:
    joblib = lazy_import("joblib", "cli")

Task = Callable[[], Any]
BACKENDS = ("loky", "threading", "multiprocessing", "sequential", "dask", "ray")


def run_tasks(tasks: Sequence[Task]) -> Iterator[Any]:
    """Yield the results in order, each as soon as it is there.

    joblib's own setting decides where the tasks run, see `workers`.
    """
    calls = [joblib.delayed(task)() for task in tasks]
    try:
        parallel = joblib.Parallel(return_as="generator")
    except ValueError:  # some backends, Ray's among them, return everything at the end
        parallel = joblib.Parallel()
    yield from parallel(calls)  # pyright: ignore[reportReturnType]


@contextmanager
def workers(backend: str, jobs: int, scheduler: str | None = None) -> Iterator[None]:
    """Choose where tasks run.

    Parameters
    ----------
    backend
        Name of a joblib backend; ``dask`` and ``ray`` take an existing cluster.
    jobs
        Number of tasks at a time; -1 for one on every processor, or all that a cluster takes.
    scheduler
        Address of Dask's scheduler or of Ray's head.

    Raises
    ------
    ValueError, OSError, ImportError
        If there is no such backend, or the cluster is not there.
    """
    if scheduler is not None and backend not in ("dask", "ray"):
        raise ArgumentError(f"the backend {backend} takes no --scheduler, only dask and ray do")
    with ExitStack() as stack:
        # loky replaces workers that PyTorch's tracing has made large; nothing is lost by it.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        options: dict[str, Any] = {}
        if backend == "dask":
            if scheduler is None:
                raise ArgumentError(
                    "the backend dask needs the address of a scheduler: --scheduler"
                )
            from distributed import Client

            options["client"] = stack.enter_context(
                Client(scheduler, timeout=10, set_as_default=False)
            )
        elif backend == "ray":
            import ray  # pyright: ignore[reportMissingImports]
            from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]

            stack.enter_context(ray.init(address=scheduler or "auto"))
            register_ray()
        stack.enter_context(joblib.parallel_config(backend, n_jobs=jobs, **options))
        yield
