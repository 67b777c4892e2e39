"""The ``fxp`` command: runs `fxp.cli.application` and turns failures into exit codes."""

from __future__ import annotations

import signal
import sys
import traceback
from importlib import import_module

from fxp.cli.messages import held_warnings, printable, report_advice, told
from fxp.support.signals import Terminated, orderly_end

FAILED = 1
DEFECT = 70
"""Exit code after an error that the program should have explained; ``EX_SOFTWARE`` of BSD."""
TRACEBACK = "--traceback"


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    A failure that a user can cause is one line on standard error and exit code 1; usage errors
    give 2, an interrupt 130, and a signal that ends the process 128 and its number, after child
    processes are ended and temporary files removed. Anything else is a defect of the program: it is
    shown with a trace and gives 70.

    Parameters
    ----------
    arguments
        What stands behind ``fxp``, that of this process if left out. ``--traceback`` among it
        shows where an error arose.

    Returns
    -------
    int
        The exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with orderly_end(), held_warnings(keep_logs=TRACEBACK in given) as warnings:
            try:
                code = _run([word for word in given if word != TRACEBACK])
            except SystemExit as stop:
                if isinstance(stop.code, str):
                    print(f"error: {printable(stop.code)}", file=sys.stderr)
                code = int(stop.code or 0) if not isinstance(stop.code, str) else FAILED
        for line in warnings:
            print(line, file=sys.stderr)
    except (KeyboardInterrupt, Terminated) as stop:
        end = stop if isinstance(stop, Terminated) else Terminated(signal.SIGINT)
        print(end, file=sys.stderr)
        return end.exit_code
    except Exception as error:
        return _failed(error, trace=TRACEBACK in given)
    return code


def _failed(error: Exception, *, trace: bool) -> int:
    text = told(error)
    if text is None or trace:
        traceback.print_exception(error)
    if text is None:
        print(f"error: {report_advice()}", file=sys.stderr)
        return DEFECT
    print(f"error: {text}", file=sys.stderr)
    return FAILED


def _run(arguments: list[str]) -> int:
    try:
        import_module("typer")
    except ModuleNotFoundError:
        from fxp.cli import plain

        return plain.main(arguments)
    from fxp.cli.application import app

    return int(app(args=arguments, prog_name="fxp", standalone_mode=True) or 0)
