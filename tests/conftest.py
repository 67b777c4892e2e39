"""Fixed random choices for every test, folders that are kept, and a summary of what ran."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from slow import SLOW

pytest.register_assert_rewrite(
    "cases",
    "cli_checks",
    "equality",
    "simulations",
    "golden_runs",
    "graph_parts",
    "hostile_files",
    "module_parts",
)

# Workers of pytest-xdist and the programs that tests start share the processors. Threads of OpenMP
# spin while they wait for one that has lost its processor: a test of 35 seconds took 240.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", derandomize=False, deadline=None, database=None)

KEPT = "compiled"
KEPT_DAYS = 14
"""What was compiled that long ago is compiled again, so that nothing piles up."""

_from_workers: Counter[str] = Counter()
_simulations_of_workers: Counter[str] = Counter()


def pytest_configure(config: pytest.Config) -> None:
    """Draw the same examples in every run, unless ``--hypothesis-seed`` asks for others."""
    seeded = config.getoption("hypothesis_seed", None) is not None
    settings.load_profile("explore" if seeded else "fixed")
    # Under nohup, and in the background of a script, the processes that tests start and end would
    # inherit that these signals are ignored.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def kept_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Folder for compiled programs that the next runs find again; all processes share it.

    What is in it must have a name that tells everything it was made from, such as a hash.
    ``pytest --cache-clear`` empties it.
    """
    config = request.config
    cache = getattr(config, "cache", None)
    if cache is not None:
        folder = cache.mkdir(KEPT)
        # The compilers of simulators take no folder with spaces in its name.
        if not re.search(r"\s", str(folder)):
            return folder
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if hasattr(config, "workerinput") else base) / KEPT
    folder.mkdir(exist_ok=True)
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `SLOW` lists."""
    folder = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(folder):
            file = item.path.relative_to(folder).as_posix()
            test = getattr(item, "originalname", item.name)
            if file in SLOW or f"{file}::{test}" in SLOW:
                item.add_marker("slow")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remove what was compiled long ago, before worker processes start."""
    cache = getattr(session.config, "cache", None)
    if cache is None or hasattr(session.config, "workerinput"):
        return
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for path in cache.mkdir(KEPT).glob("*/*"):
        if path.is_dir() and path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)


def _comparisons() -> Counter[str]:
    return getattr(sys.modules.get("cases"), "COMPARISONS", Counter())


def _simulations() -> Counter[str]:
    return getattr(sys.modules.get("simulations"), "SIMULATIONS", Counter())


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the counts of a worker process to the main one."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["comparisons"] = dict(_comparisons())
        output["simulations"] = dict(_simulations())


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Collect the counts of a worker process."""
    output = getattr(node, "workeroutput", {})
    _from_workers.update(output.get("comparisons", {}))
    _simulations_of_workers.update(output.get("simulations", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests ran and were skipped, and how many comparisons and simulations."""
    results = terminalreporter.stats
    counts = {kind: len(results.get(kind, ())) for kind in ("passed", "failed", "skipped")}
    terminalreporter.section("what ran")
    terminalreporter.line(
        f"{counts['passed'] + counts['failed']} tests executed, {counts['skipped']} skipped"
    )
    for executor, count in sorted((_comparisons() + _from_workers).items()):
        terminalreporter.line(f"{executor}: {count} arrays compared with the oracle")
    for simulator, count in sorted((_simulations() + _simulations_of_workers).items()):
        terminalreporter.line(f"{simulator}: {count} simulations of cores")
