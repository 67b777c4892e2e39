"""The ``fxp`` command.

Commands of other packages plug in through entry points of the group ``fxp.commands``: the name of
the command, and a function with Typer annotations.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fxp.cli.info import info
from fxp.cli.psnr import psnr
from fxp.cli.quantize import quantize
from fxp.cli.run import run

PLUGIN_GROUP = "fxp.commands"


class PluginGroup(TyperGroup):
    """Lists plugged-in commands beside the built-in ones, and loads one when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return built-in commands first."""
        return [*super().list_commands(ctx), *sorted(entry_points(group=PLUGIN_GROUP).names)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command; one that cannot be loaded says why when it is called."""
        found = super().get_command(ctx, cmd_name)
        plugins = entry_points(group=PLUGIN_GROUP, name=cmd_name)
        if found is not None or not plugins:
            return found
        single = typer.Typer(add_completion=False)
        single.command(name=cmd_name)(_loaded(next(iter(plugins))))
        return typer.main.get_command(single)


def _loaded(plugin: Any) -> Any:
    try:
        return plugin.load()
    except Exception as error:
        # A plug-in may fail in any way; the other commands must still work.
        message = f"the command {plugin.name!r} cannot be loaded: {error}"

        def broken() -> None:
            """Report why it cannot be loaded."""
            raise ImportError(message)

        return broken


app = typer.Typer(
    cls=PluginGroup,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
for command in (quantize, info, run, psnr):
    app.command()(command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fxp {version('fxp')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Bit-accurate fixed-point inference for image networks."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code.

    A failure that a user can cause is one line on standard error and exit code 1; usage errors
    give 2, an interrupt 130.
    """
    # A user's own network beside the current folder is found as a module.
    sys.path.insert(0, os.getcwd())
    try:
        result = app(args=arguments, standalone_mode=True)
    except SystemExit as stop:
        return int(stop.code or 0) if not isinstance(stop.code, str) else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, AttributeError, TypeError, RuntimeError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"error: {text}", file=sys.stderr)
        return 1
    return int(result or 0)
