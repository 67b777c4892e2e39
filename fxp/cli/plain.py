"""What ``fxp`` does without Typer: the version, the help, and ``fxp info``."""

from __future__ import annotations

import argparse
from pathlib import Path

from fxp.cli.catalogue import commands
from fxp.cli.messages import CommandError
from fxp.support.distribution import install_advice, version


def main(arguments: list[str]) -> int:
    """Run the command line of an installation without extras.

    Parameters
    ----------
    arguments
        What stands behind ``fxp``.

    Returns
    -------
    int
        The exit code.

    Raises
    ------
    CommandError
        For commands that need an extra; the message names it.
    SystemExit
        After ``--version`` and ``--help``, and with code 2 for usage errors.
    """
    parser = argparse.ArgumentParser(
        prog="fxp",
        description="Bit-accurate fixed-point inference for image networks.",
        epilog=_all_commands(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fxp {version()}")
    parser.add_argument("--traceback", action="store_true", help="Show where an error arose.")
    listed = {command.name: command for command in commands()}
    if arguments and arguments[0] in listed and arguments[0] != "info":
        raise CommandError(
            f"fxp {arguments[0]} needs more than the base installation; install it with: "
            f"{install_advice(listed[arguments[0]].extras)}"
        )
    info = parser.add_subparsers(dest="command", metavar="COMMAND").add_parser(
        "info", help=listed["info"].help, description=listed["info"].help
    )
    info.add_argument("model", type=Path, help="A .fxp file.")
    info.add_argument("--graph", action="store_true", help="Print the graph as text too.")
    info.add_argument("--json", action="store_true", help="Print one JSON object, nothing else.")
    given = parser.parse_args(arguments)
    if given.command is None:
        parser.print_help()
        return 0
    _info(given.model, graph=given.graph, as_json=given.json)
    return 0


def _all_commands() -> str:
    width = max(len(command.name) for command in commands())
    lines = [f"  {command.name.ljust(width)}  {command.help}" for command in commands()]
    advice = f"All commands but info need an extra: {install_advice('cli')}"
    return "\n".join(["commands:", *lines, "", advice])


def _info(path: Path, *, graph: bool, as_json: bool) -> None:
    # Numba is only loaded here, so that the help stays quick.
    import fxp
    from fxp.cli.figures import json_text, model_figures, model_text

    model = fxp.load(path)
    if as_json:
        print(json_text(model_figures(model, path, graph=graph)))
    else:
        print(model_text(model, path, graph=graph))
