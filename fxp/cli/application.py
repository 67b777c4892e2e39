"""The commands of ``fxp`` as one Typer application; each is imported when it is called."""

from __future__ import annotations

import inspect
import signal
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from fxp.cli.catalogue import CommandEntry, commands
from fxp.cli.messages import CommandError, in_options, one_line, told
from fxp.cli.usage import PlainCommand
from fxp.support.distribution import version
from fxp.support.errors import FxpError
from fxp.support.signals import Terminated

_RUNNING = "fxp.cli.running"


class WholeHelpGroup(TyperGroup):
    """Lists its commands with the whole first paragraph of each, however long it is."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list."""
        rows = []
        for name in self.list_commands(ctx):
            text = getattr(self.get_command(ctx, name), "help", None) or ""
            rows.append((name, text.partition("\n\n")[0]))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class CommandGroup(WholeHelpGroup):
    """Lists the commands without importing them, and loads one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the built-in commands first."""
        return [command.name for command in commands()]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a stand-in that has the name and the help of a command, None if there is none."""
        for command in commands():
            if command.name == cmd_name:
                return TyperCommand(cmd_name, help=command.help, rich_markup_mode=None)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Load the command that is called."""
        # Typer suggests similar names from this table.
        self.commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        name, stand_in, rest = super().resolve_command(ctx, args)
        if stand_in is None:
            return name, None, rest
        loaded = _load(next(command for command in commands() if command.name == name))
        ctx.meta[_RUNNING] = loaded
        return name, loaded, rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; errors and warnings speak of options rather than of Python arguments."""
        try:
            with _translated_warnings(ctx):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            # Typer would end without a word.
            raise Terminated(signal.SIGINT) from None
        except BrokenPipeError:
            raise
        except (FxpError, OSError) as error:
            text = one_line(error)
            translated = _translated(text, ctx)
            if translated == text:
                raise
            raise CommandError(translated) from error


def _load(command: CommandEntry) -> Any:
    """Import a command; one that cannot be loaded raises `CommandError`."""
    try:
        loaded = command.entry.load()
    except (Exception, SystemExit) as error:
        # A plug-in may fail in any way; the line says which one it was.
        reason = told(error) or f"{type(error).__name__}: {one_line(error)}"
        if isinstance(error, ImportError) and told(error) is None:
            reason = one_line(error)
        raise CommandError(f"the command {command.name!r} cannot be loaded: {reason}") from error
    if isinstance(loaded, typer.Typer):
        return typer.main.get_command(loaded)
    single = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings=SETTINGS)
    single.command(command.name, cls=PlainCommand, help=help_text(loaded))(loaded)
    return typer.main.get_command(single)


def _translated(text: str, ctx: Any) -> str:
    """Return a message in the language of the running command."""
    running = ctx.meta.get(_RUNNING)
    return text if running is None else in_options(text, _options(running))


@contextmanager
def _translated_warnings(ctx: Any) -> Iterator[None]:
    """Translate the warnings of a block, and hand them on."""
    show = warnings.showwarning

    def translated(message: Warning | str, *rest: Any, **named: Any) -> None:
        show(_translated(str(message), ctx), *rest, **named)

    warnings.showwarning = translated
    try:
        yield
    finally:
        warnings.showwarning = show


def _options(command: Any) -> Mapping[str, str]:
    """Return the options of a command and of those under it, by the names of its arguments."""
    found: dict[str, str] = {}
    for each in [command, *getattr(command, "commands", {}).values()]:
        for parameter in each.params:
            longest = max(parameter.opts, key=len)
            if longest.startswith("--"):
                found[parameter.name] = longest
    return found


def help_text(function: Any) -> str:
    r"""Return a command's docstring with its examples on lines of their own.

    A paragraph that begins with ``Example:`` is kept as it is, so that it can be copied; ``\b``
    is the mark of Click for that.
    """
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    return "\n\n".join(
        f"\b\n{text}" if text.startswith("Example:") else text for text in paragraphs
    )


SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    # Rich would cut long names of options and types off at 80 columns.
    rich_markup_mode=None,
    context_settings=SETTINGS,
    pretty_exceptions_enable=False,
)


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
    show_traceback: Annotated[
        bool,
        typer.Option(
            "--traceback",
            help="Show where an error arose, below it in one line; before or after the command.",
        ),
    ] = False,
) -> None:
    """Bit-accurate fixed-point inference for image networks.

    Results stand on standard output; progress, notes and warnings on standard error. The exit code
    is 0, 1 for an error that the message explains, 2 for a wrong call, 70 for a defect of the
    program, and 128 and its number after a signal, 130 after an interrupt.

    Completion of commands and options in the shell: fxp --install-completion.
    """
