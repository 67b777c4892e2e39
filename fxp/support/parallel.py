"""Independent tasks on several processors or on a cluster that is already there, by joblib.

Tasks are functions of no arguments; those for other processes are made by pickle, so
`functools.partial` of a function of a module.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
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


def check_workers(backend: str, jobs: int, scheduler: str | None = None) -> None:
    """Refuse what `workers` cannot do, before any work is done.

    Parameters
    ----------
    backend, jobs, scheduler
        As for `workers`.

    Raises
    ------
    ArgumentError
        If there is no such backend or number of jobs, or the scheduler is missing or too much.
    """
    if backend not in BACKENDS:
        raise ArgumentError(f"no backend {backend!r}, only {', '.join(BACKENDS)}")
    if jobs == 0:
        raise ArgumentError(f"jobs={jobs} is no number of tasks at a time; give 1 or more, or -1")
    if scheduler is not None and backend not in ("dask", "ray"):
        raise ArgumentError(f"the backend {backend} takes no --scheduler, only dask and ray do")
    if scheduler is None and backend == "dask":
        raise ArgumentError("the backend dask needs the address of a scheduler: --scheduler")


def _cluster_module(name: str) -> Any:
    """Import the client of a cluster, which no extra of this package installs."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ArgumentError(
            f"this backend needs {error.name}; install it with: pip install {package}"
        ) from error


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
    ArgumentError
        A `ValueError`: there is no such backend or number of jobs, or its package is missing.
    OSError
        If the cluster is not there.
    """
    check_workers(backend, jobs, scheduler)
    with ExitStack() as stack:
        # loky replaces workers that PyTorch's tracing has made large; nothing is lost by it.
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", "A worker stopped", UserWarning)
        options: dict[str, Any] = {}
        if backend == "dask":
            distributed = _cluster_module("distributed")
            options["client"] = stack.enter_context(
                distributed.Client(scheduler, timeout=10, set_as_default=False)
            )
        elif backend == "ray":
            ray = _cluster_module("ray")
            stack.enter_context(ray.init(address=scheduler or "auto"))
            _cluster_module("ray.util.joblib").register_ray()
        stack.enter_context(joblib.parallel_config(backend, n_jobs=jobs, **options))
        yield
