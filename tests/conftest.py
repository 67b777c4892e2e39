"""Fixed random choices for every test, and a summary of what ran."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("cases", "equality", "simulations")

settings.register_profile("fixed", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", derandomize=False, deadline=None, database=None)

_from_workers: Counter[str] = Counter()
_simulations_of_workers: Counter[str] = Counter()


def pytest_configure(config: pytest.Config) -> None:
    """Draw the same examples in every run, unless ``--hypothesis-seed`` asks for others."""
    seeded = config.getoption("hypothesis_seed", None) is not None
    settings.load_profile("explore" if seeded else "fixed")


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
