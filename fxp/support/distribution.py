"""What this package is called on a package index, and how its optional parts are installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "fxp-inference"
"""Name of the distribution; what is imported is ``fxp``, a name that another project has there."""


def version() -> str:
    """Return the installed version, or ``unknown`` where only the source tree is on the path."""
    try:
        return version_of(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"


def install_advice(extra: str) -> str:
    """Return the command that installs an extra, as it works here.

    Parameters
    ----------
    extra
        Name of the extra, such as ``rtl``.

    Returns
    -------
    str
        ``pip install -e '.[rtl]'`` if this is a source tree, else the same by name.
    """
    # A wheel puts nothing beside the package that is called pyproject.toml.
    if (Path(__file__).parents[2] / "pyproject.toml").is_file():
        return f"pip install -e '.[{extra}]'"
    return f"pip install '{DISTRIBUTION}[{extra}]'"
