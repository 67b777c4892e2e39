"""The commands of ``fxp``, built-in and plugged in.

Commands of other packages plug in through entry points of the group ``fxp.commands``: the name of
the command, and a function with Typer annotations or a Typer application.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fxp.cli.info import info
from fxp.cli.psnr import psnr
from fxp.cli.quantize import quantize
from fxp.cli.run import run
from fxp.support.distribution import version

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
        return _plugged_in(next(iter(plugins)))


def _plugged_in(plugin: EntryPoint) -> Any:
    single = typer.Typer(add_completion=False)
    try:
        loaded = plugin.load()
    except Exception as error:
        # A plug-in may fail in any way; the other commands must still work.
        message = f"the command {plugin.name!r} cannot be loaded: {error}"
        anything = {"ignore_unknown_options": True, "allow_extra_args": True}

        @single.command(plugin.name, context_settings=anything)
        def broken() -> None:
            """Cannot be loaded; call it to see why."""
            raise ImportError(message)

    else:
        if isinstance(loaded, typer.Typer):
            single = loaded
        else:
            single.command(plugin.name)(loaded)
    return typer.main.get_command(single)


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
        typer.echo(f"fxp {version()}")
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
