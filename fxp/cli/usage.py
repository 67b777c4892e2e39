"""How commands read their arguments; imports nothing but Typer."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand


class PlainCommand(TyperCommand):
    """A command whose usage errors speak of the options alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Read the arguments; what Pydantic writes before an error is left out."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise
