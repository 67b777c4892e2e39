"""The ``fxp`` command: runs `fxp.cli.application` and turns failures into exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from fxp.cli.messages import one_line
from fxp.support.distribution import install_advice


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    A failure that a user can cause is one line on standard error and exit code 1; usage errors
    give 2, an interrupt 130.
    """
    # Last, so that no file of the current folder stands for a module that is imported here.
    sys.path.append(os.getcwd())
    try:
        app = _application()
        result = app(args=arguments, standalone_mode=True)
    except SystemExit as stop:
        return int(stop.code or 0) if not isinstance(stop.code, str) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (
        ValueError,
        OSError,
        ImportError,
        AttributeError,
        TypeError,
        RuntimeError,
        MemoryError,
    ) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1
    return int(result or 0)


def _application() -> Callable[..., Any]:
    """Import the commands, here so that a plain installation can say what it lacks."""
    try:
        from fxp.cli.application import app
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the fxp command needs {error.name}; install it with: {install_advice('cli')}"
        ) from error
    return app
