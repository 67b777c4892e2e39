"""Which commands there are, and a line about each, without importing any of them.

Commands of other packages plug in through entry points of the group ``fxp.commands``: the name of
the command, and a function with Typer annotations or a Typer application.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points

from fxp.support.modules import source_file

PLUGIN_GROUP = "fxp.commands"
BUILT_IN = tuple(
    EntryPoint(name, f"fxp.cli.{name}:{name}", PLUGIN_GROUP)
    for name in ("quantize", "compress", "info", "report", "run", "psnr")
)
_EXTRAS = {
    "quantize": "torch,cli",
    "compress": "compression,cli",
    "search": "search,cli",
    "report": "report,cli",
    "demo": "models",
    "events": "cli,events",
    "identify": "recognition",
    "bitstream": "rtl,synth",
    "cosim": "rtl",
    "synth": "synth",
}


@dataclass(frozen=True)
class CommandEntry:
    """A command that may be loaded.

    Attributes
    ----------
    entry
        Where it is.
    """

    entry: EntryPoint

    @property
    def name(self) -> str:
        """What the user types."""
        return self.entry.name

    @property
    def extras(self) -> str:
        """Extras of this package that the command needs, divided by commas."""
        return _EXTRAS.get(self.name, "cli")

    @cached_property
    def help(self) -> str:
        """The first sentence of its documentation, read from the source without running it."""
        try:
            source = _source_of(self.entry.module)
            return _first_paragraph(ast.parse(source), self.entry.attr)
        except (ImportError, OSError, SyntaxError, ValueError):
            # A command that cannot even be read says why when it is called.
            return ""


def commands() -> list[CommandEntry]:
    """Return all commands: the built-in ones, then the plugged-in ones by name."""
    known = {entry.name for entry in BUILT_IN}
    plugins = sorted(entry_points(group=PLUGIN_GROUP), key=lambda entry: entry.name)
    chosen = {entry.name: entry for entry in plugins if entry.name not in known}
    return [CommandEntry(entry) for entry in (*BUILT_IN, *chosen.values())]


def _source_of(module: str) -> str:
    """Return the source of a module; none of the packages around it is imported."""
    file = source_file(module)
    if file is None:
        raise ImportError(f"no module named {module!r}")
    return file.read_text(encoding="utf-8")


def _first_paragraph(module: ast.Module, name: str) -> str:
    """Return the first paragraph of a function's docstring, or of a Typer application's help."""
    text = None
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == name:
            text = ast.get_docstring(statement)
        elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            names = [target.id for target in statement.targets if isinstance(target, ast.Name)]
            given = {
                keyword.arg: keyword.value.value
                for keyword in statement.value.keywords
                if isinstance(keyword.value, ast.Constant)
            }
            if name in names and isinstance(given.get("help"), str):
                text = str(given["help"])
    text = text or ast.get_docstring(module) or ""
    return " ".join(text.partition("\n\n")[0].split())
